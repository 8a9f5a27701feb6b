"""The domain chapter: which classes students see as alike, and what class shape gains as classes grow alike."""

import pandas as pd
from matplotlib.figure import Figure

from kdstudy.figures.shared.series import differences, series
from kdstudy.figures.style import look
from kdstudy.stats import paired
from kdstudy.study import array_metrics
from kdstudy.study.experiment import Experiment, Study
from kdstudy.study.plans.levels import GEOMETRY

FEW = 40  # classes of which a heat map can be read
LINES = {"class shape": "class_matched", "KD": "kd"}  # over matched smoothing, against the similarity of classes
LIKENESS = ["geometry_teacher", "means_teacher", "geometry_superclass"]


def mapped(study: Study) -> list[Experiment]:
    """The first bed of each data set that has no more than `FEW` classes."""
    first = {e.design.bed.data.name: e for e in reversed(study.experiments)}
    return [e for e in reversed(first.values()) if len(array_metrics.classes(e.tables["practical"]).names) <= FEW]


def seen(study: Study, part: str = "at_kd") -> pd.DataFrame:
    """How students of `GEOMETRY` see classes, and how much of what they were taught of them they give back: means.

    Rank correlations with the teacher's similarities and with the super-classes, empty where there is none; the domain
    part of the targets and of the student's own answers (`levels.level_split`).
    """
    table = study.tables[part]
    table = table[table["condition"].isin(GEOMETRY)]
    each = {name: array_metrics.DERIVED[name](table, study.tables) for name in LIKENESS}
    return paired.levels(table.assign(**each), [*LIKENESS, "target_domain", "student_domain"])


def alike(study: Study) -> pd.DataFrame:
    """What class shape and KD gain over matched smoothing on the sides "similarity S:condition", by S."""
    every = {side.partition(":")[0] for e in study.experiments for side in e.choices if side.startswith("similarity ")}
    pairs = {(line, float(s.removeprefix("similarity "))): (f"{s}:{name}", f"{s}:label_smoothing_matched")
             for s in sorted(every) for line, name in LINES.items()}  # fmt: skip
    return differences(study, pairs, "similarity") if pairs else pd.DataFrame(columns=["dataset", "line", "similarity"])


def by_similarity(study: Study) -> Figure:
    """`alike` drawn."""
    looks = {line: look(name) for line, name in LINES.items()}
    return series(study, alike(study), "similarity", looks, "no bed has classes of several similarities")
