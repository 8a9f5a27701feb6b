"""Rules about the values themselves, and whether they belong to these labels at all."""

from kdstudy.diagnosis import predicates
from kdstudy.diagnosis.predicates import Limits, above
from kdstudy.diagnosis.rules.registry import Found, finding
from kdstudy.diagnosis.statistics.all import Statistics

FIRST = 5  # rows that evidence names
FULL = 65504.0  # the largest number of float16
REPAIRS = {
    "shift": ("shift the logits by {shift} rows", "shifted_accuracy"),
    "reversal": ("reverse the order of the rows", "reversed_accuracy"),
    "renaming": ("let column c of the logits be class renaming[c]", "renamed_accuracy"),
}


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


# ---------------------------------------------------------------- does it know these examples at all?


@finding(when=predicates.misaligned)
def misaligned(s: Statistics, limit: Limits) -> Found:
    """Logits of a trained teacher that stand beside other examples' labels, or name the classes in another order."""
    evidence = s.some("accuracy chance histogram confidence apart shift shifted_accuracy reversed_accuracy "
                      "renamed_accuracy")  # fmt: skip
    remedy, way = "", predicates.repair(s, limit)
    if way:
        words, accuracy = REPAIRS[way]
        remedy = f"To restore: {words.format(shift=s['shift'])} (accuracy {s[accuracy]:.3f}). "
        evidence |= {"repair": way} | ({"renaming": s.renaming} if way == "renaming" else {})
    advice = (
        f"Logits and labels are in different orders. {remedy}Store logits by the example's index, and do not shuffle "
        "while they are computed."
    )
    return "error", evidence, advice


@finding(when=predicates.weak, unless="misaligned")
def weak_teacher(s: Statistics, limit: Limits) -> Found:
    """The teacher is at chance, or poor on its own training set."""
    evidence = s.some("accuracy chance kappa confidence")
    if predicates.at_chance(s, limit):
        advice = "The teacher is at chance on these labels: untrained, of another task, or without its weights loaded."
        return "error", evidence, advice
    advice = (
        "The teacher is wrong on many examples: train it longer or take a larger one, unless labels are noisy. If it "
        "is much surer than it is right, part of the rows may be in another order than the labels."
    )
    return "warning", evidence, advice
