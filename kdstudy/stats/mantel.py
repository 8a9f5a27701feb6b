"""Do two similarities of the same classes go together? Rank correlation and the Mantel test."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer
from scipy import stats as scipy_stats
from scipy.spatial.distance import squareform

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
    """The symmetric matrix with these entries above its diagonal of ones: the inverse of `upper`; ValueError unless
    there are C (C - 1) / 2.
    """
    matrix = squareform(values)
    np.fill_diagonal(matrix, 1)
    return matrix


def blocks(superclass: Integer[np.ndarray, " C"]) -> Float[np.ndarray, "C C"]:
    """1 where two classes share their super-class, else 0: the similarity that a hierarchy of classes states."""
    return (superclass[:, None] == superclass).astype(float)


def comparable(a: Float[np.ndarray, "C C"], b: Float[np.ndarray, "D D"]) -> bool:
    """Whether a rank correlation is defined: at least 3 classes, the same in both, and entries that differ."""
    return _trouble(a, b) is None


def mantel(a: Float[np.ndarray, "C C"], b: Float[np.ndarray, "D D"], permutations: int = 999, seed: int = 0) -> Mantel:
    """Test that the classes of b are labelled at random, against a positive rank correlation r of a and b:
    Spearman's, of the entries above the diagonals, equal ones sharing the mean of their ranks.

    Rows and columns of b are permuted together, so a class takes all its similarities along: pairs of classes are
    not independent, which is why the usual p of a correlation does not hold. p = (1 + #{r_perm >= r}) /
    (1 + permutations), one-sided. C classes have C! labellings: with 3 classes p cannot be small. Ask
    `comparable` first where one matrix may say nothing: raises ValueError if there are fewer than 3 classes or no
    permutation, if a matrix has all entries equal (to rounding), is not finite or not symmetric, or if the matrices
    differ in size. Spearman 1904; Mantel 1967; Phipson and Smyth 2010 (the 1 +).
    """
    if trouble := _trouble(a, b):
        raise ValueError(trouble)
    if permutations < 1:
        raise ValueError(f"permutations: found {permutations}, allowed: 1 or more")
    ranks, other = _ranks(a), square(_ranks(b))
    r, classes = float(ranks @ upper(other)), len(a)
    i, j = np.triu_indices(classes, 1)
    hits = 0
    for order in _orders(classes, permutations, seed):
        hits += int((other[order[:, i], order[:, j]] @ ranks >= r - TIE).sum())
    return Mantel(min(1.0, max(-1.0, r)), (1 + hits) / (1 + permutations), classes, permutations)


def _ranks(matrix: Float[np.ndarray, "C C"]) -> Float[np.ndarray, " P"]:
    """Mid-ranks of the entries above the diagonal, with mean 0 and length 1: two such dotted are Spearman's r."""
    ranks = scipy_stats.rankdata(upper(matrix))
    ranks -= ranks.mean()
    return ranks / np.linalg.norm(ranks)


def _orders(classes: int, permutations: int, seed: int) -> Iterator[Integer[np.ndarray, "chunk C"]]:
    """The orders of the classes, one draw each, as many at a time as keep memory bounded."""
    rng = np.random.default_rng(seed)
    step = max(1, CHUNK // (classes * (classes - 1) // 2))
    for start in range(0, permutations, step):
        yield np.stack([rng.permutation(classes) for _ in range(min(step, permutations - start))])


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
