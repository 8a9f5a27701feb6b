"""What teachers are, and what students of one teacher gain over students of another."""

import textwrap
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdstudy.engine import teacher_statistics as anatomy
from kdstudy.figures.primitives import heat, legend, line, setting_axis, strongest
from kdstudy.figures.style import DARK, SETTINGS, Look, as_percent, finish, measure_label, nothing, panels, ramp
from kdstudy.figures.tables import by_dataset, in_order, sign
from kdstudy.stats import paired
from kdstudy.study import array_metrics
from kdstudy.study.measures import measure as known_measure

CHANGED = {  # what teachers differ in: column -> (axis, one value in a legend)
    "teacher_epsilon": (SETTINGS["teacher_epsilon"][0], "ε = {:g}"),
    "size": (SETTINGS["size"][0], "width × {:.2g}"),
    "length": (SETTINGS["length"][0], "epochs × {:.2g}"),
    "tau": (SETTINGS["tau"][0], "τ = {:g}"),
}
_AT_TAU = {"universe": "universe share", "domain": "domain share",
           "instance": "instance share", "mass": "mass off the label"}  # fmt: skip
OF_TEACHERS = "the networks named are the teachers · bars: 95 % t intervals over seeds"
SMALLEST = 0.005  # half a point: smaller differences are not shown in the strongest colours


def described(teachers: pd.DataFrame, study: pd.DataFrame) -> pd.DataFrame:
    """Teachers with their statistics and what was changed in them: `teacher_epsilon`, and `size` and `length`.

    The last two are hidden units and epochs over those of the teachers that the students in `study` listen to.
    """
    every = teachers.join(array_metrics.anatomies(teachers))
    smoothing = every["epsilon"].fillna(0.0) if "epsilon" in every else 0.0
    every = every.assign(teacher_epsilon=smoothing, size=every["hidden"].map(_units), length=every["epochs"])
    own = every[every["key"].isin(study["teacher"])].groupby("dataset")[["size", "length"]].first()
    return every.assign(**{name: every[name] / every["dataset"].map(own[name]) for name in own})


def _units(hidden: str) -> float:
    """Hidden units of all layers, from a table's column `hidden`."""
    return float(sum(map(int, str(hidden).split("x"))))


def of_teacher(students: pd.DataFrame, teachers: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """Students by data set with columns of the teacher that each listens to: new names -> the teachers' own."""
    table = teachers.drop_duplicates("key").set_index("key")
    joined = students.assign(**{new: students["teacher"].map(table[old]) for new, old in columns.items()})
    return by_dataset(joined, students["dataset"])


def _at_tau(measure: str) -> tuple[str, str] | None:
    """What a statistic of teachers at a temperature is, and the temperature; None for any other measure."""
    kind, _, tau = measure.rpartition("_")
    return (_AT_TAU[kind], tau) if kind in _AT_TAU and measure in anatomy.NAMES else None


def teacher_label(measure: str) -> str:
    """A measure of teachers as an axis says it; a statistic at a temperature with it."""
    if found := _at_tau(measure):
        return f"{found[0]},\nτ = {found[1]} (%)"
    return textwrap.fill(measure_label(measure), 26)


def portraits(frame: pd.DataFrame, x: str, measures: Sequence[str], by: str = "") -> Figure:
    """Measures of teachers against what was changed in them, a line a value of `by`: a row a measure, a column a data
    set.
    """
    if frame.empty or frame[x].nunique() < 2:
        return nothing(f"no teachers that differ in: {CHANGED[x][0]}")
    names = in_order(frame["dataset"])
    cells = [(m, d) for m in measures for d in names]
    figure, axes = panels([f"{m}|{d}" for m, d in cells], height=1.8, wide=len(names))
    looks = ramp(frame[by], CHANGED[by][1]) if by else {}
    for (measure, dataset), ax in zip(cells, axes.values()):
        rows = frame[frame["dataset"] == dataset]
        setting_axis(ax, x, rows[x])
        for value, group in rows.groupby(by) if by else [(None, rows)]:
            line(ax, paired.summary(group, measure, [x]), x, looks.get(value, Look(DARK)))
        ax.tick_params(labelsize=8)
        ax.set_title(dataset if measure == measures[0] else "")
        ax.set_ylabel(teacher_label(measure) if dataset == names[0] else "", fontsize=8)
        if measure != measures[-1]:
            ax.set_xlabel("")
        if known_measure(measure).percent or _at_tau(measure):
            ax.yaxis.set_major_formatter(as_percent)
    legend(figure)
    return finish(figure, frame, OF_TEACHERS)


def maps(rows: pd.DataFrame, frame: pd.DataFrame, x: str, y: str, panel: str = "dataset", note: str = "") -> Figure:
    """Differences in points over two settings, bold where the interval excludes 0: a row a data set."""
    if rows.empty:
        return nothing("no students of teachers that differ")
    cells = in_order(zip(rows["dataset"], rows[panel]))
    wide = 2 if panel == "dataset" else rows[panel].nunique()
    figure, axes = panels([f"{d}|{p}" for d, p in cells], height=0.85 + 0.26 * rows[y].nunique(), wide=wide)
    for (dataset, value), ax in zip(cells, axes.values()):
        mine = rows[rows["dataset"] == dataset]
        ax.set_title(dataset if panel == "dataset" else f"{dataset}, α = {value:g}")
        _map(ax, mine[mine[panel] == value], x, y, strongest(mine["difference"], least=SMALLEST))
    note = "bold: 95 % paired t interval excludes 0, jointly over each panel" + (f" · {note}" if note else "")
    return finish(figure, frame, note)


def _map(ax: Axes, rows: pd.DataFrame, x: str, y: str, top: float) -> None:
    """One panel of `maps`; a cell without a difference stays empty."""
    rows = rows.assign(text=[f"{100 * d:+.1f}" for d in rows["difference"]],
                       clear=[sign(r) != "contains" for r in rows.to_dict("records")])  # fmt: skip
    table, text, clear = (rows.pivot(index=y, columns=x, values=v) for v in ("difference", "text", "clear"))
    short = {"columns": "{:.2g}".format, "index": "{:.2g}".format}
    heat(ax, table.rename(**short), top, text=text, bold=clear.eq(True), upward=True)
    ax.set_xlabel(CHANGED[x][0], fontsize=8)
    ax.set_ylabel(CHANGED[y][0].replace(" × ", "\n× ").replace("label ", "label\n"), fontsize=8)
