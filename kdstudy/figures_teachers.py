"""What teachers are, and what students of one teacher gain over students of another."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from kdstudy import anatomy, derived, stats
from kdstudy.style import AXES, BLUE, GREEN, ORANGE, PERCENT, PURPLE, RED, finish, log_ticks, nothing, panels, percent
from kdstudy.wording import words

LINES = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (RED, "D"), (PURPLE, "v"), ("0.35", "P"))  # colour, marker
CHANGED = {  # what teachers differ in: column -> (axis, one value in a legend)
    "teacher_epsilon": ("teacher's label smoothing ε", "ε = {:g}"),
    "size": ("teacher's width × own", "width × {:.2g}"),
    "length": ("teacher's epochs × own", "epochs × {:.2g}"),
    "tau": ("temperature τ", "τ = {:g}"),
}
SHARES = {"universe": "universe share", "domain": "domain share",
          "instance": "instance share", "mass": "mass off the label"}  # fmt: skip
TEACHERS = "the networks named are the teachers · bars: 95 % t intervals over seeds"
SMALLEST = 0.005  # half a point: smaller differences are not shown in the strongest colours
SATURATED = 0.75  # a fourth of a panel's cells may have the strongest colours


def described(teachers: pd.DataFrame, study: pd.DataFrame) -> pd.DataFrame:
    """Teachers with their anatomy and what was changed in them: `teacher_epsilon`, and `size` and `length`.

    The last two are hidden units and epochs over those of the teachers that the students in `study` listen to.
    """
    found = teachers.join(derived.anatomies(teachers))
    smoothing = found["epsilon"].fillna(0.0) if "epsilon" in found else 0.0
    found = found.assign(teacher_epsilon=smoothing, size=found["hidden"].map(units), length=found["epochs"])
    own = found[found["key"].isin(study["teacher"])].groupby("dataset")[["size", "length"]].first()
    for name in own:
        found[name] = found[name] / found["dataset"].map(own[name])
    return found


def units(hidden: str) -> float:
    """Hidden units of all layers, from a table's column `hidden`."""
    return float(sum(map(int, str(hidden).split("x"))))


def heard(students: pd.DataFrame, teachers: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """Students with columns of the teacher that each listens to: `columns` maps new names to the teachers' own."""
    table = teachers.drop_duplicates("key").set_index("key")
    return students.assign(**{new: students["teacher"].map(table[old]) for new, old in columns.items()})


def each_tuned(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """`stats.tuned` within each data set and combination of `by`, in that order."""
    found = [stats.tuned(g) for _, part in frame.groupby("dataset", sort=False) for _, g in part.groupby(list(by))]
    return pd.concat(found) if found else frame


def changes(
    frame: pd.DataFrame,
    plain: pd.DataFrame,
    by: Sequence[str],
    shared: Sequence[str] = ("dataset",),
    panel: Sequence[str] = ("dataset",),
    measure: str = "test_accuracy",
) -> pd.DataFrame:
    """Paired differences at each combination of `by`: runs in `frame` less those in `plain` alike in `shared`.

    A run in both is not compared with itself. Intervals hold jointly over each combination of `panel`.
    """
    frame, rows = frame[~frame["key"].isin(plain["key"])], []
    for _, part in frame.groupby(list(panel), sort=False):
        groups = list(part.groupby(list(by), sort=False))
        for key, group in groups:
            cell = dict(zip(by, key))
            control = stats.where(plain, **{c: cell[c] for c in shared})
            both = pd.concat([group.assign(side="changed"), control.assign(side="plain")])
            d = stats.difference(both, {"side": "changed"}, {"side": "plain"}, measure)
            i = stats.interval(d, family=len(groups))
            rows.append(cell | {"difference": i.mean, "low": i.low, "high": i.high, "n": i.n})
    return pd.DataFrame(rows, columns=[*by, "difference", "low", "high", "n"])


def counts(found: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """How many of the differences lie, interval and all, below and above 0, for each combination of `by`."""
    signs = found.assign(cells=1, below_0=found["high"] < 0, above_0=found["low"] > 0)
    return signs.groupby(list(by), sort=False)[["cells", "below_0", "above_0"]].sum()


def named(measure: str) -> str:
    """A measure of teachers as an axis says it; those of `kdstudy.anatomy` at a temperature with it."""
    kind, _, tau = measure.rpartition("_")
    if kind in SHARES and measure in anatomy.NAMES:
        return f"{SHARES[kind]},\nτ = {tau} (%)"
    return textwrap.fill(AXES.get(measure, words(measure)), 26)


def portraits(frame: pd.DataFrame, x: str, measures: Sequence[str], line: str = "") -> Figure:
    """Measures of teachers against what was changed in them, a line a value of `line`: a row a measure, a column a data
    set.
    """
    if frame.empty or frame[x].nunique() < 2:
        return nothing(f"no teachers that differ in: {CHANGED[x][0]}")
    names = list(dict.fromkeys(frame["dataset"]))
    cells = [(m, d) for m in measures for d in names]
    figure, axes = panels([f"{m}|{d}" for m, d in cells], height=1.8, wide=len(names))
    looks = dict(zip(sorted(frame[line].unique()), LINES * len(frame))) if line else {}
    for (measure, dataset), ax in zip(cells, axes.values()):
        rows = frame[frame["dataset"] == dataset]
        for value, group in rows.groupby(line) if line else [(None, rows)]:
            label = CHANGED[line][1].format(value) if line else None
            bars(ax, stats.summary(group, measure, [x]), x, looks.get(value, ("0.25", "o")), label)
        axis(ax, x, rows[x], measure == measures[-1])
        ax.set_title(dataset if measure == measures[0] else "")
        ax.set_ylabel(named(measure) if dataset == names[0] else "", fontsize=8)
        if measure in PERCENT or measure.rpartition("_")[0] in SHARES:
            ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g}"))
    every_legend(figure, axes.values())
    return finish(figure, frame, TEACHERS)


def bars(ax: Axes, rows: pd.DataFrame, x: str, look: tuple, label: str | None, dash: str = "-") -> None:
    """Means, or differences, with their intervals against x."""
    rows = rows.rename(columns={"difference": "mean"}).sort_values(x)
    error = np.abs(rows[["low", "high"]].to_numpy().T - rows["mean"].to_numpy())
    ax.errorbar(rows[x], rows["mean"], error, color=look[0], marker=look[1], ms=4, lw=1.3, ls=dash, elinewidth=1,
                label=label)  # fmt: skip


def axis(ax: Axes, x: str, values: pd.Series, labelled: bool = True) -> None:
    """The axis of what was changed: ε, which may be 0, is linear, all else logarithmic."""
    ticks = sorted(values.unique())
    if x == "teacher_epsilon":
        ax.set_xlabel(CHANGED[x][0])
    else:
        log_ticks(ax, ticks, CHANGED[x][0])
    ax.tick_params(labelsize=8)
    if not labelled:
        ax.set_xlabel("")


def every_legend(figure: Figure, axes: Iterable[Axes], ncols: int = 4) -> None:
    """One legend above all panels, of every line that any of them has."""
    found = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels())}
    if found:
        figure.legend(found.values(), found, loc="lower center", bbox_to_anchor=(0.5, 0.995),
                      ncols=min(ncols, len(found)), fontsize=8)  # fmt: skip


