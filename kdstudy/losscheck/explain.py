"""Which known loss a measured gradient is that of, and the findings that follow: each choice with its numbers.

The gradient of any form is w_h dH/dz + w_s dD/dz. On each of several batches of different sizes both weights are
fitted by least squares; a form fits if nothing is left over. Its weights are then compared with those that known
faults give, and the explanation by the fewest deviations wins.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize_scalar
from torch import Tensor

from kdstudy.core.findings import Finding
from kdstudy.losscheck.call import Measured, least_squares
from kdstudy.losscheck.divergences import DIVERGENCES
from kdstudy.losscheck.report import finding
from kdstudy.losscheck.variants import METHODS, SUPPORTS, Factor, Form, FormFault, KDLoss, forms, reductions, weightings

MOST = 2  # deviations of form at once
WIDE = 4096  # classes beyond which one is looked for, and of numbers smoothing
LIMITED = ("forward", "reverse", "jsd")  # divergences that are looked for among the k most likely classes
ROUGH = 1e-3  # as close as a loss with an epsilon or a clamp may be
CLOSE = 0.3  # residual at the nearest of the values tried first, if there is a value that leaves nothing
KS = (*range(1, 11), 12, 15, 16, 20, 24, 25, 30, 32, 40, 48, 50, 64, 100, 128, 200, 256, 500)
TEMPERATURES = np.geomspace(0.1, 100, 61)
OTHER_WEIGHTS = Factor("other_weights", "both")  # weights that no known faults give


@dataclass(frozen=True)
class Explanation:
    """A form whose gradient is the measured one, what in it and in its weights is not meant.

    `fitted`: its weights on each batch. `residual`: the largest share left unexplained.
    """

    form: Form
    form_faults: tuple[FormFault, ...]
    fitted: Float[Tensor, "K 2"]
    residual: float
    factors: tuple[Factor, ...] = ()

    @property
    def own(self) -> bool:
        """Whether it is a method with weights of its own."""
        return self.form.soft in DIVERGENCES and DIVERGENCES[self.form.soft].own

    @property
    def codes(self) -> frozenset[str]:
        """The names of all that is not meant."""
        return frozenset(fault.code for fault in (*self.form_faults, *self.factors))

    @property
    def cost(self) -> int:
        """How many deviations it takes; weights without an explanation count two."""
        return len(self.codes) + (OTHER_WEIGHTS in self.factors)


class _Search:
    """What was measured, the loss that is stated, and the known weights."""

    def __init__(self, measured: Sequence[Measured], loss: KDLoss, tolerance: float) -> None:
        self.measured, self.loss, self.tolerance = measured, loss, tolerance
        self.known, self.tables = [*weightings(loss)], {}

    def fitting(self, form: Form, faults: tuple[FormFault, ...]) -> list[Explanation]:
        """A form with each known pair of weights that gives the gradients, or with none if only these are unknown."""
        fitted, grams, worst = [], [], 0.0
        for one in self.measured:
            weights, residual = one.fit(form, self.loss)
            if not residual <= self.tolerance:
                return []
            fitted.append(weights)
            scaled = one.parts(form, self.loss) / one.gradient.norm()
            grams.append(scaled @ scaled.T)
            worst = max(worst, residual)
        free = Explanation(form, faults, torch.stack(fitted), worst)
        sizes = tuple(one.sizes(form, self.loss) for one in self.measured)
        fits = self._weighted(free, torch.stack(grams), sizes)
        fits = [e for e in fits if not (e.own and e.factors)]
        return sorted(fits, key=lambda e: e.cost) or self._steady(free, sizes)

    def _weighted(self, free: Explanation, grams: Float[Tensor, "K 2 2"], sizes: tuple) -> list[Explanation]:
        """It with each pair of known weights that gives the gradients too."""
        if sizes not in self.tables:
            table = [[weights.at(*size) for size in sizes] for weights in self.known]
            self.tables[sizes] = torch.tensor(table, dtype=torch.float64)
        off = free.fitted - self.tables[sizes]
        error = torch.einsum("wki,kij,wkj->wk", off, grams, off).clamp(min=0).sqrt().amax(1)
        return [
            replace(free, factors=self.known[i].faults, residual=max(free.residual, float(error[i])))
            for i in (error <= max(self.tolerance, min(10 * self.tolerance, ROUGH))).nonzero()[:, 0].tolist()
        ]

    def _steady(self, free: Explanation, sizes: tuple) -> list[Explanation]:
        """It with weights that are the same on every batch, or are so but for known ways to reduce the parts."""
        elements = free.own and DIVERGENCES[free.form.soft].elements
        ways = [[None, *reductions(part, self.loss)] for part in ("hard", "soft")]
        for factors in sorted(product(*ways), key=lambda pair: sum(f is not None for f in pair)):
            by = [[f.of(size[k]) if f else 1.0 for k, f in enumerate(factors)] for size in sizes]
            fitted = free.fitted / torch.tensor(by, dtype=torch.float64)
            if (fitted - fitted[0]).abs().max() <= max(ROUGH, self.tolerance) * fitted.abs().max():
                faults = [f for f in factors if f and not (elements and f.code == "averaged_over_classes")]
                return [replace(free, factors=(*faults, *(() if free.own else (OTHER_WEIGHTS,))))]
        return []


def explanations(measured: Sequence[Measured], loss: KDLoss, tolerance: float) -> list[Explanation]:
    """Explanations of the measured gradients by the fewest deviations, which differ in these; none if nothing fits."""
    search, best = _Search(measured, loss, tolerance), {}
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
    fits = _Search(measured, loss, tolerance).fitting(found.form, found.form_faults)
    return [e for e in fits if e.codes == found.codes]


# ---------------------------------------------------------------- deviations by a degree

Degree = tuple[Sequence[float] | np.ndarray, Callable[[float], KDLoss], str]


def _degrees(one: Measured, loss: KDLoss) -> Iterator[Degree]:
    """Values to try, the loss that is meant with such a value, and the name of what that deviates in."""
    form, classes = loss.form, one.gradient.shape[-1]
    if loss.hard is None:
        value = _smoothing(one, loss)
        yield [value] * (0 < value < 1), lambda s: replace(loss, form=replace(form, smoothing=s)), "hard_smoothed"
    if classes > WIDE:
        return
    yield TEMPERATURES, lambda tau: replace(loss, tau=tau), "other_temperature"
    for name, d in DIVERGENCES.items():
        if d.parameter is not None:
            code = "other_parameter" if name == form.soft else d.code
            values = np.linspace(*d.span, 13) if d.span[1] < 1 else np.geomspace(*d.span, 13)
            yield values, lambda b, n=name: replace(loss, form=replace(form, soft=n, parameter=b)), code
    ks = [k for k in KS if k < classes]
    for soft, support, chooser in product(dict.fromkeys((form.soft, *LIMITED)), SUPPORTS, ("teacher", "student")):
        parameter = form.parameter if soft == form.soft else DIVERGENCES[soft].parameter
        other = replace(form, soft=soft, support=support, chooser=chooser, parameter=parameter)
        yield ks, lambda k, other=other: replace(loss, form=replace(other, k=int(k))), "top_k"


def _smoothing(one: Measured, loss: KDLoss) -> float:
    """The share of smoothing in the hard part: that of an even target beside the label."""
    hard = [one.parts(replace(loss.form, smoothing=s), loss)[0] for s in (0.0, 1.0)]
    columns = torch.stack([*hard, one.parts(loss.form, loss)[1]])
    weights = least_squares(columns, one.gradient.flatten())[0].tolist() if columns.isfinite().all() else [1.0, 0.0]
    return float(f"{weights[1] / (weights[0] + weights[1] or 1.0):.5g}")


def by_degree(
    measured: Sequence[Measured], loss: KDLoss, tolerance: float
) -> tuple[list[Explanation], KDLoss, list[Finding]]:
    """Explanations by a loss that differs from the one meant in a number too, that loss, and in what it differs."""
    for values, make, code in _degrees(measured[0], loss):

        def residual(value: float, one: Measured = measured[0], make: Callable = make) -> float:
            return one.fit(make(value).form, make(value))[1]

        value = _nearest(values, residual)
        if value is None or max(residual(value, one) for one in measured) > tolerance:
            continue
        if found := explanations(measured, make(value), tolerance):
            return found, make(value), _differ(code, value, loss, make(value).form)
    return [], loss, []


def _nearest(values: Sequence[float] | np.ndarray, residual: Callable[[float], float]) -> float | None:
    """The value of the smallest residual among those given, and between them, if they are real; None if far off."""
    residuals = [residual(value) for value in values]
    k = int(np.argmin(residuals)) if residuals else 0
    if not residuals or not residuals[k] <= CLOSE:
        return None
    if isinstance(values, list):
        return values[k]
    bounds = values[max(k - 1, 0)], values[min(k + 1, len(values) - 1)]
    best = minimize_scalar(residual, bounds=bounds, method="bounded", options={"xatol": 1e-10})
    near = float(f"{best.x:.5g}")
    return near if residual(near) <= best.fun + 1e-8 else float(best.x)


def _differ(code: str, value: float, loss: KDLoss, form: Form) -> list[Finding]:
    """In what number it differs, and for top-k in which divergence, if another."""
    if code == "top_k":
        other = [named(DIVERGENCES[form.soft].code, loss, part="soft")] if form.soft != loss.form.soft else []
        return [*other, named(code, loss, part="soft", **_top(form))]
    if code in METHODS:
        return [named(code, loss, part="soft", parameter=value)]
    expected = {"hard_smoothed": loss.form.smoothing, "other_temperature": loss.tau}.get(code, loss.form.parameter)
    return [named(code, loss, measured=value, expected=expected)]


def by_rows(measured: Sequence[Measured], loss: KDLoss, tolerance: float) -> list[Finding]:
    """What weighs the rows of a part unequally, if that is all that is wrong: left out labels, classes or rows."""
    every, last = [defaultdict(list), defaultdict(list)], [{}, {}]  # by part and label, factors on rows; of one batch
    for one in measured:
        columns = one.parts(loss.form, loss).view(2, -1, one.gradient.shape[-1]).permute(1, 2, 0)
        gradient = one.gradient.reshape(columns.shape[0], -1, 1)
        weights = torch.linalg.pinv(columns) @ gradient if columns.isfinite().all() else torch.zeros(len(columns), 2, 1)
        if not (columns.to(weights) @ weights - gradient).norm() <= tolerance * gradient.norm():
            return []
        last = [defaultdict(list), defaultdict(list)]
        rows = zip(one.batch.y.roll(-loss.form.shift, -1).flatten().tolist(), weights[..., 0], columns.norm(dim=1))
        for label, factors, lengths in rows:
            for k, meant in enumerate(loss.weights.at(*one.sizes(loss.form, loss))):
                if meant > 0 and lengths[k] > 0:
                    every[k][label].append(abs(float(factors[k])) / meant)
                    last[k][label].append(round(float(factors[k]) / meant, 4))
    shown = []
    for part, of, of_last in zip(("hard", "soft"), every, last):
        absent = [label for label, factors in of.items() if max(factors) < tolerance]
        present = [factor for label, factors in of.items() if label not in absent for factor in factors]
        listed = [factor for factors in of_last.values() for factor in factors]
        if absent and present and min(present) > tolerance:
            shown.append(finding("labels_left_out", part=part, labels=absent, difference=one.difference(loss)))
        elif listed and max(listed) - min(listed) > ROUGH:
            by_class = all(max(factors) - min(factors) < ROUGH for factors in of_last.values())
            weights = {label: factors[0] for label, factors in of_last.items()}
            told = {"weights": weights} if by_class else {"least": min(listed), "most": max(listed)}
            shown.append(named("classes_weighted" if by_class else "rows_weighted", loss, part=part, **told))
    return shown


# ---------------------------------------------------------------- findings


def decomposed(one: Measured, loss: KDLoss) -> dict[str, float]:
    """The measured gradient by parts: factors on hard, soft and reversed soft part as they are meant, and the rest."""
    right, reverse = one.parts(loss.form, loss), one.parts(replace(loss.form, soft="reverse"), loss)[1:]
    weights, residual = least_squares(torch.cat([right, reverse]), one.gradient.flatten())
    hard, soft = loss.weights.at(*one.sizes(loss.form, loss))
    factors = [weight / (meant or 1.0) for weight, meant in zip(weights.tolist(), (hard, soft, soft))]
    names = ("difference", "hard", "soft", "reversed", "residual")
    return dict(zip(names, (one.difference(loss), *factors, residual)))


def named(code: str, loss: KDLoss, **evidence: object) -> Finding:
    """A finding; another method than a stated divergence, and another reduction than a stated one, are errors."""
    if "divergence" in loss.said and code == getattr(DIVERGENCES.get(loss.form.soft), "code", ""):
        code = "other_parameter"
    kinds = {"top_k": "top_k", "all_classes": "top_k", "summed_over_tokens": "reduction"}
    kinds["classes_weighted"] = "class_weights"
    stated = kinds.get(code, "divergence" if code in METHODS else "")
    return replace(finding(code, **evidence), severity="error") if stated in loss.said else finding(code, **evidence)


def _top(form: Form) -> dict[str, object]:
    """Which classes it looks at."""
    return {"k": form.k, "outside": form.support, "largest_of": form.chooser}


def _in_words(weights: Sequence[float]) -> str:
    return f"{weights[0]:.4g} hard, {weights[1]:.4g} soft"


def _weight_fault(factor: Factor, fitted: Sequence[float], one: Measured, form: Form, loss: KDLoss) -> tuple:
    """Code, part and evidence of a fault of the weights, which were fitted on that batch."""
    stated, (hard, soft) = loss.weights.at(*one.sizes(form, loss)), fitted
    agree = not loss.pair and 0 <= 1 - hard <= 1 and abs(soft - (1 - hard) * loss.scale) <= ROUGH * abs(soft)
    if factor is OTHER_WEIGHTS and agree:
        return "other_alpha", "both", {"measured": float(f"{1 - hard:.6g}"), "expected": loss.alpha}
    if not factor.words:
        return factor.code, factor.part, {"measured": _in_words(fitted), "expected": _in_words(stated)}
    side = int(factor.part != "hard")
    ratio = fitted[side] / stated[side] if stated[side] else float("inf")
    words = f"{factor.words} = {factor.of(one.sizes(form, loss)[side]):.4g}"
    return factor.code, factor.part, {"measured": ratio, "expected": 1.0, "factor": words}


def faults(found: Sequence[Explanation], measured: Sequence[Measured], loss: KDLoss) -> list[Finding]:
    """What deviates in the first explanation, each with its evidence; the others as what it may be instead.

    The numbers are those of the batch that differs most from the loss that is meant.
    """
    first, others = found[0], [" and ".join(sorted(e.codes)) for e in found[1:]]
    k = int(np.argmax([one.difference(loss) for one in measured]))
    one, form, fitted = measured[k], first.form, first.fitted[k].tolist()
    method = ({} if form.parameter is None else {"parameter": form.parameter}) | {"weights": _in_words(fitted)}
    method |= {} if form.support == "all" else _top(form)
    other = {"difference": one.difference(loss), "residual": first.residual}
    listed = [(f.code, f.part, method if f.code in METHODS else other) for f in first.form_faults]
    listed += [_weight_fault(factor, fitted, one, form, loss) for factor in first.factors]
    parts, evidence = {}, {}
    for code, part, shown in listed:
        parts.setdefault(code, []).append(part)
        evidence.setdefault(code, shown)
    instead = {"or": " or ".join(others)} if others else {}
    return [named(code, loss, part=" and ".join(parts[code]), **shown, **instead) for code, shown in evidence.items()]


def _unexplained(found: Explanation, one: Measured, k: int, loss: KDLoss) -> tuple[float, float]:
    """What an explanation's value lacks on batch `k` for its two students: the same constant, if right."""
    values = [[float(loss.part(part, found.form, *given)) for part in (0, 1)] for given in (one.batch, one.batch.other)]
    first, second = torch.tensor(values, dtype=torch.float64) @ found.fitted[k]
    return one.value - float(first), one.other_value - float(second)


def _change_without_gradient(found: Explanation, measured: Sequence[Measured], loss: KDLoss, tolerance: float) -> float:
    """How much the value changes between two students beyond what the gradient explains, as a share; 0 if hardly."""
    worst = 0.0
    for k, one in enumerate(measured):
        first, second = _unexplained(found, one, k, loss)
        scale = abs(one.value) + abs(one.other_value) + abs(first) + abs(second)
        worst = max(worst, abs(first - second) / (scale or 1.0))  # of nan, the first: the value is none
    return worst if worst > 10 * tolerance else 0.0


def _constant(found: Explanation, one: Measured, loss: KDLoss) -> str:
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
    if change := _change_without_gradient(first, measured, loss, max(tolerance, first.residual)):
        for part in ("soft", "hard"):
            if (missing := f"{part}_term_missing") in first.codes:
                detached = finding("student_detached", part=part, measured=0.0, change_of_value=change)
                return [detached if f.code == missing else f for f in listed]
        return [*listed, finding("value_without_gradient", change=change, expected=0.0)]
    difference, value = max(one.difference(loss) for one in measured), _constant(first, measured[0], loss)
    return listed or [finding("correct", difference=difference, value=value)]
