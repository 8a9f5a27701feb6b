"""The findings (misaligned, smoothed_teacher, ...): one rule each, asked of a teacher's statistics in this order.

A rule is a function of the statistics and the limits, under `@finding`; limits were fitted by `study.calibration`. A
statistic that is not defined is None: nothing is found because of one.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from inspect import getdoc

import numpy as np

from kdstudy.core.findings import SEVERITIES, Finding, plain
from kdstudy.core.registry import Registry
from kdstudy.diagnosis.statistics.all import Statistics
from kdstudy.diagnosis.statistics.shares import mean_mass

Limits = Mapping[str, float]
Found = bool | None | tuple[str, dict[str, object], str]
Rule = Callable[[Statistics, Limits], Found]

RULES: Registry[Rule] = Registry("finding", in_workers=False)
THRESHOLDS = resources.files("kdstudy.diagnosis") / "thresholds.json"
LEVELS = "universe domain instance"
SIGNIFICANT = 0.01
LOST = 0.1  # of the rows left out, beyond which the rest say nothing about how sure or even the teacher is
LARGE = 1e4  # logits, where others overflow: their scale is not one that a softmax is taken of
NEAR = 0.2  # kappa that few examples may show by chance
NORMAL = 4.0  # standard errors above chance, below which nothing is claimed to be known
FIRST = 5  # rows that evidence names
FULL = 65504.0  # the largest number of float16
FEWEST = 100  # examples: a share of one half has a standard error of 0.05 then
GRID = 2 ** (np.arange(-16, 49) / 8)  # temperatures from 1/4 to 64, where the limits of the range are looked for


def finding(shows: str = "", unless: str = "", doubts: str = "", fitted: bool = False) -> Callable[[Rule], Rule]:
    """Register a rule under its function's name, which is the finding's code.

    The first line of its docstring says what is wrong, the paragraph after it what to do. It returns whether that is
    so, which makes a warning with the statistics that `shows` names as evidence; or severity, evidence and advice.
    `unless` names findings that explain it away: where one of them was made, the rule is not asked. `doubts` names the
    levels that the finding puts in doubt; an error puts all in doubt. `fitted`: it rests on numbers alone, against
    limits that were fitted, so that calibration asks it of its table of teachers.
    """
    facts = {"unless": tuple(unless.split()), "doubts": tuple(doubts.split())}
    return RULES.register(shows=shows, fitted=fitted, **facts)


@cache
def limits() -> dict[str, float]:
    """The calibrated limits by name, as study.calibration wrote them."""
    return json.loads(THRESHOLDS.read_text("utf-8"))


def findings(s: Statistics, limit: Limits | None = None) -> tuple[Finding, ...]:
    """All findings, errors first, else in the order in which rules are entered."""
    limit, made = limit or limits(), {}
    for code, rule in RULES.items():
        if made.keys() & set(rule.unless) or not (found := rule(s, limit)):
            continue
        message, _, advice = (getdoc(rule) or "").partition("\n")
        warning = "warning", s.some(rule.shows), " ".join(advice.split())
        severity, evidence, advice = found if isinstance(found, tuple) else warning
        made[code] = Finding(code, severity, plain(evidence), advice, message.rstrip("."))
    return tuple(sorted(made.values(), key=lambda f: SEVERITIES.index(f.severity)))


# ---------------------------------------------------------------- what rules have in common


def above(value: float | None, limit: float) -> bool:
    """Whether a statistic is defined and above its limit."""
    return value is not None and value > limit


def below(value: float | None, limit: float) -> bool:
    """Whether a statistic is defined and below its limit."""
    return value is not None and value < limit


def rows_lost(s: Statistics) -> bool:
    """Whether rows are left out so that the rest need not be like them: many, or some of logits that overflow."""
    return above(s["left_out"], LOST) or (above(s["left_out"], 0) and above(s["highest"], LARGE))


def at_chance(s: Statistics, limit: Limits) -> bool:
    """No better than class counts alone give: hardly above that, or by less than a fifth and 4 standard errors."""
    hardly = below(s["kappa"], limit["chance_kappa"])
    return hardly or (below(s["kappa"], NEAR) and below(s["z"], NORMAL))


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


# ---------------------------------------------------------------- the values themselves


@finding()
def non_finite(s: Statistics, limit: Limits) -> Found:
    """Some logits are NaN or infinite."""
    teacher, counts = s.inputs.teacher, s.inputs.teacher.raw.counts
    bad = (~teacher.raw.finite).nonzero()[0]
    if not len(bad):
        return None
    half = teacher.dtype in ("float16", "bfloat16") or abs(s["highest"] or 0) > 0.9 * FULL
    if counts["+inf"] + counts["-inf"] and half:
        cause = f"overflow: {teacher.dtype} ends at {FULL:.0f} (bfloat16: 3.4e38); keep logits in float32"
    elif counts["-inf"] and not counts["+inf"] + counts["nan"]:
        cause = "classes masked with -inf, or logarithms of probabilities that are 0; leave those classes out"
    elif counts["nan"] and not counts["+inf"] + counts["-inf"]:
        cause = "NaN alone: a network that diverged, inf - inf in a normalisation, or missing values"
    else:
        cause = "infinities and NaN: an overflow, then inf - inf"
    evidence = {"rows": len(bad), "fraction": s["left_out"], "first_rows": bad[:FIRST].tolist(), **counts}
    evidence |= {"dtype": teacher.dtype, "largest_finite": s["highest"], "likely_cause": cause}
    advice = f"{cause[0].upper()}{cause[1:]}. Everything else here is about the {len(teacher.rows)} finite rows."
    return "error", evidence, advice


@finding()
def not_logits(s: Statistics, limit: Limits) -> Found:
    """Rows are probabilities, their logarithms, or scores between 0 and 1."""
    raw = s.inputs.teacher.raw
    evidence = {"kind": raw.kind, "lowest": raw.low, "highest": raw.high}
    if raw.kind == "probabilities":
        advice = (
            f"Rows sum to {raw.total:g}: save the values before the softmax; a second softmax of probabilities is "
            f"nearly uniform. Read here as log p."
        )
        return "error", evidence | {"row_sum": raw.total}, advice
    if raw.kind == "log-probabilities":
        advice = (
            "Rows are log-softmax outputs: the same targets at every tau, but wrong in a loss on raw logits (squared "
            "error, z-scores); save the values before the log-softmax."
        )
        return "warning", evidence, advice
    if raw.kind == "scores" and above(s["z"], 5):
        advice = "All values are between 0 and 1, and rows do not sum to 1: sigmoid outputs? Save the values before it."
        return "error", evidence, advice
    return None


@finding()
def constant_rows(s: Statistics, limit: Limits) -> Found:
    """Rows whose logits are all equal, or one row that is repeated for examples of different classes."""
    many, least = limit["constant_fraction"], 2 / max(1, s["examples"])
    constant, repeated = (s[k] or 0.0 for k in ("constant", "repeated"))
    if constant <= max(many, least * (s["classes"] == 2)) and repeated <= max(limit["repeated_fraction"], least):
        return None
    advice = (
        "Rows with all logits equal, or the same for many examples, teach nothing: look for a buffer that was not "
        "filled, a failed or padded batch, or a teacher whose units are dead."
    )
    return "error", {"constant": constant, "repeated": repeated}, advice


# ---------------------------------------------------------------- does the teacher know these examples at all?


def _trained(s: Statistics, limit: Limits) -> bool:
    """Whether logits, their labels aside, look like those of a network that was trained on classes like these.

    They are sure, the classes that they name are as frequent as the labels, and by named class they lie further
    apart than independent noise does.
    """
    alike = below(s["histogram"], limit["trained_histogram"]) and above(s["sure"], limit["trained_sure"])
    return alike and above(s["apart"], limit["trained_apart"])


def _repair(s: Statistics, limit: Limits) -> str | None:
    """What restores the pairing: "shift", "reversal" or "renaming"; None if nothing does.

    It must reach the accuracy of a fair teacher, gain 0.2, and be beyond what the best of all shifts, or the best
    renaming of shuffled labels, reaches by chance.
    """
    if s["shifted_accuracy"] is None:
        return None
    ways = {"shift": s["shifted_accuracy"], "reversal": s["reversed_accuracy"], "renaming": s["renamed_accuracy"]}
    if s["renamed_accuracy"] < s["renamed_null"] + limit["repair_gain"]:
        ways.pop("renaming")
    best = max(ways, key=ways.get)
    least = max(limit["repair_accuracy"], s["accuracy"] + limit["repair_gain"], s["chance_high"])
    return best if ways[best] >= least else None


@finding(fitted=True)
def misaligned(s: Statistics, limit: Limits) -> Found:
    """Logits of a trained teacher that stand beside other examples' labels, or name the classes in another order."""
    way = _repair(s, limit)
    if way is None and not (at_chance(s, limit) and _trained(s, limit)):
        return None
    evidence = s.some("accuracy chance histogram confidence apart shift shifted_accuracy reversed_accuracy "
                      "renamed_accuracy")  # fmt: skip
    words = {
        "shift": (f"shift the logits by {s['shift']} rows", s["shifted_accuracy"]),
        "reversal": ("reverse the order of the rows", s["reversed_accuracy"]),
        "renaming": ("let column c of the logits be class renaming[c]", s["renamed_accuracy"]),
    }
    remedy = ""
    if way:
        remedy = "To restore: {} (accuracy {:.3f}). ".format(*words[way])
        evidence |= {"repair": way} | ({"renaming": s.renaming} if way == "renaming" else {})
    advice = (
        f"Logits and labels are in different orders. {remedy}Store logits by the example's index, and do not shuffle "
        "while they are computed."
    )
    return "error", evidence, advice


