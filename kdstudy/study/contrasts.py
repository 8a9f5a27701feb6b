"""Differences of conditions at equal settings, paired by seed: tables of intervals."""

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


def _intervals(found: Mapping[tuple, pd.Series], names: Sequence[str], jointly: Sequence[str]) -> pd.DataFrame:
    """A row for each key and its values over seeds."""
    return paired.intervals(found, names, jointly=jointly).drop(columns="p").rename(columns={"mean": "difference"})
