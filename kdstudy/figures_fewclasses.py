"""Figures of the chapter on few classes: what is left of each level, and of KD's gain, as neighbours merge."""

import pandas as pd
from matplotlib.figure import Figure

from kdstudy import derived, stats
from kdstudy.figures_temperature import HEATS, counted, effects, lines, penalties
from kdstudy.style import AXES, BROWN, RED, SKY
from kdstudy.wording import words

JOINT = "bars: 95 % paired t intervals, jointly over each line"
REMEDY = {  # what the teacher of all classes changes -> (treatment, control)
    "merged-class teacher less hard labels": ("kd", "hard"),
    "all-class teacher less hard labels": ("finer", "hard"),
    "all-class less merged-class teacher": ("finer", "kd"),
}
TEACHERS = ("merged", "all")
SHARES = ("domain_share", "instance_share")
SHADES = dict(zip(REMEDY, ((RED, "o"), (SKY, "s"), (BROWN, "D"))))


def heated(rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, tuple[object, str]]]:
    """Rows with their temperature as level, and how each temperature looks."""
    taus = sorted(rows["tau"].dropna().unique())
    looks = {f"τ = {t:g}": HEATS[i % len(HEATS)] for i, t in enumerate(taus)}
    return rows.assign(level=[f"τ = {t:g}" for t in rows["tau"]]), looks


def taught(merged: pd.DataFrame, measure: str) -> Figure:
    """A measure of KD's targets against the number of classes, a line for each temperature, at the largest weight."""
    kd = merged[merged["condition"] == "kd"]
    if len(kd):
        kd = counted(derived.measured(kd[kd["alpha"] == kd["alpha"].max()], measure, {}))
        rows, looks = heated(stats.summary(kd, measure, ["dataset", "classes", "tau"]))
    else:
        rows, looks = kd, {}
    note = "bars: 95 % t intervals over seeds, of the teachers' targets on the training set"
    return lines(rows, kd, "classes", "classes", AXES[measure], note, looks, measure)


def shape(merged: pd.DataFrame) -> pd.DataFrame:
    """Class shape less matched smoothing at each number of classes and equal τ and α (the largest); the intervals of a
    temperature hold together.
    """
    frame = merged[merged["alpha"] == merged["alpha"].max()] if "alpha" in merged else merged.iloc[:0].assign(tau=[])
    pair = ("class_matched", "label_smoothing_matched")
    rows = [
        stats.contrasts(counted(group), *pair, "test_accuracy", ["dataset", "classes"]).assign(tau=tau)
        for tau, group in frame.groupby("tau")
    ]
    columns = ["dataset", "classes", "tau", "difference", "low", "high", "n"]
    return pd.concat(rows or [pd.DataFrame(columns=columns)]).rename(columns={"difference": "mean"})


def at_best(merged: pd.DataFrame) -> pd.DataFrame:
    """The levels' effects against the number of classes, each condition at its setting best on validation."""
    return effects(counted(stats.tuned(merged)), ["dataset", "classes"])


def remedies(merged: pd.DataFrame, finer: pd.DataFrame) -> pd.DataFrame:
    """`REMEDY` by number of classes, each side at its setting best on validation: rows as `effects` has them."""
    best = counted(stats.tuned(pd.concat([merged, finer.assign(condition="finer")])))
    best = best[best["options"].isin(finer["options"])]
    rows = [
        stats.contrasts(best, *pair, "test_accuracy", ["dataset", "classes"]).assign(level=name)
        for name, pair in REMEDY.items()
    ]
    return pd.concat(rows, ignore_index=True).rename(columns={"difference": "mean"})


def against(
    rows: pd.DataFrame, frame: pd.DataFrame, what: str = "difference in\ntest accuracy (points)", **looks
) -> Figure:
    """Rows of `effects` against the number of classes."""
    return lines(rows, frame, "classes", "classes", what, JOINT, **looks)


def heat(merged: pd.DataFrame) -> pd.DataFrame:
    """What the highest temperature costs KD against the best of the others, by number of classes."""
    return penalties(counted(merged), ["dataset", "classes"])


def carried(merged: pd.DataFrame, finer: pd.DataFrame) -> pd.DataFrame:
    """What both teachers have to tell, means over seeds: mass and shares of KD's targets, both at the temperature
    that is best for KD from the teacher of the merged classes. A row for each number of classes.
    """
    if finer.empty:
        return pd.DataFrame(columns=["dataset", "classes", "τ"])
    own = stats.tuned(merged[merged["condition"] == "kd"])
    best = own.drop_duplicates(["dataset", "options"]).set_index(["dataset", "options"])["tau"]
    parts = {}
    for name, frame in dict(zip(TEACHERS, (own, finer))).items():
        place = zip(frame["dataset"], frame["options"], frame["tau"])
        frame = counted(frame[[(d, o) in best.index and best[d, o] == t for d, o, t in place]])
        for measure in SHARES:
            frame = derived.measured(frame, measure, {})
        frame = frame[frame["options"].isin(finer["options"])]
        parts[name] = frame.groupby(["dataset", "classes"], sort=False)[["tau", "target_mass", *SHARES]].mean()
    named = {m: words(m).removesuffix(" share") for m in ("target_mass", *SHARES)}
    sides = {f"{named[m]}, {name}": part[m] for m in named for name, part in parts.items()}
    return pd.DataFrame({"τ": parts[TEACHERS[0]]["tau"], **sides})


def known(teachers: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy of the teachers themselves on the classes that are left, means over seeds."""
    whole = teachers["options"].str.contains('"composed"')
    frame = counted(teachers).assign(teacher=[f"{TEACHERS[w]}-class teacher" for w in whole])
    place, n = ["dataset", "classes"], frame.groupby(["dataset", "classes"], sort=False)["seed"].nunique()
    return frame.groupby([*place, "teacher"])["test_accuracy"].mean().unstack("teacher").loc[n.index].assign(n=n)
