"""Values paired by seed: differences, contrasts, and their means with intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from kdstudy.core.registry import unknown
from kdstudy.stats import headline
from kdstudy.stats.headline import Estimate

Chosen = Mapping[str, object] | str  # values of columns, or a condition's name
Values = Sequence[float] | np.ndarray | pd.Series


def interval(values: Values) -> Estimate:
    """Mean and two-sided 95 % interval over seeds (`headline.over_seeds`): prints as mean [low, high], n.

    interval([0.81, 0.84, 0.83])
    """
    return headline.over_seeds(np.asarray(values, float))


def where(frame: pd.DataFrame, **fixed: object) -> pd.DataFrame:
    """Rows whose columns have the given values; ValueError naming what there is if none has."""
    found = frame
    for column, value in fixed.items():
        if column not in frame or not (found[column] == value).any():
            have = sorted(map(str, found[column].dropna().unique())) if column in frame else []
            raise ValueError(f"no run with {column} = {value!r}; there are: {', '.join(have) or 'none'}")
        found = found[found[column] == value]
    return found


def by_seed(frame: pd.DataFrame, chosen: Mapping[str, object], measure: str) -> pd.Series:
    """A measure of the runs that are chosen, indexed by seed; ValueError if a seed has several, or for no measure."""
    rows = where(frame, **chosen)
    if measure not in rows:
        raise unknown(f"the table has no measure {measure!r}; it has", measure, rows.select_dtypes("number"))
    if rows["seed"].duplicated().any():
        raise ValueError(
            f"{dict(chosen)} names {len(rows)} runs of {rows['seed'].nunique()} seeds: fix its setting too"
        )
    return rows.set_index("seed")[measure].sort_index()


def difference(frame: pd.DataFrame, treatment: Chosen, control: Chosen, measure: str = "test_accuracy") -> pd.Series:
    """measure(treatment) - measure(control), paired: one value for each seed. A side is a condition's name, or the
    values that its columns have.

        difference(study.tables["practical"], "kd", {"condition": "hard"}, "test_accuracy")

    Raises ValueError if a side has several runs of one seed, or if the sides differ in seeds.
    """
    named = ({"condition": side} if isinstance(side, str) else side for side in (treatment, control))
    return _combined(frame, list(zip(named, (1.0, -1.0))), measure)


def contrast(frame: pd.DataFrame, weights: Mapping[str, float], measure: str) -> pd.Series:
    """sum over conditions of weight x measure, paired: one value for each seed.

    Raises ValueError if a condition is absent, has several runs of one seed, or has other seeds than the first.
    """
    return _combined(frame, [({"condition": name}, weight) for name, weight in weights.items()], measure)


def _combined(frame: pd.DataFrame, weighted: Sequence[tuple[Mapping[str, object], float]], measure: str) -> pd.Series:
    """sum of weight x measure over the runs that each side names, for each seed."""
    sides = [by_seed(frame, chosen, measure) for chosen, _ in weighted]
    for (chosen, _), side in zip(weighted, sides):
        if odd := sorted(set(sides[0].index) ^ set(side.index)):
            first = dict(weighted[0][0])
            raise ValueError(f"{first} and {dict(chosen)} are not paired: seeds {odd} have one of the two")
    return sum(weight * side for (_, weight), side in zip(weighted, sides))


def summary(frame: pd.DataFrame, measure: str, by: Sequence[str]) -> pd.DataFrame:
    """Mean, limits and n of a measure over seeds, for each combination of `by`."""
    groups = frame.groupby(list(by), dropna=False, sort=False)[measure]
    rows = [(*key, i.mean, i.low, i.high, i.n) for key, i in ((key, interval(x)) for key, x in groups)]
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "n"])


def holm(p: Values) -> np.ndarray:
    """Holm's step-down adjusted p values, in the order given. Holm 1979."""
    p = np.asarray(p, dtype=float)
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order]).clip(max=1)
    out = np.empty_like(p)
    out[order] = adjusted
    return out


def levels(frame: pd.DataFrame, measures: Sequence[str], by: Sequence[str] = ("dataset", "condition")) -> pd.DataFrame:
    """Means over seeds of several measures and n, one row for each combination of `by`."""
    if frame.empty:  # its table has no columns of measures
        return pd.DataFrame(columns=[*measures, "n"])
    groups = frame.groupby(list(by), sort=False)
    return groups[list(measures)].mean().assign(n=groups["seed"].nunique())
