"""What a distillation loss can be: the right one, and the ways in which it is known to go wrong.

A loss is a hard part and a soft part (`Form`), each with a weight (`Weights`). The defaults of `Form` and the weights
of `KDLoss` are right; every other choice is a fault with a name, and faults combine freely.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations, product

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
Hard = Callable[[Tensor, Tensor], Tensor]
OfShape = Callable[[int, int], float]  # of batch size and number of classes

# ---------------------------------------------------------------- forms


@dataclass(frozen=True)
class Form:
    """How the two parts of a loss are put together: what each softmax is taken of, along which axis, and so on."""

    student: str = "softened"
    teacher: str = "softened"
    student_axis: int = -1
    teacher_axis: int = -1
    soft: str = "forward"
    hard: str = "right"
    smoothing: float = 0.0


INPUTS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "softened": lambda logits, tau: logits / tau,
    "raw": lambda logits, tau: logits,
    "probabilities": lambda logits, tau: (logits / tau).softmax(-1),
    "probabilities, softened": lambda logits, tau: logits.softmax(-1) / tau,
}
DIVERGENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # of log p and log q
    "forward": lambda p, q: p.exp() * (p - q),
    "reverse": lambda p, q: q.exp() * (q - p),
    "no log": lambda p, q: p.exp() * (p - q.exp()),
    "probabilities as logs": lambda p, q: p.exp().exp() * (p.exp() - q),
    "logs as probabilities": lambda p, q: -p * q,
    "squared": lambda p, q: (p.exp() - q.exp()) ** 2,
}
HARD_TERMS: dict[str, Callable[[Tensor, Tensor, float, Hard], Tensor]] = {
    "right": lambda z, y, tau, hard: hard(z, y),
    "softened": lambda z, y, tau, hard: hard(z / tau, y),
    "twice": lambda z, y, tau, hard: hard(z.softmax(-1), y),
    "softened, twice": lambda z, y, tau, hard: hard((z / tau).softmax(-1), y),
    "no log": lambda z, y, tau, hard: -z.softmax(-1).gather(-1, y[:, None]).mean(),
    "all pairs": lambda z, y, tau, hard: -z.log_softmax(-1)[..., y].mean(),
}


def _soft(form: Form, z: Tensor, v: Tensor, tau: float) -> Tensor:
    """The divergence of a form, summed over classes, averaged over the batch, without weight and without tau^2."""
    student, teacher = INPUTS[form.student](z, tau), INPUTS[form.teacher](v, tau)
    if form.soft == "squared logits":
        return ((student - teacher) ** 2).sum() / len(z)
    if form.soft == "argmax":
        return cross_entropy(student, v.argmax(-1))
    log_p, log_q = teacher.log_softmax(form.teacher_axis), student.log_softmax(form.student_axis)
    return DIVERGENCES[form.soft](log_p, log_q).sum() / len(z)


def _hard(form: Form, z: Tensor, y: Tensor, tau: float, hard: Hard) -> Tensor:
    """The hard term of a form without its weight: (1 - s) hard(z, y) + s H(uniform, q), s its smoothing."""
    value = HARD_TERMS[form.hard](z, y, tau, hard)
    if form.smoothing:
        value = (1 - form.smoothing) * value - form.smoothing * z.log_softmax(-1).mean()
    return value


@dataclass(frozen=True)
class FormFault:
    """One fault of a form: its name, the part that it is in, and the fields of `Form` that it changes."""

    code: str
    part: str
    changes: dict[str, object]


def _on_sides(code: str, field: str, value: object) -> list[FormFault]:
    """A fault of the student's, of the teacher's, and of both their softmaxes; `field` of a side is changed."""
    sides = (("student",), ("teacher",), ("student", "teacher"))
    return [FormFault(code, " and ".join(side), {field.format(s): value for s in side}) for side in sides]


RAW = {"student": "raw", "teacher": "raw"}
FORM_FAULTS = [
    FormFault("tau_on_student_only", "soft", {"teacher": "raw"}),
    FormFault("tau_on_teacher_only", "soft", {"student": "raw"}),
    FormFault("tau_not_applied", "soft", RAW),
    *_on_sides("softmax_twice", "{}", "probabilities"),
    *_on_sides("softmax_twice", "{}", "probabilities, softened"),
    *_on_sides("softmax_over_batch", "{}_axis", 0),
    FormFault("reversed_kl", "soft", {"soft": "reverse"}),
    FormFault("log_missing", "soft", {"soft": "no log"}),
    FormFault("log_target_mismatch", "soft", {"soft": "probabilities as logs"}),
    FormFault("log_target_mismatch", "soft", {"soft": "logs as probabilities"}),
    FormFault("squared_error", "soft", {"soft": "squared logits"}),
    FormFault("squared_error", "soft", {"soft": "squared"}),
    FormFault("squared_error", "soft", {"soft": "squared", **RAW}),
    FormFault("teacher_argmax", "soft", {"soft": "argmax"}),
    FormFault("teacher_argmax", "soft", {"soft": "argmax", "student": "raw"}),
    FormFault("hard_softened", "hard", {"hard": "softened"}),
    FormFault("softmax_twice", "hard", {"hard": "twice"}),
    FormFault("softmax_twice", "hard", {"hard": "softened, twice"}),
    FormFault("log_missing", "hard", {"hard": "no log"}),
    FormFault("hard_all_pairs", "hard", {"hard": "all pairs"}),
]
OTHER_METHODS = {"squared_error", "teacher_argmax"}  # which have weights of their own


def forms(number: int, base: Form) -> Iterator[tuple[Form, tuple[FormFault, ...]]]:
    """All forms that differ from `base` by that many faults in different places, and their faults."""
    for faults in combinations(FORM_FAULTS, number):
        changes = [change for fault in faults for change in fault.changes.items()]
        if len({name for name, _ in changes}) == len(changes):
            yield replace(base, **dict(changes)), faults


# ---------------------------------------------------------------- weights


@dataclass(frozen=True)
class Factor:
    """A fault of one part's weight: the factor on it at batch size B and C classes, and that in words, if it is one."""

    code: str
    part: str
    of: OfShape = lambda b, c: 1.0
    words: str = ""


