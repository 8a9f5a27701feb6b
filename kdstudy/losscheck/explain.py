"""Which known loss a measured gradient is that of, and the findings that follow: each fault with its numbers.

The gradient of any form is w_h dH/dz + w_s dD/dz. On each of several batches of different sizes both weights are
fitted by least squares; a form fits if nothing is left over. Its weights are then compared with those that known
faults give, and the explanation by the fewest faults wins.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize_scalar
from torch import Tensor

from kdstudy.core.findings import Finding
from kdstudy.losscheck.call import Measured
from kdstudy.losscheck.report import finding
from kdstudy.losscheck.variants import OTHER_METHODS, Form, FormFault, KDLoss, Weights, forms, weightings

MOST = 2  # faults of form at once
ROUGH = 1e-3  # as close as a loss with an epsilon or a clamp may be
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
    """A form whose gradient is the measured one, its faults, and its weights as fitted on each batch.

    `weights` is None where no known faults give the fitted ones; `residual` is the largest share left unexplained.
    """

    form: Form
    form_faults: tuple[FormFault, ...]
    weights: Weights | None
    fitted: Float[Tensor, "K 2"]
    residual: float

    @property
    def codes(self) -> frozenset[str]:
        """The names of its faults."""
        codes = {fault.code for fault in self.form_faults}
        if self.weights is None:
            return frozenset(codes if codes & OTHER_METHODS else codes | {"other_weights"})
        return frozenset(codes | self.weights.codes)

    @property
    def cost(self) -> int:
        """How many faults it takes; weights without an explanation count two."""
        return len(self.codes) + ("other_weights" in self.codes)


@dataclass(frozen=True)
class _Search:
    """What was measured, the loss that is stated, and the known weights W on each of the K batches."""

    measured: Sequence[Measured]
    loss: KDLoss
    tolerance: float
    known: list[Weights]
    table: Float[Tensor, "W K 2"]

    def fitting(self, form: Form, faults: tuple[FormFault, ...]) -> list[Explanation]:
        """A form with each known pair of weights that gives the gradients, or with none if only these are unknown."""
        fitted, grams, worst = [], [], 0.0
        for one in self.measured:
            parts, gradient = one.parts(form, self.loss), one.gradient.flatten()
            weights, residual = least_squares(parts, gradient)
            if not residual <= self.tolerance:
                return []
            fitted.append(weights)
            scaled = parts / gradient.norm()
            grams.append(scaled @ scaled.T)
            worst = max(worst, residual)
        fitted = torch.stack(fitted)
        unweighted = [Explanation(form, faults, None, fitted, worst)]
        if OTHER_METHODS & {fault.code for fault in faults}:
            return unweighted
        off = fitted - self.table
        error = torch.einsum("wki,kij,wkj->wk", off, torch.stack(grams), off).clamp(min=0).sqrt().amax(1)
        fits = [replace(unweighted[0], weights=self.known[i], residual=max(worst, float(error[i])))
                for i in (error <= self.tolerance).nonzero()[:, 0].tolist()]  # fmt: skip
        steady = (fitted - fitted[0]).abs().max() <= ROUGH * fitted.abs().max()  # the same on every batch
        return sorted(fits, key=lambda e: e.cost) or (unweighted if steady else [])


def explanations(
    measured: Sequence[Measured], loss: KDLoss, tolerance: float, base: Form | None = None
) -> list[Explanation]:
    """Explanations of the measured gradients by the fewest faults, differing in their faults; none if nothing fits."""
    known = list(weightings(loss))
    table = [[weights.at(*one.batch.z.shape) for one in measured] for weights in known]
    search = _Search(measured, loss, tolerance, known, torch.tensor(table, dtype=torch.float64))
    best: dict[frozenset[str], Explanation] = {}
    for number in range(MOST + 1):
        if best and number >= min(e.cost for e in best.values()):
            break
        for form, faults in forms(number, base or Form()):
            for explanation in search.fitting(form, faults):
                best.setdefault(explanation.codes, explanation)
    fewest = min((e.cost for e in best.values()), default=0)
    return [e for e in best.values() if e.cost == fewest]


def holding(found: list[Explanation], more: Sequence[Measured], loss: KDLoss, tolerance: float) -> list[Explanation]:
    """Those of several explanations that hold on batches with another number of classes too; all, if none does."""

    def holds(explanation: Explanation, one: Measured) -> bool:
        weights = torch.tensor(explanation.weights.at(*one.batch.z.shape), dtype=torch.float64)
        gradient = one.gradient.flatten()
        off = weights @ one.parts(explanation.form, loss) - gradient
        return bool(off.norm() <= tolerance * gradient.norm())

    if len(found) < 2 or not more:
        return found
    return [e for e in found if e.weights and all(holds(e, one) for one in more)] or found


# ---------------------------------------------------------------- faults by a degree


def label_smoothing(measured: Sequence[Measured], loss: KDLoss, tolerance: float) -> float | None:
    """The label smoothing of the hard term, if that is all that is wrong with the form."""
    shares = []
    for one in measured:
        z = one.batch.z.clone().requires_grad_()
        uniform = torch.autograd.grad(-z.log_softmax(-1).mean(), z)[0].flatten()
        columns = torch.cat([one.parts(Form(), loss), uniform[None]])
        weights, residual = least_squares(columns, one.gradient.flatten())
        shares.append(float(weights[2] / (weights[0] + weights[2])))
        if not (residual <= tolerance and 0 < shares[-1] < 1):
            return None
    return float(f"{np.mean(shares):.6g}") if np.ptp(shares) <= ROUGH else None


def temperature(measured: Sequence[Measured], loss: KDLoss, tolerance: float) -> float | None:
    """The temperature at which the form is right, if there is one."""

    def residual(log_tau: float) -> float:
        at = replace(loss, tau=float(np.exp(log_tau)))
        return max(least_squares(one.parts(Form(), at), one.gradient.flatten())[1] for one in measured)

    grid = np.log(TEMPERATURES)
    k = int(np.argmin([residual(t) for t in grid]))
    bounds = grid[max(k - 1, 0)], grid[min(k + 1, len(grid) - 1)]
    best = minimize_scalar(residual, bounds=bounds, method="bounded", options={"xatol": 1e-10})
    tau = float(f"{np.exp(best.x):.5g}")
    return tau if residual(np.log(tau)) <= tolerance else None


def decomposed(one: Measured, loss: KDLoss) -> dict[str, float]:
    """The measured gradient by parts: factors on hard, soft and reversed soft part as they are meant, and the rest."""
    right, reverse = one.parts(Form(), loss), one.parts(Form(soft="reverse"), loss)[1:]
    weights, residual = least_squares(torch.cat([right, reverse]), one.gradient.flatten())
    w_hard, w_soft = loss.weights.at(*one.batch.z.shape)
    stated = zip(weights.tolist(), (w_hard, w_soft, w_soft))
    hard, soft, reversed_ = (weight / meant if meant > 0 else weight for weight, meant in stated)
    return {"difference": one.difference(loss), "hard": hard, "soft": soft, "reversed": reversed_,
            "residual": residual}  # fmt: skip


# ---------------------------------------------------------------- findings


def _in_words(hard: float, soft: float) -> str:
    return f"{hard:.4g} hard, {soft:.4g} soft"


def _weight_faults(found: Explanation, one: Measured, loss: KDLoss) -> list[tuple[str, str, dict[str, object]]]:
    """Code, part and evidence of each fault of an explanation's weights."""
    shape, faults = one.batch.z.shape, []
    fitted, stated = found.fitted[0].tolist(), loss.weights.at(*shape)
    both = {"measured": _in_words(*fitted), "expected": _in_words(*stated)}
    if "other_weights" in found.codes:
        alpha = _other_alpha(*fitted, loss)
        other = ("other_alpha", "both", {"measured": alpha, "expected": loss.alpha})
        return [("other_weights", "both", both) if alpha is None else other]
    for factor in found.weights.faults if found.weights else ():
        k = 0 if factor.part == "hard" else 1
        ratio = fitted[k] / stated[k] if stated[k] else float("inf")
        single = {"measured": ratio, "expected": 1.0, "factor": f"{factor.words} = {factor.of(*shape):.4g}"}
        faults.append((factor.code, factor.part, single if factor.words else both))
    return faults


