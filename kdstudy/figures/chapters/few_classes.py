"""The chapter on few classes: what KD, the class shape and a teacher of all classes gain as neighbours merge."""

import pandas as pd
from matplotlib.figure import Figure

from kdstudy.engine.outline import outline
from kdstudy.figures.shared.series import differences, series
from kdstudy.figures.style import BROWN, GREEN, SKY, Look, look
from kdstudy.stats import paired
from kdstudy.study import array_metrics
from kdstudy.study.experiment import Experiment, Study

LINES = {  # line -> (what is added to the name of the first side's data, its condition, that of the second), its look
    "KD − hard": (("", "kd", "hard"), Look(look("kd").colour, "o", "KD − hard labels")),
    "KD − matched": (("", "kd", "label_smoothing_matched"), Look(SKY, "s", "KD − matched smoothing")),
    "class − uniform": (
        ("", "class_matched", "label_smoothing_matched"), Look(GREEN, "^", "class shape − uniform shape, mass constant")
    ),
    "finer − merged": ((" finer", "kd", "kd"), Look(BROWN, "D", "KD: teacher of all classes − of the merged ones")),
}  # fmt: skip
TAUGHT = ["target_mass", "domain_share", "instance_share"]


def left(experiment: Experiment) -> list[int]:
    """The numbers of classes that a bed's neighbours were merged to."""
    return sorted(int(name.split()[0]) for name in experiment.choices if name.endswith(" classes:kd"))


def _pairs(experiment: Experiment) -> dict[tuple[str, float], tuple[str, str]]:
    """What is compared at each number of classes, all of the bed's the last."""
    where = {c: f"{c} classes" for c in left(experiment)}
    where[len(outline(experiment.design.bed.data).classes)] = ""
    return {(line, c): (_side(data + more, one), _side(data, other))
            for line, ((more, one, other), _) in LINES.items() for c, data in where.items()}  # fmt: skip


def _side(data: str, condition: str) -> str:
    return f"{data}:{condition}" if data else condition


def gains(study: Study) -> pd.DataFrame:
    """The differences of `LINES` by number of classes; with two, the class shape is the uniform one, and left out."""
    return pd.concat([differences(Study([e]), _pairs(e), "classes") for e in study.experiments], ignore_index=True)


def against_classes(study: Study) -> Figure:
    """`gains` drawn."""
    looks = {line: how for line, (_, how) in LINES.items()}
    return series(study, gains(study), "classes", looks, "no bed has merged classes")


def taught(study: Study) -> pd.DataFrame:
    """What KD's targets hold, all at the τ and α that KD chose with all classes, and their teachers' accuracy.

    Means over seeds, a row for each bed and teacher.
    """
    kd = study.tables["at_kd"]
    kd = kd[kd["condition"].str.fullmatch(r"(\d+ classes( finer)?:)?kd")]
    for share in TAUGHT[1:]:
        kd = array_metrics.measured(kd, share, study.tables)
    heard = study.tables["teachers"].drop_duplicates("key").set_index("key")["test_accuracy"]
    kd = kd.assign(teacher_accuracy=kd["teacher"].map(heard), taught=kd["condition"].str.removesuffix(":kd"))
    kd["taught"] = kd["taught"].replace("kd", "all classes")
    return paired.levels(kd, ["teacher_accuracy", *TAUGHT], ["dataset", "taught"])
