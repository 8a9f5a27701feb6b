"""What a teacher has to give at each level of knowledge, and what students made of it."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from kdstudy.figures.primitives import legend, row_axis
from kdstudy.figures.style import LEVELS, as_percent, condition_name, drawn, finish, nothing, panels
from kdstudy.figures.tables import in_order


def level_bars(frame: pd.DataFrame, by: str = "dataset", panel: str = "condition") -> Figure:
    """What was taught and what students made of it, split by level: stacked shares, a pair of bars for each `by`."""
    needed = [f"{who}_{level}" for who in ("target", "student") for level in LEVELS]
    if frame.empty or frame[needed].isna().all(axis=None):
        return nothing("no run of these conditions left the parts of its targets")
    names = in_order(frame[by])
    figure, axes = panels(in_order(frame[panel]), height=0.9 + 0.34 * len(names), sharey=True)
    for name, ax in axes.items():
        means = frame[frame[panel] == name].groupby(by, sort=False)[needed].mean()
        for row_name, row in means.iterrows():
            for offset, who in ((-0.2, "target"), (0.2, "student")):
                parts = [row[f"{who}_{level}"] for level in LEVELS]
                _stacked(ax, names.index(row_name) + offset, parts, who == "target")
        row_axis(ax, names)
        ax.set_title(drawn(condition_name(name)))
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
