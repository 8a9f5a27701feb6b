"""What a distillation loss can be: the one that is meant, other methods, and the ways in which losses go wrong.

A loss is a hard and a soft part, put together in a `Form`, each with a weight (`Weights`). `KDLoss` says which form and
which weights are meant; every other choice has a name, as another method or as a fault, and choices combine freely.
"""

import math
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import combinations, product
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot

from kdstudy.losscheck.divergences import DIVERGENCES, Pair

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
Hard = Callable[[Tensor, Tensor], Tensor]

# ---------------------------------------------------------------- forms


@dataclass(frozen=True)
class Form:
    """How the two parts of a loss are put together: what each softmax is taken of, along which axis, and so on.

    The label of row i is that of row i + shift of its sequence, its teacher row i + teacher_shift. `support` is what is
    done with the classes that are not among the k largest of `chooser`; `soft_rows` and `hard_rows` which rows count.
    """

    student: str = "softened"
    teacher: str = "softened"
    student_axis: int = -1
    teacher_axis: int = -1
    soft: str = "forward"
    parameter: float | None = None
    support: str = "all"
    k: int = 0
    chooser: str = "teacher"
    hard: str = "right"
    smoothing: float = 0.0
    shift: int = 0
    teacher_shift: int = 0
    soft_rows: str = "labelled"
    hard_rows: str = "labelled"


INPUTS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "softened": lambda logits, tau: logits / tau,
    "raw": lambda logits, tau: logits,
    "probabilities": lambda logits, tau: (logits / tau).softmax(-1),
    "probabilities, softened": lambda logits, tau: logits.softmax(-1) / tau,
    "standardised": lambda logits, tau: (logits - logits.mean(-1, True)) / logits.std(-1, keepdim=True) / tau,
}
HARD_TERMS: dict[str, Callable[[Tensor, Tensor, float, Hard], Tensor]] = {
    "right": lambda z, y, tau, hard: hard(z, y),
    "softened": lambda z, y, tau, hard: hard(z / tau, y),
    "twice": lambda z, y, tau, hard: hard(z.softmax(-1), y),
    "softened, twice": lambda z, y, tau, hard: hard((z / tau).softmax(-1), y),
    "no log": lambda z, y, tau, hard: -z.softmax(-1).gather(-1, y[:, None]).mean(),
    "all pairs": lambda z, y, tau, hard: -z.log_softmax(-1)[..., y].mean(),
    "bce": lambda z, y, tau, hard: binary_cross_entropy_with_logits(z, one_hot(y, z.shape[-1]).to(z)) * z.shape[-1],
}
SUPPORTS = {  # what is done with the k largest of the student's, and of the teacher's probabilities
    "truncated": ("truncated", "truncated"),
    "renormalised": ("renormalised", "renormalised"),
    "tail bucket": ("tail bucket", "tail bucket"),
    "teacher renormalised": ("truncated", "renormalised"),
}


def _supported(log_p: Tensor, top: Int[Tensor, "M k"], kind: str) -> Tensor:
    """Log-probabilities of the classes in `top`: as they are, summing to 1, or with a class for all others."""
    kept = log_p.gather(-1, top)
    if kind == "tail bucket":
        return torch.cat([kept, log_p.scatter(-1, top, -math.inf).logsumexp(-1, True)], -1)
    return kept if kind == "truncated" else kept.log_softmax(-1)


def _log_softmax(logits: Float[Tensor, "M C"], axis: int, sequences: int) -> Float[Tensor, "M C"]:
    """Over classes (-1), over all rows (0), or over the rows of each sequence (1), if these are of one length."""
    if axis == 1 and len(logits) % sequences == 0:
        return logits.view(sequences, -1, logits.shape[-1]).log_softmax(1).view_as(logits)
    return logits.log_softmax(min(axis, 0))


class FormFault(NamedTuple):
    """One choice of a form that is not meant: its name, the part it is in, and the fields of `Form` that it changes."""

    code: str
    part: str
    changes: dict[str, object]


WORDS = tomllib.loads(files("kdstudy.losscheck").joinpath("findings.toml").read_text("utf-8"))
METHODS = {code for code, words in WORDS.items() if words.get("severity") == "method"}


