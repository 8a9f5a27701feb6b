"""What a teacher's targets hold at each temperature: mass, entropy, and the share of each level with its interval."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import stats as scipy_stats
from torch import Tensor

from kdstudy.diagnosis.inputs import LabelledLogits

LEVEL_NAMES = ("universe", "domain", "instance")
BLOCKS = 20
MEMORY = 4e8  # bytes of class sums, all blocks together

Interval = tuple[float | None, float | None, float | None]


@dataclass(frozen=True, eq=False)
class LevelShares:
    """Targets at one temperature: masses (M,), mean entropy (nats), level -> (share, low, high)."""

    mass: Float[np.ndarray, " M"]
    entropy: float
    label_largest: float
    shares: dict[str, Interval]


class _Sums(NamedTuple):
    """Sums over some examples of d = rho - e_t: of |d|^2, of the mass, of examples by class, and of d by class."""

    square: float
    mass: float
    counts: Float[Tensor, " C"]
    rows: Float[Tensor, "C C"]

    def without(self, other: "_Sums") -> "_Sums":
        return _Sums(*(mine - its for mine, its in zip(self, other)))

    def shares(self) -> Float[np.ndarray, " levels"] | None:
        """Universe, domain and instance over their sum, as `levels.level_split` has them; None if all of them are 0.

        With b the class mean of d, s - e_t = (-m at the label, m / (C - 1) elsewhere) and |s - e_t|^2 =
        m^2 C / (C - 1): domain = E|b - (s - e_t)|^2 and instance = E|d|^2 - E|b|^2. All of it is of the size of the
        masses, so that nothing cancels where the teacher is sure.
        """
        examples, classes = float(self.counts.sum()), len(self.counts)
        m, weight = self.mass / examples, self.counts / examples
        mean = self.rows / self.counts.clamp(min=1)[:, None]
        even = torch.full_like(mean, m / (classes - 1)).fill_diagonal_(-m)
        domain = float(weight @ ((mean - even) ** 2).sum(-1))
        instance = max(0.0, self.square / examples - float(weight @ (mean**2).sum(-1)))
        levels = np.array([m**2 * classes / (classes - 1), domain, instance])
        return levels / levels.sum() if levels.sum() > 1e-290 else None


def level_shares(logits: LabelledLogits, tau: float) -> LevelShares:
    """One pass over the rows at one temperature; 95 % intervals by the delete-one-block jackknife (20 blocks)."""
    n, classes = len(logits.labels), logits.classes
    count = max(1, min(BLOCKS, n // 2, int(MEMORY / (8 * classes**2))))
    block = torch.from_numpy(jackknife_blocks(logits.labels, count))
    rows = torch.zeros(count * classes, classes, dtype=torch.float64)
    mass, square = torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    entropy, largest = 0.0, 0
    for at, x, y in logits.chunks():
        p = x.div_(tau).sub_(x.amax(-1, keepdim=True))
        scaled = p.clone()
        total = p.exp_().sum(-1)
        largest += int((p.gather(-1, y[:, None]) == 1).sum())
        p.div_(total[:, None])
        entropy += float(total.log().sum()) - float(p.flatten() @ scaled.flatten())
        p.scatter_(-1, y[:, None], 0.0)
        m = p.sum(-1)
        mass[at], square[at] = m, torch.linalg.vecdot(p, p) + m * m
        rows.index_add_(0, block[at] * classes + y, p.scatter_(-1, y[:, None], -m[:, None]))
    sums = _by_block(block, torch.from_numpy(logits.labels), mass, square, rows.view(count, classes, classes))
    return LevelShares(mass.numpy(), entropy / n, largest / n, dict(zip(LEVEL_NAMES, _with_intervals(sums))))


def jackknife_blocks(label: Int[np.ndarray, " M"], count: int) -> Int[np.ndarray, " M"]:
    """A block for each example, so that every class is spread over the blocks as evenly as can be."""
    out = np.empty(len(label), dtype=np.int64)
    out[np.argsort(label, kind="stable")] = np.arange(len(label)) % count
    return out


def _by_block(block: Tensor, label: Tensor, mass: Tensor, square: Tensor, rows: Tensor) -> list[_Sums]:
    count, classes = rows.shape[:2]
    counts = torch.bincount(block * classes + label, minlength=count * classes).double().view(count, classes)
    squares, masses = (torch.bincount(block, v, minlength=count).tolist() for v in (square, mass))
    return [_Sums(*one) for one in zip(squares, masses, counts, rows)]


def _with_intervals(blocks: list[_Sums]) -> list[Interval]:
    """Share of each level with its interval; None where the targets are the labels, or there are too few blocks."""
    whole = _Sums(*(sum(values) for values in zip(*blocks)))
    share = whole.shares()
    if share is None:
        return [(None, None, None)] * len(LEVEL_NAMES)
    left_out = [whole.without(block).shares() for block in blocks] if len(blocks) > 2 else [None]
    if any(s is None for s in left_out):
        return [(s, None, None) for s in share.tolist()]
    g = len(blocks)
    error = np.sqrt((g - 1) / g * ((np.array(left_out) - np.mean(left_out, 0)) ** 2).sum(0))
    margin = scipy_stats.t.ppf(0.975, g - 1) * error
    return list(zip(share.tolist(), np.maximum(0, share - margin).tolist(), np.minimum(1, share + margin).tolist()))


def mean_mass(logits: LabelledLogits, tau: float) -> float:
    """Mean of 1 - p^tau_t over at most 500 000 / C examples (1000 at least), drawn once."""
    n = len(logits.labels)
    size = min(n, max(1000, 500_000 // logits.classes))
    at = None if size >= n else np.sort(np.random.default_rng(0).choice(n, size, replace=False))
    each = ((x / tau).softmax(-1).scatter(-1, y[:, None], 0.0) for _, x, y in logits.chunks(at))
    return sum(float(p.sum()) for p in each) / size
