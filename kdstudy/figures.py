"""From an answered table to a figure: what several chapters draw."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from kdstudy import claims, stats
from kdstudy.style import (
    AXES,
    NAMES,
    STYLE,
    band,
    curve,
    finish,
    legend,
    listing,
    log_ticks,
    nothing,
    panels,
    percent,
    use_style,
)  # fmt: skip
from kdstudy.wording import words

__all__ = ["NAMES", "forest", "listing", "reliability", "strip", "sweep", "use_style"]


def sweep(frame: pd.DataFrame, x: str, measure: str, alpha: float | None = None) -> Figure:
    """A measure against a setting (`epsilon` or `tau`), one panel a data set, hard labels as a band."""
    if x not in frame or frame[x].isna().all():
        return nothing(f"no condition among the runs has {x}")
    names = list(dict.fromkeys(frame["dataset"]))
    figure, axes = panels(names)
    for name, ax in axes.items():
        rows = frame[frame["dataset"] == name]
        if (plain := rows[rows["condition"] == "hard"]).size:
            band(ax, stats.tuned(plain), "hard", measure)
        varied = rows[rows[x].notna() & ((rows["alpha"] == alpha) if alpha is not None else True)]
        for condition, group in varied.groupby("condition", sort=False):
            curve(ax, stats.summary(group, measure, [x]), x, condition)
        log_ticks(ax, sorted(varied[x].unique()), {"tau": "temperature τ", "epsilon": "ε"}[x])
        percent(ax, measure)
    legend(figure, ax)
    setting = "hard labels at their best weight decay" + (f" · α = {alpha:g}" if alpha is not None else "")
    return finish(figure, frame, f"bars and band: 95 % t intervals · {setting}")


def forest(rows: pd.DataFrame, tables: Mapping[str, pd.DataFrame] | pd.DataFrame, wide: int = 3) -> Figure:
    """Paired effects of claims of one measure: a panel a claim, a row a data set, 0 marked."""
    if rows.empty:
        return nothing("no claim compares conditions among the runs")
    tables = {"study": tables} if isinstance(tables, pd.DataFrame) else tables
    by_claim, known = list(dict.fromkeys(rows["claim"])), {c.id: c for c in claims.load()}
    compared = pd.concat([claims.compared(known[k], tables) for k in by_claim]).drop_duplicates("key")
    names = list(dict.fromkeys(rows["dataset"]))
    figure, axes = panels(
        by_claim, height=0.8 + 0.26 * len(names), wide=min(wide, len(by_claim)), sharey=True, sharex=True
    )
    for claim, ax in axes.items():
        strip(ax, rows[rows["claim"] == claim], names)
        percent(ax, known[claim].measure, "x")
        label = AXES.get(known[claim].measure, words(known[claim].measure))
        level = len(known[claim].contrast) == 1
        ax.set_xlabel(label if level else "difference in " + label.replace("(%)", "(points)"), fontsize=8)
    note = "bars: 95 % paired t intervals, jointly over data sets · ● supported, ✖ contradicted, ◆ undecided"
    return finish(figure, compared, note)


def strip(ax: Axes, rows: pd.DataFrame, names: Sequence[str]) -> None:
    """One claim's effect on each data set, its marker and colour by verdict."""
    looks = {"supported": ("C0", "o"), "contradicted": ("C3", "X"), "undecided": ("0.5", "D")}
    for row in rows.to_dict("records"):
        y, (shade, marker) = names.index(row["dataset"]), looks[row["verdict"]]
        if np.isfinite([row["low"], row["high"]]).all():
            ax.plot([row["low"], row["high"]], [y, y], color=shade, lw=1.6)
        ax.plot(row["effect"], y, marker=marker, ms=5, color=shade)
    ax.axvline(0, color="0.3", lw=0.8)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)


def pooled(bins: Mapping[str, np.ndarray], keys: Sequence[str]) -> pd.DataFrame:
    """Reliability bins (count, confidence, correctness) added over runs; bins under 0.5 % left out."""
    count, sure, right = sum(bins[k] for k in keys)
    kept = count > 0.005 * count.sum()
    return pd.DataFrame({"confidence": sure[kept] / count[kept], "accuracy": right[kept] / count[kept]})


def reliability(frame: pd.DataFrame, bins: Mapping[str, np.ndarray]) -> Figure:
    """Reliability diagrams: accuracy against confidence in 15 bins, examples of all seeds pooled."""
    names = list(dict.fromkeys(frame["dataset"]))
    figure, axes = panels(names, height=2.9)
    for name, ax in axes.items():
        ax.plot([0, 1], [0, 1], color="0.6", lw=1, ls="--", label="perfect calibration")
        for condition, group in frame[frame["dataset"] == name].groupby("condition", sort=False):
            colour, marker = STYLE[condition]
            points = pooled(bins, group["key"])
            ax.plot(points["confidence"], points["accuracy"], color=colour, marker=marker, ms=3.5, lw=1.2,
                    label=NAMES[condition])  # fmt: skip
        for which in ("x", "y"):
            getattr(ax, f"{which}axis").set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g}"))
        ax.set_xlabel("confidence (%)")
        ax.set_ylabel("accuracy (%)")
    legend(figure, ax)
    return finish(
        figure,
        frame,
        "15 equal bins, those under 0.5 % of examples left out · each condition at its setting best on validation",
    )
