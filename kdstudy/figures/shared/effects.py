"""What each level of knowledge is worth to students along a setting, and what the highest temperature costs KD."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from kdstudy.figures.primitives import lines
from kdstudy.figures.style import LEVELS, Look, look, tau_looks
from kdstudy.figures.tables import bullets, by_dataset, in_order
from kdstudy.stats import paired
from kdstudy.study.contrasts import contrasts, minus

LEVEL_SUMS = minus({  # a level of knowledge -> (the condition that has it, the one that lacks it)
    "universe": ("label_smoothing_matched", "hard"),
    "domain": ("class_matched", "label_smoothing_matched"),
    "instance": ("kd_pt", "label_smoothing_matched"),
    "all: KD": ("kd", "hard"),
})  # fmt: skip
EFFECT_LOOKS = LEVELS | {"all: KD": look("kd")._replace(name="all: KD")}
WIDE = 8  # times the median interval


def level_effects(frame: pd.DataFrame, by: Sequence[str], measure: str = "test_accuracy") -> pd.DataFrame:
    """`LEVEL_SUMS` at each combination of `by`; the intervals of a level hold together."""
    return contrasts(frame, LEVEL_SUMS, measure, by, "level", ["level"])


def effect_signs(rows: pd.DataFrame, x: str, symbol: str) -> str:
    """Markdown: for each data set and level (or tau), at which x its interval lies wholly above zero, or below."""
    by, told = "level" if "level" in rows else "tau", {}
    for dataset, group in rows.groupby("dataset", sort=False):
        parts = []
        for level, one in group.groupby(by, sort=False):
            places = {"above": one[one["low"] > 0], "below": one[one["high"] < 0]}
            found = [f"{side} at {symbol} = {', '.join(f'{v:g}' for v in sorted(p[x]))}"
                     for side, p in places.items() if len(p)]  # fmt: skip
            name = level if by == "level" else f"τ = {level:g}"
            parts.append(f"{name} {' and '.join(found) or 'nowhere apart from zero'}")
        told[dataset] = "; ".join(parts)
    return bullets(told, "No data set has the conditions that this compares.")


def effect_lines(
    rows: pd.DataFrame, frame: pd.DataFrame, x: str, note: str, looks: Mapping[object, Look] | None = None,
    difference: str = "difference in", measure: str = "test_accuracy",
) -> Figure:  # fmt: skip
    """Differences against x, a panel a data set, a line a level (or, of rows without levels, a temperature).

    `frame` holds the runs they rest on. Intervals of more than eight times the panel's median may leave it.
    """
    by = "level" if "level" in rows else "tau"
    ends = {name: _ends(group) for name, group in rows.groupby("dataset", sort=False)}
    note += " · intervals far wider than the others leave the panel" if any(ends.values()) else ""
    looks = (EFFECT_LOOKS if by == "level" else tau_looks(rows["tau"])) if looks is None else looks
    frame = frame[frame["dataset"].isin(in_order(rows["dataset"]))]
    return lines(rows, frame, x, looks, by=by, measure=measure, difference=difference, note=note,
                 decorate=lambda ax, name: ax.set_ylim(ends[name] or ax.get_ylim()))  # fmt: skip


def _ends(rows: pd.DataFrame) -> tuple[float, float] | None:
    """Limits of a panel in which a few intervals far wider than the others do not hide all else; None if none is."""
    mean = rows["mean" if "mean" in rows else "difference"]
    half = (rows["high"] - mean).where(lambda h: np.isfinite(h), 0)
    usual = WIDE * half[half > 0].median()
    if not (half > usual).any():
        return None
    shown = half.clip(upper=usual)
    low, high = min(0, (mean - shown).min()), max(0, (mean + shown).max())
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def heat_penalties(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Test accuracy of KD at the highest temperature minus that at the cooler one best on validation, paired by seed.

    For each combination of `by` (which names the data set): columns difference, low, high, n; all hold together.
    """
    kd = frame[frame["condition"] == "kd"]
    hot = kd["tau"] == kd["tau"].max()
    warm = paired.tuned(kd[~hot], within=by)
    both = pd.concat([kd[hot].assign(condition="hot"), warm.assign(condition="warm")])
    found = contrasts(both, minus([("hot", "warm")]), by=by).drop(columns="contrast")
    return by_dataset(found, kd["dataset"])
