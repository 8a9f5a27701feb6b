"""Differences paired by seed, their intervals, and settings chosen on validation."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from kdstudy.core.registry import Registry

Values = Sequence[float] | np.ndarray | pd.Series
SETTING = ("tau", "alpha", "epsilon", "weight_decay", "target", "nontarget",
           "teacher_epsilon", "teacher_hidden", "teacher_epochs")  # what a search may vary  # fmt: skip


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence limits; n is the number of seeds."""

    mean: float
    low: float
    high: float
    n: int
    p: float

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}], n = {self.n}"


def interval(values: Values, level: float = 0.95, family: int = 1, method: str = "t") -> Interval:
    """Mean and two-sided interval over seeds; `family` intervals hold together (Bonferroni).

    method "t": mean +- t quantile x s / sqrt(n). method "bootstrap": BCa, 9 999 resamples, fixed
    seed. p tests a mean of 0 (t test, multiplied by `family`, at most 1). One value, or values
    that are all equal, give the limits their mean has: an infinite or a zero width.
    """
    x = np.asarray(values, dtype=float)
    if x.size == 0 or not np.isfinite(x).all():
        raise ValueError(f"an interval needs finite values, found {x.size} values, {int(np.isfinite(x).sum())} finite")
    if method not in ("t", "bootstrap"):
        raise ValueError(f"method: found {method!r}, allowed: 't', 'bootstrap'")
    mean, level = float(x.mean()), 1 - (1 - level) / family
    if x.size == 1:
        return Interval(mean, -np.inf, np.inf, 1, 1.0)
    error = float(x.std(ddof=1)) / x.size**0.5 if np.ptp(x) else 0.0
    if error == 0:
        return Interval(mean, mean, mean, x.size, float(mean == 0))
    half = scipy_stats.t.ppf((1 + level) / 2, x.size - 1) * error
    low, high = mean - half, mean + half
    if method == "bootstrap":
        low, high = scipy_stats.bootstrap((x,), np.mean, confidence_level=level, rng=0).confidence_interval
    p = 2 * float(scipy_stats.t.sf(abs(mean) / error, x.size - 1))
    return Interval(mean, float(low), float(high), x.size, min(1.0, p * family))


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
    """A measure of the runs whose columns have the given values, indexed by seed; ValueError if a seed has several."""
    rows = where(frame, **chosen)
    if rows["seed"].duplicated().any():
        raise ValueError(
            f"{dict(chosen)} names {len(rows)} runs of {rows['seed'].nunique()} seeds: fix its setting too"
        )
    return rows.set_index("seed")[measure].sort_index()


def difference(
    frame: pd.DataFrame, treatment: Mapping[str, object], control: Mapping[str, object], measure: str
) -> pd.Series:
    """measure(treatment) - measure(control), paired: one value for each seed.

    Raises ValueError if a side has several runs of one seed, or if the sides differ in seeds.
    """
    return _combined(frame, [(treatment, 1.0), (control, -1.0)], measure)


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


def intervals(
    values: Mapping[tuple[object, ...], Values], by: Sequence[str], level: float = 0.95, family: int | None = None,
    jointly: Sequence[str] = (),
) -> pd.DataFrame:  # fmt: skip
    """One row for each key of `values`: the columns `by`, then mean over seeds, low, high, n and p.

    Intervals hold together (Bonferroni) over the rows alike in `jointly`; without any, over all, or `family` of them.
    """
    rows = pd.DataFrame(list(values), columns=list(by))
    sizes = rows.groupby(list(jointly))[by[0]].transform("size") if jointly else [family or len(rows)] * len(rows)
    each = [vars(interval(x, level, int(m))) for x, m in zip(values.values(), sizes)]
    return rows.join(pd.DataFrame(each, rows.index, ["mean", "low", "high", "n", "p"]))


def option(text: str, name: str) -> float:
    """A data set's option from the column `options`; ValueError if it has none of that name."""
    given = json.loads(text)
    if name not in given:
        raise ValueError(
            f"data set option {name!r}: found {', '.join(given) or 'none'}, allowed: a table that varies it"
        )
    return given[name]


