"""Rules about what a teacher's targets can tell."""

from kdstudy.diagnosis import predicates
from kdstudy.diagnosis.predicates import SIGNIFICANT, Limits, above
from kdstudy.diagnosis.rules.registry import Found, finding
from kdstudy.diagnosis.statistics.all import Statistics

FEWEST = 100  # examples: a share of one half has a standard error of 0.05 then
ALL = "universe domain instance"


@finding(when=predicates.smoothed, unless="misaligned weak_teacher", doubts="domain instance")
def smoothed_teacher(s: Statistics, limit: Limits) -> Found:
    """The mass is nearly the same for all examples, and spread evenly over the other classes."""
    advice = (
        "Targets are nearly the same for all examples of a class, as after label smoothing: they tell little about "
        "examples and classes. Train the teacher on hard labels, or expect little more than smoothing gives; if these "
        "logits were already divided by a temperature, store them as they were."
    )
    return "warning", s.some("pinned spread mass_right"), advice


@finding(when=predicates.saturated, unless="misaligned weak_teacher smoothed_teacher", doubts=ALL)
def saturated_teacher(s: Statistics, limit: Limits) -> Found:
    """The teacher is so sure of its training set that its targets are the labels."""
    advice = (
        "At tau = 1 the targets are the labels: raise tau, stop the teacher earlier, or take its logits on examples "
        "that it was not trained on (cross-fitting)."
    )
    return "warning", s.some("mass_right mass_middle accuracy"), advice


@finding(when=predicates.memorised, unless="misaligned weak_teacher", doubts="instance")
def train_memorised(s: Statistics, limit: Limits) -> Found:
    """The teacher is far surer, and righter, of its training examples than of held-out ones."""
    advice = (
        "The masses on the training set say what was memorised, not what is hard: take the teacher's logits on "
        "examples that it was not trained on (cross-fitting), stop earlier, or regularise it."
    )
    return "warning", s.some("mass heldout_mass mass_gap accuracy heldout_accuracy"), advice


@finding(
    when=predicates.structureless, unless="misaligned weak_teacher smoothed_teacher constant_rows", doubts="domain"
)
def no_class_structure(s: Statistics, limit: Limits) -> Found:
    """The other classes' logits do not depend on the label beyond what a permutation gives."""
    advice = (
        "Where the mass goes does not depend on the class: there is no domain knowledge to hand on. Were the logits "
        "truncated to their largest, perturbed, or mixed up among the other classes?"
    )
    return "warning", s.some("structure structure_p"), advice


@finding(doubts="domain")
def few_classes(s: Statistics, limit: Limits) -> Found:
    """With two classes, all the mass that leaves the label goes to the one other class."""
    if s["classes"] > 2:
        return None
    advice = (
        "With 2 classes the one other class takes all the mass that leaves the label: there is no class similarity to "
        "hand on. Distil finer classes or hidden features; expect smoothing and weights of examples only."
    )
    return "warning", {"classes": 2}, advice


@finding(doubts=ALL)
def few_examples(s: Statistics, limit: Limits) -> Found:
    """The examples are so few that what is said of the levels is mostly chance."""
    if s["examples"] >= FEWEST:
        return None
    advice = f"Fewer than {FEWEST} examples tell little of levels, structure or alignment: give the whole training set."
    return "warning", s.some("examples classes"), advice


@finding(unless="misaligned")
def student_beats_teacher(s: Statistics, limit: Limits) -> Found:
    """The student is right more often than its teacher, beyond chance."""
    if not above(s["student_gain"], limit["student_gain"]) or s["student_p"] > SIGNIFICANT:
        return None
    where = "held-out" if s.inputs.student_val and s.inputs.heldout else "training"
    evidence = s.some("student_accuracy teacher_accuracy student_gain student_p") | {"examples": where}
    advice = f"The student is right more often than its teacher on the {where} examples: take a better teacher."
    return "warning", evidence, advice
