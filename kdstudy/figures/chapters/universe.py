"""The universe chapter: accuracy against the amount of smoothing, and against how sure students are."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdstudy.engine import ask
from kdstudy.figures.primitives import legend, lines, reference, setting_axis, value_axis
from kdstudy.figures.style import as_percent, finish, look, nothing, panels
from kdstudy.study import search
from kdstudy.study.experiment import BASELINE, Study

SMOOTHED = "label_smoothing"
MEASURE = "validation_accuracy"
KEPT = 0.5  # of the settings, the best: a learning rate that fails says nothing of ε


def tried(study: Study, side: str = SMOOTHED) -> pd.DataFrame:
    """Every setting that a side tried: dataset, its values, mean accuracy on validation, and whether it was chosen."""
    rows = []
    for e in study.experiments:
        if side in e.choices:
            for setting, score in search.scores(e.tables["tuning"], MEASURE)[side].mean(axis=1).items():
                chosen = setting == e.choices[side].setting
                rows.append({"dataset": e.name, **setting.values, "score": score, "chosen": chosen})
    return pd.DataFrame(rows)


def smoothing(study: Study) -> Figure:
    """Validation accuracy of label smoothing against ε, a dot for each setting among the better half of those tried."""
    if (rows := tried(study)).empty:
        return nothing("label smoothing is not among the conditions")
    baseline = tried(study, BASELINE)
    baseline = baseline[baseline["chosen"]].set_index("dataset")["score"]
    figure, axes = panels(list(rows["dataset"].unique()), height=2.1, wide=3)
    how = look(SMOOTHED)
    for name, ax in axes.items():
        mine = rows[rows["dataset"] == name]
        mine = mine[mine["score"] >= mine["score"].quantile(1 - KEPT)]
        best = mine[mine["chosen"]]
        ax.scatter(mine["epsilon"], mine["score"], s=16, color=how.colour, label="label smoothing, one setting")
        ax.scatter(best["epsilon"], best["score"], s=70, fc="none", ec="0.1", label="the one chosen")
        ax.axhline(baseline[name], color=look(BASELINE).colour, ls=":", label="hard labels, the setting chosen")
        setting_axis(ax, "epsilon", search.RANGES["epsilon"])
        value_axis(ax, MEASURE)
    legend(figure)
    used = study.tables["tuning"]
    note = "means over tuning seeds · every setting has a learning rate and weight decay of its own · better half"
    return finish(figure, used[used["condition"] == SMOOTHED], note)


def pooled(bins: Mapping[str, np.ndarray], keys: Iterable[str]) -> pd.DataFrame:
    """Reliability bins (count, confidence, correctness) added over runs; bins under 0.5 % left out."""
    count, sure, right = sum(bins[k] for k in keys)
    kept = count > 0.005 * count.sum()
    return pd.DataFrame({"confidence": sure[kept] / count[kept], "mean": right[kept] / count[kept]})


def reliability(frame: pd.DataFrame) -> Figure:
    """Reliability diagrams: accuracy against confidence in 15 bins, examples of all seeds pooled."""
    bins = ask.arrays(frame, "reliability")
    groups = frame.groupby(["dataset", "condition"], sort=False)["key"]
    rows = pd.concat(pooled(bins, keys).assign(dataset=d, condition=c) for (d, c), keys in groups)

    def axes(ax: Axes, dataset: str) -> None:
        reference(ax, [0, 1], [0, 1], "perfect calibration", "0.6")
        ax.xaxis.set_major_formatter(as_percent)
        ax.yaxis.set_major_formatter(as_percent)
        ax.set(xlabel="confidence (%)", ylabel="accuracy (%)")

    note = "15 equal bins, those under 0.5 % of examples left out · each condition at its own choice"
    return lines(rows, frame, "confidence", dodge=False, decorate=axes, note=note, height=2.3, wide=3)
