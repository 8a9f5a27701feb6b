"""Which known loss a measured gradient is that of, and the findings that follow: each choice with its numbers.

The gradient of any form is w_h dH/dz + w_s dD/dz. On each of several batches of different sizes both weights are
fitted by least squares; a form fits if nothing is left over. Its weights are then compared with those that known
faults give, and the explanation by the fewest deviations wins.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize_scalar
from torch import Tensor

from kdstudy.core.findings import Finding
from kdstudy.losscheck.call import Measured
from kdstudy.losscheck.report import finding
from kdstudy.losscheck.variants import (
    DIVERGENCES,
    METHODS,
    SUPPORTS,
    Factor,
    Form,
    FormFault,
    KDLoss,
    Size,
    Weights,
    forms,
    reductions,
    weightings,
)  # fmt: skip

MOST = 2  # deviations of form at once
WIDE = 4096  # classes beyond which one is looked for
LIMITED = ("forward", "reverse", "jsd")  # divergences that are looked for among the k most likely classes
ROUGH = 1e-3  # as close as a loss with an epsilon or a clamp may be
CLOSE = 0.3  # residual at the nearest of the values tried first, if there is a value that leaves nothing
KS = (*range(1, 11), 12, 15, 16, 20, 24, 25, 30, 32, 40, 48, 50, 64, 100, 128, 200, 256, 500)
TEMPERATURES = np.geomspace(0.1, 100, 61)


def least_squares(columns: Float[Tensor, "K N"], gradient: Float[Tensor, "N"]) -> tuple[Float[Tensor, "K"], float]:
    """Weights of the columns that come closest to a gradient, and the residual as a share of its length."""
    lengths = columns.norm(dim=1).clamp(min=1e-300)
    basis = (columns / lengths[:, None]).T
    weights = torch.linalg.lstsq(basis, gradient[:, None]).solution[:, 0]
    residual = float((gradient - basis @ weights).norm() / gradient.norm())
    return weights / lengths, residual


@dataclass(frozen=True)
class Explanation:
    """A form whose gradient is the measured one, what in it is not meant, and its weights as fitted on each batch.

    `weights` is None where no known faults give the fitted ones; they are then constant but for the factors in
    `reduced`. `residual` is the largest share left unexplained.
    """

    form: Form
    form_faults: tuple[FormFault, ...]
    weights: Weights | None
    fitted: Float[Tensor, "K 2"]
    residual: float
    reduced: tuple[Factor, ...] = ()

    @property
    def factors(self) -> tuple[Factor, ...]:
        """The faults of its weights."""
        own = self.form.soft in DIVERGENCES and DIVERGENCES[self.form.soft].own
        unknown = () if self.weights or own else (Factor("other_weights", "both"),)
        return (self.weights.faults if self.weights else self.reduced) + unknown

    @property
    def codes(self) -> frozenset[str]:
        """The names of all that is not meant."""
        return frozenset(fault.code for fault in (*self.form_faults, *self.factors))

    @property
    def cost(self) -> int:
        """How many deviations it takes; weights without an explanation count two."""
        return len(self.codes) + ("other_weights" in self.codes)


@dataclass(frozen=True)
class _Search:
    """What was measured, the loss that is stated, and the known weights."""

    measured: Sequence[Measured]
    loss: KDLoss
    tolerance: float
    known: list[Weights]
    tables: dict[tuple, Float[Tensor, "W K 2"]]

    def fitting(self, form: Form, faults: tuple[FormFault, ...]) -> list[Explanation]:
        """A form with each known pair of weights that gives the gradients, or with none if only these are unknown."""
        fitted, grams, worst = [], [], 0.0
        for one in self.measured:
            parts, gradient = one.parts(form, self.loss), one.gradient.flatten()
            if not parts.isfinite().all():
                return []
            weights, residual = least_squares(parts, gradient)
            if not residual <= self.tolerance:
                return []
            fitted.append(weights)
            scaled = parts / gradient.norm()
            grams.append(scaled @ scaled.T)
            worst = max(worst, residual)
        free = Explanation(form, faults, None, torch.stack(fitted), worst)
        sizes = tuple(self.loss.sizes(form, one.batch.y, one.gradient.shape[-1]) for one in self.measured)
        fits = self._weighted(free, torch.stack(grams), sizes)
        own = form.soft in DIVERGENCES and DIVERGENCES[form.soft].own
        fits = [e for e in fits if not (own and e.weights.faults)]
        return sorted(fits, key=lambda e: e.cost) or self._steady(free, sizes)

    def _weighted(self, free: Explanation, grams: Float[Tensor, "K 2 2"], sizes: tuple) -> list[Explanation]:
        """It with each pair of known weights that gives the gradients too."""
        if sizes not in self.tables:
            table = [[weights.at(*size) for size in sizes] for weights in self.known]
            self.tables[sizes] = torch.tensor(table, dtype=torch.float64)
        off = free.fitted - self.tables[sizes]
        error = torch.einsum("wki,kij,wkj->wk", off, grams, off).clamp(min=0).sqrt().amax(1)
        return [replace(free, weights=self.known[i], residual=max(free.residual, float(error[i])))
                for i in (error <= self.tolerance).nonzero()[:, 0].tolist()]  # fmt: skip

    def _steady(self, free: Explanation, sizes: tuple[tuple[Size, Size], ...]) -> list[Explanation]:
        """It with weights that are the same on every batch, or are so but for known ways to reduce the parts."""
        elements = free.form.soft in DIVERGENCES and DIVERGENCES[free.form.soft].elements
        ways = [[None, *reductions(part, self.loss)] for part in ("hard", "soft")]
        for factors in sorted(product(*ways), key=lambda pair: sum(f is not None for f in pair)):
            by = [[f.of(size[k]) if f else 1.0 for k, f in enumerate(factors)] for size in sizes]
            fitted = free.fitted / torch.tensor(by, dtype=torch.float64)
            if (fitted - fitted[0]).abs().max() <= max(ROUGH, self.tolerance) * fitted.abs().max():
                faults = [f for f in factors if f and not (elements and f.code == "averaged_over_classes")]
                return [replace(free, reduced=tuple(faults))]
        return []


def explanations(measured: Sequence[Measured], loss: KDLoss, tolerance: float) -> list[Explanation]:
    """Explanations of the measured gradients by the fewest deviations, which differ in these; none if nothing fits."""
    search = _Search(measured, loss, tolerance, list(weightings(loss)), {})
    best: dict[frozenset[str], Explanation] = {}
    for number in range((MOST if measured[0].gradient.shape[-1] <= WIDE else 1) + 1):
        if best and number >= min(e.cost for e in best.values()):
            break
        for form, faults in forms(number, loss):
            for explanation in search.fitting(form, faults):
                best.setdefault(explanation.codes, explanation)
    fewest = min((e.cost for e in best.values()), default=0)
    return [e for e in best.values() if e.cost == fewest]


def again(found: Explanation, measured: Sequence[Measured], loss: KDLoss, tolerance: float) -> list[Explanation]:
    """The same explanation of other batches; none if it is not theirs."""
    search = _Search(measured, loss, tolerance, list(weightings(loss)), {})
    return [e for e in search.fitting(found.form, found.form_faults) if e.codes == found.codes]


# ---------------------------------------------------------------- deviations by a degree


def _degrees(
    loss: KDLoss, classes: int
) -> Iterator[tuple[Sequence[float] | np.ndarray, Callable[[float], KDLoss], str]]:
    """Values to try, the loss that is meant with such a value, and the name of what that deviates in."""
    form = loss.form
    if loss.hard is None:
        yield np.linspace(0.02, 0.9, 12), lambda s: replace(loss, form=replace(form, smoothing=s)), "hard_smoothed"
    yield TEMPERATURES, lambda tau: replace(loss, tau=tau), "other_temperature"
    for name, d in DIVERGENCES.items():
        if d.parameter is not None:
            code = "other_parameter" if name == form.soft else d.code
            values = np.linspace(*d.span, 13) if d.span[1] < 1 else np.geomspace(*d.span, 13)
            yield values, lambda b, n=name: replace(loss, form=replace(form, soft=n, parameter=b)), code
    for soft, support, chooser in product(dict.fromkeys((form.soft, *LIMITED)), SUPPORTS, ("teacher", "student")):
        kind = {"soft": soft, "support": support, "chooser": chooser}
        kind["parameter"] = form.parameter if soft == form.soft else DIVERGENCES[soft].parameter
        ks = [k for k in KS if k < classes]
        yield ks, lambda k, kind=kind: replace(loss, form=replace(form, k=int(k), **kind)), "top_k"


def by_degree(
    measured: Sequence[Measured], loss: KDLoss, tolerance: float
) -> tuple[list[Explanation], KDLoss, list[Finding]]:
    """Explanations by a loss that differs from the one meant in a number too, that loss, and in what it differs."""
    classes = measured[0].gradient.shape[-1]
    for values, make, code in _degrees(loss, classes) if classes <= WIDE else ():

        def residual(value: float, one: Measured, make: Callable = make) -> float:
            parts = one.parts((at := make(value)).form, at)
            return least_squares(parts, one.gradient.flatten())[1] if parts.isfinite().all() else float("inf")

        value = _nearest(values, lambda x, r=residual: r(x, measured[0]))
        if value is None or max(residual(value, one) for one in measured) > tolerance:
            continue
        if found := explanations(measured, make(value), tolerance):
            return found, make(value), _differ(code, value, loss, make(value))
    return [], loss, []


def _nearest(values: Sequence[float] | np.ndarray, residual: Callable[[float], float]) -> float | None:
    """The value of the smallest residual among those given, and between them, if they are real; None if far off."""
    residuals = [residual(value) for value in values]
    k = int(np.argmin(residuals)) if residuals else 0
    if not residuals or residuals[k] > CLOSE or isinstance(values, list):
        return values[k] if residuals and residuals[k] <= CLOSE else None
    low, high = values[max(k - 1, 0)], values[min(k + 1, len(values) - 1)]
    best = minimize_scalar(residual, bounds=(low, high), method="bounded", options={"xatol": 1e-10})
    near = float(f"{best.x:.5g}")
    return near if residual(near) <= best.fun + 1e-8 else float(best.x)


def _differ(code: str, value: float, loss: KDLoss, found: KDLoss) -> list[Finding]:
    """In what number it differs, and for top-k in which divergence, if another."""
    if code == "top_k":
        form = found.form
        other = [named(DIVERGENCES[form.soft].code, loss, part="soft")] if form.soft != loss.form.soft else []
        return [*other, named(code, loss, part="soft", k=form.k, outside=form.support, largest_of=form.chooser)]
    if code in METHODS:
        return [named(code, loss, part="soft", parameter=value)]
    expected = {"hard_smoothed": loss.form.smoothing, "other_temperature": loss.tau}.get(code, loss.form.parameter)
    return [named(code, loss, measured=value, expected=expected)]


def decomposed(one: Measured, loss: KDLoss) -> dict[str, float]:
    """The measured gradient by parts: factors on hard, soft and reversed soft part as they are meant, and the rest."""
    right, reverse = one.parts(loss.form, loss), one.parts(replace(loss.form, soft="reverse"), loss)[1:]
    weights, residual = least_squares(torch.cat([right, reverse]), one.gradient.flatten())
    w_hard, w_soft = one.weights(loss.form, loss)
    stated = zip(weights.tolist(), (w_hard, w_soft, w_soft))
    hard, soft, reversed_ = (weight / meant if meant > 0 else weight for weight, meant in stated)
    return {"difference": one.difference(loss), "hard": hard, "soft": soft, "reversed": reversed_,
            "residual": residual}  # fmt: skip


def by_rows(measured: Sequence[Measured], loss: KDLoss, tolerance: float) -> list[Finding]:
    """What weighs the rows of a part unequally, if that is all that is wrong: left out labels, classes or rows."""
    labels = torch.cat([one.batch.y.flatten() for one in measured]).tolist()
    ratios = []
    for one in measured:
        columns = one.parts(loss.form, loss).view(2, -1, one.gradient.shape[-1]).permute(1, 2, 0)
        gradient = one.gradient.reshape(columns.shape[0], -1, 1)
        weights = torch.linalg.pinv(columns) @ gradient
        if (columns @ weights - gradient).norm() > tolerance * gradient.norm():
            return []
        meant = torch.tensor(one.weights(loss.form, loss), dtype=torch.float64)
        ratios.append(torch.where(meant > 0, weights[..., 0] / meant, 1.0) * (columns.norm(dim=1) > 0))
    shown = []
    for part, ratio, last in zip(("hard", "soft"), torch.cat(ratios).T, ratios[-1].T):
        of = {label: [r for r, own in zip(ratio.tolist(), labels) if own == label] for label in set(labels)}
        absent = [label for label, rs in of.items() if max(map(abs, rs)) < tolerance]
        of_last = {label: last[one.batch.y.flatten() == label] for label in one.batch.y.flatten().tolist()}
        if absent and len(absent) < len(of):
            shown.append(finding("labels_left_out", part=part, labels=absent, difference=one.difference(loss)))
        elif last.max() - last.min() > ROUGH and all(rs.max() - rs.min() < ROUGH for rs in of_last.values()):
            shown.append(finding("classes_weighted", part=part,
                                 weights={k: round(float(rs[0]), 4) for k, rs in of_last.items()}))  # fmt: skip
        elif last.max() - last.min() > ROUGH:
            shown.append(finding("rows_weighted", part=part, least=float(last.min()), most=float(last.max())))
    return shown


# ---------------------------------------------------------------- findings


def named(code: str, loss: KDLoss, **evidence: object) -> Finding:
    """A finding; another method than a stated divergence, and another reduction than a stated one, are errors."""
    if "divergence" in loss.said and code == getattr(DIVERGENCES.get(loss.form.soft), "code", ""):
        code = "other_parameter"
    kinds = {"top_k": "top_k", "all_classes": "top_k", "summed_over_tokens": "reduction"}
    stated = kinds.get(code, "divergence" if code in METHODS else "")
    return replace(finding(code, **evidence), severity="error") if stated in loss.said else finding(code, **evidence)


def _weight_faults(found: Explanation, one: Measured, k: int, loss: KDLoss) -> list[tuple[str, str, dict[str, object]]]:
    """Code, part and evidence of each fault of an explanation's weights, on batch `k`."""
    sizes = loss.sizes(found.form, one.batch.y, one.gradient.shape[-1])
    faults, fitted, stated = [], found.fitted[k].tolist(), one.weights(found.form, loss)
    both = {"measured": in_words(fitted), "expected": in_words(stated)}
    for factor in found.factors:
        side = 0 if factor.part == "hard" else 1
        ratio = fitted[side] / stated[side] if stated[side] else float("inf")
        single = {"measured": ratio, "expected": 1.0, "factor": f"{factor.words} = {factor.of(sizes[side]):.4g}"}
        alpha = _other_alpha(*fitted, loss) if factor.code == "other_weights" else None
        if alpha is not None:
            faults.append(("other_alpha", "both", {"measured": alpha, "expected": loss.alpha}))
        else:
            faults.append((factor.code, factor.part, single if factor.words else both))
    return faults


