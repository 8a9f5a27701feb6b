"""Differences of conditions at equal settings, or of students of two teachers, paired by seed: tables of intervals."""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from kdstudy.stats import paired

Sums = Mapping[str, Mapping[str, float]]  # a name -> its weighted sum of conditions
LIMITS = ["difference", "low", "high", "n"]


def minus(pairs: Mapping[str, Sequence[str]] | Iterable[Sequence[str]]) -> Sums:
    """The difference of each pair of conditions as a sum, called as the mapping says, or "one − other"."""
    named = pairs.items() if isinstance(pairs, Mapping) else ((" − ".join(p), p) for p in pairs)
    return {name: {one: 1, other: -1} for name, (one, other) in named}


def against(treatments: Iterable[str], control: str) -> Sums:
    """Each treatment minus the control, called by the treatment."""
    return {c: {c: 1, control: -1} for c in treatments if c != control}


def contrasts(
    frame: pd.DataFrame, sums: Sums, measure: str = "test_accuracy", by: Sequence[str] = ("dataset",),
    name: str = "contrast", jointly: Sequence[str] = (),
) -> pd.DataFrame:  # fmt: skip
    """Each sum over conditions of weight x measure, paired by seed, at each combination of `by` that has them all.

    Columns: `by`, `name`, difference (the mean over seeds), low, high, n. Intervals hold together (Bonferroni) over
    the rows that are alike in `jointly`; without any, over all. Raises ValueError as `paired.contrast` does.
    """
    found = {}
    for label, weights in sums.items():
        part = frame[frame["condition"].isin(weights)]
        found |= {(*key, label): paired.contrast(group, weights, measure)
                  for key, group in part.groupby(list(by), sort=False)
                  if {*weights} <= {*group["condition"]}}  # fmt: skip
    return _intervals(found, [*by, name], jointly)


def changes(
    frame: pd.DataFrame, baseline: pd.DataFrame, by: Sequence[str], shared: Sequence[str] = ("dataset",),
    jointly: Sequence[str] = ("dataset",), measure: str = "test_accuracy",
) -> pd.DataFrame:  # fmt: skip
    """Runs at each combination of `by` minus the runs of `baseline` alike in `shared`, paired by seed.

    Columns as `contrasts` has them. A run in both tables is not compared with itself. Raises ValueError if there is
    no such baseline, or if seeds differ.
    """
    found = {}
    for key, group in frame[~frame["key"].isin(baseline["key"])].groupby(list(by), sort=False):
        cell = dict(zip(by, key))
        control = paired.where(baseline, **{c: cell[c] for c in shared})
        both = pd.concat([group.assign(condition="changed"), control.assign(condition="baseline")])
        found[key] = paired.contrast(both, {"changed": 1, "baseline": -1}, measure)
    return _intervals(found, by, jointly)


def _intervals(found: Mapping[tuple, pd.Series], names: Sequence[str], jointly: Sequence[str]) -> pd.DataFrame:
    """A row for each key and its values over seeds."""
    return paired.intervals(found, names, jointly=jointly).drop(columns="p").rename(columns={"mean": "difference"})
