"""What more hidden units change: the same comparison in students of several widths."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from kdstudy import stats
from kdstudy.style import NAMES, finish, legend, log_ticks, nothing, panels

LINES = "osD^vP"


def gains(frame: pd.DataFrame, treatment: str, control: str) -> pd.DataFrame:
    """Paired differences in test accuracy at each data set, temperature and width; their intervals hold together."""
    found = stats.contrasts(frame, treatment, control, "test_accuracy", ["dataset", "tau", "hidden"])
    return found.assign(width=found["hidden"].map(lambda text: int(str(text).rpartition("x")[2])))


def widths(frame: pd.DataFrame, treatment: str, control: str) -> Figure:
    """The difference of two conditions against the student's hidden units, a line a temperature, a panel a data set."""
    found = gains(frame, treatment, control) if len(frame) else frame
    if found.empty:
        return nothing(f"{NAMES[treatment]} and {NAMES[control]} are not both among the runs")
    figure, axes = panels(list(dict.fromkeys(found["dataset"])))
    for name, ax in axes.items():
        mine = found[found["dataset"] == name]
        for i, (tau, rows) in enumerate(mine.groupby("tau")):
            error = [rows["difference"] - rows["low"], rows["high"] - rows["difference"]]
            at = rows["width"] * (1 + 0.04 * i)  # side by side
            ax.errorbar(at, rows["difference"], error, marker=LINES[i % len(LINES)], ms=4, lw=1.3, label=f"τ = {tau:g}")
        ax.axhline(0, color="0.3", lw=0.8)
        log_ticks(ax, sorted(map(float, mine["width"].unique())), "hidden units")
        ax.set_ylabel("difference in\ntest accuracy (points)", fontsize=8)
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g}"))
    legend(figure, ax)
    note = f"{NAMES[treatment]} less {NAMES[control]} · bars: 95 % paired t intervals, jointly over all points"
    return finish(figure, frame, f"{note} · α = {frame['alpha'].max():g}")
