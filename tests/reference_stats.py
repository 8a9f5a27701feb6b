"""Slow, obvious twins of the statistics' fast paths, written from their definitions."""

from collections.abc import Mapping
from itertools import permutations

import numpy as np
from scipy import stats as scipy_stats


def pairs(matrix: np.ndarray) -> list[float]:
    """The entries above the diagonal, by loops."""
    return [float(matrix[i, j]) for i in range(len(matrix)) for j in range(i + 1, len(matrix))]


def mantel(a: np.ndarray, b: np.ndarray, count: int, seed: int) -> tuple[float, float]:
    """Spearman's r, and p by relabelling b and ranking everything anew, one permutation at a time."""
    r = float(scipy_stats.spearmanr(pairs(a), pairs(b)).statistic)
    rng, hits = np.random.default_rng(seed), 0
    for _ in range(count):
        order = rng.permutation(len(a))
        relabelled = [[b[i, j] for j in order] for i in order]
        hits += scipy_stats.spearmanr(pairs(a), pairs(np.array(relabelled))).statistic >= r - 1e-12
    return r, (1 + hits) / (1 + count)


def shapley(values: Mapping[frozenset[str], np.ndarray]) -> dict[str, np.ndarray]:
    """Mean over all orders of what a player adds to those before it."""
    players = sorted(frozenset().union(*values))
    orders = list(permutations(players))
    return {
        p: np.mean([values[frozenset(o[: o.index(p) + 1])] - values[frozenset(o[: o.index(p)])] for o in orders], 0)
        for p in players
    }
