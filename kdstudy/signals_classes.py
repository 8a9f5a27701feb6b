"""Does a teacher say which classes are alike? What is common to examples of a class, against a permutation null."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdstudy import mantel
from kdstudy.signals_input import Table

ENTRIES = 300_000  # logits looked at: more rows, and the null would take minutes
PERMUTATIONS = 99
MOST = 1500  # classes of a Mantel test: its pairs are held in memory


@dataclass(frozen=True, eq=False)
class Structure:
    """`explained`: share of the variation of the other classes' logits that the label explains; `null`: the same
    with the other classes' logits of each example rolled at random (its 5, 50 and 95 % quantiles); `p`, one-sided;
    `strength` = (explained - mean of null) / (1 - mean of null); `similarity` (C, C), symmetric.
    """  # fmt: skip

    explained: float
    null: tuple[float, float, float]
    p: float
    strength: float
    similarity: Float[np.ndarray, "C C"]
    present: Int[np.ndarray, " P"]


def rest(x: Float[Tensor, "N C"], label: Int[Tensor, " N"]) -> Float[Tensor, "N others"]:
    """Logits of the classes other than the label, in order, with mean 0 and variance 1 in each row."""
    others = _others(label, x.shape[-1])
    z = x.gather(-1, others)
    z = z - z.mean(-1, keepdim=True)
    size = (z**2).mean(-1, keepdim=True).sqrt()
    return torch.where(size > 0, z / size.clamp(min=1e-300), 0.0)


def _others(label: Int[Tensor, " N"], classes: int) -> Int[Tensor, "N others"]:
    j = torch.arange(classes - 1)
    return j + (j >= label[:, None])


def structure(table: Table, label: Int[np.ndarray, " M"]) -> Structure | None:
    """Class structure in at most `ENTRIES` logits; None with fewer than 3 classes, or hardly two examples of any.

    A row's scale and temperature do not matter. What all classes have in common (a column's mean) is no structure.
    """
    classes, rng = table.classes, np.random.default_rng(0)
    if classes < 3:
        return None
    size = min(len(label), max(ENTRIES // classes, 2))
    at = np.sort(rng.choice(len(label), size, replace=False))
    y = torch.from_numpy(label[at])
    z = torch.cat([rest(x, y[place]) for place, x, _ in table.chunks(at)])
    total = float((z**2).sum())
    found, means = _explained(z, y, classes, total)
    roll = torch.Generator().manual_seed(0)
    null = np.array([_explained(_rolled(z, roll), y, classes, total)[0] for _ in range(PERMUTATIONS)])
    if total == 0 or null.mean() > 0.95:
        return None
    p = (1 + int((null >= found - 1e-12).sum())) / (1 + PERMUTATIONS)
    strength = (found - null.mean()) / (1 - null.mean())
    low, middle, high = np.quantile(null, (0.05, 0.5, 0.95))
    similarity = ((means + means.T) / 2).numpy()
    return Structure(
        found, (float(low), float(middle), float(high)), p, float(strength), similarity, np.unique(label[at])
    )


def _rolled(z: Float[Tensor, "N others"], roll: torch.Generator) -> Float[Tensor, "N others"]:
    """Each row rolled by a random number of places: what it holds stays, where it stands is lost."""
    n, others = z.shape
    by = torch.randint(others, (n, 1), generator=roll)
    return z.gather(-1, (torch.arange(others) + by) % others)


def _explained(
    z: Float[Tensor, "N others"], label: Int[Tensor, " N"], classes: int, total: float
) -> tuple[float, Float[Tensor, "C C"]]:
    """Share of the variation explained by class, and the class means (C, C) less their columns' means."""
    counts = torch.bincount(label, minlength=classes).double()
    sums = torch.zeros(classes, classes - 1, dtype=z.dtype).index_add_(0, label, z)
    means = torch.zeros(classes, classes, dtype=z.dtype)
    means.scatter_(-1, _others(torch.arange(classes), classes), sums / counts.clamp(min=1)[:, None])
    there = (counts > 0).to(z)[:, None].expand(classes, classes).clone().fill_diagonal_(0)
    column = (means * there).sum(0) / there.sum(0).clamp(min=1)
    means = (means - column) * there
    return float((counts[:, None] * means**2).sum()) / max(total, 1e-300), means


def against(found: Structure, superclass: Int[np.ndarray, " C"]) -> mantel.Mantel | None:
    """Mantel test of the class similarity against super-class blocks; None where there is nothing to compare."""
    at = found.present[:MOST]
    a, b = found.similarity[np.ix_(at, at)], mantel.blocks(superclass[at])
    return mantel.mantel(a, b, permutations=199) if mantel.comparable(a, b) else None
