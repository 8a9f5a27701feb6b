"""What a distillation loss can be: the right one, and the ways in which it is known to go wrong.

A loss is a hard part and a soft part (`Form`), each with a weight. The defaults of `Form` and the first of `WEIGHTS`,
`REDUCTIONS` and `powers` are right; every other choice is a fault with a name, and faults combine freely.
Found in: Tf-KD (mean over classes), Tf-KD_reg (softmax of probabilities), gnosis (all pairs of rows and labels),
labml and keras-io (arguments swapped), IntelLabs distiller (tau^2 missing); most others in many places.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations, product

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

Hard = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Setting:
    """The loss that is meant: (1 - alpha) hard(z, y) + alpha tau^2 KL(p^tau || q^tau), mean over the batch."""

    classes: int
    tau: float
    alpha: float
    tau_squared: bool = True
    hard: Hard | None = None

    @property
    def scale(self) -> float:
        """What the divergence is multiplied by besides alpha: tau^2, or 1 by the other convention."""
        return self.tau**2 if self.tau_squared else 1.0

    def __call__(self, z: Float[Tensor, "B C"], v: Float[Tensor, "B C"], y: Int[Tensor, " B"]) -> Float[Tensor, ""]:
        """The loss itself."""
        hard, soft = hard_part(Form(), z, y, self.tau, self.hard), soft_part(Form(), z, v, self.tau)
        return (1 - self.alpha) * hard + self.alpha * self.scale * soft

    def __str__(self) -> str:
        hard = "CE(z, y)" if self.hard is None else "hard(z, y)"
        squared = "tau^2 " if self.tau_squared else ""
        return f"(1 - alpha) {hard} + alpha {squared}KL(p^tau || q^tau), mean over the batch"


@dataclass(frozen=True)
class Form:
    """How the two parts of a loss are put together: what each softmax is taken of, along which axis, and so on."""

    student: str = "cooled"
    teacher: str = "cooled"
    student_axis: int = -1
    teacher_axis: int = -1
    soft: str = "forward"
    label: str = "own"
    smoothing: float = 0.0


VIEWS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "cooled": lambda x, tau: x / tau,
    "raw": lambda x, tau: x,
    "probabilities": lambda x, tau: (x / tau).softmax(-1),
    "probabilities, cooled": lambda x, tau: x.softmax(-1) / tau,
}
DIVERGENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # of log p and log q
    "forward": lambda p, q: p.exp() * (p - q),
    "reverse": lambda p, q: q.exp() * (q - p),
    "no log": lambda p, q: p.exp() * (p - q.exp()),
    "probabilities as logs": lambda p, q: p.exp().exp() * (p.exp() - q),
    "logs as probabilities": lambda p, q: -p * q,
    "squared": lambda p, q: (p.exp() - q.exp()) ** 2,
}
LABELS: dict[str, Callable[[Tensor, Tensor, float, Hard], Tensor]] = {
    "own": lambda z, y, tau, hard: hard(z, y),
    "softened": lambda z, y, tau, hard: hard(z / tau, y),
    "twice": lambda z, y, tau, hard: hard(z.softmax(-1), y),
    "softened, twice": lambda z, y, tau, hard: hard((z / tau).softmax(-1), y),
    "no log": lambda z, y, tau, hard: -z.softmax(-1).gather(-1, y[:, None]).mean(),
    "all pairs": lambda z, y, tau, hard: -z.log_softmax(-1)[..., y].mean(),
}


def soft_part(form: Form, z: Float[Tensor, "B C"], v: Float[Tensor, "B C"], tau: float) -> Float[Tensor, ""]:
    """The divergence of a form, summed over classes, averaged over the batch, without weight and without tau^2."""
    student, teacher = VIEWS[form.student](z, tau), VIEWS[form.teacher](v, tau)
    if form.soft == "squared logits":
        return ((student - teacher) ** 2).sum() / len(z)
    if form.soft == "argmax":
        return cross_entropy(student, v.argmax(-1))
    log_p, log_q = teacher.log_softmax(form.teacher_axis), student.log_softmax(form.student_axis)
    return DIVERGENCES[form.soft](log_p, log_q).sum() / len(z)


def hard_part(
    form: Form, z: Float[Tensor, "B C"], y: Int[Tensor, " B"], tau: float, hard: Hard | None
) -> Float[Tensor, ""]:
    """The hard term of a form without its weight: (1 - s) hard(z, y) + s H(uniform, q), s its smoothing."""
    value = LABELS[form.label](z, y, tau, hard or cross_entropy)
    if form.smoothing:
        value = (1 - form.smoothing) * value - form.smoothing * z.log_softmax(-1).mean()
    return value


@dataclass(frozen=True)
class Step:
    """One fault of a form: its name, the part that it is in, and what it changes."""

    code: str
    part: str
    changes: tuple[tuple[str, object], ...]


def _step(code: str, part: str, **changes: object) -> Step:
    return Step(code, part, tuple(changes.items()))


def _sides(code: str, field: str, value: object) -> list[Step]:
    one = [_step(code, side, **{side + field: value}) for side in ("student", "teacher")]
    return [*one, _step(code, "student and teacher", **{side + field: value for side in ("student", "teacher")})]


RAW = {"student": "raw", "teacher": "raw"}
STEPS = [
    _step("tau_on_student_only", "soft", teacher="raw"),
    _step("tau_on_teacher_only", "soft", student="raw"),
    _step("tau_not_applied", "soft", **RAW),
    *_sides("softmax_twice", "", "probabilities"),
    *_sides("softmax_twice", "", "probabilities, cooled"),
    *_sides("softmax_over_batch", "_axis", 0),
    _step("reversed_kl", "soft", soft="reverse"),
    _step("log_missing", "soft", soft="no log"),
    _step("log_target_mismatch", "soft", soft="probabilities as logs"),
    _step("log_target_mismatch", "soft", soft="logs as probabilities"),
    _step("squared_error", "soft", soft="squared logits"),
    _step("squared_error", "soft", soft="squared"),
    _step("squared_error", "soft", soft="squared", **RAW),
    _step("teacher_argmax", "soft", soft="argmax"),
    _step("teacher_argmax", "soft", soft="argmax", student="raw"),
    _step("hard_softened", "hard", label="softened"),
    _step("softmax_twice", "hard", label="twice"),
    _step("softmax_twice", "hard", label="softened, twice"),
    _step("log_missing", "hard", label="no log"),
    _step("hard_all_pairs", "hard", label="all pairs"),
]
UNWEIGHTED = {"squared_error", "teacher_argmax"}  # other methods, which have weights of their own


def forms(faults: int, base: Form) -> Iterator[tuple[Form, tuple[Step, ...]]]:
    """All forms that differ from `base` by that many faults in different places, and their faults."""
    for steps in combinations(STEPS, faults):
        changes = [change for step in steps for change in step.changes]
        if len({name for name, _ in changes}) == len(changes):
            yield replace(base, **dict(changes)), steps


# ---------------------------------------------------------------- weights


@dataclass(frozen=True)
class Factor:
    """A factor on one part's gradient at batch size B and C classes: its fault (none: right), and it in words."""

    code: str | None
    part: str
    of: Callable[[int, int], float]
    words: str = "1"