@finding(shows="accuracy chance kappa confidence", unless="misaligned", fitted=True)
def weak_teacher(s: Statistics, limit: Limits) -> Found:
    """The teacher is at chance, or poor on its own training set.

    The teacher is wrong on many examples: train it longer or take a larger one, unless labels are noisy. If it is much
    surer than it is right, part of the rows may be in another order than the labels.
    """
    if at_chance(s, limit):
        advice = "The teacher is at chance on these labels: untrained, of another task, or without its weights loaded."
        return "error", s.some(weak_teacher.shows), advice
    return below(s["kappa"], limit["weak_kappa"]) and not rows_lost(s)


# ---------------------------------------------------------------- what its targets can tell


@finding(shows="pinned spread mass_right", unless="misaligned weak_teacher", doubts="domain instance", fitted=True)
def smoothed_teacher(s: Statistics, limit: Limits) -> Found:
    """The mass is nearly the same for all examples, and spread evenly over the other classes.

    Targets are nearly the same for all examples of a class, as after label smoothing: they tell little about examples
    and classes. Train the teacher on hard labels, or expect little more than smoothing gives; if these logits were
    already divided by a temperature, store them as they were.
    """
    even = s["classes"] == 2 or below(s["spread"], limit["smoothed_spread"])
    alike = above(s["pinned"], limit["smoothed_pinned"]) and above(s["mass_right"], limit["saturated_mass"])
    return even and alike and not rows_lost(s)