def _other_alpha(hard: float, soft: float, loss: KDLoss) -> float | None:
    """The alpha that both weights agree on, if they do."""
    agree = 0 <= 1 - hard <= 1 and abs(soft - (1 - hard) * loss.scale) <= ROUGH * abs(soft)
    return float(f"{1 - hard:.6g}") if agree else None


def faults(found: Sequence[Explanation], measured: Sequence[Measured], loss: KDLoss) -> list[Finding]:
    """The faults of the first explanation, each with its evidence; the others as what it may be instead."""
    first, others = found[0], [" and ".join(sorted(e.codes)) for e in found[1:]]
    numbers = {"difference": measured[0].difference(loss), "residual": first.residual}
    of_form = [(fault.code, fault.part, numbers) for fault in first.form_faults]
    parts, evidence = {}, {}
    for code, part, shown in [*of_form, *_weight_faults(first, measured[0], loss)]:
        parts.setdefault(code, []).append(part)
        evidence.setdefault(code, shown)
    instead = {"or": " or ".join(others)} if others else {}
    return [finding(code, part=" and ".join(parts[code]), **shown, **instead) for code, shown in evidence.items()]


def _unexplained(found: Explanation, one: Measured, k: int, loss: KDLoss) -> tuple[float, float]:
    """What an explanation's value lacks on batch `k`, for each of its two students: the same constant, if it is right.

    Nothing but a constant has no gradient.
    """
    batch = one.batch
    values = [torch.stack(loss.parts(found.form, z, batch.v, batch.y)) for z in (batch.z, batch.other)]
    first, second = (float(found.fitted[k] @ parts) for parts in values)
    return one.value - first, one.other_value - second


