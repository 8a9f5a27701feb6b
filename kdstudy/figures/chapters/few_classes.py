"""The chapter on few classes: what is left of each level, and of KD's gain, as neighbours merge."""

import pandas as pd
from matplotlib.figure import Figure

from kdstudy.figures.primitives import lines
from kdstudy.figures.shared.effects import EFFECT_LOOKS, LEVEL_SUMS, effect_lines, level_effects
from kdstudy.figures.style import BROWN, SKY, Look, look, tau_looks
from kdstudy.figures.tables import at_weight
from kdstudy.stats import paired
from kdstudy.study import array_metrics
from kdstudy.study.contrasts import contrasts, minus
from kdstudy.study.measures import measure as known_measure
from kdstudy.study.theory import with_classes

REMEDY = {  # what the teacher of all classes changes -> (treatment, control)
    "merged-class teacher less hard labels": ("kd", "hard"),
    "all-class teacher less hard labels": ("finer", "hard"),
    "all-class less merged-class teacher": ("finer", "kd"),
}
COLOURS = (look("kd").colour, "o"), (SKY, "s"), (BROWN, "D")
LOOKS = EFFECT_LOOKS | {name: Look(*how, name) for name, how in zip(REMEDY, COLOURS)}
TEACHERS = ("merged", "all")
SHARES = ("domain_share", "instance_share")
BY = ["dataset", "classes"]


def taught(merged: pd.DataFrame, measure: str) -> Figure:
    """A measure of KD's targets against the number of classes, a line for each temperature, at the largest weight."""
    rows = kd = merged[merged["condition"] == "kd"]
    if len(kd):
        kd = with_classes(array_metrics.measured(kd[kd["alpha"] == kd["alpha"].max()], measure, {}))
        rows = paired.summary(kd, measure, [*BY, "tau"])
    note = "bars: 95 % t intervals over seeds, of the teachers' targets on the training set"
    return lines(rows, kd, "classes", tau_looks(rows.get("tau", ())), by="tau", measure=measure, note=note)


def class_shape(merged: pd.DataFrame) -> pd.DataFrame:
    """Class shape minus matched smoothing at each number of classes and equal τ and α (the largest).

    The intervals of a temperature hold together.
    """
    frame = with_classes(at_weight(merged, merged["alpha"].max() if "alpha" in merged else 1.0))
    return contrasts(frame, {"domain": LEVEL_SUMS["domain"]}, by=[*BY, "tau"], jointly=["tau"])


def at_best(merged: pd.DataFrame) -> pd.DataFrame:
    """The levels' effects by number of classes, each condition at its setting best on validation."""
    return level_effects(with_classes(paired.tuned(merged)), BY)


def remedies(merged: pd.DataFrame, finer: pd.DataFrame) -> pd.DataFrame:
    """`REMEDY` by number of classes, each side at its setting best on validation: rows as `level_effects` has them."""
    best = with_classes(paired.tuned(pd.concat([merged, finer.assign(condition="finer")])))
    best = best[best["options"].isin(finer["options"])]
    return contrasts(best, minus(REMEDY), by=BY, name="level", jointly=["level"])


def against_classes(rows: pd.DataFrame, frame: pd.DataFrame) -> Figure:
    """Rows of `at_best`, `remedies` or `class_shape` against the number of classes."""
    note = "bars: 95 % paired t intervals, jointly over each line"
    return effect_lines(rows, frame, "classes", note, LOOKS if "level" in rows else None)


def carried(merged: pd.DataFrame, finer: pd.DataFrame) -> pd.DataFrame:
    """What both teachers have to tell, means over seeds: mass and shares of KD's targets, both at the temperature
    that is best for KD from the teacher of the merged classes. A row for each number of classes.
    """
    if finer.empty:
        return pd.DataFrame(columns=[*BY, "τ"])
    own = paired.tuned(merged[merged["condition"] == "kd"])
    best = own.drop_duplicates(["dataset", "options"]).set_index(["dataset", "options"])["tau"]
    parts = {}
    for name, frame in dict(zip(TEACHERS, (own, finer))).items():
        where = zip(frame["dataset"], frame["options"], frame["tau"])
        frame = with_classes(frame[[(d, o) in best.index and best[d, o] == t for d, o, t in where]])
        for measure in SHARES:
            frame = array_metrics.measured(frame, measure, {})
        frame = frame[frame["options"].isin(finer["options"])]
        parts[name] = frame.groupby(BY, sort=False)[["tau", "target_mass", *SHARES]].mean()
    labels = {m: known_measure(m).label.removesuffix(" share") for m in ("target_mass", *SHARES)}
    sides = {f"{labels[m]}, {name}": part[m] for m in labels for name, part in parts.items()}
    return pd.DataFrame({"τ": parts[TEACHERS[0]]["tau"], **sides})


def teacher_accuracy(teachers: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy of the teachers themselves on the classes that are left, means over seeds."""
    whole = teachers["options"].str.contains('"composed"')
    frame = with_classes(teachers).assign(teacher=[f"{TEACHERS[w]}-class teacher" for w in whole])
    n = frame.groupby(BY, sort=False)["seed"].nunique()
    return frame.groupby([*BY, "teacher"])["test_accuracy"].mean().unstack("teacher").loc[n.index].assign(n=n)