def in_words(weights: Sequence[float]) -> str:
    """Two weights."""
    return f"{weights[0]:.4g} hard, {weights[1]:.4g} soft"


def _other_alpha(hard: float, soft: float, loss: KDLoss) -> float | None:
    """The alpha that both weights agree on, if they do."""
    agree = not loss.pair and 0 <= 1 - hard <= 1 and abs(soft - (1 - hard) * loss.scale) <= ROUGH * abs(soft)
    return float(f"{1 - hard:.6g}") if agree else None


def faults(found: Sequence[Explanation], measured: Sequence[Measured], loss: KDLoss) -> list[Finding]:
    """What deviates in the first explanation, each with its evidence; the others as what it may be instead.

    The numbers are those of the batch that differs most from the loss that is meant.
    """
    first, others = found[0], [" and ".join(sorted(e.codes)) for e in found[1:]]
    k = int(np.argmax([one.difference(loss) for one in measured]))
    numbers = {"difference": measured[k].difference(loss), "residual": first.residual}
    weights = {"weights": in_words(first.fitted[k].tolist())}
    parameter = {} if first.form.parameter is None else {"parameter": first.form.parameter}
    of_form = [(f.code, f.part, parameter | weights if f.code in METHODS else numbers) for f in first.form_faults]
    parts, evidence = {}, {}
    for code, part, shown in [*of_form, *_weight_faults(first, measured[k], k, loss)]:
        parts.setdefault(code, []).append(part)
        evidence.setdefault(code, shown)
    instead = {"or": " or ".join(others)} if others else {}
    return [named(code, loss, part=" and ".join(parts[code]), **shown, **instead) for code, shown in evidence.items()]


