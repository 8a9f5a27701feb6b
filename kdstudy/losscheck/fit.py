"""Which known loss a measured gradient is that of: forms by least squares, their weights by enumeration.

The gradient of any form is w_h dH/dz + w_s dD/dz. On each of several batches of different sizes both weights are
fitted; a form fits if nothing is left over. Its weights are then compared with those that known faults give, and the
explanation by the fewest faults wins.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize_scalar
from torch import Tensor

from kdstudy.losscheck.call import Measured
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


def explain(
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
