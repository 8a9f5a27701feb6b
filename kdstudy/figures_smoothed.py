"""Figures of the chapter on smoothed teachers: how much they say, and which of their students lose by it."""

from collections import Counter

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure

from kdstudy import anatomy, runs, stats
from kdstudy.figures_teachers import CHANGED, LINES, TEACHERS, axis, bars, changes, every_legend, points
from kdstudy.style import AXES, NAMES, RED, curve, finish, log_ticks, nothing, panels, percent

ALONE = "no students of a smoothed teacher and of the plain one"


def limit(epsilon: Float[np.ndarray, " E"] | float, classes: int, tau: float) -> Float[np.ndarray, " E"] | float:
    """Mass off the label at a temperature of a teacher that fits its smoothed labels exactly.

    Its probabilities are 1 - epsilon + epsilon / C for the label, epsilon / C for any other class; so
    m = (C - 1) r^(1/tau) / (1 + (C - 1) r^(1/tau)), r the ratio of the two. The rest of the target is uniform.
    """
    others = (classes - 1) * (epsilon / classes / (1 - epsilon + epsilon / classes)) ** (1 / tau)
    return others / (1 + others)


def limits(teachers: pd.DataFrame) -> Figure:
    """Mass off the label against epsilon, a line a temperature: of teachers, and (dashed) of the exact fit."""
    if teachers.empty or not teachers["teacher_epsilon"].any():
        return nothing("no teacher among the runs is smoothed")
    figure, axes = panels(list(dict.fromkeys(teachers["dataset"])), height=2.4)
    for dataset, ax in axes.items():
        rows = teachers[teachers["dataset"] == dataset]
        classes, dense = len(runs.classes(dataset).names), np.linspace(0, rows["teacher_epsilon"].max(), 200)
        for tau, look in zip(anatomy.TAUS, LINES):
            found = stats.summary(rows, f"mass_{tau:g}", ["teacher_epsilon"])
            bars(ax, found, "teacher_epsilon", look, f"τ = {tau:g}", dash="none")
            ax.plot(dense, limit(dense, classes, tau), color=look[0], lw=1.1, ls="--")
        percent(ax, "target_mass")
        axis(ax, "teacher_epsilon", rows["teacher_epsilon"])
    every_legend(figure, axes.values())
    return finish(figure, teachers, f"{TEACHERS} · dashed: exact fit")


def paradox(teachers: pd.DataFrame, students: pd.DataFrame) -> Figure:
    """What smoothing the teacher changes in test accuracy, its own and its KD student's, against epsilon."""
    found = {
        name: changes(frame, frame[frame["teacher_epsilon"] == 0], ["dataset", "teacher_epsilon"])
        for name, frame in (("the teacher itself", teachers), ("its KD student", students))
        if len(frame)
    }
    if not any(map(len, found.values())):
        return nothing(ALONE)
    looks = {"the teacher itself": ("0.35", "s"), "its KD student": (RED, "o")}
    figure, axes = panels(list(dict.fromkeys(students["dataset"])), height=2.3)
    for dataset, ax in axes.items():
        for name, rows in found.items():
            bars(ax, rows[rows["dataset"] == dataset], "teacher_epsilon", looks[name], name)
        points(ax)
        axis(ax, "teacher_epsilon", rows["teacher_epsilon"])
    every_legend(figure, axes.values())
    return finish(figure, students, "bars: 95 % paired t intervals, jointly over each line")


def heating(students: pd.DataFrame) -> pd.DataFrame:
    """What a smoothed teacher changes at the highest temperature, less what it changes at the lowest.

    Paired, for each weight and epsilon; the intervals of a data set hold jointly. Below 0: heat makes it worse.
    """
    ends = sorted(students["tau"].unique()) if len(students) else []
    by = ["dataset", "alpha", "teacher_epsilon"]
    if len(ends) < 2:
        return changes(students[:0].assign(key=""), students[:0], by)
    warm = students.pivot(index=[*by, "seed"], columns="tau", values="test_accuracy")
    frame = (warm[ends[-1]] - warm[ends[0]]).rename("heated").reset_index()
    order = list(dict.fromkeys(students["dataset"]))
    frame = frame.sort_values("dataset", key=lambda d: d.map(order.index), kind="stable").assign(key=frame.index)
    return changes(frame, frame[frame["teacher_epsilon"] == 0], by, by[:2], measure="heated")


