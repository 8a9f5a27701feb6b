"""How fast the study trains, drawn from what `make bench` measured: every figure says hardware, n and versions."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from scipy import stats as scipy_stats

from kdstudy.figures.primitives import legend, line, log_ticks, row_axis, row_dots
from kdstudy.figures.style import BLUE, GREY, ORANGE, Look, finish_with, nothing, panels
from kdstudy.study import speed

MARKERS = "oDs^vP*Xh<>d"
KIND = ["way", "dtype", "layout"]


def _finish(figure: Figure, frame: pd.DataFrame, note: str) -> Figure:
    return finish_with(figure, f"{speed.facts(frame)} · {note}")


def ratios(table: pd.DataFrame, frame: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Ratios as points with their range over repeats, a row each, named by these columns; 1 marked."""
    if table.empty:
        return nothing("no ratio was measured")
    labels = [", ".join(_labelled(name, row[name]) for name in names) for row in table.to_dict("records")]
    rows = table.rename(columns={"ratio": "mean", "lowest": "low", "highest": "high"}).assign(row=labels)
    figure, axes = panels([""], 0.9 + 0.32 * len(table))
    ax = axes[""]
    row_dots(ax, rows, "row", labels, lambda _: Look(BLUE))
    for y, row in enumerate(rows.to_dict("records")):
        ax.annotate(f"{row['mean']:.2f}", (row["high"], y), (6, 0), textcoords="offset points", va="center", fontsize=8)
    ax.axvline(1, color="0.3", lw=0.8)
    ax.set_xlim(0, 1.1 * rows["high"].max())
    ax.set_xlabel("ratio of rates")
    return _finish(figure, frame, "point: median over repeats, line: lowest to highest")


def _labelled(name: str, value: object) -> str:
    return f"against {value}" if name == "against" else f"{name} {value}" if name == "batch" else str(value)


def ways(frame: pd.DataFrame) -> Figure:
    """Images per second against R, a line for each way with every core, a panel for each network and device."""
    found = speed.whole(speed.rates(frame))
    if found.empty:
        return nothing("no way was measured")
    kinds = [tuple(k) for k in found[KIND].drop_duplicates().to_numpy()]
    colours = plt.get_cmap("tab20")
    looks = {k: Look(colours(i % 20), MARKERS[i % len(MARKERS)], speed.way_name(dict(zip(KIND, k))))
             for i, k in enumerate(kinds)}  # fmt: skip
    groups = {f"{net}, {speed.DEVICES[d]}": g for (net, d), g in found.groupby(["net", "device"], sort=False)}
    figure, axes = panels(list(groups), height=3.0)
    for name, ax in axes.items():
        for kind, rows in groups[name].groupby(KIND, sort=False):
            line(ax, rows.rename(columns={"rate": "mean"}), "r", looks[kind])
        log_ticks(ax, sorted(map(float, groups[name]["r"].unique())), "networks side by side, R")
        ax.set_yscale("log")
        ax.set_ylabel("training images per second")
        ax.yaxis.set_minor_formatter(NullFormatter())
    legend(figure, 3, fontsize=7)
    return _finish(figure, frame, "medians, every core in use")


def fractions(frame: pd.DataFrame, limits: pd.DataFrame) -> Figure:
    """GFLOP/s of training as a part of the best matrix product of the same precision on as many cores."""
    table = speed.fractions(frame, limits)
    if table.empty:
        return nothing("ways and ceilings were not both measured")
    table = table[table["r"] == table["r"].min()].sort_values(["hardware", "used", "fraction"], ascending=False)
    figure, axes = panels([""], 0.9 + 0.26 * len(table))
    ax, share = axes[""], 100 * table["fraction"]
    ax.barh(range(len(table)), share, color=[GREY if t == "float32" else ORANGE for t in table["dtype"]])
    for y, (x, row) in enumerate(zip(share, table.to_dict("records"))):
        ax.text(x, y, f" {row['gflops']:.0f} of {row['ceiling']:.0f} GFLOP/s", va="center", fontsize=7.5)
    row_axis(ax, [f"{speed.way_name(r)}, {r['used']} cores" for r in table.to_dict("records")], 8)
    ax.set_xlim(0, 1.35 * share.max())
    ax.set_xlabel("of the best matrix product (%)")
    return _finish(figure, pd.concat([frame, limits]), f"one network, R = {table['r'].min()}")


def growth(frame: pd.DataFrame) -> Figure:
    """Seconds against the number of runs, conditions and epochs, with the line through them."""
    if frame.empty:
        return nothing("no growth was measured")
    groups = {f"{kind}, {speed.DEVICES[d]}, by {axis}": g
              for (d, kind, axis), g in frame.groupby(["device", "kind", "axis"], sort=False)}  # fmt: skip
    figure, axes = panels([*groups], height=2.2, wide=3)
    for name, ax in axes.items():
        n, seconds = groups[name]["n"], groups[name]["seconds"]
        fitted = scipy_stats.linregress(n, seconds)
        ends = np.array([0, n.max()])
        ax.plot(ends, fitted.intercept + fitted.slope * ends, color=GREY, lw=1.2)
        ax.plot(n, seconds, "o", ms=3.5, color=BLUE, mfc="none")
        ax.set_title(name, fontsize=8)
        ax.set_xlim(left=0)
        ax.set_ylim(bottom=0)
        ax.set_xlabel(f"number of {groups[name]['axis'].iloc[0]}", fontsize=8)
        ax.set_ylabel("seconds", fontsize=8)
    return _finish(figure, frame, "points: timings, line: least squares")
