"""The chapter on teachers too good: whether students follow their teacher's accuracy, and what it has to say."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdstudy.figures.primitives import legend, line, value_axis
from kdstudy.figures.shared.series import NOTE
from kdstudy.figures.shared.teachers import sides_of
from kdstudy.figures.style import BLUE, BROWN, DARK, GREEN, ORANGE, PURPLE, SKY, Look, finish, look, nothing, panels
from kdstudy.study import claims
from kdstudy.study.experiment import BASELINE, TREATMENT, Study

REMEDIES = ("ensemble:kd", "crossfitted:kd", "assistant:kd")
KINDS = {  # of teachers: how they are drawn
    TREATMENT: Look(DARK, "s", "own"),
    "largest": Look(ORANGE, "D", "widest, longest"),
    "ensemble": Look(BLUE, "*", "ensemble"),
    "crossfitted": Look(PURPLE, "P", "cross-fitted"),
    "assistant": Look(BROWN, "X", "assistant"),
}
VARIED = {"size": (GREEN, "^", "width × {}"), "length": (SKY, "o", "epochs × {}")}


def kind(side: str) -> Look:
    """How the teacher of a side is drawn: those of other widths and lengths paler the farther from the study's own."""
    name, _, value = side.removesuffix(":kd").partition(" ")
    if name not in VARIED:
        return KINDS.get(name, look(side))
    colour, marker, words = VARIED[name]
    return Look(colour, marker, words.format(value), filled=float(value) > 0.2)


def points(study: Study) -> pd.DataFrame:
    """Each KD side's gain over hard labels, and its teacher's test accuracy (`teacher`), the mean over seeds."""
    own = study.tables["teachers"].groupby(["dataset", "condition"])["test_accuracy"].mean()
    rows = [claims.described(study, {side: 1, BASELINE: -1}).assign(side=side) for side in sides_of(study)]
    found = pd.concat(rows, ignore_index=True)
    return found.assign(teacher=[own[d, s] for d, s in zip(found["dataset"], found["side"])])


def follows(study: Study) -> Figure:
    """`points` drawn: what a student gains against its teacher's accuracy, a panel a bed."""
    rows = points(study)
    if rows.empty:
        return nothing("no KD student is among the runs")
    figure, axes = panels(list(dict.fromkeys(rows["dataset"])), height=2.7, wide=3)
    for name, ax in axes.items():
        _points(ax, rows[rows["dataset"] == name])
    legend(figure, 5)
    return finish(figure, study.tables["practical"], f"minus hard labels · {NOTE}")


def _points(ax: Axes, rows: pd.DataFrame) -> None:
    for side in rows["side"]:
        line(ax, rows[rows["side"] == side], "teacher", kind(side)._replace(dash=""))
    value_axis(ax, "test_accuracy", "difference in")
    value_axis(ax, "test_accuracy", which="x")
    ax.set_xlabel("teacher's test accuracy (%)", fontsize=8)
