"""Rules about the values themselves, and whether they belong to these labels at all."""

import numpy as np

from kdstudy import findings_limits
from kdstudy.findings_base import Found, finding, some
from kdstudy.findings_limits import Limits, beyond
from kdstudy.signals import Signals

FIRST = 5  # rows that evidence names
FULL = 65504.0  # the largest number of float16


# ---------------------------------------------------------------- the values themselves


@finding()
def non_finite(s: Signals, limit: Limits) -> Found:
    """Some logits are NaN or infinite."""
    table = s.given.teacher
    look = table.look
    bad = np.flatnonzero(~look.kept)
    if not len(bad):
        return None
    half = table.dtype in ("float16", "bfloat16") or abs(s["highest"] or 0) > 0.9 * FULL
    if look.counts["+inf"] + look.counts["-inf"] and half:
        cause = f"overflow: {table.dtype} ends at {FULL:.0f} (bfloat16: 3.4e38); keep logits in float32"
    elif look.counts["-inf"] and not look.counts["+inf"] + look.counts["nan"]:
        cause = "classes masked with -inf, or logarithms of probabilities that are 0; leave those classes out"
    elif look.counts["nan"] and not look.counts["+inf"] + look.counts["-inf"]:
        cause = "NaN alone: a network that diverged, inf - inf in a normalisation, or missing values"
    else:
        cause = "infinities and NaN: an overflow, then inf - inf"
    evidence = {"rows": len(bad), "fraction": s["left_out"], "first_rows": bad[:FIRST].tolist(), **look.counts}
    evidence |= {"dtype": table.dtype, "largest_finite": s["highest"], "likely_cause": cause}
    advice = f"{cause[0].upper()}{cause[1:]}. Everything else here is about the {len(table.rows)} finite rows."
    return "error", evidence, advice


@finding()
def not_logits(s: Signals, limit: Limits) -> Found:
    """Rows are probabilities, their logarithms, or scores between 0 and 1."""
    look = s.given.teacher.look
    evidence = {"kind": look.kind, "lowest": look.low, "highest": look.high}
    if look.kind == "probabilities":
        advice = (
            "Rows sum to {:g}: save the values before the softmax; a second softmax of probabilities is nearly uniform"
        )
        return "error", evidence | {"row_sum": look.total}, advice.format(look.total) + ". Read here as log p."
    if look.kind == "log-probabilities":
        advice = (
            "Rows are log-softmax outputs: the same targets at every tau, but wrong in a loss on raw logits (squared "
            "error, z-scores); save the values before the log-softmax."
        )
        return "warning", evidence, advice
    if look.kind == "scores" and beyond(s["z"], 5):
        advice = "All values are between 0 and 1, and rows do not sum to 1: sigmoid outputs? Save the values before it."
        return "error", evidence, advice
    return None


@finding()
def constant_rows(s: Signals, limit: Limits) -> Found:
    """Rows whose logits are all equal, or one row that is repeated for examples of different classes."""
    many, least = limit["constant_fraction"], 2 / max(1, s["examples"])
    constant, repeated = (s[k] or 0.0 for k in ("constant", "repeated"))
    if constant <= max(many, least * (s["classes"] == 2)) and repeated <= max(limit["repeated_fraction"], least):
        return None
    evidence = {"constant": constant, "repeated": repeated}
    advice = "Rows with all logits equal, or the same for many examples, teach nothing: look for a buffer that was not "
    return "error", evidence, advice + "filled, a failed or padded batch, or a teacher whose units are dead."


# ---------------------------------------------------------------- does it know these examples at all?


REPAIRS = {
    "shift": ("shift the logits by {shift} rows", "shifted_accuracy"),
    "reversal": ("reverse the order of the rows", "reversed_accuracy"),
    "renaming": ("let column c of the logits be class renaming[c]", "renamed_accuracy"),
}


@finding()
def misaligned(s: Signals, limit: Limits) -> Found:
    """Logits of a trained teacher that stand beside other examples' labels, or name the classes in another order."""
    if s.rows is None or not findings_limits.misaligned(s.value, limit):
        return None
    evidence = some(s, "accuracy chance histogram confidence apart")
    evidence |= some(s, "shift shifted_accuracy reversed_accuracy renamed_accuracy")
    told, way = "", findings_limits.repair(s.value, limit)
    if way:
        words, accuracy = REPAIRS[way]
        told = f"To restore: {words.format(**s.repairs)} (accuracy {s[accuracy]:.3f}). "
        evidence |= {"repair": way} | ({"renaming": s.repairs["renaming"]} if way == "renaming" else {})
    advice = f"Logits and labels are in different orders. {told}Store logits by the example's index, "
    return "error", evidence, advice + "and do not shuffle while they are computed."


@finding(unless="misaligned")
def weak_teacher(s: Signals, limit: Limits) -> Found:
    """At chance (error), or poor on its own training set (warning)."""
    if s.rows is None:
        return None
    evidence = some(s, "accuracy chance kappa confidence")
    if findings_limits.at_chance(s.value, limit):
        advice = "The teacher is at chance on these labels: untrained, of another task, or without its weights loaded."
        return "error", evidence, advice
    if s.rows is None or not findings_limits.weak_teacher(s.value, limit):
        return None
    advice = (
        "The teacher is wrong on many examples: train it longer or take a larger one, unless labels are noisy. If it "
        "is much surer than it is right, part of the rows may be in another order than the labels."
    )
    return "warning", evidence, advice
