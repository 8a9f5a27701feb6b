"""The grid of mass x shape: effects, Shapley shares, rungs and classes, paired by seed.

Every number is a contrast of the runs of one seed first and an interval over seeds then: the seed is the unit.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from math import factorial

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats as scipy_stats

from kdstudy.stats import paired

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

# Weights of the conditions, in the order of CONDITIONS. Shapes are averaged over masses and masses over shapes.
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
IDENTITY = {  # kd - hard as a sum of the other effects; derived in `effects`
    "universe": 1.0,
    "class shape": 1.0,
    "instance shape": 1.0,
    "instance mass": 1.0,
    "mass x class": -1 / 6,
    "mass x instance": 1 / 6,
}

PLAYERS = ("universe", "domain", "instance")
LEVELS = {frozenset(s): BASELINE for n in range(3) for s in combinations(PLAYERS[1:], n)} | {
    frozenset({"universe"}): "label_smoothing_matched",
    frozenset({"universe", "domain"}): "class_matched",
    frozenset({"universe", "instance"}): "kd_pt",
    frozenset(PLAYERS): "kd",
}  # where no mass leaves the label, knowledge of classes and instances has nothing to act on


def cells(frame: pd.DataFrame, measure: str, conditions: Sequence[str] = CONDITIONS) -> pd.DataFrame:
    """The measure of one data set's runs: a row for each seed, in order, a column for each condition.

    Raises ValueError naming the conditions that have no run, those with several runs of a seed, or the seeds that
    some conditions lack; and if the table holds several data sets.
    """
    data = sorted(frame["dataset"].unique()) if "dataset" in frame else []
    if len(data) > 1:
        raise ValueError(f"cells are of one data set, found {', '.join(data)}: choose one")
    have = set(frame["condition"])
    if missing := [c for c in conditions if c not in have]:
        raise ValueError(f"no run of {', '.join(missing)}; there are: {', '.join(sorted(have)) or 'none'}")
    chosen = frame[frame["condition"].isin(conditions)]
    seeds = {c: rows["seed"] for c, rows in chosen.groupby("condition")}
    if several := [c for c in conditions if seeds[c].duplicated().any()]:
        counts = [f"{c} names {len(seeds[c])} runs of {seeds[c].nunique()} seeds" for c in several]
        raise ValueError(f"{', '.join(counts)}: fix the setting too")
    lacking = {c: sorted(set(chosen["seed"]) - set(seeds[c])) for c in conditions}
    if odd := [f"{c} lacks seeds {lacking[c]}" for c in conditions if lacking[c]]:
        raise ValueError(f"the conditions are not paired: {', '.join(odd)}")
    return chosen.pivot(index="seed", columns="condition", values=measure)[list(conditions)]


def contrast(table: pd.DataFrame, weights: Mapping[str, float]) -> pd.Series:
    """sum_c weights[c] table[c]: one value for each seed, of a table as `cells` gives it."""
    terms = table[list(weights)].to_numpy(float) * list(weights.values())
    total = terms.sum(1)
    nothing = np.abs(total) <= 1e-14 * np.abs(terms).sum(1)  # equal cells differ by nothing, their thirds by rounding
    return pd.Series(np.where(nothing, 0.0, total), table.index)


def effects(frame: pd.DataFrame, measure: str, level: float = 0.95) -> pd.DataFrame:
    """For each data set, the effects of EFFECTS: columns dataset, effect, mean, low, high, n, p.

    All intervals of a data set hold together and p is adjusted likewise (Bonferroni; the total KD is one of them).
    Effects are half-way contrasts of a 2 x 3 factorial: shapes step from uniform to class to instance, averaged
    over the two masses; mass steps from constant to instance, averaged over the three shapes; an interaction is the
    step at instance mass less the step at constant mass. With y the value of a cell, S the shape steps, M the mass
    step and X_1, X_2 the interactions of mass with class and instance shape, the way from hard labels to KD is

        y(kd) - y(hard) = universe + M_uniform + (S_1 + X_1 / 2) + (S_2 + X_2 / 2),

    and the mass step at uniform shape is M_uniform = M - (2 X_1 + X_2) / 3, as it grows by X_1 and then X_2 from
    shape to shape. So, for each seed (IDENTITY),

        KD = universe + class shape + instance shape + instance mass + (mass x instance - mass x class) / 6.

    Raises ValueError as `cells` does. Yates 1937 (factorial contrasts).
    """

    def of(group: pd.DataFrame) -> pd.DataFrame:
        table = cells(group, measure)
        return paired.intervals({(name,): contrast(table, w) for name, w in EFFECTS.items()}, ["effect"], level)

    return _by_dataset(frame, of)


def shapley(values: Mapping[frozenset[str], Float[np.ndarray, " S"]]) -> dict[str, Float[np.ndarray, " S"]]:
    """The Shapley value of each player, for every seed: its mean marginal contribution over all orders of players.

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


