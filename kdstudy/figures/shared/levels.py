"""What a teacher has to give at each level of knowledge, and what students made of it."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from kdstudy.figures.primitives import legend, row_axis
from kdstudy.figures.style import LEVELS, as_percent, finish, nothing, panels
from kdstudy.figures.tables import at_weight, in_order
from kdstudy.stats import factorial, paired


def by_temperature(table: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """The runs of KD at this alpha, with their temperature in words."""
    frame = at_weight(table[table["condition"] == "kd"], alpha).sort_values("tau", kind="stable")
    return frame.assign(temperature=[f"τ = {v:g}" for v in frame["tau"]])


def at_kd_setting(table: pd.DataFrame) -> pd.DataFrame:
    """Hard labels at their best, and the cells of the grid at the tau and alpha at which KD is best on validation."""
    best, parts = paired.tuned(table), []
    for dataset, group in table.groupby("dataset", sort=False):
        chosen = best[(best["dataset"] == dataset) & (best["condition"] == "kd")]
        baseline = best[(best["dataset"] == dataset) & (best["condition"] == factorial.BASELINE)]
        cells = group[group["condition"].isin(factorial.CELLS.values())]
        if len(chosen):
            setting = (cells["tau"] == chosen["tau"].iloc[0]) & (cells["alpha"] == chosen["alpha"].iloc[0])
            parts.append(pd.concat([baseline, cells[setting]]))
    return pd.concat(parts) if parts else table.iloc[:0]


def level_bars(frame: pd.DataFrame, by: str) -> Figure:
    """What was taught and what students made of it, split by level: stacked shares, a pair of bars for each `by`."""
    needed = [f"{who}_{level}" for who in ("target", "student") for level in LEVELS]
    if frame.empty or frame[needed].isna().all(axis=None):
        return nothing("no run of these conditions left the parts of its targets")
    names = in_order(frame[by])
    figure, axes = panels(in_order(frame["dataset"]), height=0.7 + 0.34 * len(names), sharey=True)
    for dataset, ax in axes.items():
        means = frame[frame["dataset"] == dataset].groupby(by, sort=False)[needed].mean()
        for name, row in means.iterrows():
            for offset, who in ((-0.2, "target"), (0.2, "student")):
                _stacked(ax, names.index(name) + offset, [row[f"{who}_{level}"] for level in LEVELS], who == "target")
        row_axis(ax, names)
        ax.set_xlim(0, 1.17)
        ax.set_xticks([0, 0.25, 0.5, 0.75, 1])
        ax.xaxis.set_major_formatter(as_percent)
        ax.set_xlabel("share of the distance from the label (%)", fontsize=8)
    shades = [Patch(color=how.colour, label=level) for level, how in LEVELS.items()]
    kinds = [Patch(fc="0.75", hatch="////", ec="white", label="taught"), Patch(fc="0.6", label="made of it")]
    legend(figure, 5, handles=shades + kinds)
    return finish(figure, frame, "means over seeds, training set · beside a bar: the distance E‖ρ − e‖² it splits")


def _stacked(ax: Axes, y: float, parts: Sequence[float], taught: bool) -> None:
    """One stacked bar of shares, what is taught hatched, with the sum of its parts beside it."""
    total, left = sum(parts), 0.0
    for how, part in zip(LEVELS.values(), parts):
        if total > 0:
            ax.barh(y, part / total, 0.36, left=left, color=how.colour, ec="white", lw=0.3,
                    hatch="////" if taught else None)  # fmt: skip
            left += part / total
    ax.text(1.01, y, f"{total:.2g}", va="center", fontsize=7, color="0.25")
