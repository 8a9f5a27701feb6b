"""The effects of every claim on every data set, side by side."""

from collections.abc import Mapping, Sequence

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kdstudy.figures.primitives import legend, row_dots
from kdstudy.figures.style import Look, finish, nothing, panels
from kdstudy.figures.tables import in_order
from kdstudy.study import claims
from kdstudy.study.claims import UNDECIDED, Claim, Tables
from kdstudy.study.measures import measure as known_measure
from kdstudy.study.verdicts import unit

MARKERS = "os^Dv<>ph*"
NOTE = "bars: 95 % t intervals, jointly over a claim's data sets · filled: supported or contradicted, open: undecided"


def panel_of(claim: Claim) -> str:
    """Which panel a claim's effect belongs on: what all claims there measure, at least in kind."""
    if claim.over:
        return f"slope on {claim.over}"
    if claim.measure == "test_accuracy":
        return "accuracy"
    return "points" if unit(claim) else "correlation"


def axis_label(panel: Sequence[Claim]) -> str:
    """What the effects of these claims, all of one panel, are measured in."""
    measures = ", ".join(in_order(known_measure(c.measure).label for c in panel))
    kind = unit(panel[0]) or "rank correlation or a difference of two"
    per = f" per unit of {panel[0].over}" if panel[0].over else ""
    return f"{'slope' if per else 'difference'} in {measures} ({kind}{per})"


def strips(rows: pd.DataFrame, tables: Mapping[str, Tables]) -> Figure:
    """Every claim's effect on every data set: a panel a unit, a row a claim, a colour and marker a data set."""
    rows = rows[rows["dataset"] != "identity"]
    if rows.empty:
        return nothing("no claim compares conditions among the runs")
    known = {c.id: c for c in claims.load()}
    panel = {k: panel_of(known[k]) for k in in_order(rows["claim"])}
    names, counts = in_order(rows["dataset"]), pd.Series(panel).value_counts(sort=False)
    tall = (counts * (0.11 * len(names) + 0.1) + 0.55).to_numpy()
    figure, axes = panels(list(counts.index), tall.mean(), 1, gridspec_kw={"height_ratios": tall})
    colours = sns.color_palette("colorblind", len(names))
    looks = {name: Look(c, m) for name, c, m in zip(names, colours, MARKERS * len(names))}
    for label, ax in axes.items():
        ax.set_title("")
        ax.set_xlabel(axis_label([known[k] for k in panel if panel[k] == label]), fontsize=8)
        _strip(ax, rows[rows["claim"].map(panel) == label], known, looks)
    keys = [Line2D([], [], color=c, marker=m, ls="", ms=5, label=name) for name, (c, m, *_) in looks.items()]
    legend(figure, 5, handles=keys)
    return finish(figure, _compared(rows, tables), f"{NOTE} · ▲ ▼ direction claimed · short line: its margin")


def _compared(rows: pd.DataFrame, tables: Mapping[str, Tables]) -> pd.DataFrame:
    """The runs that these claims compare, each once."""
    found = []
    for claim in (c for c in claims.load() if c.id in set(rows["claim"])):
        frame = claims.compared(claim, tables[claim.chapter])
        found.append(frame[frame["dataset"].isin(rows["dataset"])])
    return pd.concat(found).drop_duplicates("key")


def _strip(ax: Axes, rows: pd.DataFrame, known: Mapping[str, Claim], looks: Mapping[str, Look]) -> None:
    """One panel of `strips`, in points where its claims are of fractions shown as percent."""
    order = in_order(rows["claim"])
    scale = 100.0 if unit(known[order[0]]) else 1.0
    for i, (name, how) in enumerate(looks.items()):
        shift = 0.72 * ((i + 0.5) / len(looks) - 0.5)
        row_dots(ax, rows[rows["dataset"] == name], "claim", order,
                 lambda row, how=how: how._replace(filled=row["verdict"] != UNDECIDED), shift, scale)  # fmt: skip
    for y, key in enumerate(order):
        if known[key].margin:
            ax.vlines(scale * known[key].direction * known[key].margin, y - 0.4, y + 0.4, color="0.3", lw=0.8)
    ax.axvline(0, color="0.3", lw=0.8)
    ax.set_yticks(range(len(order)), [f"{k} {'▲' if known[k].direction > 0 else '▼'}" for k in order], fontsize=8)
    ax.grid(False, axis="y")
    for edge in range(1, len(order)):
        other = known[order[edge]].level != known[order[edge - 1]].level
        ax.axhline(edge - 0.5, color="0.5" if other else "0.88", lw=1.0 if other else 0.6, zorder=0)
