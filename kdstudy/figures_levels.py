"""What a teacher has to give at each level of knowledge, beside what students made of it."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from kdstudy import factorial, stats
from kdstudy.style import BLUE, GREEN, NAMES, ORANGE, finish, nothing, panels

SHADES = {"universe": BLUE, "domain": GREEN, "instance": ORANGE}


def by_temperature(table: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """The runs of KD at this alpha, with their temperature in words."""
    frame = table[table["condition"] == "kd"]
    frame = frame[frame["alpha"] == alpha] if len(frame) else frame.assign(tau=np.nan)
    return frame.sort_values("tau", kind="stable").assign(temperature=lambda f: [f"τ = {v:g}" for v in f["tau"]])


def beside(table: pd.DataFrame) -> pd.DataFrame:
    """Hard labels at their best, and the cells of the grid at the tau and alpha at which KD is best on validation."""
    best, parts = stats.tuned(table), []
    for dataset, group in table.groupby("dataset", sort=False):
        chosen = best[(best["dataset"] == dataset) & (best["condition"] == "kd")]
        plain = best[(best["dataset"] == dataset) & (best["condition"] == factorial.BASELINE)]
        cells = group[group["condition"].isin(factorial.CELLS.values())]
        if len(chosen):
            setting = (cells["tau"] == chosen["tau"].iloc[0]) & (cells["alpha"] == chosen["alpha"].iloc[0])
            parts.append(pd.concat([plain, cells[setting]]))
    return pd.concat(parts) if parts else table.iloc[:0]


def levels(frame: pd.DataFrame, by: str) -> Figure:
    """What was taught and what students made of it, split by level: stacked shares, a pair of bars for each `by`."""
    needed = [f"{who}_{level}" for who in ("target", "student") for level in factorial.PLAYERS]
    if frame.empty or frame[needed].isna().all(axis=None):
        return nothing("no run of these conditions left the parts of its targets")
    names = list(dict.fromkeys(frame[by]))
    figure, axes = panels(list(dict.fromkeys(frame["dataset"])), height=0.7 + 0.34 * len(names), sharey=True)
    for dataset, ax in axes.items():
        means = frame[frame["dataset"] == dataset].groupby(by, sort=False)[needed].mean()
        for name, row in means.iterrows():
            for offset, who in ((-0.2, "target"), (0.2, "student")):
                bar(ax, names.index(name) + offset, [row[f"{who}_{level}"] for level in factorial.PLAYERS], who)
        ax.set_yticks(range(len(names)), [NAMES.get(n, n) for n in names])
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.set_xlim(0, 1.17)
        ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100"])
        ax.set_xlabel("share of the distance from the label (%)", fontsize=8)
    shades = [Patch(color=SHADES[level], label=level) for level in factorial.PLAYERS]
    kinds = [Patch(fc="0.75", hatch="////", ec="white", label="taught"), Patch(fc="0.6", label="made of it")]
    figure.legend(handles=shades + kinds, loc="lower center", bbox_to_anchor=(0.5, 0.995), ncols=5, fontsize=8)
    return finish(figure, frame, "means over seeds, training set · beside a bar: the distance E‖ρ − e‖² it splits")


def bar(ax: Axes, y: float, parts: Sequence[float], who: str) -> None:
    """One stacked bar of shares, what is taught hatched, with the sum of its parts beside it."""
    total, left = sum(parts), 0.0
    for level, part in zip(factorial.PLAYERS, parts):
        if total > 0:
            ax.barh(y, part / total, 0.36, left=left, color=SHADES[level], ec="white", lw=0.3,
                    hatch="////" if who == "target" else None)  # fmt: skip
            left += part / total
    ax.text(1.01, y, f"{total:.2g}", va="center", fontsize=7, color="0.25")
