"""The chapter on smoothed teachers: how much they say, and which of their students lose by it."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdstudy.engine import ask
from kdstudy.engine import teacher_statistics as anatomy
from kdstudy.figures.primitives import lines, reference, value_axis
from kdstudy.figures.shared.teachers import OF_TEACHERS
from kdstudy.figures.style import DARK, Look, condition_name, look, measure_label, ramp, tau_looks
from kdstudy.figures.tables import at_weight, by_dataset, in_order
from kdstudy.stats import paired
from kdstudy.study.contrasts import changes, contrasts
from kdstudy.study.theory import exact_fit_mass

ALONE = "no students of a smoothed teacher and of the plain one"
WHO = {"teacher": Look(DARK, "s", "the teacher itself"), "student": look("kd")._replace(name="its KD student")}
PARTS = {
    "KD": {"kd": 1},
    "amount": {"label_smoothing_matched": 1},
    "knowledge": {"kd": 1, "label_smoothing_matched": -1},
}


def masses(teachers: pd.DataFrame) -> Figure:
    """Mass off the label against epsilon, a line a temperature: of teachers, and (dashed) of the exact fit."""
    looks = {tau: how._replace(dash="") for tau, how in tau_looks(anatomy.TAUS).items()}
    rows = [paired.summary(teachers, f"mass_{tau:g}", ["dataset", "teacher_epsilon"]).assign(tau=tau) for tau in looks]

    def exact(ax: Axes, dataset: str) -> None:
        classes = len(ask.classes(dataset, teachers).names)
        dense = np.linspace(0, teachers.loc[teachers["dataset"] == dataset, "teacher_epsilon"].max(), 200)
        for tau, how in looks.items():
            reference(ax, dense, exact_fit_mass(dense, classes, tau), colour=how.colour)

    return lines(pd.concat(rows) if teachers["teacher_epsilon"].any() else teachers[:0], teachers, "teacher_epsilon",
                 looks, by="tau", measure="target_mass", dodge=False, decorate=exact, height=2.4,
                 note=f"{OF_TEACHERS} · dashed: exact fit", why="no teacher among the runs is smoothed")  # fmt: skip


def paradox(teachers: pd.DataFrame, students: pd.DataFrame) -> Figure:
    """What smoothing the teacher changes in test accuracy, its own and its KD student's, against epsilon."""
    by = ["dataset", "teacher_epsilon"]
    rows = pd.concat(
        changes(frame, frame[frame["teacher_epsilon"] == 0], by).assign(who=who)
        for who, frame in (("teacher", teachers), ("student", students))
    )
    return lines(rows, students, "teacher_epsilon", WHO, by="who", difference="difference in", height=2.3, why=ALONE,
                 note="bars: 95 % paired t intervals, jointly over each line")  # fmt: skip


def heating(students: pd.DataFrame) -> pd.DataFrame:
    """What a smoothed teacher changes at the highest temperature, minus what it changes at the lowest.

    Paired, for each weight and epsilon; the intervals of a data set hold jointly. Below 0: heat makes it worse.
    """
    ends = sorted(students["tau"].unique()) if len(students) else []
    by = ["dataset", "alpha", "teacher_epsilon"]
    if len(ends) < 2:
        return changes(students[:0].assign(key=""), students[:0], by)
    by_tau = students.pivot(index=[*by, "seed"], columns="tau", values="test_accuracy")
    frame = (by_tau[ends[-1]] - by_tau[ends[0]]).rename("heated").reset_index()
    frame = by_dataset(frame, students["dataset"]).assign(key=frame.index)
    return changes(frame, frame[frame["teacher_epsilon"] == 0], by, by[:2], measure="heated")


def by_condition(smoothed: pd.DataFrame, study: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """What smoothing the teacher changes in each condition at each temperature and this weight."""
    sides = [at_weight(t, alpha) for t in (smoothed, study)]
    by = ["dataset", "condition", "tau"]
    return changes(*sides, by, by, jointly=("dataset", "condition"))


def conditions(rows: pd.DataFrame, frame: pd.DataFrame, alpha: float) -> Figure:
    """The differences of `by_condition` against the temperature, a line a condition."""
    note = f"smoothed less plain teacher · bars: 95 % paired t intervals, jointly over each line · α = {alpha:g}"
    return lines(rows, frame[frame["condition"].isin(rows["condition"])], "tau", difference="difference in",
                 height=2.4, note=note, why=ALONE)  # fmt: skip


def split(smoothed: pd.DataFrame, study: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """What KD loses by a smoothed teacher at each temperature, taken apart; a data set's intervals hold jointly.

    kd = amount + knowledge: what matched smoothing of the same two teachers loses, which has their mass and nothing
    else, and what KD's lead over matched smoothing loses.
    """
    both = pd.concat(
        [t.assign(condition=f"{side}:" + t["condition"]) for side, t in (("on", smoothed), ("off", study))]
    )
    both = at_weight(both[both["condition"].str.endswith(tuple(f":{c}" for c in PARTS["knowledge"]))], alpha)
    whole = both[both.groupby(["dataset", "tau"])["condition"].transform("nunique") == 4]
    sums = {name: {f"{side}:{c}": sign * w for c, w in weights.items() for side, sign in (("on", 1), ("off", -1))}
            for name, weights in PARTS.items()}  # fmt: skip
    rows = contrasts(whole, sums, "test_accuracy", ["dataset", "tau"], "part", ["dataset"])
    return rows.sort_values(["dataset", "tau"], key=lambda s: s.map(in_order(rows[s.name]).index), kind="stable")


def by_mass(students: pd.DataFrame, alpha: float) -> Figure:
    """Test accuracy of KD students against the mass they are taught: a line an epsilon, a point a temperature."""
    frame = rows = at_weight(students, alpha)
    if len(frame):
        by = ["dataset", "teacher_epsilon", "tau"]
        rows = paired.summary(frame, "test_accuracy", by)
        rows = rows.merge(frame.groupby(by)["target_mass"].mean().reset_index())

    def mass_axis(ax: Axes, _: str) -> None:
        value_axis(ax, "target_mass", which="x")
        ax.set_xlabel(f"{measure_label('target_mass')}: one point a temperature", fontsize=8)

    note = f"{condition_name('kd')} · bars: 95 % t intervals over seeds · α = {alpha:g}"
    return lines(rows, frame, "target_mass", ramp(rows["teacher_epsilon"], "ε = {:g}"), by="teacher_epsilon",
                 dodge=False, decorate=mass_axis, height=2.5, ncols=5, note=note,
                 why=f"no KD student has the weight {alpha:g}")  # fmt: skip
