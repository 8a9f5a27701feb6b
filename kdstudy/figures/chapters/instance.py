"""Figures of the instance chapter: how examples are weighed, by how hard they are.

w is unbounded below: its axes are symmetric-logarithmic, or show ranks. Arrays are float16 as stored and are
widened before any arithmetic.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import rankdata

from kdstudy.engine import ask
from kdstudy.figures.primitives import lines
from kdstudy.figures.style import nothing
from kdstudy.stats import headline, paired
from kdstudy.study import array_metrics, difficulty
from kdstudy.study.plans.levels import WEIGHED


def tenths(values: Float[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """The tenth, 0 to 9, in which each value lies; fewer groups if there are fewer than ten values."""
    return ((rankdata(values, method="ordinal") - 1) * min(10, len(values)) // len(values)).astype(int)


def _medians(values: Float[np.ndarray, " N"], group: Int[np.ndarray, " N"]) -> list[float]:
    """The median of the values in each group 0, 1, ..."""
    return [float(np.median(values[group == g])) for g in range(group.max() + 1)]


def _symlog(ax: Axes, values: np.ndarray) -> None:
    """A y axis that is linear from -1 to 1 and logarithmic beyond, if values lie far beyond."""
    ax.axhline(0, color="0.3", lw=0.8)
    if (far := np.abs(values).max(initial=0)) < 5:
        return
    top = int(np.ceil(np.log10(far)))
    ax.set_yscale("symlog", linthresh=1)
    ax.set_yticks([0, *(s * 10.0**p for p in range(0, top + 1, 1 + (top > 3)) for s in (-1, 1) if (s, p) != (-1, 0))])
    ax.set_ylim(values.min() * (2 if values.min() < -1 else 1) - 0.3, values.max() * 1.5)
    ax.yaxis.set_major_formatter(lambda v, _: f"{v:g}" if abs(v) < 1000 else f"{v / 1000:g}k")


def weighed(table: pd.DataFrame, conditions: Sequence[str] = WEIGHED) -> pd.DataFrame:
    """The runs of a part whose w differs between examples."""
    return table[table["condition"].isin(conditions)]


def deciles(frame: pd.DataFrame) -> Figure:
    """Median w after the last epoch in each tenth of the watched examples by difficulty, over seeds."""
    if frame.empty:
        return nothing("no condition that weighs examples is among the runs")
    weights, rows = ask.arrays(frame, "w"), []
    for row in frame.to_dict("records"):
        at = tenths(difficulty.watched(row["run"].data))
        for tenth, value in enumerate(_medians(weights[row["key"]][-1].astype(float), at), 1):
            rows.append((row["dataset"], row["condition"], tenth, value))
    rows = pd.DataFrame(rows, columns=["dataset", "condition", "tenth", "w"])
    rows = paired.summary(rows, "w", ["dataset", "condition", "tenth"])

    def axes(ax: Axes, dataset: str) -> None:
        _symlog(ax, rows.loc[rows["dataset"] == dataset, "mean"].to_numpy())
        ax.set(xlabel="tenth of the examples, easy → hard", ylabel="median w")

    note = "bars: 95 % t intervals over seeds · every condition at KD's setting"
    return lines(rows, frame, "tenth", measure="w", dodge=False, decorate=axes, note=note, height=2.3, wide=3)


def orders(frame: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """For each bed, the rank correlation with difficulty of w under KD and under matched smoothing, and their
    difference paired by seed; and that of the masses which KD's students give with those they were taught.
    """
    sums = {"w under KD": {"kd": 1}, "w under matched smoothing": {"label_smoothing_matched": 1}}
    sums["difference"] = {"kd": 1, "label_smoothing_matched": -1}
    found = {}
    for dataset, group in weighed(frame).groupby("dataset", sort=False):
        ranked = array_metrics.measured(group, "weight_difficulty", tables)
        have = {name: weights for name, weights in sums.items() if {*weights} <= {*ranked["condition"]}}
        row = {name: _interval(paired.contrast(ranked, weights, "weight_difficulty")) for name, weights in have.items()}
        learnt = array_metrics.measured(group[group["condition"] == "kd"], "mass_learnt", tables)
        found[dataset] = row | ({"masses learnt": _interval(learnt["mass_learnt"])} if len(learnt) else {})
    return pd.DataFrame.from_dict(found, orient="index").rename_axis("bed")


def _interval(values: pd.Series) -> str:
    found = headline.over_seeds(values.to_numpy())
    return f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]".replace("-", "−")
