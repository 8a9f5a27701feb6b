"""The noise chapter: what KD gains as labels are drawn anew, what helps, and what noise makes of teachers."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from kdstudy.engine.outline import outline
from kdstudy.figures.primitives import dots
from kdstudy.figures.shared.series import NOTE, differences, series
from kdstudy.figures.style import ORANGE, Look, look
from kdstudy.study import claims
from kdstudy.study.experiment import Experiment, Study

KD = look("kd").colour
MORE, SAME = "KD, teacher of more labels", "KD, teacher of the same labels"
MATCHED, CHOSEN = "matched smoothing", "KD, settings chosen on labels as noisy"
LOOKS = {
    MORE: Look(KD, "o", MORE),
    SAME: Look(KD, "s", SAME, "--", False),
    MATCHED: look("label_smoothing_matched"),
    CHOSEN: Look(ORANGE, "v", CHOSEN, "", False),
}
REMEDIES = {  # side -> what it is compared with, and what a table calls it
    "noisy:label_smoothing_matched": ("noisy:hard", MATCHED),
    "noisy:kd": ("noisy:hard", MORE),
    "crossfitted:kd": ("noisy:hard", f"{MORE}, cross-fitted"),
    "exact:kd": ("noisy:hard", "KD, the exact P(y given x)"),
    "same labels noisy:kd": ("same labels noisy:hard", SAME),
    "same labels crossfitted:kd": ("same labels noisy:hard", f"{SAME}, cross-fitted"),
}


def unchanged_share(noise: float | np.ndarray, classes: int) -> float | np.ndarray:
    """The expected share of training labels that noise leaves as they were: 1 - noise (1 - 1 / C)."""
    return 1 - noise * (1 - 1 / classes)


def amounts(study: Study) -> dict[str, float]:
    """The noise of the labels that every side is taught, by side; without the sides of unequal classes."""
    runs = study.tables["practical"].drop_duplicates("condition")
    every = {c: float(dict(r.data.options).get("noise", 0)) for c, r in zip(runs["condition"], runs["run"])}
    return {side: noise for side, noise in every.items() if not side.startswith("imbalanced:")}


def gains(study: Study) -> pd.DataFrame:
    """What the lines of `LOOKS` gain over hard labels of the same data, by noise."""
    noise, pairs = amounts(study), {}
    for hard in (side for side in noise if f":{side}".endswith(":hard")):
        group = hard.removesuffix("hard")
        line = SAME if group.startswith("same labels") else CHOSEN if group.startswith("noisy validation") else MORE
        pairs |= {(line, noise[hard]): (f"{group}kd", hard)}
        if (matched := f"{group}label_smoothing_matched") in noise:
            pairs |= {(MATCHED, noise[hard]): (matched, hard)}
    return differences(study, pairs, "noise")


def against_noise(study: Study) -> Figure:
    """`gains` drawn."""
    return series(study, gains(study), "noise", LOOKS, "no bed has KD and hard labels")


def remedies(study: Study) -> Figure:
    """What `REMEDIES` gain over hard labels of the same noisy data: a row for each that a bed has."""
    rows = [claims.described(study, {side: 1, hard: -1}).assign(remedy=name) for side, (hard, name) in REMEDIES.items()]
    rows, runs = pd.concat(rows, ignore_index=True), study.tables["practical"]
    used = runs[runs["condition"].isin([*REMEDIES, *(hard for hard, _ in REMEDIES.values())])]
    return dots(rows, used, "remedy", wide=3, note=f"minus hard labels of the same data · {NOTE}")


def teachers(study: Study) -> pd.DataFrame:
    """What teachers and students make of the noise, means over seeds: a row for each bed and KD side.

    The share of training labels that can be expected to be as they were; how many of the noisy ones the teacher, and
    its KD students, repeat; and test accuracies, of hard labels on the same data too.
    """
    return pd.DataFrame([_teacher(e, side, noise) for e in study.experiments for side, noise in amounts(study).items()
                         if side in e.choices and f":{side}".endswith(":kd")])  # fmt: skip


def _teacher(experiment: Experiment, side: str, noise: float) -> dict[str, object]:
    """The row of a bed's KD side."""
    runs = experiment.tables["practical"].set_index("condition")
    kd, hard = runs.loc[[side]], REMEDIES.get(side, (f"{side.removesuffix('kd')}hard", ""))[0]
    own = experiment.tables["teachers"].drop_duplicates("key").set_index("key").loc[kd["teacher"]]
    classes = len(outline(experiment.design.bed.data).classes)
    return {
        "dataset": experiment.name, "side": side, "noise": noise,
        "labels as they were": unchanged_share(noise, classes),
        "repeated by the teacher": own["train_accuracy"].mean(), "by its students": kd["train_accuracy"].mean(),
        "teacher, test": own["test_accuracy"].mean(), "its students, test": kd["test_accuracy"].mean(),
        "hard labels, test": runs.loc[hard, "test_accuracy"].mean(), "n": kd["seed"].nunique(),
    }  # fmt: skip
