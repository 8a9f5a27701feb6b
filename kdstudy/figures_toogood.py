"""Figures of the chapter on teachers too good: how students follow the teacher's accuracy, and what it has to say."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from kdstudy import stats
from kdstudy.figures_teachers import CHANGED, LINES, bars, every_legend, heard
from kdstudy.style import finish, log_ticks, nothing, panels, percent
from kdstudy.wording import words

REMEDIES = {"crossfitted": ("cross-fitted", "*"), "assistant": ("assistant", "X")}
PARTS = {"study": "own", "largest": "widest, longest", "early": "fewer epochs", "crossfitted": "cross-fitted",
         "assistant": "assistant"}  # fmt: skip
MARKERS = "osD^vP"


def against(students: pd.DataFrame, teachers: pd.DataFrame, remedies: Mapping[str, pd.DataFrame]) -> Figure:
    """The student's test accuracy against its teacher's, means over seeds: colour the epochs, marker the width.

    `students` and the parts of `remedies` have each teacher's students at their best setting.
    """
    if students.empty:
        return nothing("no KD student is among the runs")
    columns = {"right": "test_accuracy", "size": "size", "length": "length"}
    figure, axes = panels(list(dict.fromkeys(students["dataset"])), height=2.7)
    frame, looks = heard(students, teachers, columns), {}
    for column in ("length", "size"):
        looks[column] = {v: i for i, v in enumerate(sorted(frame[column].unique()))}
    keyed(next(iter(axes.values())), looks)
    for dataset, ax in axes.items():
        rows = frame[frame["dataset"] == dataset]
        for (length, size), group in rows.groupby(["length", "size"]):
            colour, marker = LINES[looks["length"][length] % 6][0], MARKERS[looks["size"][size] % 6]
            at = group[["right", "test_accuracy"]].mean()
            ax.plot(*at, marker, ms=6, color=colour, mec="white", mew=0.5)
        for name, part in remedies.items():
            label, marker = REMEDIES[name]
            group = heard(part[part["dataset"] == dataset], teachers, columns)
            ax.plot(*group[["right", "test_accuracy"]].mean(), marker, ms=8, color="black", label=label)
        percent(ax, "test_accuracy")
        percent(ax, "test_accuracy", "x")
        ax.set(xlabel="teacher's test accuracy (%)", ylabel="KD student's\ntest accuracy (%)")
    every_legend(figure, axes.values(), 5)
    return finish(figure, students, "means over seeds · KD at each teacher's best setting on validation")


def keyed(ax: Axes, looks: Mapping[str, Mapping[float, int]]) -> None:
    """Legend entries for colours and markers."""
    for value, i in looks["length"].items():
        ax.plot([], [], "o", color=LINES[i % 6][0], label=CHANGED["length"][1].format(value))
    for value, i in looks["size"].items():
        ax.plot([], [], MARKERS[i % 6], color="0.5", label=CHANGED["size"][1].format(value))


def amounts(students: pd.DataFrame, teachers: pd.DataFrame, crossfitted: pd.DataFrame) -> Figure:
    """How much the targets vary within classes, E|rho - E[rho | t]|^2, against the temperature.

    A line a teacher of the study's own width, by its epochs; black: cross-fitted targets.
    """
    frame = heard(students, teachers, {"size": "size", "length": "length"})
    frame = frame[frame["size"] == 1]
    if frame.empty:
        return nothing("no KD student of a teacher of the study's own width is among the runs")
    figure, axes = panels(list(dict.fromkeys(frame["dataset"])), height=2.5)
    looks = dict(zip(sorted(frame["length"].unique()), LINES * len(frame)))
    for dataset, ax in axes.items():
        mine = frame[frame["dataset"] == dataset]
        for length, group in mine.groupby("length"):
            rows = stats.summary(once(group), "target_instance", ["tau"])
            bars(ax, rows, "tau", looks[length], CHANGED["length"][1].format(length))
        cross = crossfitted[crossfitted["dataset"] == dataset]
        if len(cross):
            bars(ax, stats.summary(once(cross), "target_instance", ["tau"]), "tau", ("black", "*"), "cross-fitted", ":")
        ax.set_yscale("log")
        log_ticks(ax, sorted(mine["tau"].unique()), CHANGED["tau"][0])
        ax.set_ylabel("instance part of the targets", fontsize=8)
    every_legend(figure, axes.values(), 5)
    return finish(figure, frame, "teachers of the study's own width · bars: 95 % t intervals over seeds")


def once(students: pd.DataFrame) -> pd.DataFrame:
    """One student for each data set, temperature and seed: the targets of KD do not depend on its weight."""
    return students.drop_duplicates(["dataset", "tau", "seed", "teacher"])


def follows(students: pd.DataFrame, teachers: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """Rank correlation, over the teachers of each seed, of a teacher's measure with its student's test accuracy.

    Mean over seeds of Spearman's coefficient; the intervals of a data set hold jointly. Seeds on which either is
    constant or unknown have none. `students` are each teacher's at their best setting.
    """
    frame, rows = heard(students, teachers, {f"its_{m}": m for m in measures}), []
    for dataset, group in frame.groupby("dataset", sort=False):
        for measure in measures:
            found = [
                spearmanr(g[f"its_{measure}"], g["test_accuracy"]).statistic
                for _, g in group.groupby("seed")
                if g[f"its_{measure}"].nunique() > 1 < g["test_accuracy"].nunique()
            ]
            if found:
                i = stats.interval(found, family=len(measures))
                rows.append(
                    (
                        dataset,
                        words(measure),
                        i.mean,
                        i.low,
                        i.high,
                        group["teacher"].nunique() // group["seed"].nunique(),
                        i.n,
                    )
                )
    return pd.DataFrame(rows, columns=["dataset", "measure", "correlation", "low", "high", "teachers", "n"])


def listened(tables: Mapping[str, pd.DataFrame], teachers: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """Means over seeds of measures of the teachers that the best KD students of each part listen to, and n."""
    found = []
    for part, name in PARTS.items():
        students = tables[part][tables[part]["condition"] == "kd"]
        keys = stats.tuned(students)["teacher"] if len(students) else ()
        found.append(teachers[teachers["key"].isin(keys)].assign(teacher=name))
    frame = pd.concat(found)
    order = list(dict.fromkeys(frame["dataset"]))
    frame = frame.sort_values("dataset", key=lambda d: d.map(order.index), kind="stable")
    return stats.levels(frame, measures, ["dataset", "teacher"])
