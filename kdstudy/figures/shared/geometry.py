"""How classes look to teachers and students: class similarities as heat maps, classes in order."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Integer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from kdstudy.figures.primitives import LIKENESS, colour_bar, heat, strongest
from kdstudy.figures.style import condition_name, drawn, finish, nothing, panels
from kdstudy.figures.tables import in_order
from kdstudy.stats import mantel
from kdstudy.store.published import Classes
from kdstudy.study import array_metrics
from kdstudy.study.experiment import TEACHER, TREATMENT, Experiment
from kdstudy.study.plans.levels import GEOMETRY

ROOM = 16  # labels beside one heat map


def similarities(frame: pd.DataFrame, which: int = 0) -> dict[str, Float[np.ndarray, "C C"]]:
    """Class similarities of each condition of one bed, averaged over seeds: of rows (0), of class means (1)."""
    each = array_metrics.geometry(frame, which)
    groups = frame.groupby("condition", sort=False)["key"]
    return {c: mantel.square(np.mean([each[k] for k in keys], axis=0)) for c, keys in groups}


def class_order(similarity: Float[np.ndarray, "C C"], superclass: Sequence[int] | None) -> Integer[np.ndarray, " C"]:
    """Classes by super-class; without any, as average-linkage clustering of 1 - similarity puts them."""
    if superclass is not None:
        return np.argsort(np.asarray(superclass), kind="stable")
    distance = np.clip(1 - similarity, 0, 2)
    return leaves_list(linkage(squareform(distance, checks=False), "average", optimal_ordering=len(distance) <= 300))


def heatmaps(experiment: Experiment, part: str = "at_kd") -> Figure:
    """Class similarities of one bed: KD's teachers and the students of `GEOMETRY` in a part, averaged over seeds."""
    students, teachers = (experiment.tables[name] for name in (part, "teachers"))
    frame = students[students["condition"].isin(GEOMETRY)]
    heard = teachers[teachers["condition"] == TREATMENT].assign(condition=TEACHER)
    every, known = similarities(pd.concat([heard, frame])), array_metrics.classes(frame)
    if len(known.names) < 3:
        return nothing(f"{experiment.name}: {len(known.names)} classes are one pair, there is no structure to see")
    kinds = [c for c in (TEACHER, *GEOMETRY) if c in every]
    at = class_order(every[TEACHER], known.superclass)
    top = strongest(np.concatenate([mantel.upper(every[c]) for c in kinds]), 0.99, least=0.05)
    figure, axes = panels([condition_name(c) for c in kinds], height=2.35, wide=3)
    for i, (c, ax) in enumerate(zip(kinds, axes.values())):
        image = heat(ax, pd.DataFrame(every[c][np.ix_(at, at)]), top, colours=LIKENESS, ticks=False)
        ax.set_aspect("equal")
        name_classes(ax, known, at, named=i % 3 == 0)
    sorted_by = "super-class" if known.superclass is not None else "clustering of the teacher's"
    note = f"means over seeds · classes by {sorted_by} · every student at KD's setting"
    return colour_bar(finish(figure, frame, note), image, "cosine similarity of two classes")


def superclass_edges(ax: Axes, groups: Integer[np.ndarray, " C"]) -> Float[np.ndarray, " E"]:
    """Lines where one super-class of classes in order ends and the next begins, and where they are."""
    edges = np.flatnonzero(np.diff(groups)) + 0.5
    for edge in edges:
        ax.axhline(edge, color="0.2", lw=0.5)
        ax.axvline(edge, color="0.2", lw=0.5)
    return edges


def name_classes(ax: Axes, known: Classes, at: Integer[np.ndarray, " C"], named: bool) -> None:
    """Boundaries of the super-classes; names of classes, or else of super-classes, where there is room for them."""
    places, names = np.arange(len(at)), [known.names[k] for k in at]
    if known.superclass is not None:
        groups = np.asarray(known.superclass)[at]
        edges = superclass_edges(ax, groups)
        if len(names) > ROOM:
            starts = np.array([-0.5, *edges, len(at) - 0.5])
            places, names = (starts[1:] + starts[:-1]) / 2, [known.superclasses[g] for g in in_order(groups)]
    shown = named and len(names) <= ROOM
    short = [drawn((n if len(n) <= 20 else f"{n[:19]}…").replace("_", " ")) for n in names]
    ax.set_yticks(places if shown else [], short if shown else [], fontsize=7)