def _form_faults() -> Iterator[tuple[str, FormFault]]:
    """Those of the divergences, and of `findings.toml`, each with where it is looked for."""
    for name, divergence in DIVERGENCES.items():
        yield "", FormFault(divergence.code, "soft", {"soft": name, "parameter": divergence.parameter})
    for code, words in WORDS.items():
        for form in words.get("forms", ()):
            changes = {name: value for name, value in form.items() if name != "part"}
            if "soft" in changes:
                changes["parameter"] = DIVERGENCES[changes["soft"]].parameter
            yield words.get("where", ""), FormFault(code, form["part"], changes)


FORM_FAULTS = sorted(_form_faults(), key=lambda fault: fault[0])


def forms(number: int, loss: "KDLoss") -> Iterator[tuple[Form, tuple[FormFault, ...]]]:
    """All forms that differ from the one meant by that many choices in different places, and these choices."""
    base, masked = loss.form, loss.ignore_index is not None
    where = {"": True, "ignored": masked, "tokens": loss.tokens, "top_k": base.support != "all"}
    moot = "last_token_taught" if masked or not base.shift else ""
    listed = [f for at, f in FORM_FAULTS if where[at] and f.code != moot and replace(base, **f.changes) != base]
    for faults in combinations(listed, number):
        changes = {name: value for fault in faults for name, value in fault.changes.items()}
        if len(changes) == sum(len(fault.changes) for fault in faults):
            yield replace(base, **changes), faults


# ---------------------------------------------------------------- weights


class Size(NamedTuple):
    """What a mean can be taken over: rows that count, all rows, sequences, classes."""

    rows: int
    positions: int
    sequences: int
    classes: int


def _same(size: Size) -> float:
    return 1.0


class Factor(NamedTuple):
    """A fault of one part's weight, or of both: the factor on it at a size, and that in words, if it is one."""

    code: str
    part: str
    of: Callable[[Size], float] = _same
    words: str = ""


@dataclass(frozen=True)
class Weights:
    """Weights of the hard and the soft part (of the divergence, tau^2 included) and the faults that led to them."""

    hard: float
    soft: float
    faults: tuple[Factor, ...] = ()
    stated: tuple[Callable[[Size], float], ...] = (_same, _same)

    def at(self, *sizes: Size) -> tuple[float, float]:
        """The two weights, against means, where hard and soft part have these sizes."""
        hard, soft = (
            weight * of(size) * math.prod(f.of(size) for f in self.faults if f.part in (part, "both"))
            for part, weight, of, size in zip(("hard", "soft"), (self.hard, self.soft), self.stated, sizes)
        )
        return hard, soft


REDUCTIONS: dict[str, tuple[str, Callable[[Size], float], str]] = {  # against a mean over rows, summed over classes
    "mean": ("averaged_over_batch", lambda s: 1.0, "1"),
    "sum": ("summed_over_batch", lambda s: float(s.rows), "B"),
    "elements": ("averaged_over_classes", lambda s: 1 / s.classes, "1 / C"),
    "twice": ("averaged_twice", lambda s: 1 / s.rows, "1 / B"),
    "batchmean": ("summed_over_tokens", lambda s: s.rows / s.sequences, "T"),
    "positions": ("ignored_rows_counted", lambda s: s.rows / s.positions, "kept / all"),
    "positions, elements": ("ignored_rows_counted", lambda s: s.rows / s.positions / s.classes, "kept / all / C"),
}
STATED = {  # how hard and soft part are reduced
    "mean": ("mean", "mean"),
    "sum": ("sum", "sum"),
    "none": ("mean", "mean"),
    "elements": ("mean", "elements"),
    "batchmean": ("mean", "batchmean"),
}


