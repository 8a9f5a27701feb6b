"""The chapter on teachers too good: how students follow the teacher's accuracy, and what it has to say."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.stats import spearmanr

from kdstudy.figures.primitives import legend, lines, value_axis
from kdstudy.figures.shared.teachers import CHANGED, of_teacher
from kdstudy.figures.style import Look, finish, nothing, panels, ramp
from kdstudy.figures.tables import by_dataset, in_order
from kdstudy.stats import paired
from kdstudy.study.measures import measure as known_measure

REMEDIES = {"crossfitted": Look("black", "*", "cross-fitted", ":"), "assistant": Look("black", "X", "assistant")}
PARTS = {"study": "own", "largest": "widest, longest", "early": "fewer epochs", "crossfitted": "cross-fitted",
         "assistant": "assistant"}  # fmt: skip


def against(students: pd.DataFrame, teachers: pd.DataFrame, remedies: Mapping[str, pd.DataFrame]) -> Figure:
    """The student's test accuracy against its teacher's, means over seeds: colour the epochs, marker the width.

    `students` and the parts of `remedies` have each teacher's students at their best setting.
    """
    if students.empty:
        return nothing("no KD student is among the runs")
    columns = {"right": "test_accuracy", "size": "size", "length": "length"}
    frame = of_teacher(students, teachers, columns)
    colours, shapes = ramp(frame["length"], CHANGED["length"][1]), ramp(frame["size"], CHANGED["size"][1])
    figure, axes = panels(in_order(students["dataset"]), height=2.7)
    for dataset, ax in axes.items():
        for (length, size), group in frame[frame["dataset"] == dataset].groupby(["length", "size"]):
            ax.plot(*group[["right", "test_accuracy"]].mean(), shapes[size].marker, ms=6, color=colours[length].colour,
                    mec="white", mew=0.5)  # fmt: skip
        for name, part in remedies.items():
            group = of_teacher(part[part["dataset"] == dataset], teachers, columns)
            ax.plot(*group[["right", "test_accuracy"]].mean(), REMEDIES[name].marker, ms=8, color="black")
        value_axis(ax, "test_accuracy")
        value_axis(ax, "test_accuracy", which="x")
        ax.set(xlabel="teacher's test accuracy (%)", ylabel="KD student's\ntest accuracy (%)")
    keys = [how._replace(marker="o") for how in colours.values()] + [s._replace(colour="0.5") for s in shapes.values()]
    keys += [REMEDIES[name] for name in remedies]
    legend(figure, 5, handles=[Line2D([], [], color=k.colour, marker=k.marker, ls="", label=k.name) for k in keys])
    return finish(figure, students, "means over seeds · KD at each teacher's best setting on validation")


def amounts(students: pd.DataFrame, teachers: pd.DataFrame, crossfitted: pd.DataFrame) -> Figure:
    """How much the targets vary within classes, E|rho - E[rho | t]|^2, against the temperature.

    A line a teacher of the study's own width, by its epochs; black: cross-fitted targets.
    """
    frame = of_teacher(students, teachers, {"size": "size", "length": "length"})
    frame = frame[frame["size"] == 1]
    both = pd.concat([frame, crossfitted.assign(length=0.0)]) if len(frame) else frame  # fits no length of its own
    by = ["dataset", "length", "tau"]
    rows = paired.summary(_once(both), "target_instance", by) if len(both) else both

    def log_amount(ax: Axes, _: str) -> None:
        ax.set_yscale("log")
        ax.set_ylabel("instance part of the targets", fontsize=8)

    looks = ramp(frame["length"], CHANGED["length"][1]) | {0.0: REMEDIES["crossfitted"]}
    return lines(rows, frame, "tau", looks, by="length", dodge=False, decorate=log_amount, height=2.5, ncols=5,
                 note="teachers of the study's own width · bars: 95 % t intervals over seeds",
                 why="no KD student of a teacher of the study's own width is among the runs")  # fmt: skip


def _once(students: pd.DataFrame) -> pd.DataFrame:
    """One student for each data set, temperature and seed: the targets of KD do not depend on its weight."""
    return students.drop_duplicates(["dataset", "tau", "seed", "teacher"])


def follows(students: pd.DataFrame, teachers: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """Rank correlation, over the teachers of each seed, of a teacher's measure with its student's test accuracy.

    Mean over seeds of Spearman's coefficient; the intervals of a data set hold jointly. Seeds on which either is
    constant or unknown have none. `students` are each teacher's at their best setting.
    """
    frame, rows = of_teacher(students, teachers, {f"its_{m}": m for m in measures}), []
    for dataset, group in frame.groupby("dataset", sort=False):
        count = group["teacher"].nunique() // group["seed"].nunique()
        for measure in measures:
            pairs = [g[[f"its_{measure}", "test_accuracy"]] for _, g in group.groupby("seed")]
            ranked = [spearmanr(p).statistic for p in pairs if (p.nunique() > 1).all()]
            if ranked:
                i = paired.interval(ranked, family=len(measures))
                rows.append((dataset, known_measure(measure).label, i.mean, i.low, i.high, count, i.n))
    return pd.DataFrame(rows, columns=["dataset", "measure", "correlation", "low", "high", "teachers", "n"])


def listened(tables: Mapping[str, pd.DataFrame], teachers: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """Means over seeds of measures of the teachers that the best KD students of each part listen to, and n."""
    found = []
    for part, name in PARTS.items():
        students = tables[part][tables[part]["condition"] == "kd"]
        keys = paired.tuned(students)["teacher"] if len(students) else ()
        found.append(teachers[teachers["key"].isin(keys)].assign(teacher=name))
    frame = pd.concat(found)
    return paired.levels(by_dataset(frame, frame["dataset"]), measures, ["dataset", "teacher"])