def _change_without_gradient(found: Explanation, measured: Sequence[Measured], loss: KDLoss, tolerance: float) -> float:
    """How much the value changes between two students beyond what the gradient explains, as a share; 0 if hardly."""
    worst = 0.0
    for k, one in enumerate(measured):
        first, second = _unexplained(found, one, k, loss)
        scale = abs(one.value) + abs(one.other_value) + abs(first) + abs(second)
        change = abs(first - second)
        worst = max(worst, change / scale) if change == change else worst  # nan: the value is none
    return worst if worst > 10 * tolerance else 0.0


def _constant(found: Explanation, one: Measured, loss: KDLoss) -> str:
    """By which constant the value differs from that of the loss with KL, in words."""
    log_p = (one.batch.v / loss.tau).log_softmax(-1)
    entropy = float(found.fitted[0][1]) * float(-(log_p.exp() * log_p).sum(-1).mean())
    more, scale = _unexplained(found, one, 0, loss)[0], abs(one.value) + entropy
    if abs(more) <= ROUGH * scale:
        return "with KL"
    if abs(more - entropy) <= ROUGH * scale:
        return "with cross-entropy: more by the teacher's entropy, which has no gradient"
    return f"more by {more:.4g}, which has no gradient"


def as_findings(
    found: Sequence[Explanation], measured: Sequence[Measured], loss: KDLoss, tolerance: float
) -> list[Finding]:
    """Findings of the explanations; if none of them is a fault, that the loss is correct."""
    first, listed = found[0], faults(found, measured, loss)
    change = _change_without_gradient(first, measured, loss, max(tolerance, first.residual))
    for part in ("soft", "hard"):
        if change and (missing := f"{part}_term_missing") in first.codes:
            detached = finding("student_detached", part=part, measured=0.0, change_of_value=change)
            return [detached if f.code == missing else f for f in listed]
    if change:
        return [*listed, finding("value_without_gradient", change=change, expected=0.0)]
    if not listed:
        difference, value = measured[0].difference(loss), _constant(first, measured[0], loss)
        return [finding("correct", difference=difference, value=value)]
    return listed