@dataclass(frozen=True)
class Weights:
    """Weights of the hard and the soft part (of the divergence, tau^2 included) and the faults that led to them."""

    hard: float
    soft: float
    faults: tuple[Factor, ...] = ()

    def at(self, batch: int, classes: int) -> tuple[float, float]:
        """The two weights for a batch of that size with so many classes."""
        weights = {"hard": self.hard, "soft": self.soft, "both": 1.0}
        for fault in self.faults:
            weights[fault.part] *= fault.of(batch, classes)
        return weights["hard"], weights["soft"]

    @property
    def codes(self) -> frozenset[str]:
        """The names of its faults."""
        return frozenset(fault.code for fault in self.faults)


@dataclass(frozen=True)
class KDLoss:
    """The loss that is meant: (1 - alpha) hard(z, y) + alpha tau^2 KL(p^tau || q^tau), mean over the batch.

    `hard` is cross-entropy unless given; without `tau_squared` the factor tau^2 is left out.
    """

    classes: int
    tau: float
    alpha: float
    tau_squared: bool = True
    hard: Hard | None = None

    @property
    def scale(self) -> float:
        """What the divergence is multiplied by besides alpha: tau^2, or 1 by the other convention."""
        return self.tau**2 if self.tau_squared else 1.0

    @property
    def weights(self) -> Weights:
        """Those of its two parts."""
        return Weights(1 - self.alpha, self.alpha * self.scale)

    def parts(self, form: Form, z: Tensor, v: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """A form's hard and soft part at this temperature, without weights."""
        return _hard(form, z, y, self.tau, self.hard or cross_entropy), _soft(form, z, v, self.tau)

    def variant(self, form: Form, weights: Weights) -> Loss:
        """The loss of that form with those weights; the teacher's logits are constants."""

        def loss(z: Float[Tensor, "B C"], v: Float[Tensor, "B C"], y: Int[Tensor, " B"]) -> Float[Tensor, ""]:
            (hard, soft), parts = weights.at(*z.shape), self.parts(form, z, v.detach(), y)
            return hard * parts[0] + soft * parts[1]

        return loss

    def __call__(self, z: Float[Tensor, "B C"], v: Float[Tensor, "B C"], y: Int[Tensor, " B"]) -> Float[Tensor, ""]:
        """The loss itself."""
        return self.variant(Form(), self.weights)(z, v, y)

    def __str__(self) -> str:
        hard = "CE(z, y)" if self.hard is None else "hard(z, y)"
        squared = "tau^2 " if self.tau_squared else ""
        return f"(1 - alpha) {hard} + alpha {squared}KL(p^tau || q^tau), mean over the batch"


def _alphas(alpha: float) -> list[tuple[Factor | None, float, float]]:
    """Ways to use alpha: the fault, and the weights of the hard part and of the soft one without its tau^2."""
    return [
        (None, 1 - alpha, alpha),
        (Factor("alpha_swapped", "both"), alpha, 1 - alpha),
        (Factor("alpha_missing", "hard"), 1.0, alpha),
        (Factor("alpha_missing", "soft"), 1 - alpha, 1.0),
        (Factor("alpha_missing", "both"), 1.0, 1.0),
        (Factor("hard_term_missing", "hard"), 0.0, alpha),
        (Factor("hard_term_missing", "hard"), 0.0, 1.0),
        (Factor("soft_term_missing", "soft"), 1 - alpha, 0.0),
        (Factor("soft_term_missing", "soft"), 1.0, 0.0),
    ]


def _reductions(part: str) -> list[Factor]:
    return [
        Factor("averaged_over_classes", part, lambda b, c: 1 / c, "1 / C"),
        Factor("summed_over_batch", part, lambda b, c: float(b), "B"),
        Factor("averaged_twice", part, lambda b, c: 1 / b, "1 / B"),
    ]


def _powers(loss: KDLoss) -> list[Factor]:
    """Powers of tau on the soft part, against the one that is meant."""
    names = {0: "tau_squared_missing", 1: "tau_not_squared", 4: "tau_squared_twice"}
    if not loss.tau_squared:
        names = {1: "tau_not_wanted", 2: "tau_squared_not_wanted"}
    meant = 2 if loss.tau_squared else 0
    more = {power - meant: name for power, name in names.items()}
    return [Factor(name, "soft", lambda b, c, m=m: loss.tau**m, f"tau^{m}") for m, name in more.items()]


def weightings(loss: KDLoss) -> Iterator[Weights]:
    """Every way known to weigh the two parts, the right one first."""
    hards = [None, *_reductions("hard"), Factor("tau_squared_on_hard", "hard", lambda b, c: loss.tau**2, "tau^2")]
    softs, powers = [None, *_reductions("soft")], [None, *_powers(loss)]
    for (of_alpha, hard, soft), *factors in product(_alphas(loss.alpha), hards, softs, powers):
        absent = [part for part, weight in (("hard", hard), ("soft", soft)) if weight == 0]
        if not any(factor and factor.part in absent for factor in factors):
            yield Weights(hard, soft * loss.scale, tuple(f for f in (of_alpha, *factors) if f))
