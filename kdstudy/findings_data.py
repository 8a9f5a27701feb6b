"""Rules about the values themselves, and whether they belong to these labels at all."""

import numpy as np

from kdstudy.findings_base import SIGNIFICANT, Found, Limits, beyond, finding, lost, some, under
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
    many, least = limit["constant_fraction"], 2 / max(1, s["rows"])
    constant, repeated = (s[k] or 0.0 for k in ("constant", "repeated"))
    if constant <= max(many, least * (s["classes"] == 2)) and repeated <= max(limit["repeated_fraction"], least):
        return None
    evidence = {"constant": constant, "repeated": repeated}
    advice = "Rows with all logits equal, or the same for many examples, teach nothing: look for a buffer that was not "
    return "error", evidence, advice + "filled, a failed or padded batch, or a teacher whose units are dead."


# ---------------------------------------------------------------- does it know these examples at all?


def _at_chance(s: Signals, limit: Limits) -> bool:
    """No better than class counts alone give: within 4 standard errors of chance, or hardly above it."""
    return s.rows is not None and (s["z"] < 4 or s["kappa"] < limit["chance_kappa"])


def _repair(s: Signals, limit: Limits) -> tuple[str, float] | None:
    """What restores the pairing, and the accuracy then; a renaming must beat that of shuffled labels, too."""
    least = max(limit["repair_accuracy"], (s["accuracy"] or 0) + 0.2)
    if not s.repairs:
        return None
    ways = {
        f"shift the logits by {s.repairs['shift']} rows": s["shifted_accuracy"],
        "reverse the rows": s["reversed_accuracy"],
        "rename the classes as in `renaming`": s["renamed_accuracy"],
    }
    if s["renamed_accuracy"] < s["renamed_null"] + limit["renaming_gain"]:
        ways.popitem()
    chance = s["chance"] + 6 * np.sqrt(s["chance"] * (1 - s["chance"]) / len(s.given.teacher.labels))
    best = max(ways, key=ways.get)
    return (best, ways[best]) if ways[best] >= max(least, chance) else None


def _trained(s: Signals, limit: Limits) -> bool:
    """Whether logits, their labels aside, look like those of a network that was trained on classes like these."""
    sure = (s["confidence"] - 1 / s["classes"]) / (1 - 1 / s["classes"])
    structured = s["classes"] < 3 or (
        under(s["own_structure_p"], 2 * SIGNIFICANT) and beyond(s["own_structure"], limit["trained_structure"])
    )
    return (
        structured
        and sure > limit["trained_confidence"]
        and s["histogram"] < limit["trained_histogram"]
        and beyond(s["margin_ratio"], limit["trained_margin"])
    )


@finding()
def misaligned(s: Signals, limit: Limits) -> Found:
    """Logits of a trained teacher that stand beside other examples' labels, or name the classes in another order."""
    repair = _repair(s, limit)
    if not repair and not (_at_chance(s, limit) and s.repairs and _trained(s, limit)):
        return None
    evidence = some(s, "accuracy chance histogram confidence own_structure")
    evidence |= {k: s.repairs[k] for k in ("shift", "shifted_accuracy", "reversed_accuracy", "renamed_accuracy")}
    if repair and repair[0].startswith("rename"):
        evidence["renaming"] = s.repairs["renaming"]
    told = f"To restore: {repair[0]} (accuracy {repair[1]:.3f}). " if repair else ""
    advice = "Logits and labels are in different orders. " + told
    return (
        "error",
        evidence,
        advice + "Store logits by the example's index, and do not shuffle while they are computed.",
    )


@finding(unless="misaligned")
def weak_teacher(s: Signals, limit: Limits) -> Found:
    """At chance (error), or poor on its own training set (warning)."""
    if s.rows is None:
        return None
    evidence = some(s, "accuracy chance kappa confidence")
    if _at_chance(s, limit):
        advice = "The teacher is at chance on these labels: untrained, of another task, or without its weights loaded."
        return "error", evidence, advice
    if s["kappa"] >= limit["weak_kappa"] or lost(s):
        return None
    advice = "The teacher is wrong on many examples: train it longer or take a larger one, unless labels are noisy."
    return "warning", evidence, advice