def shares(frame: pd.DataFrame, measure: str, level: float = 0.95) -> pd.DataFrame:
    """For each data set, the Shapley value of each level of knowledge in the gain of KD over hard labels.

    Columns dataset, level, mean, low, high, n, p, share. LEVELS says which condition stands for which levels; the
    three intervals hold together (Bonferroni). Class and instance knowledge need mass that leaves the label, so the
    universe is credited with its part of what they add. share is mean / mean of (kd - hard): NaN where the interval
    of that total, as the ladder has it, contains zero, as a share of nothing means nothing. Shares may be
    negative or above 1. Raises ValueError as `cells` does.
    """

    def of(group: pd.DataFrame) -> pd.DataFrame:
        table = cells(group, measure, tuple(dict.fromkeys(LEVELS.values())))
        found = shapley({s: table[c].to_numpy(float) for s, c in LEVELS.items()})
        rows = paired.intervals({(p,): found[p] for p in PLAYERS}, ["level"], level)
        total = paired.interval(contrast(table, EFFECTS["KD"]), level, family=len(CELLS))
        return rows.assign(share=np.nan if total.low <= 0 <= total.high else rows["mean"] / total.mean)

    return _by_dataset(frame, of)


def ladder(frame: pd.DataFrame, measure: str, level: float = 0.95) -> pd.DataFrame:
    """For each data set and condition of the grid, from hard labels to KD, the paired gain over hard labels.

    Columns dataset, condition, mean, low, high, n. The six intervals above the ground hold together (Bonferroni);
    hard labels gain 0 over themselves. Raises ValueError as `cells` does.
    """

    def of(group: pd.DataFrame) -> pd.DataFrame:
        table = cells(group, measure)
        gains = {(c,): table[c] - table[BASELINE] for c in CONDITIONS}
        return paired.intervals(gains, ["condition"], level, family=len(CELLS)).drop(columns="p")

    return _by_dataset(frame, of)


def per_class(
    frame: pd.DataFrame,
    values: Mapping[str, Float[np.ndarray, " C"]],
    treatment: str,
    control: str,
    level: float = 0.05,
) -> pd.DataFrame:
    """Which classes a treatment changes: a row for each class, with difference, p, q, significant, n.

    difference is the mean over seeds of values[treatment's run] - values[control's run], p that of a paired t test
    and q its adjustment over classes: of the classes with q <= level a fraction of at most `level` is expected to
    be unchanged (Benjamini and Hochberg 1995). Accuracies of a class take few values, so that its differences may
    all be equal and the t test has nothing to divide by: p is then that of the sign test, 2^(1 - n), and 1 where
    nothing changed. `frame` holds key, condition and seed of one data set's runs, `values` those of each class by
    key. Raises ValueError as `cells` does, and naming the runs without values or the classes with none.
    """
    keys = cells(frame, "key", (treatment, control))
    if missing := [k for k in keys.to_numpy().ravel() if k not in values]:
        raise ValueError(f"no values of each class for the runs {', '.join(missing)}: ask for their arrays")
    d = np.stack([np.asarray(values[a], float) - values[b] for a, b in zip(keys[treatment], keys[control])])
    if odd := np.flatnonzero(~np.isfinite(d).all(0)).tolist():
        raise ValueError(f"classes {odd} have values that are not finite: a class without examples has no accuracy")
    p = _paired(d)
    q = scipy_stats.false_discovery_control(p)
    found = {"difference": d.mean(0), "p": p, "q": q, "significant": q <= level, "n": len(d)}
    return pd.DataFrame(found, index=pd.RangeIndex(d.shape[1], name="class"))


def trend(x: Sequence[float] | np.ndarray, values: pd.DataFrame) -> Float[np.ndarray, " S"]:
    """The slope of least squares on x, for each row (seed) of a table with one column for each x.

    sum_j (x_j - mean x) y_j / sum_j (x_j - mean x)^2. Raises ValueError if the numbers of x and columns differ or
    if all x are equal.
    """
    at = np.asarray(x, float)
    different = len(set(at.tolist()))
    if len(at) != values.shape[1] or different < 2:
        raise ValueError(
            f"a slope needs one x for each column, and two that differ: found {len(at)} x, "
            f"{different} different, and {values.shape[1]} columns"
        )
    centred = at - at.mean()
    return values.to_numpy(float) @ centred / (centred @ centred)


def _paired(d: Float[np.ndarray, "S C"]) -> Float[np.ndarray, " C"]:
    """Two-sided p of a mean difference of 0, for each column; where a column does not vary, of the sign test."""
    n = len(d)
    equal = np.ptp(d, axis=0) < 1e-6  # of single-precision accuracies; a test example weighs more
    error = np.where(equal, 1, d.std(0, ddof=min(1, n - 1))) / n**0.5
    t = 2 * scipy_stats.t.sf(np.abs(d.mean(0)) / error, max(1, n - 1))
    return np.where(equal, np.where(np.abs(d).max(0) < 1e-6, 1.0, 0.5 ** (n - 1)), t)


def _by_dataset(frame: pd.DataFrame, of: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
    """What `of` makes of the runs of each data set, below each other."""
    if frame.empty:
        raise ValueError("a table without runs has no effects: ask for the runs first")
    parts = []
    for dataset, group in frame.groupby("dataset", sort=False):
        part = of(group)
        part.insert(0, "dataset", dataset)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)