def maps(found: pd.DataFrame, frame: pd.DataFrame, x: str, y: str, panel: str = "dataset", note: str = "") -> Figure:
    """Differences in points over two settings, bold where the interval excludes 0: a row a data set."""
    if found.empty:
        return nothing("no students of teachers that differ")
    cells = list(dict.fromkeys(zip(found["dataset"], found[panel])))
    wide = 2 if panel == "dataset" else found[panel].nunique()
    tall = 0.85 + 0.26 * found[y].nunique()
    figure, axes = panels([f"{d}|{p}" for d, p in cells], height=tall, wide=wide)
    for (dataset, value), ax in zip(cells, axes.values()):
        mine = found[(found["dataset"] == dataset) & (found[panel] == value)]
        ax.set_title(dataset if panel == "dataset" else f"{dataset}, α = {value:g}")
        squares(ax, mine, x, y, found[found["dataset"] == dataset]["difference"])
    note = "bold: 95 % paired t interval excludes 0, jointly over each panel" + (f" · {note}" if note else "")
    return finish(figure, frame, note)


def squares(ax: Axes, found: pd.DataFrame, x: str, y: str, scale: pd.Series) -> None:
    """One panel of `maps`, coloured on the scale of its data set; a cell without a difference stays empty."""
    table = found.pivot(index=y, columns=x, values="difference")
    top = max(float(scale.abs().quantile(SATURATED)), SMALLEST)
    ax.grid(False)
    ax.imshow(table, cmap="PuOr", vmin=-top, vmax=top, aspect="auto", origin="lower")
    for row in found.to_dict("records"):
        at = table.columns.get_loc(row[x]), table.index.get_loc(row[y])
        sure = row["low"] > 0 or row["high"] < 0
        ax.text(*at, f"{100 * row['difference']:+.1f}", ha="center", va="center", fontsize=8,
                weight="bold" if sure else "normal",
                color="white" if abs(row["difference"]) > 0.75 * top else "black")  # fmt: skip
    ax.set_xticks(range(table.shape[1]), [f"{v:.2g}" for v in table.columns], fontsize=8)
    ax.set_yticks(range(table.shape[0]), [f"{v:.2g}" for v in table.index], fontsize=8)
    ax.set_xlabel(CHANGED[x][0], fontsize=8)
    ax.set_ylabel(CHANGED[y][0].replace(" × ", "\n× ").replace("label ", "label\n"), fontsize=8)


def points(ax: Axes, measure: str = "test_accuracy") -> None:
    """A y axis of differences in a measure, 0 marked."""
    ax.axhline(0, color="0.3", lw=0.8)
    percent(ax, measure)
    ax.set_ylabel("difference in\n" + AXES[measure].replace("(%)", "(points)"), fontsize=8)
