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


@dataclass(frozen=True, eq=False)
class ClassStructure:
    """`explained`: share of the variation of the other classes' logits that the label explains; `null`: the same
    with the other classes' logits of each example rolled at random (its 5, 50 and 95 % quantiles); `p`, one-sided;
    `strength` = (explained - mean of null) / (1 - mean of null); `similarity` (C, C), symmetric; classes `present`.
    """  # fmt: skip

    explained: float
    null: tuple[float, float, float]
    p: float
    strength: float
    similarity: Float[np.ndarray, "C C"]
    present: Int[np.ndarray, " P"]


def class_structure(logits: LabelledLogits) -> ClassStructure | None:
    """Class structure in at most `ENTRIES` logits; None with fewer than 3 classes, or hardly two examples of any.

    A row's scale and temperature do not matter. What all classes have in common (a column's mean) is no structure.
    """
    classes, rng, label = logits.classes, np.random.default_rng(0), logits.labels
    if classes < 3:
        return None
    size = min(len(label), max(ENTRIES // classes, 2))
    at = np.sort(rng.choice(len(label), size, replace=False))
    y = torch.from_numpy(label[at])
    z = torch.cat([standardised_others(x, y[place]) for place, x, _ in logits.chunks(at)])
    total = float((z**2).sum())
    explained, means = _explained(z, y, classes, total)
    generator = torch.Generator().manual_seed(0)
    null = np.array([_explained(_rolled(z, generator), y, classes, total)[0] for _ in range(PERMUTATIONS)])
    if total == 0 or null.mean() > 0.95:
        return None
    p = (1 + int((null >= explained - 1e-12).sum())) / (1 + PERMUTATIONS)
    strength = float((explained - null.mean()) / (1 - null.mean()))
    quantiles = tuple(np.quantile(null, (0.05, 0.5, 0.95)).tolist())
    return ClassStructure(explained, quantiles, p, strength, ((means + means.T) / 2).numpy(), np.unique(label[at]))


def superclass_test(structure: ClassStructure, superclass: Int[np.ndarray, " C"]) -> mantel.Mantel | None:
    """Mantel test of the class similarity against super-class blocks; None where there is nothing to compare."""
    at = structure.present[:MOST]
    a, b = structure.similarity[np.ix_(at, at)], mantel.blocks(superclass[at])
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
