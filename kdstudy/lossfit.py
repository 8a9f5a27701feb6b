"""Which known loss a measured gradient is that of: forms by least squares, their weights by enumeration.

The gradient of any form is w_h dH/dz + w_s dD/dz. On each of several batches of different sizes both weights are
fitted; a form fits if nothing is left over. Its weights are then compared with those that known faults give, and the
explanation by the fewest faults wins.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from torch import Tensor

from kdstudy.core.random import generator
from kdstudy.lossfaults import UNWEIGHTED, Factor, Form, Setting, Step, Weighing, forms, hard_part, soft_part, weighings

MOST = 2  # faults of form at once
ROUGH = 1e-3  # as close as a loss with an epsilon or a clamp may be
TEMPERATURES = np.geomspace(0.1, 100, 61)


@dataclass(frozen=True)
class Probe:
    """A crafted batch: student and teacher logits, labels, and another student of the same teacher."""

    z: Float[Tensor, "B C"]
    v: Float[Tensor, "B C"]
    y: Int[Tensor, " B"]
    other: Float[Tensor, "B C"]


def probe(batch: int, classes: int, spread: float, purpose: str = "probe") -> Probe:
    """Normal logits of that spread, whose numbers float32 holds exactly."""
    g = generator(batch, f"{purpose}:{classes}")
    z, v, other = (spread * torch.randn(3, batch, classes, generator=g)).double()
    return Probe(z, v, torch.randint(classes, (batch,), generator=g), other)


@dataclass(frozen=True)
class Seen:
    """What a function answered on a probe: its gradient at the student's logits, its value, the other student's."""

    probe: Probe
    gradient: Float[Tensor, "B C"]
    value: float
    other: float
    kept: dict = field(default_factory=dict, repr=False, compare=False)

    def parts(self, form: Form, setting: Setting) -> Float[Tensor, "2 BC"]:
        """Gradients of a form's hard and soft part at the student's logits."""
        soft = replace(form, label="own", smoothing=0.0)
        keys = [("hard", form.label, form.smoothing, setting.tau), ("soft", soft, setting.tau)]
        for part, key in enumerate(keys):
            if key not in self.kept:
                z = self.probe.z.clone().requires_grad_()
                self.kept[key] = torch.autograd.grad(values(form, z, self.probe, setting)[part], z)[0].flatten()
        return torch.stack([self.kept[key] for key in keys])


def values(form: Form, z: Float[Tensor, "B C"], at: Probe, setting: Setting) -> tuple[Tensor, Tensor]:
    """A form's hard and soft part on a probe's teacher and labels, without weights."""
    return hard_part(form, z, at.y, setting.tau, setting.hard), soft_part(form, z, at.v, setting.tau)


def fit(columns: Float[Tensor, "K N"], gradient: Float[Tensor, "N"]) -> tuple[Float[Tensor, "K"], float]:
    """Weights of the columns that come closest to a gradient, and what is left as a share of its length."""
    lengths = columns.norm(dim=1).clamp(min=1e-300)
    basis = (columns / lengths[:, None]).T
    weights = torch.linalg.lstsq(basis, gradient[:, None]).solution[:, 0]
    left = float((gradient - basis @ weights).norm() / gradient.norm())
    return weights / lengths, left


@dataclass(frozen=True)
class Explanation:
    """A form whose gradient is the measured one, its faults, and its weights on each probe.

    `weighing` is None where no known faults give the weights; `left` is the largest share of a gradient unexplained.
    """

    form: Form
    steps: tuple[Step, ...]
    weighing: Weighing | None
    weights: Float[Tensor, "K 2"]
    left: float

    @property
    def codes(self) -> frozenset[str]:
        """The names of its faults."""
        named = {s.code for s in self.steps}
        if self.weighing is None:
            return frozenset(named if named & UNWEIGHTED else named | {"other_weights"})
        return frozenset(named | self.weighing.codes)

    @property
    def cost(self) -> int:
        """How many faults it takes; weights without an explanation count two."""
        return len(self.codes) + ("other_weights" in self.codes)

    @property
    def factors(self) -> tuple[Factor, ...]:
        """Faults of its weights."""
        return () if self.weighing is None else self.weighing.factors


def _weighed(seen: Sequence[Seen], setting: Setting) -> tuple[list[Weighing], Float[Tensor, "W K 2"]]:
    known = list(weighings(setting))
    shapes = [s.probe.z.shape for s in seen]
    table = [[(w.hard(b, c), w.soft(b, c)) for b, c in shapes] for w in known]
    return known, torch.tensor(table, dtype=torch.float64)


def explain(seen: Sequence[Seen], setting: Setting, tolerance: float, base: Form | None = None) -> list[Explanation]:
    """Explanations of the measured gradients by the fewest faults, differing in their faults; none if nothing fits."""
    known, table = _weighed(seen, setting)
    best: dict[frozenset[str], Explanation] = {}
    for faults in range(MOST + 1):
        if best and faults >= min(e.cost for e in best.values()):
            break
        for form, steps in forms(faults, base or Form()):
            for found in _fitting(form, steps, seen, setting, tolerance, known, table):
                best.setdefault(found.codes, found)
    fewest = min((e.cost for e in best.values()), default=0)
    return [e for e in best.values() if e.cost == fewest]


def _fitting(
    form: Form, steps: tuple[Step, ...], seen: Sequence[Seen], setting: Setting, tolerance: float,
    known: list[Weighing], table: Float[Tensor, "W K 2"],
) -> list[Explanation]:  # fmt: skip
    """A form with each weighing that gives the measured gradients, or with none if only its weights are unknown."""
    weights, grams, most = [], [], 0.0
    for one in seen:
        parts, gradient = one.parts(form, setting), one.gradient.flatten()
        found, left = fit(parts, gradient)
        if not left <= tolerance:
            return []
        weights.append(found)
        scaled = parts / gradient.norm()
        grams.append(scaled @ scaled.T)
        most = max(most, left)
    weights = torch.stack(weights)
    if UNWEIGHTED & {step.code for step in steps}:
        return [Explanation(form, steps, None, weights, most)]
    off = weights - table
    error = torch.einsum("wki,kij,wkj->wk", off, torch.stack(grams), off).clamp(min=0).sqrt().amax(1)
    fits = [Explanation(form, steps, known[i], weights, max(most, float(error[i])))
            for i in (error <= tolerance).nonzero()[:, 0].tolist()]  # fmt: skip
    fits = sorted(fits, key=lambda e: e.cost)
    return fits or ([Explanation(form, steps, None, weights, most)] if _steady(weights) else [])


def _steady(weights: Float[Tensor, "K 2"]) -> bool:
    """Whether weights are the same on every batch."""
    return bool((weights - weights[0]).abs().max() <= ROUGH * weights.abs().max())


def settled(found: list[Explanation], more: Sequence[Seen], setting: Setting, tolerance: float) -> list[Explanation]:
    """Those of several explanations that hold on batches with another number of classes too; all, if none does."""
    if len(found) < 2 or not more:
        return found
    kept = [e for e in found if e.weighing and _holds(e, more, setting, tolerance)]
    return kept or found


def _holds(found: Explanation, more: Sequence[Seen], setting: Setting, tolerance: float) -> bool:
    for one in more:
        weights = torch.tensor([w(*one.probe.z.shape) for w in (found.weighing.hard, found.weighing.soft)])
        parts, gradient = one.parts(found.form, setting), one.gradient.flatten()
        if not (weights.double() @ parts - gradient).norm() <= tolerance * gradient.norm():
            return False
    return True


# ---------------------------------------------------------------- faults by a degree


def smoothing(seen: Sequence[Seen], setting: Setting, tolerance: float) -> float | None:
    """The label smoothing of the hard term, if that is all that is wrong with the form."""
    found = []
    for one in seen:
        z = one.probe.z.clone().requires_grad_()
        even = torch.autograd.grad(-z.log_softmax(-1).mean(), z)[0].flatten()
        weights, left = fit(torch.cat([one.parts(Form(), setting), even[None]]), one.gradient.flatten())
        share = float(weights[2] / (weights[0] + weights[2]))
        if not (left <= tolerance and 0 < share < 1):
            return None
        found.append(share)
    return float(f"{np.mean(found):.6g}") if np.ptp(found) <= ROUGH else None


def temperature(seen: Sequence[Seen], setting: Setting, tolerance: float) -> float | None:
    """The temperature at which the form is right, if there is one."""

    def left(log_tau: float) -> float:
        at = replace(setting, tau=float(np.exp(log_tau)))
        return max(fit(one.parts(Form(), at), one.gradient.flatten())[1] for one in seen)

    grid = np.log(TEMPERATURES)
    k = int(np.argmin([left(t) for t in grid]))
    near = grid[max(k - 1, 0)], grid[min(k + 1, len(grid) - 1)]
    best = minimize_scalar(left, bounds=near, method="bounded", options={"xatol": 1e-10})
    tau = float(f"{np.exp(best.x):.5g}")
    return tau if left(np.log(tau)) <= tolerance else None


def decomposed(seen: Sequence[Seen], setting: Setting) -> dict[str, float]:
    """The measured gradient by parts: factors on hard, soft and reversed soft part as they are meant, what is left."""
    at, meant = seen[0], torch.tensor([1 - setting.alpha, setting.alpha * setting.scale], dtype=torch.float64)
    right, reverse = at.parts(Form(), setting), at.parts(Form(soft="reverse"), setting)[1:]
    gradient = at.gradient.flatten()
    weights, left = fit(torch.cat([right, reverse]), gradient)
    scales = torch.stack([*meant, meant[1]])
    factors = torch.where(scales > 0, weights / scales, weights).tolist()
    return {"difference": difference(at, setting), "hard": factors[0], "soft": factors[1], "reversed": factors[2],
            "left": left}  # fmt: skip


def difference(at: Seen, setting: Setting) -> float:
    """|measured - meant| / |meant| of the gradient on a probe."""
    meant = torch.tensor([1 - setting.alpha, setting.alpha * setting.scale], dtype=torch.float64)
    meant = meant @ at.parts(Form(), setting)
    return float((at.gradient.flatten() - meant).norm() / meant.norm())


# ---------------------------------------------------------------- values


def constant(at: Seen, found: Explanation, k: int, setting: Setting) -> tuple[float, float]:
    """What an explanation's value lacks on probe `k`, for each of its two students: equal, if the rest is explained."""
    lacks = []
    for z, value in ((at.probe.z, at.value), (at.probe.other, at.other)):
        parts = torch.stack(values(found.form, z, at.probe, setting))
        lacks.append(value - float(found.weights[k] @ parts))
    return lacks[0], lacks[1]
