"""The findings (misaligned, smoothed_teacher, ...): one rule each, asked of a teacher's statistics in this order."""

from collections.abc import Mapping

from kdstudy.diagnosis.arrays import TopK
from kdstudy.diagnosis.rulebook import (
    FIRST,
    RULES,
    Found,
    Limits,
    above,
    at_chance,
    below,
    finding,
    findings,
    row_ranges,
    rows_lost,
)  # fmt: skip
from kdstudy.diagnosis.statistics.all import Statistics

__all__ = ["RULES", "finding", "findings"]

LEVELS = "universe domain instance"
SIGNIFICANT = 0.01
WRONG_MASS = 0.02  # of a target, that nobody meant
MOSTLY = 0.6  # of the rows with a label that has nothing to do with them: more than noise of labels
SURER = 0.3  # that rows which equal others are, than they are right
VOCABULARY = 1000  # classes, of which the first guess of a good teacher is often not the label
FULL = 65504.0  # the largest number of float16
FEWEST = 100  # examples: a share of one half has a standard error of 0.05 then


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
    """Rows whose logits are all equal."""
    if not above(s["constant"], s["by_chance"] or 0.0):
        return None
    rows = s.inputs.teacher.numbers(s.inputs.teacher.raw.constant)
    advice = (
        "A network never gives equal logits for all classes: such rows teach nothing. Look for a buffer that was not "
        f"filled, a failed or padded batch, or dead units; leave these rows out ({row_ranges(rows)})."
    )
    return "error", {"rows": len(rows), "constant": s["constant"], "which": row_ranges(rows)}, advice


@finding()
def zero_rows(s: Statistics, limit: Limits) -> Found:
    """Rows whose logits are all exactly 0, as memory is before it is written."""
    if not above(s["zero"], s["by_chance"] or 0.0):
        return None
    rows = s.inputs.teacher.numbers(s.inputs.teacher.raw.zero)
    end = rows[-1] == len(s.inputs.teacher.values) - 1 and rows[-1] - rows[0] == len(rows) - 1
    cause = "They are the last rows: the last batch was not stored. " if end else ""
    advice = f"{cause}Compute rows {row_ranges(rows)} again, or leave them out of logits and labels."
    return "error", {"rows": len(rows), "zero": s["zero"], "which": row_ranges(rows)}, advice


@finding()
def repeated_rows(s: Statistics, limit: Limits) -> Found:
    """Rows are exact copies of others that have another label."""
    few = s["classes"] < 5 and s.inputs.teacher.dtype not in ("float32", "float64")  # equal by rounding
    if few or not above(s["copied"], 1.5 / s["examples"]) or not above(s["copied_gap"], SURER):
        return None
    rows = s.inputs.teacher.numbers(s.places["copied"])
    advice = (
        "The teacher is much surer of these rows than their labels allow: a batch was stored twice, or a buffer was "
        f"written over. Compute the teacher on rows {row_ranges(rows)} again."
    )
    severity = "error" if s["copied"] > limit["constant_fraction"] else "warning"
    return severity, {"rows": len(rows), "copied": s["copied"], "which": row_ranges(rows)}, advice


@finding()
def truncated_top_k(s: Statistics, limit: Limits) -> Found:
    """Only the largest logits of each row are there; one number stands in place of all others."""
    fill = s.inputs.teacher.raw.fill
    if fill is None or fill.masked:
        return None
    known, given = s.inputs.teacher.raw.kind != "logits", isinstance(s.inputs.teacher.values, TopK)
    value = "a number of its own in each row" if fill.value is None else f"{fill.value:g}"
    least, most = fill.kept
    evidence = {"kept": least if least == most else [least, most], "classes": s["classes"], "in_their_place": value}
    evidence |= {"their_mass_at_tau_1": fill.mass[0], "their_mass_at_tau_4": fill.mass[1]}
    evidence |= {"label_kept": s["label_kept"]} if s["label_kept"] is not None else {}
    tail = (
        "What stands for the others is not knowledge: keep tau low, or take the softmax over "
        "the k classes, or store the mass of the tail (log-probabilities) and give each of the others its part."
    )
    if given or (known and fill.above < 0.05):
        return "info" if known else "warning", evidence, f"Read as top-k. {tail}"
    if fill.mass[0] > WRONG_MASS or fill.above > 0.05:
        advice = (
            f"Softmax gives the other classes {fill.mass[0]:.1%} of the mass at tau 1 and {fill.mass[1]:.1%} "
            f"at tau 4, which the teacher never said: fill with -1e4, or renormalise over the k that are kept. {tail}"
        )
        return "error", evidence, advice
    return "warning", evidence, f"{tail} In a loss, take the softmax over the k kept classes."


