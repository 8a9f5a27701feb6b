"""What a teacher's targets hold at each temperature: mass, entropy, and the share of each level with its interval."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import stats as scipy_stats
from torch import Tensor

from kdstudy.diagnosis.inputs import LabelledLogits

LEVEL_NAMES = ("universe", "domain", "instance")
BLOCKS = 20
MEMORY = 1e8  # bytes of class sums that are held together
MANY = 4000  # classes: a vocabulary

Interval = tuple[float | None, float | None, float | None]


@dataclass(frozen=True, eq=False)
class LevelShares:
    """Targets at one temperature: masses (M,), mean entropy (nats), level -> (share, low, high)."""

    mass: Float[np.ndarray, " M"]
    entropy: float
    label_largest: float
    shares: dict[str, Interval]


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over examples, (G + 1,): all, and all but block g. `square` of |d|^2, d = rho - e_t; `mass`; `count`;
    `means` of n_c |b_c|^2 with b_c the mean of d over class c.
    """  # fmt: skip

    square: Float[np.ndarray, " parts"]
    mass: Float[np.ndarray, " parts"]
    count: Float[np.ndarray, " parts"]
    means: Float[np.ndarray, " parts"]

    def shares(self, classes: int) -> Float[np.ndarray, "levels parts"]:
        """Universe, domain and instance over their sum, as `levels.level_split` has them; NaN where all are 0.

        s - e_t is -m at the label and m / (C - 1) elsewhere, and d sums to 0, so |s - e_t|^2 = m^2 C / (C - 1),
        domain = E|b|^2 - |s - e_t|^2 and instance = E|d|^2 - E|b|^2: all of it is of the size of the masses, so that
        nothing cancels where the teacher is sure.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            universe = (self.mass / self.count) ** 2 * classes / (classes - 1)
            b, d = self.means / self.count, self.square / self.count
            levels = np.array([universe, np.maximum(0, b - universe), np.maximum(0, d - b)])
            return np.where(levels.sum(0) > 1e-290, levels / levels.sum(0), np.nan)


def level_shares(logits: LabelledLogits, taus: Sequence[float]) -> list[LevelShares]:
    """One pass over the rows for all temperatures; 95 % intervals by the delete-one-block jackknife (20 blocks).

    Class sums of (class, block) are held for as many classes at a time as memory allows, their rows read together.
    """
    n, classes, label = len(logits.labels), logits.classes, logits.labels
    count = max(1, min(BLOCKS, n // 2))
    block = jackknife_blocks(label, count)
    cell, place = np.unique(label * count + block, return_inverse=True)  # (class, block) pairs that there are
    mass, square, means = *np.zeros((2, len(taus), n)), np.zeros((len(taus), count + 1))
    (entropy, largest), kind = (np.zeros(len(taus)), 0), torch.float32 if classes > MANY else torch.float64
    for at, cells in _groups(cell // count, place, int(MEMORY / (8 * classes * len(taus)))):
        sums = torch.zeros(len(taus), cells.stop - cells.start, classes, dtype=kind)
        to = torch.from_numpy((place if at is None else place[at]) - cells.start)
        for where, x, y in logits.chunks(at):
            rows = where if at is None else at[where]
            largest += int((x.gather(-1, y[:, None]).squeeze(-1) == x.amax(-1)).sum())
            x = x.sub_(x.amax(-1, keepdim=True)).to(kind)
            for i, tau in enumerate(taus):
                d, m, h = targets(x, y, tau)
                mass[i, rows], square[i, rows] = m, torch.linalg.vecdot(d, d)
                entropy[i] += h
                sums[i].index_add_(0, to[where], d)
        means += _class_means(sums, cell[cells], np.bincount(place, minlength=len(cell))[cells], count)
    number = _left_out(np.ones((1, n)), block, count)[0]
    sums = [Sums(*one, number, b) for *one, b in zip(*(_left_out(v, block, count) for v in (square, mass)), means)]
    shares = [dict(zip(LEVEL_NAMES, _with_intervals(one, classes))) for one in sums]
    return [LevelShares(m, h / n, largest / n, share) for m, h, share in zip(mass, entropy.tolist(), shares)]


def targets(x: Tensor, y: Int[Tensor, " n"], tau: float) -> tuple[Tensor, Tensor, float]:
    """d = rho - e_t (n, C), the masses (n,) and the sum of the entropies, of logits whose largest is 0."""
    scaled = x.div(tau)
    p = scaled.exp()
    total = p.sum(-1)
    p.div_(total[:, None])
    entropy = float(total.log().sum()) - float(p.flatten() @ scaled.flatten())
    m = p.scatter_(-1, y[:, None], 0.0).sum(-1)
    return p.scatter_(-1, y[:, None], -m[:, None]), m, entropy


def _groups(label: Int[np.ndarray, " S"], place: Int[np.ndarray, " N"], most: int) -> Iterator[tuple[object, slice]]:
    """Rows, and cells (of whole classes) that they belong to: all at once (rows None), or at most `most` cells."""
    if len(label) <= most:
        yield None, slice(0, len(label))
        return
    order = np.argsort(place, kind="stable")
    ends = np.searchsorted(place[order], np.arange(len(label) + 1))
    start, first = 0, np.flatnonzero(np.append(np.diff(label, prepend=-1), 1))  # the cell at which each class begins
    for this, following in zip(first[1:], np.append(first[2:], len(label) + most)):
        if following - start > most:
            yield order[ends[start] : ends[this]], slice(start, this)
            start = this


def _class_means(sums: Tensor, cell: np.ndarray, counts: np.ndarray, blocks: int) -> Float[np.ndarray, "T parts"]:
    """Sum over classes of n_c |b_c|^2, of all examples and without each block, at each temperature."""
    label, inverse = np.unique(cell // blocks, return_inverse=True)
    to, number = torch.from_numpy(inverse), np.bincount(inverse, counts)
    out = np.zeros((len(sums), blocks + 1))
    for i, rows in enumerate(sums):
        whole = torch.zeros(len(label), rows.shape[-1], dtype=rows.dtype).index_add_(0, to, rows)
        each = (torch.linalg.vecdot(whole, whole).numpy() / number)[inverse]
        rest = whole[to].sub_(rows)
        less = torch.linalg.vecdot(rest, rest).numpy() / np.maximum(number[inverse] - counts, 1) - each
        out[i] = each[np.unique(inverse, return_index=True)[1]].sum()
        out[i, 1:] += np.bincount(cell % blocks, less, minlength=blocks)
    return out


def _left_out(values: Float[np.ndarray, "T N"], block: np.ndarray, count: int) -> Float[np.ndarray, "T parts"]:
    """Sums over all examples, and without each block."""
    by = np.array([np.bincount(block, v, minlength=count) for v in values])
    return np.concatenate([by.sum(1, keepdims=True), by.sum(1, keepdims=True) - by], 1)


def jackknife_blocks(label: Int[np.ndarray, " M"], count: int) -> Int[np.ndarray, " M"]:
    """A block for each example, so that every class is spread over the blocks as evenly as can be."""
    out = np.empty(len(label), dtype=np.int64)
    out[np.argsort(label, kind="stable")] = np.arange(len(label)) % count
    return out


def _with_intervals(sums: Sums, classes: int) -> list[Interval]:
    """Share of each level with its interval; None where the targets are the labels, or there are too few blocks."""
    share, left_out = np.split(sums.shares(classes), [1], 1)
    if np.isnan(share).any():
        return [(None, None, None)] * len(LEVEL_NAMES)
    share, g = share[:, 0], left_out.shape[1]
    if g <= 2 or np.isnan(left_out).any():
        return [(s, None, None) for s in share.tolist()]
    error = np.sqrt((g - 1) / g * ((left_out - left_out.mean(1, keepdims=True)) ** 2).sum(1))
    margin = scipy_stats.t.ppf(0.975, g - 1) * error
    return list(zip(share.tolist(), np.maximum(0, share - margin).tolist(), np.minimum(1, share + margin).tolist()))


def mean_masses(logits: LabelledLogits, taus: Sequence[float]) -> Float[np.ndarray, " T"]:
    """Means of 1 - p^tau_t over at most 500 000 / C examples (1000 at least, 200 of a vocabulary), drawn once."""
    n = len(logits.labels)
    size = min(n, max(1000 if logits.classes <= MANY else 200, 500_000 // logits.classes))
    at = None if size >= n else np.sort(np.random.default_rng(0).choice(n, size, replace=False))
    total = np.zeros(len(taus))
    for _, x, y in logits.chunks(at):
        x = x.sub_(x.amax(-1, keepdim=True)).to(torch.float32 if logits.classes > MANY else torch.float64)
        total += [float((x / tau).softmax(-1).scatter(-1, y[:, None], 0.0).sum()) for tau in taus]
    return total / size