@finding(
    shows="mass_right mass_middle accuracy", unless="misaligned weak_teacher smoothed_teacher", doubts=LEVELS,
    fitted=True,
)  # fmt: skip
def saturated_teacher(s: Statistics, limit: Limits) -> Found:
    """The teacher is so sure of its training set that its targets are the labels.

    At tau = 1 the targets are the labels: raise tau, stop the teacher earlier, or take its logits on examples that it
    was not trained on (cross-fitting).
    """
    return below(s["mass_right"], limit["saturated_mass"]) and not rows_lost(s)


@finding(
    shows="mass heldout_mass mass_gap accuracy heldout_accuracy", unless="misaligned weak_teacher", doubts="instance",
    fitted=True,
)  # fmt: skip
def train_memorised(s: Statistics, limit: Limits) -> Found:
    """The teacher is far surer, and righter, of its training examples than of held-out ones.

    The masses on the training set say what was memorised, not what is hard: take the teacher's logits on examples that
    it was not trained on (cross-fitting), stop earlier, or regularise it.
    """
    return above(s["mass_gap"], limit["memorised_gap"])


@finding(
    shows="structure structure_p", unless="misaligned weak_teacher smoothed_teacher constant_rows", doubts="domain",
    fitted=True,
)  # fmt: skip
def no_class_structure(s: Statistics, limit: Limits) -> Found:
    """The other classes' logits do not depend on the label beyond what a permutation gives.

    Where the mass goes does not depend on the class: there is no domain knowledge to hand on. Were the logits truncated
    to their largest, perturbed, or mixed up among the other classes?
    """
    enough = s["classes"] >= limit["structure_classes"] and s["examples"] >= limit["structure_rows"] * s["classes"]
    return enough and above(s["structure_p"], SIGNIFICANT) and not rows_lost(s)