@finding()
def masked_classes(s: Statistics, limit: Limits) -> Found:
    """The same classes have one and the same logit in every row."""
    fill = s.inputs.teacher.raw.fill
    if fill is None or not fill.masked:
        return None
    advice = "These columns are no classes of this teacher (padding of a vocabulary, a mask): leave them out of both."
    return "warning", {"classes_left": fill.kept[1], "classes": s["classes"], "value": str(fill.value)}, advice


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
    renaming of shuffled labels, reaches by chance. A shift by one row, which next tokens have, need not be fair.
    """
    if s["shifted_accuracy"] is None:
        return None
    ways = {"shift": s["shifted_accuracy"], "reversal": s["reversed_accuracy"], "renaming": s["renamed_accuracy"]}
    if s["renamed_accuracy"] < s["renamed_null"] + limit["repair_gain"]:
        ways.pop("renaming")
    best = max(ways, key=ways.get)
    fair = 0.0 if best == "shift" and abs(s["shift"]) == 1 else limit["repair_accuracy"]
    least = max(fair, s["accuracy"] + limit["repair_gain"], s["chance_high"])
    return best if ways[best] >= least else None


@finding(fitted=True)
def misaligned(s: Statistics, limit: Limits) -> Found:
    """Logits of a trained teacher that stand beside other examples' labels, or name the classes in another order."""
    way = _repair(s, limit)
    if way is None and not (at_chance(s, limit) and _trained(s, limit)):
        return None
    evidence = s.some("accuracy chance histogram confidence apart shift shifted_accuracy reversed_accuracy "
                      "renamed_accuracy")  # fmt: skip
    typed, columns = "", s.places.get("renaming") or {}
    if way == "renaming":
        evidence |= _renaming(columns, int(s["classes"]))
        listed = [columns.get(label, label) for label in range(max(columns, default=-1) + 1)]
        typed = f"teacher_logits = teacher_logits[:, {listed}]"
    elif way:
        rolled = f"np.roll(teacher_logits, {-int(s['shift'] or 0)}, axis=0)"
        typed = f"teacher_logits = {rolled if way == 'shift' else 'teacher_logits[::-1]'}"
    restored = {"shift": "shifted", "reversal": "reversed", "renaming": "renamed"}.get(way)
    remedy = f"To restore: {typed} (accuracy {s[f'{restored}_accuracy']:.3f}). " if way else ""
    evidence |= {"repair": way, "remedy": typed} if way else {}
    advice = (
        f"Logits and labels are in different orders. {remedy}Store logits by the example's index, and do not shuffle "
        "while they are computed."
    )
    return "error", evidence, advice


def _renaming(columns: Mapping[int, int], classes: int) -> dict[str, list[int]]:
    """Where every class is a label, the class that each column is; else the column of each label."""
    if sorted(columns) == list(range(classes)):
        return {"renaming": sorted(columns, key=columns.get)}
    return {"labels_used": list(columns), "columns": list(columns.values())}


@finding()
def token_shift(s: Statistics, limit: Limits) -> Found:
    """Labels are one row before or after their logits, as those of the next token are."""
    if _repair(s, limit) != "shift" or abs(s["shift"]) != 1:
        return None
    back = s["shift"] < 0
    pair = "teacher_logits[:-1] with labels[1:]" if back else "teacher_logits[1:] with labels[:-1]"
    advice = (
        f"Row i of a language model says what token i + 1 is: pair {pair}, in each sequence by itself "
        f"(of (N, T, V): along T), or type teacher_logits = np.roll(teacher_logits, {-s['shift']}, axis=0)."
    )
    return "error", s.some("shift accuracy shifted_accuracy"), advice


@finding(unless="misaligned repeated_rows")
def partly_misaligned(s: Statistics, limit: Limits) -> Found:
    """Some of the rows stand beside other examples' labels."""
    if s["in_blocks"]:
        which = ", ".join(f"{start}-{stop - 1}" for start, stop in s.places["blocks"])
        advice = (
            f"In rows {which} the teacher is as sure as elsewhere, and right by chance only: their logits belong "
            "to other examples (a worker's part in another order, a batch stored twice). Compute these rows again."
        )
        return "error", {"share": s["in_blocks"], "rows": which}, advice
    if above(s["stray"], limit["stray"]) and above(s["stray_sure"], limit["stray_sure"]) and not at_chance(s, limit):
        advice = (
            f"Of {s['stray']:.0%} of the rows the teacher is sure, and the label has nothing to do with what it says: "
            "labels are wrong there, or the rows are other examples'. Look at some of them."
        )
        return "error" if s["stray"] > MOSTLY else "warning", s.some("stray stray_sure accuracy"), advice
    return None


