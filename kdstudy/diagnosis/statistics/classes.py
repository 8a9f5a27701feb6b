"""Does a teacher say which classes are alike? What is common to examples of a class, against a permutation null."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdstudy.diagnosis.inputs import LabelledLogits
from kdstudy.stats import mantel

ENTRIES = 300_000  # logits looked at: more rows, and the null would take minutes
PERMUTATIONS = 99
MOST = 1500  # classes of a Mantel test: its pairs are held in memory
MANY = 1000  # classes, beyond which those of the commonest labels stand for all
FEW = 300  # of them
PARTS = 5  # of the rows: leaving each out in turn gives the standard error of the strength


@dataclass(frozen=True, eq=False)
class ClassStructure:
    """`explained`: share of the variation of the other classes' logits that the label explains; `null`: the same
    with the other classes' logits of each example rolled at random (its 5, 50 and 95 % quantiles); `p`, one-sided;
    `strength` = (explained - mean of null) / (1 - mean of null), with its standard `error`; `similarity` (K, K),
    symmetric, of the classes `columns`, of which `present` have examples; `rows` that were looked at.
    """  # fmt: skip

    explained: float
    null: tuple[float, float, float]
    p: float
    strength: float
    error: float
    similarity: Float[np.ndarray, "K K"]
    columns: Int[np.ndarray, " K"]
    present: Int[np.ndarray, " P"]
    rows: int


def class_structure(logits: LabelledLogits) -> ClassStructure | None:
    """Class structure in at most `ENTRIES` logits; None with fewer than 3 classes, or hardly two examples of any.

    A row's scale and temperature do not matter. What all classes have in common (a column's mean) is no structure.
    Of more than `MANY` classes, the `FEW` with most examples are looked at, and only their examples.
    """
    rng, label, columns = np.random.default_rng(0), logits.labels, np.arange(logits.classes)
    if len(columns) < 3:
        return None
    if len(columns) > MANY:
        columns = np.sort(np.argsort(-np.bincount(label, minlength=len(columns)), kind="stable")[:FEW])
    classes, among = len(columns), np.flatnonzero(np.isin(label, columns))
    size = min(len(among), max(ENTRIES // classes, 2))
    at = np.sort(among[rng.choice(len(among), size, replace=False)])
    y = torch.from_numpy(np.searchsorted(columns, label[at]))
    some = torch.from_numpy(columns) if classes < logits.classes else slice(None)
    z = torch.cat([standardised_others(x[:, some], y[place]) for place, x, _ in logits.chunks(at)])
    total = float((z**2).sum())
    explained, means = _explained(z, y, classes, total)
    generator = torch.Generator().manual_seed(0)
    null = np.array([_explained(_rolled(z, generator), y, classes, total)[0] for _ in range(PERMUTATIONS)])
    if total == 0 or null.mean() > 0.95:
        return None
    p = (1 + int((null >= explained - 1e-12).sum())) / (1 + PERMUTATIONS)
    strength = float((explained - null.mean()) / (1 - null.mean()))
    quantiles, similarity = tuple(np.quantile(null, (0.05, 0.5, 0.95)).tolist()), ((means + means.T) / 2).numpy()
    error = _error(z, y, classes)
    return ClassStructure(explained, quantiles, p, strength, error, similarity, columns, np.unique(y.numpy()), size)


def _error(z: Float[Tensor, "N others"], label: Int[Tensor, " N"], classes: int) -> float:
    """Standard error of the explained share, by leaving out each of `PARTS` parts of the rows."""
    part = torch.arange(len(z)) % PARTS
    kept = [part != k for k in range(min(PARTS, len(z)))]
    each = np.array([_explained(z[k], label[k], classes, float((z[k] ** 2).sum()))[0] for k in kept])
    return float(np.sqrt((len(each) - 1) * np.mean((each - each.mean()) ** 2)))


def superclass_test(structure: ClassStructure, superclass: Int[np.ndarray, " C"]) -> mantel.Mantel | None:
    """Mantel test of the class similarity against super-class blocks; None where there is nothing to compare."""
    at = structure.present[:MOST]
    a, b = structure.similarity[np.ix_(at, at)], mantel.blocks(superclass[structure.columns[at]])
    return mantel.mantel(a, b, permutations=199) if mantel.comparable(a, b) else None


def standardised_others(x: Float[Tensor, "N C"], label: Int[Tensor, " N"]) -> Float[Tensor, "N others"]:
    """Logits of the classes other than the label, in order, with mean 0 and variance 1 in each row."""
    z = x.gather(-1, _others(label, x.shape[-1]))
    z = z - z.mean(-1, keepdim=True)
    size = (z**2).mean(-1, keepdim=True).sqrt()
    return torch.where(size > 0, z / size.clamp(min=1e-300), 0.0)


def _others(label: Int[Tensor, " N"], classes: int) -> Int[Tensor, "N others"]:
    j = torch.arange(classes - 1)
    return j + (j >= label[:, None])


def _rolled(z: Float[Tensor, "N others"], generator: torch.Generator) -> Float[Tensor, "N others"]:
    """Each row rolled by a random number of places: what it holds stays, where it stands is lost."""
    n, others = z.shape
    by = torch.randint(others, (n, 1), generator=generator)
    return z.gather(-1, (torch.arange(others) + by) % others)


def _explained(
    z: Float[Tensor, "N others"], label: Int[Tensor, " N"], classes: int, total: float
) -> tuple[float, Float[Tensor, "C C"]]:
    """Share of the variation explained by class, and the class means (C, C) minus their columns' means."""
    counts = torch.bincount(label, minlength=classes).double()
    sums = torch.zeros(classes, classes - 1, dtype=z.dtype).index_add_(0, label, z)
    means = torch.zeros(classes, classes, dtype=z.dtype)
    means.scatter_(-1, _others(torch.arange(classes), classes), sums / counts.clamp(min=1)[:, None])
    there = (counts > 0).to(z)[:, None].expand(classes, classes).clone().fill_diagonal_(0)
    column = (means * there).sum(0) / there.sum(0).clamp(min=1)
    means = (means - column) * there
    return float((counts[:, None] * means**2).sum()) / max(total, 1e-300), means
