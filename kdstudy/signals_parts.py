"""What a teacher's targets hold at each temperature: mass, entropy, and the share of each level with its interval."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import stats as scipy_stats
from torch import Tensor

from kdstudy.signals_input import Table

LEVELS = ("universe", "domain", "instance")
BLOCKS = 20
MEMORY = 4e8  # bytes of class sums, all blocks together


@dataclass(frozen=True, eq=False)
class Parts:
    """Targets at one temperature: masses (M,), mean entropy (nats), level -> (share, low, high)."""

    mass: Float[np.ndarray, " M"]
    entropy: float
    label_largest: float
    shares: dict[str, tuple[float | None, float | None, float | None]]


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over some examples of d = rho - e_t: of |d|^2, of the mass, and by class."""

    examples: float
    square: float
    mass: float
    counts: Float[Tensor, " C"]
    rows: Float[Tensor, "C C"]

    def less(self, other: "Sums") -> "Sums":
        """Without the examples of `other`."""
        return Sums(*(getattr(self, f) - getattr(other, f) for f in ("examples", "square", "mass", "counts", "rows")))

    def parts(self) -> Float[np.ndarray, " levels"]:
        """Universe, domain and instance, as `shapes.level_split` defines them.

        With b the class mean of d, s - e_t = (-m at the label, m / (C - 1) elsewhere) and |s - e_t|^2 =
        m^2 C / (C - 1): domain = E|b - (s - e_t)|^2 and instance = E|d|^2 - E|b|^2. All of it is of the size of the
        masses, so that nothing cancels where the teacher is sure.
        """
        classes, m = len(self.counts), self.mass / self.examples
        mean = self.rows / self.counts.clamp(min=1)[:, None]
        weight = self.counts / self.examples
        between = float(weight @ (mean**2).sum(-1))
        universe = m**2 * classes / (classes - 1)
        shift = torch.full_like(mean, m / (classes - 1)).fill_diagonal_(-m)
        domain = float(weight @ ((mean - shift) ** 2).sum(-1))
        return np.array([universe, domain, max(0.0, self.square / self.examples - between)])


def blocks(label: Int[np.ndarray, " M"], count: int) -> Int[np.ndarray, " M"]:
    """A block for each example, so that every class is spread over the blocks as evenly as can be."""
    order = np.argsort(label, kind="stable")
    out = np.empty(len(label), dtype=np.int64)
    out[order] = np.arange(len(label)) % count
    return out


def parts(table: Table, tau: float) -> Parts:
    """One pass over the rows at one temperature; 95 % intervals by the delete-one-block jackknife (20 blocks)."""
    n, classes = len(table.labels), table.classes
    count = max(1, min(BLOCKS, n // 2, int(MEMORY / (8 * classes**2))))
    block = torch.from_numpy(blocks(table.labels, count))
    rows = torch.zeros(count * classes, classes, dtype=torch.float64)
    mass, square = torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    entropy, largest = 0.0, 0
    for at, x, y in table.chunks():
        p = x.div_(tau).sub_(x.amax(-1, keepdim=True))
        cool = p.clone()
        total = p.exp_().sum(-1)
        largest += int((p.gather(-1, y[:, None]) == 1).sum())
        p.div_(total[:, None])
        entropy += float(total.log().sum()) - float(p.flatten() @ cool.flatten())
        p.scatter_(-1, y[:, None], 0.0)
        m = p.sum(-1)
        mass[at], square[at] = m, torch.linalg.vecdot(p, p) + m * m
        rows.index_add_(0, block[at] * classes + y, p.scatter_(-1, y[:, None], -m[:, None]))
    each = _by_block(block, torch.from_numpy(table.labels), mass, square, rows.view(count, classes, classes))
    return Parts(mass.numpy(), entropy / n, largest / n, dict(zip(LEVELS, _shares(each))))


def _by_block(block: Tensor, label: Tensor, mass: Tensor, square: Tensor, rows: Tensor) -> list[Sums]:
    count, classes = rows.shape[:2]
    counts = torch.bincount(block * classes + label, minlength=count * classes).double().view(count, classes)
    masses, squares = (torch.bincount(block, v, minlength=count) for v in (mass, square))
    return [Sums(float(counts[g].sum()), float(squares[g]), float(masses[g]), counts[g], rows[g]) for g in range(count)]


def _shares(each: list[Sums]) -> list[tuple[float | None, float | None, float | None]]:
    """Share of each level with its interval; None where the targets are the labels, or there is one block only."""
    whole = Sums(
        *(sum(getattr(s, f) for s in each) for f in ("examples", "square", "mass")),
        torch.stack([s.counts for s in each]).sum(0),
        torch.stack([s.rows for s in each]).sum(0),
    )
    share = _share(whole.parts())
    if share is None:
        return [(None, None, None)] * len(LEVELS)
    without = [_share(whole.less(s).parts()) for s in each] if len(each) > 2 else [None]
    if any(v is None for v in without):
        return [(float(v), None, None) for v in share]
    g = len(each)
    spread = np.sqrt((g - 1) / g * ((np.array(without) - np.mean(without, 0)) ** 2).sum(0))
    reach = scipy_stats.t.ppf(0.975, g - 1) * spread
    return [(float(s), float(max(0, s - r)), float(min(1, s + r))) for s, r in zip(share, reach)]


def _share(pieces: np.ndarray) -> np.ndarray | None:
    return pieces / pieces.sum() if pieces.sum() > 1e-290 else None
