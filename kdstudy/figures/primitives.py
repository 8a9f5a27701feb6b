"""The three things that figures are made of: lines (means with intervals against x), dots (one a row), heat maps.

`lines` and `dots` make whole figures of tables with the columns mean (or difference, or effect), low and high; `line`,
`row_dots` and `heat` draw on one panel. Limits that are missing or infinite, as of one seed, are not drawn.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter, ScalarFormatter

from kdstudy.figures.style import (
    DARK,
    SETTINGS,
    SIGNS,
    Look,
    as_percent,
    condition_name,
    drawn,
    finish,
    look,
    measure_label,
    nothing,
    panels,
)
from kdstudy.figures.tables import in_order, sign
from kdstudy.stats import paired
from kdstudy.study import measures

Decorate = Callable[[Axes, str], None]  # what a figure adds to a panel: (the panel, its name)

# ---------------------------------------------------------------- axes and legends


def value_axis(ax: Axes, measure: str, difference: str = "", which: str = "y") -> None:
    """An axis of a measure, fractions shown as percent; as a `difference` ("difference in", ...) with 0 marked."""
    label = measure_label(measure, difference)
    label = label.replace(f"{difference} ", f"{difference}\n", 1) if difference else label
    getattr(ax, f"set_{which}label")(label, fontsize=8)
    percent = measures.measure(measure).percent
    getattr(ax, f"{which}axis").set_major_formatter(as_percent if percent else ScalarFormatter())
    if difference:
        (ax.axhline if which == "y" else ax.axvline)(0, color="0.3", lw=0.8)


def log_ticks(ax: Axes, values: Sequence[float] | paired.Values, label: str) -> None:
    """A logarithmic x axis with a tick at each value, named where there is room."""
    ax.set_xscale("log")
    names, last = [], 0.0
    for v in values:
        names.append(f"{v:g}" if v > 1.6 * last else "")
        last = v if names[-1] else last
    ax.set_xticks(values, names)
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel(label)


def setting_axis(ax: Axes, setting: str, values: Iterable[float]) -> None:
    """The x axis of a setting of `SETTINGS`, with a tick at each value; of anything else, by its name."""
    label, log = SETTINGS.get(setting, (setting, False))
    ticks = sorted({float(v) for v in values if pd.notna(v)})
    if log and ticks:
        return log_ticks(ax, ticks, label)
    if setting in SETTINGS and setting != "teacher_epsilon":
        ax.set_xticks(ticks, [as_percent(t) if label.endswith("(%)") else f"{t:g}" for t in ticks])
    ax.set_xlabel(label)


def row_axis(ax: Axes, names: Sequence[object], fontsize: float | None = None) -> None:
    """A y axis with one row for each name, the first on top."""
    ax.set_yticks(range(len(names)), [drawn(condition_name(n)).replace(" x ", " × ") for n in names], fontsize=fontsize)
    ax.set_ylim(len(names) - 0.5, -0.5)


GAP = 0.05  # inches between a legend and the panels below it, however tall they are


def legend(figure: Figure, ncols: int = 4, **kw: object) -> None:
    """One legend above all panels, of everything that any of them names; `kw` as matplotlib's legend has it."""
    found = {name: handle for ax in figure.axes for handle, name in zip(*ax.get_legend_handles_labels())}
    handles = kw.pop("handles", list(found.values()))
    if handles:
        kw = {"fontsize": 8, "ncols": min(ncols, len(handles))} | kw
        figure.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1 + GAP / figure.get_figheight()), **kw)


# ---------------------------------------------------------------- lines


def line(ax: Axes, rows: pd.DataFrame, x: str, how: Look) -> None:
    """Means (or differences, or effects) with their intervals against a column."""
    rows = rows.sort_values(x)
    middle, error = _limits(rows)
    colour, marker, name, dash, filled = how
    ax.errorbar(rows[x], middle, error, color=colour, marker=marker, ms=7 if marker == "*" else 4, lw=1.3, ls=dash,
                mfc=colour if filled else "white", elinewidth=1, capsize=0, label=name or None)  # fmt: skip


