"""The chapter on smoothed teachers: how much they say, and which of their students lose by it."""

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdstudy.engine import teacher_statistics
from kdstudy.engine.outline import outline
from kdstudy.figures.primitives import dots, lines, reference
from kdstudy.figures.shared.gains import PARTS
from kdstudy.figures.shared.series import NOTE
from kdstudy.figures.style import DARK, Look, condition_name, look, tau_looks
from kdstudy.stats import paired
from kdstudy.study import array_metrics, claims
from kdstudy.study.experiment import TREATMENT, Experiment, Study

WHO = {
    "the teacher itself": Look(DARK, "s", "the teacher itself"),
    "its KD student": look(TREATMENT)._replace(name="its KD student"),
}
ALONE = "no students of a smoothed teacher and of the plain one"


def exact_fit_mass(
    epsilon: Float[np.ndarray, " E"] | float, classes: int, tau: float
) -> Float[np.ndarray, " E"] | float:
    """Mass off the label at a temperature of a teacher that fits its smoothed labels exactly.

    Its probabilities are 1 - epsilon + epsilon / C for the label, epsilon / C for any other class; so
    m = (C - 1) r^(1/tau) / (1 + (C - 1) r^(1/tau)), r the ratio of the two. The rest of the target is uniform.
    """
    others = (classes - 1) * (epsilon / classes / (1 - epsilon + epsilon / classes)) ** (1 / tau)
    return others / (1 + others)


def smoothing(experiment: Experiment) -> dict[str, float]:
    """The ε of the teacher of each KD side whose temperature is searched."""
    table = experiment.tables["teachers"].drop_duplicates("condition")
    every = {n: float(dict(r.condition.params).get("epsilon", 0)) for n, r in zip(table["condition"], table["run"])}
    sides = experiment.design.sides
    return {n: e for n, e in every.items() if sides[n].condition == TREATMENT and not sides[n].fixed}


def paradox(study: Study) -> pd.DataFrame:
    """What smoothing the teacher changes in test accuracy, its own and its KD student's: a row for each ε."""
    found = []
    for e, (who, part) in ((e, w) for e in study.experiments for w in zip(WHO, ("teachers", "practical"))):
        doses = {side: dose for side, dose in smoothing(e).items() if dose}
        found += [claims.described(Study([e]), {side: 1, TREATMENT: -1}, part).assign(who=who, teacher_epsilon=dose)
                  for side, dose in doses.items()]  # fmt: skip
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def against_smoothing(study: Study) -> Figure:
    """`paradox` drawn."""
    return lines(paradox(study), study.tables["practical"], "teacher_epsilon", WHO, by="who", wide=3,
                 difference="difference in", note=NOTE, why=ALONE)  # fmt: skip


def masses(study: Study) -> Figure:
    """Mass that teachers take off the label of their students' examples against ε, a line a temperature."""
    found = []
    for e in study.experiments:
        dose = e.tables["teachers"]["condition"].map(smoothing(e))
        found.append(e.tables["teachers"].assign(teacher_epsilon=dose).dropna(subset=["teacher_epsilon"]))
    every = pd.concat(found)
    every = every.join(array_metrics.anatomies(every))
    looks = {tau: how._replace(dash="") for tau, how in tau_looks(teacher_statistics.TAUS).items()}
    rows = [paired.summary(every, f"mass_{tau:g}", ["dataset", "teacher_epsilon"]).assign(tau=tau) for tau in looks]
    classes = {e.name: len(outline(e.design.bed.data).classes) for e in study.experiments}

    def exact(ax: Axes, name: str) -> None:
        dense = np.linspace(0, every["teacher_epsilon"].max(), 200)
        for tau, how in looks.items():
            reference(ax, dense, exact_fit_mass(dense, classes[name], tau), colour=how.colour)

    note = "the networks named are the teachers · bars: 95 % t intervals over seeds · dashed: exact fit"
    return lines(pd.concat(rows), every, "teacher_epsilon", looks, by="tau", measure="target_mass", dodge=False,
                 decorate=exact, wide=3, note=note)  # fmt: skip


def by_side(study: Study) -> pd.DataFrame:
    """What the smoothed teacher changes in each side of its students: at its own choice, and at KD's setting."""
    found = []
    for part in ("practical", "at_kd"):
        for smoothed, plain in pairs(study).items():
            rows = claims.described(study, {smoothed: 1, plain: -1}, part)
            found.append(rows.assign(taught=condition_name(plain.removesuffix(f":{TREATMENT}")), part=PARTS[part]))
    return pd.concat(found, ignore_index=True)


def pairs(study: Study) -> dict[str, str]:
    """Each side of the smoothed teacher, and the same of the plain one."""
    names = dict.fromkeys(n for e in study.experiments for n in e.choices if "smoothed:" in n)
    return {n: n.replace(" smoothed:", ":").removeprefix("smoothed:") for n in names}


def changes(study: Study) -> Figure:
    """`by_side` drawn: a panel for each bed and place, a row for each side."""
    rows = by_side(study)
    return dots(rows.assign(panel=rows["dataset"] + "\n" + rows["part"]), study.tables["practical"], "taught",
                panel="panel", wide=2, note=f"smoothed minus plain teacher · {NOTE}", why=ALONE)  # fmt: skip