@finding(unless="misaligned")
def classes_exchanged(s: Statistics, limit: Limits) -> Found:
    """Some classes are called by each other's names."""
    if not (cycles := s.places.get("cycles")):
        return None
    to = dict(pair for cycle in cycles for pair in zip(cycle, cycle[1:] + cycle[:1]))
    names = s.inputs.class_names or [str(c) for c in range(s["classes"])]
    words = "; ".join(" -> ".join(names[c] for c in (*cycle, cycle[0])) for cycle in cycles[:FIRST])
    typed = f"teacher_logits[:, {list(to)}] = teacher_logits[:, {list(to.values())}]"
    advice = f"Most examples of a class are called by the next one's name ({words}). To restore: {typed}."
    return "error", {"classes": list(to), "called": list(to.values()), "remedy": typed}, advice


@finding(shows="narrow accuracy confidence", unless="misaligned")
def collapsed_predictions(s: Statistics, limit: Limits) -> Found:
    """Nearly all predictions name a few of the classes."""
    idle = at_chance(s, limit) and not above(s["sure"], limit["trained_sure"])  # never trained
    if not above(s["narrow"], limit["collapsed"]) or s["classes"] < 3 or idle or s["examples"] < FEWEST:
        return None
    advice = (
        f"{s['narrow']:.1%} of the predictions name {len(s.places['named'])} of {s['classes']} classes, "
        "of which labels are no such share: put the teacher in eval mode, look at its batch-norm statistics, and give "
        "it inputs normalised as in its training."
    )
    return "error", s.some(collapsed_predictions.shows) | {"named": s.places["named"]}, advice


@finding(shows="accuracy chance kappa confidence", unless="misaligned collapsed_predictions", fitted=True)
def weak_teacher(s: Statistics, limit: Limits) -> Found:
    """The teacher is at chance, or poor on its own training set.

    The teacher is wrong on many examples: train it longer or take a larger one, unless labels are noisy. If it is much
    surer than it is right, part of the rows may be in another order than the labels.
    """
    if at_chance(s, limit):
        advice = "The teacher is at chance on these labels: untrained, of another task, or without its weights loaded."
        return "error", s.some(weak_teacher.shows), advice
    calibrated = s["classes"] > VOCABULARY and below(abs(s["confidence"] - s["accuracy"]), limit["repair_gain"])
    return below(s["kappa"], limit["weak_kappa"]) and not rows_lost(s) and not calibrated


@finding()
def padding_as_rows(s: Statistics, limit: Limits) -> Found:
    """One label stands in long runs where others do not, as padding does."""
    if not s["padded"]:
        return None
    label = s.places["pad"]
    advice = (
        f"Label {label} is {s['padded']:.0%} of the rows, in runs as at the ends of padded sequences: they weigh in "
        f"every mean. Leave them out (keep = labels != {label}), label them -100, or give the attention mask as mask."
    )
    return "warning", {"label": label, "share": s["padded"]}, advice


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


@finding(shows="under accuracy mass confidence", unless="misaligned", doubts=LEVELS, fitted=True)
def already_softened(s: Statistics, limit: Limits) -> Found:
    """The teacher is right far more often than the mean probability of the label says.

    Logits that were divided by a temperature (or multiplied by less than 1) before they were stored look like this:
    store them as the network gives them, or do not divide them again; else a teacher that was regularised hard.
    """
    return above(_under(s), limit["softened"]) and not rows_lost(s)


def _under(s: Statistics) -> float | None:
    """Accuracy minus the mean probability of the label."""
    return None if s["mass"] is None else s["accuracy"] - (1 - s["mass"])


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


@finding(shows="classes student_classes student_accuracy student_mass same_column")
def other_vocabulary(s: Statistics, limit: Limits) -> Found:
    """Teacher and student have different classes, so their columns cannot be compared one by one.

    If one vocabulary is the other padded (same_column near 1), cut both to the columns they share; else distil what
    does not need columns: the teacher's text, or sorted probabilities. Here teacher and student are judged apart.
    """
    return s["student_classes"] is not None


@finding(unless="misaligned other_vocabulary")
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
