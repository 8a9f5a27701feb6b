"""Do two similarities of the same classes go together? Rank correlation and the Mantel test."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isqrt

import numpy as np
from jaxtyping import Float, Integer
from scipy import stats as scipy_stats

TIE = 1e-12  # correlations this close are equal: sums in another order round differently
CHUNK = 1_000_000  # entries permuted at a time: some tens of megabytes, however many classes


@dataclass(frozen=True)
class Mantel:
    """A rank correlation and its one-sided p value; at the least p is 1 / (1 + permutations)."""

    correlation: float
    p: float
    n_classes: int
    permutations: int

    def __str__(self) -> str:
        return f"{self.correlation:+.3f}, p = {self.p:.3g}, {self.n_classes} classes"


def upper(matrix: Float[np.ndarray, "C C"]) -> Float[np.ndarray, " P"]:
    """The P = C (C - 1) / 2 entries above the diagonal, row by row."""
    return matrix[np.triu_indices(len(matrix), 1)]


def square(values: Float[np.ndarray, " P"]) -> Float[np.ndarray, "C C"]:
    """The symmetric matrix with these entries above its diagonal of ones: the inverse of `upper`.

    Raises ValueError if the number of values is not C (C - 1) / 2 of a whole C >= 1.
    """
    classes = (1 + isqrt(1 + 8 * len(values))) // 2
    if classes * (classes - 1) // 2 != len(values):
        raise ValueError(
            f"C classes have C (C - 1) / 2 pairs: found {len(values)} values, allowed: 0, 1, 3, 6, 10, ..."
        )
    matrix = np.eye(classes, dtype=values.dtype)
    i, j = np.triu_indices(classes, 1)
    matrix[i, j] = matrix[j, i] = values
    return matrix


def blocks(superclass: Integer[np.ndarray, " C"]) -> Float[np.ndarray, "C C"]:
    """1 where two classes share their super-class, else 0: the similarity that a hierarchy of classes states."""
    return (superclass[:, None] == superclass).astype(float)


def comparable(a: Float[np.ndarray, "C C"], b: Float[np.ndarray, "D D"]) -> bool:
    """Whether `rank_correlation` is defined: at least 3 classes, the same in both, and entries that differ."""
    return _trouble(a, b) is None


def rank_correlation(a: Float[np.ndarray, "C C"], b: Float[np.ndarray, "D D"]) -> float:
    """Spearman's correlation, in [-1, 1], of the entries above the diagonals of two symmetric matrices.

    Entries that are equal share the mean of their ranks. Ask `comparable` first where one matrix may say nothing:
    raises ValueError if there are fewer than 3 classes, if a matrix has all entries equal (to rounding), is not
    finite or not symmetric, or if the matrices differ in size. Spearman 1904.
    """
    _check(a, b)
    return _clip(float(_ranks(a) @ _ranks(b)))


def mantel(a: Float[np.ndarray, "C C"], b: Float[np.ndarray, "D D"], permutations: int = 999, seed: int = 0) -> Mantel:
    """Test that the classes of b are labelled at random, against a positive rank correlation r of a and b.

    Rows and columns of b are permuted together, so a class takes all its similarities along: pairs of classes are
    not independent, which is why the usual p of a correlation does not hold. p = (1 + #{r_perm >= r}) /
    (1 + permutations), one-sided. C classes have C! labellings: with 3 classes p cannot be small. Raises ValueError
    as `rank_correlation` does, and if there is no permutation. Mantel 1967; Phipson and Smyth 2010 (the 1 +).
    """
    _check(a, b)
    if permutations < 1:
        raise ValueError(f"permutations: found {permutations}, allowed: 1 or more")
    ranks, other = _ranks(a), square(_ranks(b))
    r, classes = float(ranks @ upper(other)), len(a)
    i, j = np.triu_indices(classes, 1)
    hits = 0
    for order in _orders(classes, permutations, seed):
        hits += int((other[order[:, i], order[:, j]] @ ranks >= r - TIE).sum())
    return Mantel(_clip(r), (1 + hits) / (1 + permutations), classes, permutations)


def _ranks(matrix: Float[np.ndarray, "C C"]) -> Float[np.ndarray, " P"]:
    """Mid-ranks of the entries above the diagonal, with mean 0 and length 1: two such dotted are Spearman's r."""
    ranks = scipy_stats.rankdata(upper(matrix))
    ranks -= ranks.mean()
    return ranks / np.linalg.norm(ranks)


def _clip(r: float) -> float:
    """Rounding may carry a perfect correlation past 1."""
    return min(1.0, max(-1.0, r))


def _orders(classes: int, permutations: int, seed: int) -> Iterator[Integer[np.ndarray, "chunk C"]]:
    """The orders of the classes, one draw each, as many at a time as keep memory bounded."""
    rng = np.random.default_rng(seed)
    step = max(1, CHUNK // (classes * (classes - 1) // 2))
    for start in range(0, permutations, step):
        yield np.stack([rng.permutation(classes) for _ in range(min(step, permutations - start))])


def _check(a: np.ndarray, b: np.ndarray) -> None:
    """ValueError saying why the matrices cannot be compared, if so."""
    trouble = _trouble(a, b)
    if trouble:
        raise ValueError(trouble)


def _trouble(a: np.ndarray, b: np.ndarray) -> str | None:
    """What keeps two matrices from being compared: found, and allowed."""
    if len(a) != len(b):
        return f"similarities of the same classes are compared: found {len(a)} and {len(b)} classes"
    if len(a) < 3:
        return f"a rank correlation of similarities: found {len(a)} classes, allowed: 3 or more"
    for which, matrix in (("first", a), ("second", b)):
        values = upper(matrix)
        size = np.abs(values).max()
        if not np.isfinite(matrix).all():
            return f"the {which} similarity has {int((~np.isfinite(matrix)).sum())} entries that are not finite"
        gap = np.abs(matrix - matrix.T).max()
        if gap > 1e-5 * size:
            return f"the {which} similarity is not symmetric: entries differ by {gap:.3g}; compare (s + s.T) / 2"
        if np.ptp(values) <= 1e-12 * size:
            return f"the {which} similarity has all entries equal to {values[0]:.6g}: there is nothing to rank"
    return None