def _unexplained(found: Explanation, one: Measured, k: int, loss: KDLoss) -> tuple[float, float]:
    """What an explanation's value lacks on batch `k`, for each of its two students: the same constant, if it is right.

    Nothing but a constant has no gradient.
    """
    batch = one.batch
    values = [torch.stack(loss.parts(found.form, z, batch.v, batch.y)) for z in (batch.z, batch.other)]
    first, second = (float(found.fitted[k] @ parts) for parts in values)
    return one.value - first, one.other_value - second


def change_without_gradient(found: Explanation, measured: Sequence[Measured], loss: KDLoss, tolerance: float) -> float:
    """How much the value changes between two students beyond what the gradient explains, as a share; 0 if hardly."""
    worst = 0.0
    for k, one in enumerate(measured):
        first, second = _unexplained(found, one, k, loss)
        scale = abs(one.value) + abs(one.other_value) + abs(first) + abs(second)
        change = abs(first - second)
        worst = max(worst, change / scale) if change == change and scale else worst  # nan: the value is none
    return worst if worst > 10 * tolerance else 0.0


def constant(found: Explanation, one: Measured, loss: KDLoss) -> str:
    """By which constant the value differs from that of the loss as it is meant, in words."""
    log_p = (one.batch.v / loss.tau).log_softmax(-1)
    entropy = float(found.fitted[0][1]) * float(-(log_p.exp() * log_p).sum(-1).mean())
    more, scale = _unexplained(found, one, 0, loss)[0], abs(one.value) + entropy
    if abs(more) <= ROUGH * scale:
        return "with KL" if loss.form.soft in ("forward", "reverse") else "as stated"
    if loss.form.soft == "forward" and abs(more - entropy) <= ROUGH * scale:
        return "with cross-entropy: more by the teacher's entropy, which has no gradient"
    return f"more by {more:.4g}, which has no gradient"


def as_findings(
    found: Sequence[Explanation], measured: Sequence[Measured], loss: KDLoss, tolerance: float
) -> list[Finding]:
    """Findings of the explanations; if nothing deviates, that the loss is correct."""
    first, listed = found[0], faults(found, measured, loss)
    change = change_without_gradient(first, measured, loss, max(tolerance, first.residual))
    for part in ("soft", "hard"):
        if change and (missing := f"{part}_term_missing") in first.codes:
            detached = finding("student_detached", part=part, measured=0.0, change_of_value=change)
            return [detached if f.code == missing else f for f in listed]
    if change:
        return [*listed, finding("value_without_gradient", change=change, expected=0.0)]
    if not listed:
        difference, value = max(one.difference(loss) for one in measured), constant(first, measured[0], loss)
        return [finding("correct", difference=difference, value=value)]
    return listed
