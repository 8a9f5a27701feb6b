"""The effects of every claim on every bed that votes, side by side."""

from collections.abc import Mapping

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kdstudy.figures.primitives import legend, row_dots
from kdstudy.figures.style import Look, finish, nothing, panels
from kdstudy.figures.tables import in_order
from kdstudy.study import claims
from kdstudy.study.claims import UNDECIDED, Claim
from kdstudy.study.experiment import Study
from kdstudy.study.measures import measure
from kdstudy.study.verdicts import unit

MARKERS = "os^Dv<>ph*"
LINEAR = {"points": 2, "": 0.1}  # effects up to this are drawn to scale, larger ones on a logarithmic axis
NOTE = (
    "bars: 95 % intervals · filled: decided, open: undecided · ▲ ▼ direction claimed, = none · grey: too small to count"
)


def strips(rows: pd.DataFrame, studies: Mapping[str, Study]) -> Figure:
    """The effect of every claim on every bed that votes: a panel a unit, a row a claim, a colour and marker a bed."""
    rows = rows[rows["votes"].astype(bool) & (rows["dataset"] != claims.IDENTITY)]
    if rows.empty:
        return nothing("no claim has a bed that votes")
    known, beds = {c.id: c for c in claims.load()}, in_order(rows["dataset"])
    units = {k: unit(known[k]) for k in in_order(rows["claim"])}
    tall = [
        sum(u == name for u in units.values()) * (0.09 * len(beds) + 0.1) + 0.6 for name in in_order(units.values())
    ]
    figure, axes = panels(in_order(units.values()), sum(tall) / len(tall), 1, gridspec_kw={"height_ratios": tall})
    colours = sns.color_palette("colorblind", len(beds))
    looks = {name: Look(c, m) for name, c, m in zip(beds, colours, MARKERS * len(beds))}
    for name, ax in axes.items():
        _strip(ax, rows[rows["claim"].map(units) == name], known, looks)
    keys = [Line2D([], [], color=c, marker=m, ls="", ms=5, label=bed) for bed, (c, m, *_) in looks.items()]
    legend(figure, 3, handles=keys)
    runs = pd.concat([study.tables["practical"] for study in studies.values()]).drop_duplicates("key")
    return finish(figure, runs[runs["dataset"].isin(beds)], NOTE)


def _strip(ax: Axes, rows: pd.DataFrame, known: Mapping[str, Claim], looks: Mapping[str, Look]) -> None:
    """One panel of `strips`."""
    order = in_order(rows["claim"])
    name, scale = unit(known[order[0]]), measure(known[order[0]].measure).scale
    for i, (bed, how) in enumerate(looks.items()):
        shift = 0.72 * ((i + 0.5) / len(looks) - 0.5)
        row_dots(ax, rows[rows["dataset"] == bed], "claim", order,
                 lambda row, how=how: how._replace(filled=row["verdict"] != UNDECIDED), shift, scale)  # fmt: skip
    for y, key in enumerate(order):
        ax.barh(y, 2 * scale * known[key].margin, 0.9, left=-scale * known[key].margin, color="0.9", zorder=0)
        if y and known[key].level != known[order[y - 1]].level:
            ax.axhline(y - 0.5, color="0.5", lw=1.0, zorder=0)
    ax.axvline(0, color="0.3", lw=0.8)
    ax.set_xscale("symlog", linthresh=LINEAR[name])
    signs = ["=" if known[k].rule == "equivalence" else "▲" if known[k].direction > 0 else "▼" for k in order]
    ax.set_yticks(range(len(order)), [f"{k} {sign}" for k, sign in zip(order, signs)], fontsize=8)
    ax.set_title("")
    ax.set_xlabel(f"effect ({name})" if name else "effect: rank correlation, or nats", fontsize=8)
    ax.grid(False, axis="y")
