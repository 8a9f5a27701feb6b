"""The temperatures worth a trial, and rules about the one in use."""

import numpy as np

from kdstudy.diagnosis.predicates import Limits, above, at_chance, below
from kdstudy.diagnosis.rules.registry import Found, finding
from kdstudy.diagnosis.statistics.all import Statistics
from kdstudy.diagnosis.statistics.shares import mean_mass

GRID = 2 ** (np.arange(-16, 49) / 8)  # temperatures from 1/4 to 64, where the limits of the range are looked for


def recommended(s: Statistics, limit: Limits) -> dict[str, object]:
    """The temperatures at which the mean mass, of the most there is, lies within the calibrated limits.

    The mean of 1 - p^tau_t over 1 - 1 / C, its limit for tau -> infinity, at temperatures from 1/4 to 64 in steps of
    2^(1/8). Where it is beyond the upper limit at tau = 1 already, that alone is recommended: nothing is to be
    softened. None with a reason for a teacher at chance, or where no temperature gives enough.
    """
    none, teacher = {"low": None, "high": None}, s.inputs.teacher
    if not len(teacher.labels):
        return none | {"reason": "no finite rows"}
    if at_chance(s, limit):
        return none | {"reason": "the teacher is at chance on these labels"}
    low, high = limit["tau_low_mass"], limit["tau_high_mass"]
    mass = np.array([mean_mass(teacher, tau) for tau in GRID]) / (1 - 1 / s["classes"])
    span = f"a mean mass of {low:.3g} to {high:.3g} of 1 - 1/C"
    if mass[GRID == 1] > high:
        return {"low": 1.0, "high": 1.0, "reason": f"at tau = 1 the targets leave more than {span} already"}
    inside = GRID[(mass >= low) & (mass <= high)]
    if not len(inside):
        return none | {"reason": f"no temperature from 0.25 to 64 leaves {span}"}
    return {"low": round(float(inside[0]), 2), "high": round(float(inside[-1]), 2), "reason": f"leaves {span}"}


def _evidence(s: Statistics) -> dict[str, object]:
    return {"tau": s["asked"], "low": s["tau_low"], "high": s["tau_high"], "mass": s["asked_mass"]}


@finding(unless="misaligned weak_teacher", doubts="universe domain instance")
def temperature_low(s: Statistics, limit: Limits) -> Found:
    """The temperature in use leaves less mass off the label than the range that is recommended."""
    if s["tau_low"] is None or not below(s["asked"], s["tau_low"]):
        return None
    advice = (
        "At this tau less mass leaves the label than where the study's students learnt most: try tau from "
        f"{s['tau_low']:g} on."
    )
    return "warning", _evidence(s), advice


@finding(unless="misaligned weak_teacher", doubts="domain instance")
def temperature_high(s: Statistics, limit: Limits) -> Found:
    """The temperature in use leaves more mass off the label than the range that is recommended."""
    if s["tau_high"] is None or not above(s["asked"], s["tau_high"]):
        return None
    advice = (
        "At this tau more mass leaves the label than where most of the study's students learnt most: try tau up to "
        f"{s['tau_high']:g} too. A wide student may bear more, and noisy data need more."
    )
    return "warning", _evidence(s), advice
