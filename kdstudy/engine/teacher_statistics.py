"""What a teacher is, read off the logits it left: how sure, how tight its classes, how much of each level it has.

Such an array is computed from a run's logits when it is first asked for, and kept beside them.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdstudy.core.registry import Registry
from kdstudy.data.dataset import Dataset
from kdstudy.distill import levels

TAUS = (1.0, 2.0, 4.0, 8.0)
AT_TAU = ("universe", "domain", "instance", "mass", "law")
NAMES = ("sure_train", "sure_test", "between_train", "between_test",
         *(f"{name}_{tau:g}" for tau in TAUS for name in AT_TAU))  # fmt: skip
Compute = Callable[[Mapping[str, Tensor], Dataset], np.ndarray]
COMPUTED: Registry[Compute] = Registry("array computed from logits", in_workers=False)


def compute(fn: Compute) -> Compute:
    """Register `fn` under its own name: (logits by split and logit-layer rows, data set) -> array."""
    return COMPUTED.register(fn)


def between(features: Float[Tensor, "N D"], label: Int[Tensor, " N"]) -> float:
    """Share of variance that lies between the class means: tr(B) / tr(T), T = B + W; 1 if classes are points.

    0 where nothing varies.
    """
    x = features.double() - features.double().mean(0)
    count = label.bincount()
    means = torch.zeros(len(count), x.shape[-1], dtype=x.dtype).index_add(0, label, x) / count.clamp(min=1)[:, None]
    total = (x**2).sum()
    return float((count[:, None] * means**2).sum() / total) if total > 0 else 0.0


def templates(logits: Float[Tensor, "N C"], rows: Float[Tensor, "C H"] | None) -> Float[Tensor, "N D"]:
    """The penultimate layer's activations, as far as the logits tell: projected on the span of the class templates.

    z = W h + b gives P h = W^+ (z - b), P the projection on the rows of W; what is orthogonal to every template
    changes no logit, and the constant W^+ b no variance: the plane of Müller et al. 2019, for all classes at once.
    Without rows, the logits minus their mean.
    """
    if rows is None:
        return logits - logits.mean(-1, keepdim=True)
    return logits.double() @ torch.linalg.pinv(rows.double()).T


def law(logits: Float[Tensor, "N C"], posterior: Float[Tensor, "N C"], tau: float) -> float:
    """Mean KL(P(y|x) || p^tau) in nats."""
    log_p = (logits.double() / tau).log_softmax(-1)
    return float((torch.special.xlogy(posterior, posterior) - posterior * log_p).sum(-1).mean())


def at(tau: float, logits: Float[Tensor, "N C"], label: Int[Tensor, " N"], posterior: Tensor | None) -> list[float]:
    """Shares of the three levels in the targets at a temperature, mean mass off the label, distance from the law."""
    pieces = levels.level_split((logits.double() / tau).softmax(-1), label)
    total = sum(pieces.values()) or 1.0
    mass = float(levels.off_label_mass(logits.double(), label, tau).mean())
    far = float("nan") if posterior is None else law(logits, posterior, tau)
    return [*(v / total for v in pieces.values()), mass, far]


@compute
def anatomy(left: Mapping[str, Tensor], data: Dataset) -> Float[np.ndarray, " names"]:
    """The values called `NAMES`. sure: mean p_t at temperature 1; between: see there, of `templates`; at each
    temperature, on the training split, the shares of the levels, the mass and the `law` (NaN where it is not known).
    """
    splits = {s: (left[s], getattr(data, s).y) for s in ("train", "test")}
    values = [float(1 - levels.off_label_mass(z.double(), y, 1.0).mean()) for z, y in splits.values()]
    values += [between(templates(z, left.get("rows")), y) for z, y in splits.values()]
    posterior = data.extra.get("train", {}).get("posterior")
    for tau in TAUS:
        values += at(tau, *splits["train"], posterior)
    return np.array(values)


@compute
def counts(left: Mapping[str, Tensor], data: Dataset) -> Int[np.ndarray, " C"]:
    """Training examples of each class."""
    return data.train.y.bincount(minlength=len(data.classes)).numpy()
