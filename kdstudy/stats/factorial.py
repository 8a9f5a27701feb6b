"""The grid of mass x shape as weighted sums of conditions: effects and Shapley shares.

A sum of weight x condition is linear, so the same weights serve accuracies by seed and answers by test example.
"""

from collections.abc import Mapping
from itertools import combinations
from math import factorial

import numpy as np
from jaxtyping import Float

Weights = dict[str, float]  # of conditions

BASELINE = "hard"  # no mass leaves the label
CELLS = {  # (mass that leaves the label, its shape over the other classes) -> condition
    ("constant", "uniform"): "label_smoothing_matched",
    ("constant", "class"): "class_matched",
    ("constant", "instance"): "instance_matched",
    ("instance", "uniform"): "kd_pt",
    ("instance", "class"): "kd_pt_class",
    ("instance", "instance"): "kd",
}
CONDITIONS = (BASELINE, *CELLS.values())
PLAYERS = ("universe", "domain", "instance")
LEVELS = {frozenset(s): BASELINE for n in range(3) for s in combinations(PLAYERS[1:], n)} | {
    frozenset({"universe"}): "label_smoothing_matched",
    frozenset({"universe", "domain"}): "class_matched",
    frozenset({"universe", "instance"}): "kd_pt",
    frozenset(PLAYERS): "kd",
}  # where no mass leaves the label, knowledge of classes and instances has nothing to act on

# Weights of the conditions, in the order of CONDITIONS. Shapes are averaged over masses and masses over shapes. With y
# the value of a cell, S the shape steps, M the mass step and X_1, X_2 the interactions of mass with class and instance
# shape, the way from hard labels to KD is
#     y(kd) - y(hard) = universe + M_uniform + (S_1 + X_1 / 2) + (S_2 + X_2 / 2),
# and M_uniform = M - (2 X_1 + X_2) / 3, as it grows by X_1 and then X_2 from shape to shape; hence
#     KD = universe + class shape + instance shape + instance mass + (mass x instance - mass x class) / 6.
# Yates 1937 (factorial contrasts).
#                     none | constant mass      | instance mass
#                     hard | unif. class  inst. | unif. class  inst.
_WEIGHTS = {
    "universe":        (-1,   1,    0,    0,      0,    0,    0),
    "class shape":     (0,   -1/2,  1/2,  0,     -1/2,  1/2,  0),
    "instance shape":  (0,    0,   -1/2,  1/2,    0,   -1/2,  1/2),
    "instance mass":   (0,   -1/3, -1/3, -1/3,    1/3,  1/3,  1/3),
    "mass x class":    (0,    1,   -1,    0,     -1,    1,    0),
    "mass x instance": (0,    0,    1,   -1,      0,   -1,    1),
    "KD":              (-1,   0,    0,    0,      0,    0,    1),
}  # fmt: skip
EFFECTS = {name: {c: w for c, w in zip(CONDITIONS, row) if w} for name, row in _WEIGHTS.items()}
IDENTITY = {  # KD as a sum of the other effects
    "universe": 1.0,
    "class shape": 1.0,
    "instance shape": 1.0,
    "instance mass": 1.0,
    "mass x class": -1 / 6,
    "mass x instance": 1 / 6,
}


def shapley(values: Mapping[frozenset[str], Float[np.ndarray, " S"]]) -> dict[str, Float[np.ndarray, " S"]]:
    """The Shapley value of each player: its mean marginal contribution over all orders of players.

    phi_i = sum over coalitions A without i of |A|! (n - |A| - 1)! / n! (v(A + i) - v(A)). The values of all players
    sum to v(everyone) - v(no one). Raises ValueError naming the coalitions without a value. Shapley 1953.
    """
    players = sorted(frozenset().union(*values))
    n = len(players)
    coalitions = [frozenset(s) for size in range(n + 1) for s in combinations(players, size)]
    if missing := [f"{{{', '.join(sorted(s))}}}" for s in coalitions if s not in values]:
        raise ValueError(f"{n} players need the values of {2**n} coalitions; missing: {', '.join(missing)}")
    weight = [factorial(k) * factorial(n - k - 1) / factorial(n) for k in range(n)]
    return {p: sum(weight[len(s)] * (values[s | {p}] - values[s]) for s in coalitions if p not in s) for p in players}


def shares() -> dict[str, Weights]:
    """Each level's Shapley value in the gain of KD over hard labels, as weights of conditions.

    `LEVELS` says which condition stands for which levels. Class and instance knowledge need mass that leaves the label,
    so the universe is credited with its part of what they add.
    """
    names = list(dict.fromkeys(LEVELS.values()))
    found = shapley({s: np.eye(len(names))[names.index(c)] for s, c in LEVELS.items()})
    return {level: {c: float(w) for c, w in zip(names, found[level]) if w} for level in PLAYERS}


def based_on(baseline: str, sums: Mapping[str, Weights]) -> dict[str, Weights]:
    """The same weighted sums with another condition in the place of hard labels."""
    return {name: {baseline if c == BASELINE else c: w for c, w in weights.items()} for name, weights in sums.items()}
