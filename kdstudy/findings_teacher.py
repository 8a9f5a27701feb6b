"""Rules about what a teacher's targets can tell, and about the temperature in use."""

from kdstudy import findings_limits
from kdstudy.findings_base import Found, finding, some
from kdstudy.findings_limits import SIGNIFICANT, Limits, beyond
from kdstudy.signals import Signals

FEWEST = 100  # examples: a share of one half has a standard error of 0.05 then

# ---------------------------------------------------------------- what it can tell


@finding(unless="misaligned weak_teacher")
def smoothed_teacher(s: Signals, limit: Limits) -> Found:
    """The mass is nearly the same for all examples, and spread evenly over the other classes."""
    if s.rows is None or not findings_limits.smoothed_teacher(s.value, limit):
        return None
    evidence = some(s, "pinned spread mass_right")
    advice = (
        "Targets are nearly the same for all examples of a class, as after label smoothing: they tell little about "
        "examples and classes. Train the teacher on hard labels, or expect little more than smoothing gives; if these "
        "logits were already divided by a temperature, store them as they were."
    )
    return "warning", evidence, advice


@finding(unless="misaligned weak_teacher smoothed_teacher")
def saturated_teacher(s: Signals, limit: Limits) -> Found:
    """So sure of its training set that its targets are the labels."""
    if s.rows is None or not findings_limits.saturated_teacher(s.value, limit):
        return None
    advice = (
        "At tau = 1 the targets are the labels: raise tau, stop the teacher earlier, or take its logits on examples "
        "that it was not trained on (cross-fitting)."
    )
    return "warning", some(s, "mass_right mass_middle accuracy"), advice


@finding(unless="misaligned weak_teacher")
def train_memorised(s: Signals, limit: Limits) -> Found:
    """Far surer, and righter, of its training examples than of held-out ones."""
    if s.rows is None or not findings_limits.train_memorised(s.value, limit):
        return None
    evidence = some(s, "mass heldout_mass mass_gap accuracy heldout_accuracy")
    advice = (
        "The masses on the training set say what was memorised, not what is hard: take the teacher's logits on "
        "examples that it was not trained on (cross-fitting), stop earlier, or regularise it."
    )
    return "warning", evidence, advice


@finding(unless="misaligned weak_teacher smoothed_teacher constant_rows")
def no_class_structure(s: Signals, limit: Limits) -> Found:
    """The other classes' logits do not depend on the label beyond what a permutation gives."""
    if s.rows is None or not findings_limits.no_class_structure(s.value, limit):
        return None
    advice = (
        "Where the mass goes does not depend on the class: there is no domain knowledge to hand on. Were the logits "
        "truncated to their largest, perturbed, or mixed up among the other classes?"
    )
    return "warning", some(s, "structure structure_p"), advice


@finding()
def few_classes(s: Signals, limit: Limits) -> Found:
    """Two classes: all the mass that leaves the label goes to the one other class."""
    if s["classes"] > 2:
        return None
    advice = (
        "With 2 classes the one other class takes all the mass that leaves the label: there is no class similarity to "
        "hand on. Distil finer classes or hidden features; expect smoothing and weights of examples only."
    )
    return "warning", {"classes": 2}, advice


@finding()
def few_examples(s: Signals, limit: Limits) -> Found:
    """So few examples that what is said of the levels is mostly chance."""
    if s["examples"] >= FEWEST:
        return None
    advice = f"Fewer than {FEWEST} examples tell little of levels, structure or alignment: give the whole training set."
    return "warning", {"examples": s["examples"], "classes": s["classes"]}, advice


@finding(unless="misaligned")
def student_beats_teacher(s: Signals, limit: Limits) -> Found:
    """The student is right more often than its teacher, beyond chance."""
    if not beyond(s["student_gain"], limit["student_gain"]) or s["student_p"] > SIGNIFICANT:
        return None
    where = "held-out" if s.given.student_val and s.given.heldout else "training"
    evidence = some(s, "student_accuracy teacher_accuracy student_gain student_p") | {"examples": where}
    advice = f"The student is right more often than its teacher on the {where} examples: take a better teacher."
    return "warning", evidence, advice


# ---------------------------------------------------------------- the temperature that was asked


@finding(unless="misaligned weak_teacher")
def temperature_low(s: Signals, limit: Limits) -> Found:
    """The asked tau leaves less mass off the label than the range that is recommended."""
    if s["asked"] is None or s["tau_low"] is None or s["asked"] >= s["tau_low"]:
        return None
    evidence = {"tau": s["asked"], "low": s["tau_low"], "high": s["tau_high"], "mass": s["asked_mass"]}
    advice = (
        "At this tau less mass leaves the label than where the study's students learnt most: try tau from "
        f"{s['tau_low']:g} on."
    )
    return "warning", evidence, advice


@finding(unless="misaligned weak_teacher")
def temperature_high(s: Signals, limit: Limits) -> Found:
    """The asked tau leaves more mass off the label than the range that is recommended."""
    if s["asked"] is None or s["tau_high"] is None or s["asked"] <= s["tau_high"]:
        return None
    evidence = {"tau": s["asked"], "low": s["tau_low"], "high": s["tau_high"], "mass": s["asked_mass"]}
    advice = (
        "At this tau more mass leaves the label than where most of the study's students learnt most: try tau up to "
        f"{s['tau_high']:g} too. A wide student may bear more, and noisy data need more."
    )
    return "warning", evidence, advice
