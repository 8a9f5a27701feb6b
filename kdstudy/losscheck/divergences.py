"""What compares teacher and student in a distillation loss: the divergences that are known, one entry each."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cosine_similarity, one_hot

Hard = Callable[[Tensor, Tensor], Tensor]


class Pair(NamedTuple):
    """Rows that a divergence compares: logits s, t of student and teacher, log q, log p, and labels."""

    s: Float[Tensor, "M C"]
    t: Float[Tensor, "M C"]
    q: Float[Tensor, "M K"]
    p: Float[Tensor, "M K"]
    y: Int[Tensor, " M"]


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) of logarithms, by class."""
    return p.exp() * (p - q)


def _mix(p: Tensor, q: Tensor, share: float) -> Tensor:
    """log(share p + (1 - share) q) of logarithms."""
    return torch.logaddexp(p + math.log(share), q + math.log1p(-share))


def _jsd(r: Pair, beta: float) -> Tensor:
    """beta KL(p || m) + (1 - beta) KL(q || m), m = beta p + (1 - beta) q (Agarwal et al. 2024)."""
    m = _mix(r.p, r.q, beta)
    return beta * _kl(r.p, m) + (1 - beta) * _kl(r.q, m)


def _dkd(r: Pair, ratio: float) -> Tensor:
    """KL of label against rest, plus `ratio` times KL among the other classes (Zhao et al. 2022)."""
    label = one_hot(r.y.clamp(min=0), r.p.shape[-1]).bool()
    sides, others = [], []
    for log_p in (r.p, r.q):
        rest = log_p.masked_fill(label, -math.inf).logsumexp(-1)
        sides.append(torch.stack([log_p[label], rest], -1))
        others.append((log_p - rest[:, None]).masked_fill(label, -1e4))
    return _kl(*sides).sum(-1) + ratio * _kl(*others).sum(-1)


def _dist(r: Pair, ratio: float) -> Tensor:
    """1 - Pearson of each row, plus `ratio` times 1 - Pearson of each class over the rows (Huang et al. 2022)."""
    p, q = r.p.exp(), r.q.exp()
    rows, columns = (1 - cosine_similarity(p - p.mean(d, True), q - q.mean(d, True), d) for d in (-1, 0))
    return rows + ratio * columns.mean()


def _uld(r: Pair, _: float | None) -> Tensor:
    """Distance of the sorted probabilities (Boizard et al. 2024)."""
    return (r.p.exp().sort(-1).values - r.q.exp().sort(-1).values).abs()


@dataclass(frozen=True)
class Divergence:
    """A soft part, by class or row, and its name where it is not meant.

    `method`: it is a method of its own, no fault; `own`: with weights of its own; `elements`: and by custom a mean over
    classes. `parameter` is its usual one, and `span` where others may lie.
    """

    value: Callable[[Pair, float | None], Tensor]
    code: str
    method: bool = True
    own: bool = False
    elements: bool = False
    parameter: float | None = None
    span: tuple[float, float] = (0.02, 0.98)


DIVERGENCES = {
    "forward": Divergence(lambda r, _: _kl(r.p, r.q), "forward_kl"),
    "reverse": Divergence(lambda r, _: _kl(r.q, r.p), "reversed_kl"),
    "jsd": Divergence(_jsd, "jensen_shannon", parameter=0.5),
    "symmetric": Divergence(lambda r, b: (1 - b) * _kl(r.p, r.q) + b * _kl(r.q, r.p), "symmetric_kl", parameter=0.5),
    "skew": Divergence(lambda r, b: _kl(r.p, _mix(r.p, r.q, b)), "skew_kl", parameter=0.1),
    "skew reverse": Divergence(lambda r, b: _kl(r.q, _mix(r.q, r.p, b)), "skew_kl", parameter=0.1),
    "mse": Divergence(lambda r, _: (r.s - r.t) ** 2, "squared_error", own=True, elements=True),
    "mse of probabilities": Divergence(
        lambda r, _: (r.p.exp() - r.q.exp()) ** 2, "squared_error", own=True, elements=True
    ),
    "total variation": Divergence(
        lambda r, _: (r.p.exp() - r.q.exp()).abs(), "total_variation", own=True, elements=True
    ),
    "absolute error": Divergence(lambda r, _: (r.s - r.t).abs(), "squared_error", own=True, elements=True),
    "mse of log-probabilities": Divergence(lambda r, _: (r.p - r.q) ** 2, "squared_error", own=True, elements=True),
    "cosine": Divergence(lambda r, _: 1 - cosine_similarity(r.s, r.t, -1), "cosine_of_logits", own=True),
    "dkd": Divergence(_dkd, "decoupled_kd", own=True, parameter=8.0, span=(0.01, 100.0)),
    "dist": Divergence(_dist, "correlation", own=True, parameter=1.0, span=(0.01, 100.0)),
    "uld": Divergence(_uld, "sorted_probabilities", own=True, elements=True),
    "bce": Divergence(
        lambda r, _: binary_cross_entropy_with_logits(r.s, r.t.sigmoid(), reduction="none"),
        "binary_cross_entropy", own=True, elements=True,
    ),
    "argmax": Divergence(
        lambda r, _: -r.s.log_softmax(-1).gather(-1, r.t.argmax(-1)[:, None]), "teacher_argmax", method=False, own=True
    ),
    "no log": Divergence(lambda r, _: r.p.exp() * (r.p - r.q.exp()), "log_missing", method=False),
    "probabilities as logs": Divergence(
        lambda r, _: r.p.exp().exp() * (r.p.exp() - r.q), "log_target_mismatch", method=False
    ),
    "logs as probabilities": Divergence(lambda r, _: -r.p * r.q, "log_target_mismatch", method=False),
}  # fmt: skip