def _limits(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Middles, and how far below and above the limits lie: 0 where there are none."""
    middle = rows[next(c for c in ("mean", "difference", "effect") if c in rows)].to_numpy(float)
    if not {"low", "high"} <= {*rows}:
        return middle, np.zeros((2, len(rows)))
    error = np.abs(rows[["low", "high"]].to_numpy(float).T - middle)
    return middle, np.where(np.isfinite(error), error, 0)


def lines(
    rows: pd.DataFrame, frame: pd.DataFrame, x: str, looks: Mapping[object, Look] | None = None, *,
    by: str = "condition", panel: str = "dataset", measure: str = "test_accuracy", difference: str = "",
    dodge: bool = True, decorate: Decorate | None = None, note: str = "bars: 95 % t intervals over seeds",
    why: str = "no data set has the conditions that this compares", height: float = 2.6, wide: int = 2,
    ncols: int = 4, **kw: object,
) -> Figure:  # fmt: skip
    """Rows against x: a panel for each value of `panel`, a line for each value of `by` that `looks` has, in its order.

    `looks` is by default that of conditions; `difference` makes the y axis one of differences in the measure; `dodge`
    sets lines side by side; `decorate` adds to a panel; `frame` holds the runs that the figure rests on; without rows
    the figure says `why`; `kw` goes to `panels`.
    """
    if rows.empty:
        return nothing(why)
    looks = {c: look(c) for c in in_order(rows[by])} if looks is None else looks
    figure, axes = panels(in_order(rows[panel]), height, wide, **kw)
    for name, ax in axes.items():
        mine = rows[rows[panel] == name]
        setting_axis(ax, x, mine[x])
        value_axis(ax, measure, difference)
        drawn = [k for k in looks if (mine[by] == k).any()]
        for i, k in enumerate(drawn):
            one = mine[mine[by] == k]
            line(ax, one.assign(**{x: _dodged(ax, one[x], mine[x], i, len(drawn))}) if dodge else one, x, looks[k])
        if decorate:
            decorate(ax, name)
    legend(figure, ncols)
    return finish(figure, frame, note)


def _dodged(ax: Axes, values: pd.Series, every: pd.Series, i: int, n: int) -> pd.Series:
    """The places of line i of n, side by side around the values."""
    step = i - (n - 1) / 2
    if ax.get_xscale() == "log":
        return values * 1.04**step
    return values + min(0.015, 0.06 / n) * step * (every.max() - every.min())


# ---------------------------------------------------------------- dots


def sign_look(row: Mapping[str, object]) -> Look:
    """How a difference is drawn by where its interval lies."""
    return SIGNS[sign(row)]


def row_dots(
    ax: Axes, rows: pd.DataFrame, row: str, names: Sequence[object], how: Callable[[Mapping], Look] = sign_look,
    shift: float = 0.0, scale: float = 1.0,
) -> None:  # fmt: skip
    """A dot with its interval on the row of each name, values of the column `row`; `how` says a record's look."""
    for record, middle, (low, high) in zip(rows.to_dict("records"), *(v.T for v in _limits(rows))):
        y, (colour, marker, name, _, filled) = names.index(record[row]) + shift, how(record)
        ax.errorbar(scale * middle, y, xerr=scale * np.array([[low], [high]]), color=colour, marker=marker, ms=5,
                    ls="", mfc=colour if filled else "white", elinewidth=1.5, label=name or None)  # fmt: skip
    row_axis(ax, names)


def dots(
    rows: pd.DataFrame, frame: pd.DataFrame, row: str, how: Callable[[Mapping], Look] = sign_look, *,
    panel: str = "dataset", measure: str = "test_accuracy", difference: str = "difference in", side_by_side: str = "",
    named: bool = False, decorate: Decorate | None = None, note: str = "",
    why: str = "no data set has all the conditions that this compares", wide: int = 2, head: float = 0.0, **kw: object,
) -> Figure:  # fmt: skip
    """A dot for each row of the table: a panel for each value of `panel`, a line for each value of the column `row`.

    Values of the column `side_by_side` share a line, one below the other. With `named` a legend says what the looks
    are. The x axis is one of the measure, or of its `difference` with 0 marked. `head`: inches for tall titles.
    """
    if rows.empty:
        return nothing(why)
    names, sides = in_order(rows[row]), in_order(rows[side_by_side]) if side_by_side else [None]
    figure, axes = panels(in_order(rows[panel]), head + 0.8 + 0.24 * max(3, len(names)), wide, **{"sharey": True} | kw)
    for name, ax in axes.items():
        for i, side in enumerate(sides):
            mine = rows[(rows[panel] == name) & ((rows[side_by_side] == side) if side_by_side else True)]
            row_dots(ax, mine, row, names, how, 0.3 * (i - (len(sides) - 1) / 2))
        value_axis(ax, measure, difference, "x")
        if decorate:
            decorate(ax, name)
    if named:
        legend(figure)
    return finish(figure, frame, note)


# ---------------------------------------------------------------- heat maps

GAINS, LIKENESS = "PuOr_r", "RdBu_r"  # colour maps: differences around 0, correlations


def strongest(values: pd.DataFrame | pd.Series | np.ndarray, quantile: float = 0.75, least: float = 0.0) -> float:
    """The size from which values have the strongest colours: a few extreme ones must not leave the rest white."""
    return max(float(np.nanquantile(np.abs(np.asarray(values, float)), quantile)), least)


def heat(
    ax: Axes, table: pd.DataFrame, top: float, *, bottom: float | None = None, colours: str = GAINS,
    text: pd.DataFrame | None = None, bold: pd.DataFrame | None = None, upward: bool = False, fontsize: float = 8,
    ticks: bool = True,
) -> AxesImage:  # fmt: skip
    """A table as a heat map from `bottom` (by default -top) to `top`, its index and columns as ticks.

    `text` is written into the cells, in bold where `bold` has True; empty cells stay empty. `upward` has the first row
    at the bottom, as an axis has its least value.
    """
    ax.grid(False)
    image = ax.imshow(table.to_numpy(float), cmap=colours, vmin=-top if bottom is None else bottom, vmax=top,
                      aspect="auto", origin="lower" if upward else "upper", interpolation="nearest")  # fmt: skip
    for y, x in np.argwhere(text.notna().to_numpy()) if text is not None else ():
        dark = abs(table.iat[y, x]) > 0.75 * top
        ax.text(x, y, text.iat[y, x], ha="center", va="center", fontsize=fontsize, color="white" if dark else "black",
                weight="bold" if bold is not None and bold.iat[y, x] else "normal")  # fmt: skip
    names = ([f"{v:g}" if isinstance(v, float) else v for v in index] for index in (table.columns, table.index))
    for which, shown in zip("xy", names):
        getattr(ax, f"set_{which}ticks")(range(len(shown)) if ticks else [], shown if ticks else [], fontsize=fontsize)
    return image


def frame_cell(ax: Axes, x: int, y: int, colour: object = "black") -> None:
    """A frame around one cell of a heat map."""
    ax.add_patch(Rectangle((x - 0.48, y - 0.48), 0.96, 0.96, fill=False, ec=colour, lw=1.4))


def colour_bar(figure: Figure, image: AxesImage, label: str) -> Figure:
    """One colour bar to the right of all panels of a finished figure."""
    boxes = [a.get_position() for a in figure.axes if a.get_visible()]
    low, high = min(b.y0 for b in boxes), max(b.y1 for b in boxes)
    scale = figure.colorbar(image, cax=figure.add_axes((1.005, low + 0.1, 0.014, high - low - 0.2)), extend="both")
    scale.set_label(label, fontsize=8)
    scale.ax.tick_params(labelsize=7)
    return figure


def reference(ax: Axes, x: paired.Values, y: paired.Values, name: str = "", colour: object = DARK) -> None:
    """What theory expects, as a thin dashed curve."""
    ax.plot(x, y, color=colour, lw=1.1, ls="--", zorder=1, label=name or None)