REDUCTIONS: list[tuple[str | None, Callable[[int, int], float], str]] = [
    (None, lambda b, c: 1.0, "1"),
    ("averaged_over_classes", lambda b, c: 1 / c, "1 / C"),
    ("summed_over_batch", lambda b, c: float(b), "B"),
    ("averaged_twice", lambda b, c: 1 / b, "1 / B"),
]


def powers(setting: Setting) -> list[Factor]:
    """Powers of tau on the soft part, against the one that is meant."""
    names = {0: "tau_squared_missing", 1: "tau_not_squared", 4: "tau_squared_twice"}
    if not setting.tau_squared:
        names = {1: "tau_not_wanted", 2: "tau_squared_not_wanted"}
    meant = 2 if setting.tau_squared else 0
    found = [Factor(None, "soft", lambda b, c: 1.0)]
    for power, name in names.items():
        value = setting.tau ** (power - meant)
        found.append(Factor(name, "soft", lambda b, c, value=value: value, f"tau^{power - meant}"))
    return found


@dataclass(frozen=True)
class Weighing:
    """Weights of the hard and the soft part (of the divergence, tau^2 included) and the faults that led to them."""

    factors: tuple[Factor, ...]
    hard: Callable[[int, int], float]
    soft: Callable[[int, int], float]

    @property
    def codes(self) -> frozenset[str]:
        """The names of its faults."""
        return frozenset(f.code for f in self.factors)


def _alphas(alpha: float) -> list[tuple[str | None, str, float, float]]:
    return [
        (None, "both", 1 - alpha, alpha),
        ("alpha_swapped", "both", alpha, 1 - alpha),
        ("alpha_missing", "hard", 1.0, alpha),
        ("alpha_missing", "soft", 1 - alpha, 1.0),
        ("alpha_missing", "both", 1.0, 1.0),
        ("hard_term_missing", "hard", 0.0, alpha),
        ("hard_term_missing", "hard", 0.0, 1.0),
        ("soft_term_missing", "soft", 1 - alpha, 0.0),
        ("soft_term_missing", "soft", 1.0, 0.0),
    ]


def weighings(setting: Setting) -> Iterator[Weighing]:
    """Every way known to weigh the two parts, the right one first."""
    hards = [Factor(code, "hard", of, words) for code, of, words in REDUCTIONS]
    hards.append(Factor("tau_squared_on_hard", "hard", lambda b, c: setting.tau**2, "tau^2"))
    softs = [Factor(code, "soft", of, words) for code, of, words in REDUCTIONS]
    for (code, part, w_hard, w_soft), h, s, power in product(_alphas(setting.alpha), hards, softs, powers(setting)):
        if (w_hard == 0 and h.code) or (w_soft == 0 and (s.code or power.code)):
            continue
        weight = Factor(code, part, lambda b, c: 1.0, "")
        faults = tuple(f for f in (weight, h, s, power) if f.code)
        yield Weighing(
            faults,
            lambda b, c, w=w_hard, h=h: w * h.of(b, c),
            lambda b, c, w=w_soft * setting.scale, s=s, power=power: w * s.of(b, c) * power.of(b, c),
        )
