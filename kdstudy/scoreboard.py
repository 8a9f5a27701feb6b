"""The effects of every claim on every data set, side by side."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kdstudy import claims
from kdstudy.claims import UNDECIDED, Claim, Tables
from kdstudy.style import finish, nothing, panels
from kdstudy.wording import unit, words

MARKERS = "os^Dv<>ph*"
UNIT = {"points": 100.0, "": 1.0}


def panel_of(claim: Claim) -> str:
    """Which panel a claim's effect belongs on: what all claims there measure, at least in kind."""
    if claim.over:
        return f"slope on {claim.over}"
    if claim.measure == "test_accuracy":
        return "accuracy"
    return "points" if unit(claim) else "correlation"


def axis_label(mine: Sequence[Claim]) -> str:
    """What the effects of these claims, all of one panel, are measured in."""
    named = ", ".join(dict.fromkeys(words(c.measure) for c in mine))
    kind = unit(mine[0]) or "rank correlation or a difference of two"
    per = f" per unit of {mine[0].over}" if mine[0].over else ""
    return f"{'slope' if per else 'difference'} in {named} ({kind}{per})"


def strips(rows: pd.DataFrame, tables: Mapping[str, Tables]) -> Figure:
    """Every claim's effect on every data set: a panel a unit, a row a claim, a colour and marker a data set."""
    rows = rows[rows["dataset"] != "identity"]
    if rows.empty:
        return nothing("no claim compares conditions among the runs")
    known = {c.id: c for c in claims.load()}
    axis = {k: panel_of(known[k]) for k in dict.fromkeys(rows["claim"])}
    names, counts = list(dict.fromkeys(rows["dataset"])), pd.Series(axis).value_counts(sort=False)
    step = 0.11 * len(names) + 0.1
    tall = (counts * step + 0.55).to_numpy()
    figure, axes = panels(list(counts.index), tall.mean(), 1, gridspec_kw={"height_ratios": tall})
    looks = dict(zip(names, zip(sns.color_palette("colorblind", len(names)), MARKERS * len(names))))
    for label, ax in axes.items():
        ax.set_title("")
        ax.set_xlabel(axis_label([known[k] for k in axis if axis[k] == label]), fontsize=8)
        strip(ax, rows[rows["claim"].map(axis) == label], known, looks)
    keys = [Line2D([], [], color=c, marker=m, ls="", ms=5, label=name) for name, (c, m) in looks.items()]
    figure.legend(handles=keys, loc="lower center", bbox_to_anchor=(0.5, 0.995), ncols=min(5, len(keys)), fontsize=8)
    note = (
        "bars: 95 % t intervals, jointly over a claim's data sets · filled: supported or contradicted, open: undecided"
    )
    return finish(figure, compared(rows, tables), f"{note} · ▲ ▼ direction claimed · short line: its margin")


def compared(rows: pd.DataFrame, tables: Mapping[str, Tables]) -> pd.DataFrame:
    """The runs that these claims compare, each once."""
    found = []
    for claim in (c for c in claims.load() if c.id in set(rows["claim"])):
        frame = claims.compared(claim, tables[claim.chapter])
        found.append(frame[frame["dataset"].isin(rows["dataset"])])
    return pd.concat(found).drop_duplicates("key")


def strip(ax: Axes, rows: pd.DataFrame, known: Mapping[str, Claim], looks: Mapping[str, tuple]) -> None:
    """One panel of `strips`."""
    order, names = list(dict.fromkeys(rows["claim"])), list(looks)
    for row in rows.to_dict("records"):
        claim, (colour, marker) = known[row["claim"]], looks[row["dataset"]]
        scale = UNIT[unit(claim)]
        y = order.index(row["claim"]) + 0.72 * ((names.index(row["dataset"]) + 0.5) / len(names) - 0.5)
        if np.isfinite([row["low"], row["high"]]).all():
            ax.plot([scale * row["low"], scale * row["high"]], [y, y], color=colour, lw=1.2)
        face = "white" if row["verdict"] == UNDECIDED else colour
        ax.plot(scale * row["effect"], y, marker=marker, ms=4, color=colour, mfc=face)
        if claim.margin:
            at, middle = scale * claim.direction * claim.margin, order.index(row["claim"])
            ax.plot([at, at], [middle - 0.4, middle + 0.4], color="0.3", lw=0.8)
    ax.axvline(0, color="0.3", lw=0.8)
    ax.set_yticks(range(len(order)), [f"{k} {'▲' if known[k].direction > 0 else '▼'}" for k in order], fontsize=8)
    ax.set_ylim(len(order) - 0.5, -0.5)
    ax.grid(False, axis="y")
    for edge in range(1, len(order)):
        other = known[order[edge]].level != known[order[edge - 1]].level
        ax.axhline(edge - 0.5, color="0.5" if other else "0.88", lw=1.0 if other else 0.6, zorder=0)