def searched(frame: pd.DataFrame) -> list[str]:
    """Those columns of the table that a search may vary: `SETTING`, and what conditions declare in `ranges`."""
    declared = [name for fn in Registry.every.get("condition", {}).values() for name in getattr(fn, "ranges", ())]
    return [c for c in dict.fromkeys((*SETTING, *declared)) if c in frame]


def tuned(frame: pd.DataFrame, by: str = "validation_accuracy", within: Sequence[str] = ()) -> pd.DataFrame:
    """For each data set (with its options), condition and combination of `within`, the runs best on validation.

    Best: highest mean of `by` over seeds (of equals, the smallest setting). The test split is not looked at.
    """
    cols = searched(frame)
    kept = []
    each = [c for c in ("dataset", "options", "condition", *within) if c in frame]
    for _, group in frame.groupby(each, sort=False):
        means = group.groupby(cols, dropna=False, sort=True)[by].mean()
        best = dict(zip(cols, means.idxmax() if len(cols) > 1 else (means.idxmax(),)))
        same = np.logical_and.reduce([(group[c] == v) | (group[c].isna() & pd.isna(v)) for c, v in best.items()])
        kept.append(group[same])
    return pd.concat(kept) if kept else frame


def differences(frame: pd.DataFrame, treatment: str, control: str, measure: str, by: Sequence[str]) -> pd.DataFrame:
    """Paired differences of two conditions at each combination of `by`; their intervals hold together."""
    both = frame[frame["condition"].isin([treatment, control])]
    groups = {key: g for key, g in both.groupby(list(by), sort=False) if g["condition"].nunique() == 2}
    weights = {treatment: 1.0, control: -1.0}
    found = intervals({key: contrast(group, weights, measure) for key, group in groups.items()}, by)
    return found.drop(columns="p").rename(columns={"mean": "difference"})


def summary(frame: pd.DataFrame, measure: str, by: Sequence[str], level: float = 0.95) -> pd.DataFrame:
    """Mean, limits and n of a measure over seeds, for each combination of `by`."""
    groups = frame.groupby(list(by), dropna=False, sort=False)[measure]
    return intervals(dict(iter(groups)), by, level, family=1).drop(columns="p")


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


def coverage(frame: pd.DataFrame) -> pd.DataFrame:
    """How many runs, seeds and settings each condition has, and where the answers came from."""
    labelled = frame.assign(setting=frame[searched(frame)].apply(tuple, axis=1).map(str))
    groups = labelled.groupby(["dataset", "condition"], sort=False)
    return groups.agg(
        runs=("key", "size"), seeds=("seed", "nunique"), settings=("setting", "nunique"), stale=("stale", "sum"),
        source=("source", lambda s: ", ".join(sorted(set(s)))),
    )  # fmt: skip


def recipes(frame: pd.DataFrame) -> pd.DataFrame:
    """How the networks of a table were trained, and their accuracies (means over seeds): one row for each data set."""
    fixed = ["hidden", "epochs", "batch", "lr", "momentum"]
    groups = frame.groupby(["dataset", *fixed], sort=False)
    found = groups[["train_accuracy", "test_accuracy"]].mean().assign(n=groups["seed"].nunique())
    return found.reset_index().set_index("dataset")


def search(frame: pd.DataFrame) -> pd.DataFrame:
    """What each data set and condition chose on validation, and of which values: one at an edge is seen to be there."""
    if frame.empty:  # pandas cannot count in no groups
        return pd.DataFrame(columns=["n"])
    best, groups = chosen(tuned(frame)), frame.groupby(["dataset", "condition"], sort=False)
    return pd.DataFrame(
        {
            name: {
                key: f"{best.loc[key, name]:g} of {', '.join(f'{v:g}' for v in sorted(values))}" if values else ""
                for key, values in groups[name].agg(lambda s: set(s.dropna())).items()
            }
            for name in best
        }
    ).rename_axis(["dataset", "condition"])


def chosen(frame: pd.DataFrame) -> pd.DataFrame:
    """The setting of each data set and condition of a tuned table."""
    return frame.groupby(["dataset", "condition"], sort=False)[searched(frame)].first()
