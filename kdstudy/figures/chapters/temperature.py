"""The temperature chapter: what KD gains at each temperature, by the width of students, and what a fixed one costs."""

import re

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from kdstudy.figures.primitives import row_axis
from kdstudy.figures.shared.series import Pairs, differences, series
from kdstudy.figures.style import RED, WIDTH, Look, finish, nothing, ramp
from kdstudy.figures.tables import in_order, points
from kdstudy.study import claims
from kdstudy.study.experiment import BASELINE, TREATMENT, Experiment, Study

FIXED = re.compile(r"(?P<units>\d+ units )?τ (?P<tau>\S+):kd")
NEAR = 0.01  # of the best gain: a temperature that worked
LEAST = 1e-5  # a mass of 0 has no place on a logit scale
WHY = "no bed has KD at a fixed temperature"


def temperatures(experiment: Experiment) -> dict[str, tuple[int, float]]:
    """The sides at fixed temperatures: hidden units of the student, and the temperature."""
    found = {n: m for n in experiment.choices if (m := FIXED.fullmatch(n))}
    return {n: (experiment.design.sides[n].bed.student.hidden[0], float(m["tau"])) for n, m in found.items()}


def _group(side: str) -> str:
    """The students that a side is of, as the names of their other sides begin."""
    return f"{match['units'].strip()}:" if (match := FIXED.fullmatch(side)) and match["units"] else ""


def pairs(experiment: Experiment, control: str) -> Pairs:
    """Each side at a fixed temperature, and the control of students as wide: "hard", or "kd" at a searched one."""
    return {(f"{units} units", tau): (side, _group(side) + control)
            for side, (units, tau) in temperatures(experiment).items()}  # fmt: skip


def against_control(study: Study, control: str, part: str = "practical") -> pd.DataFrame:
    """What KD at each fixed temperature gains over the control, by hidden units of the student."""
    compared = {e.name: (Study([e]), pairs(e, control)) for e in study.experiments}
    found = [differences(one, some, "tau", part) for one, some in compared.values() if some]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def widths(rows: pd.DataFrame) -> dict[str, Look]:
    """How students of each width are drawn."""
    units = {name: int(name.split()[0]) for name in rows["line"]} if len(rows) else {}
    ramped = ramp(units.values(), "{:g} hidden units")
    return {name: ramped[n] for name, n in sorted(units.items(), key=lambda u: u[1])}


def gains(study: Study) -> Figure:
    """What KD gains over hard labels at each temperature, all else searched."""
    rows = against_control(study, BASELINE)
    return series(study, rows, "tau", widths(rows), WHY)


def costs(study: Study) -> Figure:
    """What a fixed temperature costs against the searched one, nothing else searched again: all at KD's setting."""
    rows = against_control(study, TREATMENT, "at_kd")
    return series(study, rows, "tau", widths(rows), WHY, "at_kd")


def worked(study: Study) -> pd.DataFrame:
    """Each temperature of each bed with the mean mass it takes off the label (a fraction), and whether it `worked`: KD
    surely gained, and was within `NEAR` of the bed's best.
    """
    found = []
    for e in study.experiments:
        units, mass = e.design.bed.student.hidden[:1], e.tables["practical"].groupby("condition")["target_mass"].mean()
        for side, tau in ((n, tau) for n, (width, tau) in temperatures(e).items() if (width,) == units):
            rows = claims.described(Study([e]), {side: 1, BASELINE: -1})
            found.append(rows.assign(tau=tau, mass=min(max(mass[side], LEAST), 1 - LEAST)))
    if not found:
        return pd.DataFrame(columns=["dataset", "tau", "mass", "worked"])
    rows = pd.concat(found, ignore_index=True)
    best = rows.groupby("dataset")["effect"].transform("max")
    return rows.assign(worked=(rows["low"] > 0) & (best - rows["effect"] <= NEAR))


def everywhere(study: Study) -> str:
    """The temperatures that worked on every bed, in words."""
    rows = worked(study)
    found = [
        f"{tau:g}"
        for tau, some in rows.groupby("tau")["worked"]
        if some.all() and len(some) == rows["dataset"].nunique()
    ]
    return f"at τ = {', '.join(found)}" if found else "at none"


def ranges(study: Study) -> Figure:
    """The mean mass that each temperature takes off the label, and where KD gained: a line for each bed."""
    rows = worked(study)
    if rows.empty:
        return nothing(WHY)
    names = in_order(rows["dataset"])
    figure, ax = plt.subplots(figsize=(WIDTH, 0.9 + 0.5 * len(names)))
    for r in rows.itertuples():
        y = names.index(r.dataset)
        ax.plot(r.mass, y, "o", color=RED, mfc=RED if r.worked else "white", ms=8)
        above = sorted(rows.loc[rows["dataset"] == r.dataset, "tau"]).index(r.tau) % 2 == 0
        ax.text(r.mass, y + (-0.22 if above else 0.36), f"τ {r.tau:g}", ha="center", fontsize=8)
    row_axis(ax, names)
    ax.set_ylim(len(names) - 0.5, -0.6)
    ax.set_xscale("logit")  # else the ends, where temperatures crowd, are one point
    ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("mean mass off the label (%, logit scale)")
    note = f"filled: KD surely gains, within {100 * NEAR:g} point of the bed's best; all else searched"
    return finish(figure, study.tables["practical"], note)


def weights(study: Study) -> pd.DataFrame:
    """What KD gains over hard labels at each fixed weight, and at a searched one: a row for each bed and weight."""
    sides = dict.fromkeys(n for e in study.experiments for n in e.choices if n.startswith("α ") or n == TREATMENT)
    found = [claims.described(study, {side: 1, BASELINE: -1}).assign(weight=side.removesuffix(":kd")) for side in sides]
    rows = pd.concat(found, ignore_index=True).replace({"weight": {TREATMENT: "searched"}})
    gained = [points(r.effect, r.low, r.high) for r in rows.itertuples()]
    return rows[["dataset", "weight"]].assign(**{"KD − hard": gained})
