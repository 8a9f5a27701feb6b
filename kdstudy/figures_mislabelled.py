"""What noisy labels make of a teacher: does it repeat them, and how far is it from the law that drew them?"""

import json

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from scipy.special import rel_entr

from kdstudy import anatomy, datasets, derived, runs, stats
from kdstudy.figures_noise import TWO, against_noise, at, points
from kdstudy.spec import Data, pairs
from kdstudy.style import BLUE, GREEN, ORANGE, RED, finish, legend, nothing, panels

LINES = {  # what is drawn of whom: label, colour, marker
    ("", "train_accuracy"): ("teacher, training labels", "0.25", "s"),
    ("", "test_accuracy"): ("teacher, test labels", RED, "o"),
    ("crossfitted", "train_accuracy"): ("cross-fitted, training labels", "0.25", "v"),
    ("crossfitted", "test_accuracy"): ("cross-fitted, test labels", RED, "^"),
}
SHADES = dict(zip((f"law_{tau:g}" for tau in anatomy.TAUS[:3]), (BLUE, GREEN, ORANGE)))


def noisy_teachers(tables: derived.Tables) -> pd.DataFrame:
    """The teachers of the noisy data sets, without those of unequal classes."""
    every = tables["teachers"]
    return at(every[~every["key"].isin(tables["imbalanced"]["teacher"])]).reset_index(drop=True)


def ceiling(noise: float | np.ndarray, classes: int) -> float | np.ndarray:
    """The expected share of training labels that are those they were: 1 - noise (1 - 1 / C)."""
    return 1 - noise * (1 - 1 / classes)


def errors(ax: Axes, rows: pd.DataFrame, label: str, colour: object, marker: str, composed: bool) -> None:
    """Means with intervals against the noise; a composed teacher hollow, beside the others and without a line."""
    error = np.abs(rows[["low", "high"]].to_numpy(float).T - rows["mean"].to_numpy(float))
    ax.errorbar(rows["noise"] + 0.012 * composed, rows["mean"], np.where(np.isfinite(error), error, 0), color=colour,
                marker=marker, ms=4.5, mfc="white" if composed else colour, ls="" if composed else "-", lw=1.3,
                elinewidth=1, label=label)  # fmt: skip


def memorised(tables: derived.Tables) -> Figure:
    """Teachers' accuracy on their noisy training labels and on clean test labels, against the noise."""
    frame = noisy_teachers(tables)
    if frame.empty:
        return nothing("no teacher is among the runs")
    figure, axes = panels(list(dict.fromkeys(frame["dataset"])), **TWO)
    for dataset, ax in axes.items():
        mine = frame[frame["dataset"] == dataset].sort_values("noise")
        for (composed, measure), look in LINES.items():
            if len(chosen := mine[mine["composed"] == composed]):
                errors(ax, stats.summary(chosen, measure, ["noise"]), *look, composed != "")
        x = np.linspace(0, mine["noise"].max(), 2)
        label = "labels as they were (expected)"
        ax.plot(x, ceiling(x, len(runs.classes(dataset).names)), color="0.5", ls=":", lw=1.2, label=label)
        against_noise(ax, mine)
        ax.set_ylabel("accuracy (%)")
        ax.yaxis.set_major_formatter(FuncFormatter(points))
    legend(figure, next(iter(axes.values())))
    return finish(figure, frame, "the networks here are the teachers · bars: 95 % t intervals over seeds")


def smoothed_labels(dataset: str, options: str) -> float:
    """Mean KL(P(y | x) || (1 - noise) e_y + noise / C) in nats over the training set: what the labels alone can do.

    y is the label as drawn, so its own noise is what is left; infinite where the law allows what this excludes.
    """
    given = json.loads(options)
    train, law = (data := datasets.load(Data(dataset, pairs(given)))).train, data.extra["train"]["posterior"].numpy()
    noise, classes = given.get("noise", 0.0), law.shape[1]
    target = (1 - noise) * np.eye(classes)[train.y.numpy()] + noise / classes
    return float(rel_entr(law, target).sum(-1).mean())


def distances(tables: derived.Tables) -> pd.DataFrame:
    """Noisy teachers with their anatomy, of the data sets whose law is known."""
    frame = noisy_teachers(tables)
    frame = frame.join(derived.anatomies(frame)) if len(frame) else frame
    return frame[frame["law_1"].notna()] if len(frame) else frame


def distance(tables: derived.Tables) -> Figure:
    """KL(P(y | x) || p^tau) on the training set against the noise, a line a temperature; and of smoothed labels."""
    frame = distances(tables)
    if frame.empty:
        return nothing("no data set among the runs knows the law of its labels")
    figure, axes = panels(list(dict.fromkeys(frame["dataset"])), **TWO)
    for dataset, ax in axes.items():
        mine = frame[frame["dataset"] == dataset].sort_values("noise")
        for name, colour in SHADES.items():
            for composed in dict.fromkeys(mine["composed"]):
                chosen = mine[mine["composed"] == composed]
                label = f"{'cross-fitted' if composed else 'teacher'}, τ = {name.removeprefix('law_')}"
                errors(
                    ax, stats.summary(chosen, name, ["noise"]), label, colour, "v" if composed else "o", composed != ""
                )
        own = mine[mine["composed"] == ""].drop_duplicates("noise")
        known = [smoothed_labels(dataset, text) for text in own["options"]]
        ax.plot(own["noise"], known, color="0.25", ls=":", marker="s", ms=4, label="labels, smoothed by the noise")
        against_noise(ax, mine)
        ax.set_ylabel("KL from the law (nats)")
    legend(figure, next(iter(axes.values())))
    return finish(figure, frame, "the networks here are the teachers · bars: 95 % t intervals over seeds")


def portrait(tables: derived.Tables) -> pd.DataFrame:
    """What the teachers of noisy labels are, means over seeds: accuracies, confidence, distance from the law."""
    frame = noisy_teachers(tables)
    frame = frame.join(derived.anatomies(frame)) if len(frame) else frame
    ceilings = [ceiling(n, len(runs.classes(d).names)) for d, n in zip(frame["dataset"], frame["noise"])]
    frame = frame.assign(unchanged=ceilings, teacher=frame["composed"].replace("", "its own"))
    names = ["train_accuracy", "unchanged", "sure_train", "test_accuracy", "test_nll"]
    names += [name for name in ("law_1", "law_2", "law_4") if not frame[name].isna().all()]
    return stats.levels(frame.sort_values("noise", kind="stable"), names, ["dataset", "teacher", "noise"])
