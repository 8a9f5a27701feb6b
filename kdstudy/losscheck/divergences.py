"""What compares teacher and student in a distillation loss: the divergences that are known, one entry each."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cosine_similarity, huber_loss, one_hot


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


@dataclass(frozen=True)
class Divergence:
    """A soft part, by class or row, and its name where it is not meant.

    `own`: with weights of its own; `elements`: and by custom a mean over classes. `parameter` is its usual one, and
    `span` where others may lie.
    """

    code: str
    value: Callable[[Pair, float | None], Tensor]
    own: bool = False
    elements: bool = False
    parameter: float | None = None
    span: tuple[float, float] = (0.02, 0.98)


_own = partial(Divergence, own=True)
_error = partial(Divergence, "squared_error", own=True, elements=True)
_mixed = partial(Divergence, parameter=0.5)
_ratio = partial(Divergence, own=True, span=(0.01, 100.0))

DIVERGENCES = {
    "forward": Divergence("forward_kl", lambda r, _: _kl(r.p, r.q)),
    "reverse": Divergence("reversed_kl", lambda r, _: _kl(r.q, r.p)),
    "jsd": _mixed("jensen_shannon", _jsd),
    "symmetric": _mixed("symmetric_kl", lambda r, b: (1 - b) * _kl(r.p, r.q) + b * _kl(r.q, r.p)),
    "jeffreys": Divergence("symmetric_kl", lambda r, _: _kl(r.p, r.q) + _kl(r.q, r.p)),
    "skew": _mixed("skew_kl", lambda r, b: _kl(r.p, _mix(r.p, r.q, b)), parameter=0.1),
    "skew reverse": _mixed("skew_kl", lambda r, b: _kl(r.q, _mix(r.q, r.p, b)), parameter=0.1),
    "mse": _error(lambda r, _: (r.s - r.t) ** 2),
    "mse of centred logits": _error(lambda r, _: (r.s - r.s.mean(-1, True) - r.t + r.t.mean(-1, True)) ** 2),
    "mse of probabilities": _error(lambda r, _: (r.p.exp() - r.q.exp()) ** 2),
    "mse of log-probabilities": _error(lambda r, _: (r.p - r.q) ** 2),
    "absolute error": _error(lambda r, _: (r.s - r.t).abs()),
    "huber": _error(lambda r, _: huber_loss(r.s, r.t, reduction="none")),
    "total variation": _own("total_variation", lambda r, _: (r.p.exp() - r.q.exp()).abs(), elements=True),
    "cosine": _own("cosine_of_logits", lambda r, _: 1 - cosine_similarity(r.s, r.t, -1)),
    "dkd": _ratio("decoupled_kd", _dkd, parameter=8.0),
    "dist": _ratio("correlation", _dist, parameter=1.0),
    "uld": _own(
        "sorted_probabilities",  # Boizard et al. 2024
        lambda r, _: (r.p.exp().sort(-1).values - r.q.exp().sort(-1).values).abs(),
        elements=True,
    ),
    "bce": _own(
        "binary_cross_entropy",
        lambda r, _: binary_cross_entropy_with_logits(r.s, r.t.sigmoid(), reduction="none"),
        elements=True,
    ),
    "argmax": Divergence(
        "teacher_argmax", lambda r, _: -r.s.log_softmax(-1).gather(-1, r.t.argmax(-1)[:, None]), own=True
    ),
    "no log": Divergence("log_missing", lambda r, _: r.p.exp() * (r.p - r.q.exp())),
    "probabilities as logs": Divergence("log_target_mismatch", lambda r, _: r.p.exp().exp() * (r.p.exp() - r.q)),
    "logs as probabilities": Divergence("log_target_mismatch", lambda r, _: -r.p * r.q),
}