@dataclass(frozen=True)
class KDLoss:
    """The loss that is meant: (1 - alpha) hard(z, y) + alpha tau^2 D(p^tau, q^tau), mean over what is not ignored.

    `hard` is cross-entropy unless given; without `tau_squared` the factor tau^2 is left out; `weights` (hard, soft) are
    given instead of alpha. `form` says which divergence D is, `custom` that it is a function of one's own of (s, t).
    `tokens`: rows are successive tokens. `reduction`: how hard and soft part are reduced, each by a name of REDUCTIONS.
    `said`: the names of what was stated.
    """

    classes: int
    tau: float
    alpha: float
    tau_squared: bool = True
    hard: Hard | None = None
    form: Form = Form()
    custom: Callable[[Tensor, Tensor], Tensor] | None = None
    pair: tuple[float, float] | None = None
    ignore_index: int | None = None
    tokens: bool = False
    reduction: tuple[str, str] = ("mean", "mean")
    said: frozenset[str] = frozenset()

    @property
    def scale(self) -> float:
        """What the divergence is multiplied by besides alpha: tau^2, or 1 by the other convention."""
        return self.tau**2 if self.tau_squared else 1.0

    @property
    def weights(self) -> Weights:
        """Those of its two parts."""
        hard, soft = self.pair or (1 - self.alpha, self.alpha * self.scale)
        return Weights(hard, soft, stated=tuple(REDUCTIONS[name][1] for name in self.reduction))

    def _as_sequences(self, x: Tensor, y: Tensor) -> Tensor:
        """Sequences of tokens; of a batch (B, C) one, if its rows are tokens, else B of one."""
        return x if y.ndim == 2 else x[None] if self.tokens else x[:, None]

    def _counted(self, form: Form, y: Int[Tensor, "S T"]) -> tuple[Bool[Tensor, "S T"], ...]:
        """Positions that have a label, positions of the hard, and of the soft part."""
        length, at = y.shape[1], torch.arange(y.shape[1])
        inside = ((at + form.shift >= 0) & (at + form.shift < length)).expand_as(y)
        heard = (at + form.teacher_shift >= 0) & (at + form.teacher_shift < length)
        wanted = torch.ones_like(y, dtype=torch.bool) if self.ignore_index is None else y != self.ignore_index
        labelled = inside & wanted.roll(-form.shift, 1)
        rows = {"labelled": labelled, "inside": inside, "all": torch.ones_like(inside), "unshifted": wanted}
        return inside, rows[form.hard_rows], rows[form.soft_rows] & heard

    def sizes(self, form: Form, y: Tensor, classes: int) -> tuple[Size, Size]:
        """Those of hard and soft part."""
        y = self._as_sequences(y, y)
        inside, *parts = self._counted(form, y)
        hard, soft = (Size(int(rows.sum()), int(inside.sum()), len(y), classes) for rows in parts)
        return hard, soft

    def part(self, k: int, form: Form, z: Tensor, v: Tensor, y: Tensor) -> Float[Tensor, ""]:
        """A form's hard (0) or soft part (1) at this temperature, a mean over its rows, without its weight."""
        z, v, y = (self._as_sequences(x, y) for x in (z, v, y))
        rows, label = self._counted(form, y)[1 + k], y.roll(-form.shift, 1)
        if k == 0:
            return self._hard(form, z[rows], label[rows])
        return self._soft(form, z[rows], v.roll(-form.teacher_shift, 1)[rows], label[rows], len(y))

    def _hard(self, form: Form, z: Tensor, y: Tensor) -> Tensor:
        """The hard term of a form: (1 - s) hard(z, y) + s H(uniform, q), s its smoothing."""
        value = HARD_TERMS[form.hard](z, y, self.tau, self.hard or cross_entropy)
        if form.smoothing:
            value = (1 - form.smoothing) * value - form.smoothing * z.log_softmax(-1).mean()
        return value

    def _soft(self, form: Form, z: Tensor, v: Tensor, y: Tensor, sequences: int) -> Tensor:
        """The divergence of a form, summed over classes, averaged over rows, without tau^2."""
        s, t = INPUTS[form.student](z, self.tau), INPUTS[form.teacher](v, self.tau)
        if form.soft == "custom":
            value = self.custom(s, t)
            return value if value.ndim == 0 else value.sum() / len(z)
        q, p = (_log_softmax(x, a, sequences) for x, a in ((s, form.student_axis), (t, form.teacher_axis)))
        if form.support != "all":
            top = (p if form.chooser == "teacher" else q).topk(min(form.k, p.shape[-1] - 1)).indices
            q, p = (_supported(x, top, kind) for x, kind in zip((q, p), SUPPORTS[form.support]))
        return DIVERGENCES[form.soft].value(Pair(s, t, q, p, y), form.parameter).sum() / len(z)

    def variant(self, form: Form, weights: Weights) -> Loss:
        """The loss of that form with those weights; the teacher's logits are constants."""

        def loss(z: Float[Tensor, "*B C"], v: Float[Tensor, "*B C"], y: Int[Tensor, "*B"]) -> Float[Tensor, ""]:
            hard, soft = weights.at(*self.sizes(form, y, z.shape[-1]))
            return hard * self.part(0, form, z, v.detach(), y) + soft * self.part(1, form, z, v.detach(), y)

        return loss

    def __call__(self, z: Float[Tensor, "*B C"], v: Float[Tensor, "*B C"], y: Int[Tensor, "*B"]) -> Float[Tensor, ""]:
        """The loss itself."""
        return self.variant(self.form, self.weights)(z, v, y)

    def __str__(self) -> str:
        form, (hard, soft) = self.form, ("(1 - alpha)", "alpha tau^2" if self.tau_squared else "alpha")
        if self.pair is not None:
            hard, soft = (f"{w:g}" for w in self.pair)
        of = "" if form.parameter is None else f"_{form.parameter:g}"
        named = {"forward": "KL(p^tau || q^tau)", "reverse": "KL(q^tau || p^tau)"}
        divergence = named.get(form.soft, f"{form.soft}{of}(p^tau, q^tau)")
        kept = "" if form.support == "all" else f" of the {form.chooser}'s {form.k} largest, {form.support}"
        over = f"{' and '.join(dict.fromkeys(self.reduction))} over {'the tokens' if self.tokens else 'the batch'}"
        masked = "" if self.ignore_index is None else f" but labels {self.ignore_index}"
        shifted = ", labels shifted by one" if form.shift else ""
        return f"{hard} {'hard' if self.hard else 'CE'}(z, y) + {soft} {divergence}{kept}, {over}{masked}{shifted}"