def by_condition(smoothed: pd.DataFrame, study: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """What smoothing the teacher changes in each condition at each temperature and this weight."""
    sides = [t[t["alpha"] == alpha] if "alpha" in t else t[:0] for t in (smoothed, study)]
    by = ["dataset", "condition", "tau"]
    return changes(*sides, by, by, panel=("dataset", "condition"))


def conditions(found: pd.DataFrame, frame: pd.DataFrame, alpha: float) -> Figure:
    """The differences of `by_condition` against the temperature, a line a condition."""
    if found.empty:
        return nothing(ALONE)
    figure, axes = panels(list(dict.fromkeys(found["dataset"])), height=2.4)
    for dataset, ax in axes.items():
        mine = found[found["dataset"] == dataset].rename(columns={"difference": "mean"})
        for i, (condition, rows) in enumerate(mine.groupby("condition", sort=False)):
            curve(ax, rows.assign(tau=rows["tau"] * 1.05 ** (i - 1.5)), "tau", condition)
        points(ax)
        log_ticks(ax, sorted(mine["tau"].unique()), CHANGED["tau"][0])
    every_legend(figure, axes.values())
    note = f"smoothed less plain teacher · bars: 95 % paired t intervals, jointly over each line · α = {alpha:g}"
    return finish(figure, frame[frame["condition"].isin(found["condition"])], note)


def split(smoothed: pd.DataFrame, study: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """What KD loses by a smoothed teacher at each temperature, taken apart; a data set's intervals hold jointly.

    kd = amount + knowledge: what matched smoothing of the same two teachers loses, which has their mass and nothing
    else, and what KD's lead over matched smoothing loses.
    """
    parts = {"KD": {"kd": 1}, "amount": {"label_smoothing_matched": 1},
             "knowledge": {"kd": 1, "label_smoothing_matched": -1}}  # fmt: skip
    rows = []
    cells = cell_tables(smoothed, study, alpha)
    family = Counter(dataset for dataset, _ in cells)
    for (dataset, tau), group in cells.items():
        for name, weights in parts.items():
            both = {f"{side}:{c}": sign * w for c, w in weights.items() for side, sign in (("on", 1), ("off", -1))}
            i = stats.interval(stats.contrast(group, both, "test_accuracy"), family=len(parts) * family[dataset])
            rows.append((dataset, tau, name, i.mean, i.low, i.high, i.n))
    return pd.DataFrame(rows, columns=["dataset", "tau", "part", "difference", "low", "high", "n"])


def cell_tables(smoothed: pd.DataFrame, study: pd.DataFrame, alpha: float) -> dict[tuple, pd.DataFrame]:
    """KD and matched smoothing of both teachers, "on" and "off", for each data set and temperature with all four."""
    pair = ["kd", "label_smoothing_matched"]
    sides = [t.assign(condition=f"{side}:" + t["condition"]) for side, t in (("on", smoothed), ("off", study))
             for t in (t[t["condition"].isin(pair)],)]  # fmt: skip
    both = pd.concat(sides)
    both = both[both["alpha"] == alpha] if "alpha" in both else both[:0]
    groups = both.groupby(["dataset", "tau"], sort=False) if len(both) else ()
    return {key: group for key, group in groups if group["condition"].nunique() == 4}


def by_mass(students: pd.DataFrame, alpha: float) -> Figure:
    """Test accuracy of KD students against the mass they are taught: a line an epsilon, a point a temperature."""
    frame = students[students["alpha"] == alpha] if "alpha" in students else students[:0]
    if frame.empty:
        return nothing(f"no KD student has the weight {alpha:g}")
    figure, axes = panels(list(dict.fromkeys(frame["dataset"])), height=2.5)
    for dataset, ax in axes.items():
        mine = frame[frame["dataset"] == dataset]
        for (epsilon, group), look in zip(mine.groupby("teacher_epsilon"), LINES * len(mine)):
            rows = stats.summary(group, "test_accuracy", ["tau"])
            rows = rows.merge(group.groupby("tau")["target_mass"].mean().reset_index())
            bars(ax, rows, "target_mass", look, CHANGED["teacher_epsilon"][1].format(epsilon))
        percent(ax, "test_accuracy")
        percent(ax, "target_mass", "x")
        ax.set_xlabel(AXES["target_mass"] + ": one point a temperature", fontsize=8)
    every_legend(figure, axes.values(), 5)
    return finish(figure, frame, f"{NAMES['kd']} · bars: 95 % t intervals over seeds · α = {alpha:g}")