@finding(shows="classes", doubts="domain")
def few_classes(s: Statistics, limit: Limits) -> Found:
    """With two classes, all the mass that leaves the label goes to the one other class.

    With 2 classes the one other class takes all the mass that leaves the label: there is no class similarity to hand
    on. Distil finer classes or hidden features; expect smoothing and weights of examples only.
    """
    return s["classes"] == 2


@finding(shows="examples classes", doubts=LEVELS)
def few_examples(s: Statistics, limit: Limits) -> Found:
    """The examples are so few that what is said of the levels is mostly chance.

    Fewer than 100 examples tell little of levels, structure or alignment: give the whole training set.
    """
    return s["examples"] < FEWEST


@finding(unless="misaligned")
def student_beats_teacher(s: Statistics, limit: Limits) -> Found:
    """The student is right more often than its teacher, beyond chance."""
    if not above(s["student_gain"], limit["student_gain"]) or s["student_p"] > SIGNIFICANT:
        return None
    where = "held-out" if s.inputs.student_val and s.inputs.heldout else "training"
    evidence = s.some("student_accuracy teacher_accuracy student_gain student_p") | {"examples": where}
    advice = f"The student is right more often than its teacher on the {where} examples: take a better teacher."
    return "warning", evidence, advice


# ---------------------------------------------------------------- the temperature in use


def _of_temperature(s: Statistics) -> dict[str, object]:
    return {"tau": s["asked"], "low": s["tau_low"], "high": s["tau_high"], "mass": s["asked_mass"]}


@finding(unless="misaligned weak_teacher", doubts=LEVELS)
def temperature_low(s: Statistics, limit: Limits) -> Found:
    """The temperature in use leaves less mass off the label than the range that is recommended."""
    if s["tau_low"] is None or not below(s["asked"], s["tau_low"]):
        return None
    advice = (
        "At this tau less mass leaves the label than where the study's students learnt most: try tau from "
        f"{s['tau_low']:g} on."
    )
    return "warning", _of_temperature(s), advice


@finding(unless="misaligned weak_teacher", doubts="domain instance")
def temperature_high(s: Statistics, limit: Limits) -> Found:
    """The temperature in use leaves more mass off the label than the range that is recommended."""
    if s["tau_high"] is None or not above(s["asked"], s["tau_high"]):
        return None
    advice = (
        "At this tau more mass leaves the label than where most of the study's students learnt most: try tau up to "
        f"{s['tau_high']:g} too. A wide student may bear more, and noisy data need more."
    )
    return "warning", _of_temperature(s), advice