def _alphas(loss: KDLoss) -> list[tuple[Factor | None, float, float]]:
    """Ways to use alpha: the fault, and the weights of the hard part and of the soft one without its tau^2."""
    hard, soft = loss.weights.hard, loss.weights.soft / loss.scale
    return [
        (None, hard, soft),
        (Factor("alpha_swapped", "both"), soft, hard),
        (Factor("alpha_missing", "hard"), 1.0, soft),
        (Factor("alpha_missing", "soft"), hard, 1.0),
        (Factor("alpha_missing", "both"), 1.0, 1.0),
        (Factor("hard_term_missing", "hard"), 0.0, soft),
        (Factor("hard_term_missing", "hard"), 0.0, 1.0),
        (Factor("soft_term_missing", "soft"), hard, 0.0),
        (Factor("soft_term_missing", "soft"), 1.0, 0.0),
    ]


def reductions(part: str, loss: KDLoss) -> list[Factor]:
    """Reductions of a part that are not meant, against the one that is."""
    meant = loss.reduction[part == "soft"]
    moot = {meant} | (set() if loss.tokens else {"batchmean"})
    moot |= set() if loss.ignore_index is not None else {"positions", "positions, elements"}
    of = REDUCTIONS[meant][1]
    return [
        Factor(code, part, lambda s, f=f: f(s) / of(s), words)
        for name, (code, f, words) in REDUCTIONS.items()
        if name not in moot
    ]


def _powers(loss: KDLoss) -> list[Factor]:
    """Powers of tau on the soft part, against the one that is meant."""
    names = {0: "tau_squared_missing", 1: "tau_not_squared", 4: "tau_squared_twice"}
    if not loss.tau_squared:
        names = {1: "tau_not_wanted", 2: "tau_squared_not_wanted"}
    meant = 2 if loss.tau_squared else 0
    more = {power - meant: name for power, name in names.items()}
    return [Factor(name, "soft", lambda s, m=m: loss.tau**m, f"tau^{m}") for m, name in more.items()]


def weightings(loss: KDLoss) -> Iterator[Weights]:
    """Every way known to weigh the two parts, the right one first."""
    hards = [None, *reductions("hard", loss), Factor("tau_squared_on_hard", "hard", lambda s: loss.tau**2, "tau^2")]
    softs, powers = [None, *reductions("soft", loss)], [None, *_powers(loss)]
    for (of_alpha, hard, soft), *factors in product(_alphas(loss), hards, softs, powers):
        absent = {"hard": hard, "soft": soft}
        if all(factor is None or absent[factor.part] for factor in factors):
            faults = tuple(f for f in (of_alpha, *factors) if f)
            yield Weights(hard, soft * loss.scale, faults, loss.weights.stated)
