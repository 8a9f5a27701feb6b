"""How fast the study trains, drawn from what `make bench` measured: every figure says hardware, n and versions."""

import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from scipy import stats as scipy_stats

from kdstudy import speed, speed_ways
from kdstudy.style import BLUE, GREY, ORANGE, WIDTH, log_ticks, nothing, panels

MARKERS = "oDs^vP*Xh<>d"


def finish(figure: Figure, frame: pd.DataFrame, note: str) -> Figure:
    """Lay out, add the line of facts, and close (a notebook shows the returned figure once)."""
    figure.tight_layout()
    text = textwrap.fill(f"{speed.facts(frame)} · {note}", 115)
    figure.text(0.5, -0.01, text, ha="center", va="top", fontsize=7.5, color="0.25")
    plt.close(figure)
    return figure


def ratios(table: pd.DataFrame, frame: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Ratios as points with their range over repeats, a row each, named by these columns; 1 marked."""
    if table.empty:
        return nothing("no ratio was measured")
    figure, ax = plt.subplots(figsize=(WIDTH, 0.9 + 0.32 * len(table)))
    for y, row in enumerate(table.to_dict("records")):
        ax.plot([row["lowest"], row["highest"]], [y, y], color=BLUE, lw=1.3)
        ax.plot(row["ratio"], y, "o", ms=5, color=BLUE)
        ax.annotate(
            f"{row['ratio']:.2f}", (row["highest"], y), (6, 0), textcoords="offset points", va="center", fontsize=8
        )
    ax.axvline(1, color="0.3", lw=0.8)
    labels = [", ".join(_named(name, row[name]) for name in names) for row in table.to_dict("records")]
    ax.set_yticks(range(len(table)), labels)
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.set_xlim(0, 1.1 * table["highest"].max())
    ax.set_xlabel("ratio of rates")
    return finish(figure, frame, "point: median over repeats, line: lowest to highest")


def _named(name: str, value: object) -> str:
    return f"against {value}" if name == "against" else f"{name} {value}" if name == "batch" else str(value)


def ways(frame: pd.DataFrame) -> Figure:
    """Images per second against R, a line for each way with every core, a panel for each network and device."""
    found = speed_ways.whole(speed_ways.rates(frame))
    if found.empty:
        return nothing("no way was measured")
    kinds = {tuple(k): i for i, k in enumerate(found[["way", "dtype", "layout"]].drop_duplicates().to_numpy())}
    groups = {f"{net}, {speed.DEVICES[d]}": g for (net, d), g in found.groupby(["net", "device"], sort=False)}
    figure, axes = panels(list(groups), height=3.0)
    colours = plt.get_cmap("tab20")
    for name, ax in axes.items():
        for kind, rows in groups[name].groupby(["way", "dtype", "layout"], sort=False):
            i = kinds[kind]
            ax.plot(rows["r"], rows["rate"], marker=MARKERS[i % len(MARKERS)], ms=4, lw=1.3, color=colours(i % 20),
                    label=speed_ways.said(dict(zip(("way", "dtype", "layout"), kind))))  # fmt: skip
        log_ticks(ax, sorted(map(float, groups[name]["r"].unique())), "networks side by side, R")
        _log_rate(ax)
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", bbox_to_anchor=(0.5, 0.995), ncols=3, fontsize=7)
    return finish(figure, frame, "medians, every core in use")


def _log_rate(ax: Axes) -> None:
    ax.set_yscale("log")
    ax.set_ylabel("training images per second")
    ax.yaxis.set_minor_formatter(NullFormatter())


def fractions(frame: pd.DataFrame, limits: pd.DataFrame) -> Figure:
    """GFLOP/s of training as a part of the best matrix product of the same precision on as many cores."""
    table = speed_ways.fractions(frame, limits)
    if table.empty:
        return nothing("ways and ceilings were not both measured")
    table = table[table["r"] == table["r"].min()].sort_values(["hardware", "used", "fraction"])
    figure, ax = plt.subplots(figsize=(WIDTH, 0.9 + 0.26 * len(table)))
    names = [f"{speed_ways.said(r)}, {r['used']} cores" for r in table.to_dict("records")]
    ax.barh(
        range(len(table)), 100 * table["fraction"], color=[GREY if t == "float32" else ORANGE for t in table["dtype"]]
    )
    for y, row in enumerate(table.to_dict("records")):
        ax.text(
            100 * row["fraction"], y, f" {row['gflops']:.0f} of {row['ceiling']:.0f} GFLOP/s", va="center", fontsize=7.5
        )
    ax.set_yticks(range(len(table)), names, fontsize=8)
    ax.set_xlim(0, 1.35 * 100 * table["fraction"].max())
    ax.set_xlabel("of the best matrix product (%)")
    return finish(figure, pd.concat([frame, limits]), f"one network, R = {table['r'].min()}")


def growth(frame: pd.DataFrame) -> Figure:
    """Seconds against the number of runs, conditions and epochs, with the line through them."""
    if frame.empty:
        return nothing("no growth was measured")
    groups = {f"{kind}, {speed.DEVICES[d]}, by {axis}": g
              for (d, kind, axis), g in frame.groupby(["device", "kind", "axis"], sort=False)}  # fmt: skip
    figure, axes = panels([*groups], height=2.2, wide=3)
    for name, ax in axes.items():
        n, seconds = groups[name]["n"], groups[name]["seconds"]
        line = scipy_stats.linregress(n, seconds)
        ends = np.array([0, n.max()])
        ax.plot(ends, line.intercept + line.slope * ends, color=GREY, lw=1.2)
        ax.plot(n, seconds, "o", ms=3.5, color=BLUE, mfc="none")
        ax.set_title(name, fontsize=8)
        ax.set_xlim(left=0)
        ax.set_ylim(bottom=0)
        ax.set_xlabel(f"number of {groups[name]['axis'].iloc[0]}", fontsize=8)
        ax.set_ylabel("seconds", fontsize=8)
    return finish(figure, frame, "points: timings, line: least squares")
