"""The findings (misaligned, smoothed_teacher, ...): one rule each, asked of a teacher's statistics in this order."""

from collections.abc import Mapping

import numpy as np

from kdstudy.diagnosis.rulebook import RULES, Found, Limits, above, at_chance, below, finding, findings
from kdstudy.diagnosis.statistics.all import Statistics

__all__ = ["RULES", "finding", "findings"]

LEVELS = "universe domain instance"
SIGNIFICANT = 0.01
WRONG_MASS = 0.02  # of a target, that nobody meant
TAIL_ABOVE = 0.05  # of the rows, in which what stands for the tail is larger than a logit that is kept
MOSTLY = 0.6  # of the rows with a label that has nothing to do with them: more than noise of labels
VOCABULARY = 1000  # classes: as of the next token, the first guess of a good teacher is often not the label
FULL = 65504.0  # the largest number of float16
LOST = 0.1  # of the rows left out, beyond which the rest say nothing about how sure or even the teacher is
LARGE = 1e4  # logits, where others overflow: their scale is not one that a softmax is taken of
FIRST = 5  # rows, or runs of them, that evidence names
FEWEST = 100  # examples: a share of one half has a standard error of 0.05 then


def rows_lost(s: Statistics) -> bool:
    """Whether rows are left out so that the rest need not be like them: many, or some of logits that overflow."""
    return above(s["left_out"], LOST) or (above(s["left_out"], 0) and above(s["highest"], LARGE))


def row_ranges(rows: list[int]) -> str:
    """Rows as runs, at most `FIRST` of them: 3, 7-12."""
    at = np.split(np.array(rows), np.flatnonzero(np.diff(rows) != 1) + 1)
    runs = [f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in at]
    return ", ".join(runs[:FIRST]) + (f" and {len(runs) - FIRST} more runs" if len(runs) > FIRST else "")


def which(s: Statistics, name: str) -> dict[str, object]:
    """How many rows `places` has under a name, and which."""
    rows = s.places.get(name, [])
    return {"rows": len(rows), "which": row_ranges(rows) if len(rows) else "none"}


# ---------------------------------------------------------------- the values themselves


@finding(severity="error")
def non_finite(s: Statistics, limit: Limits) -> Found:
    """Some logits are NaN or infinite.

    Likely cause: {likely_cause}. Everything else here is about the {_finite:.0f} finite rows.
    """
    if not above(s["left_out"], 0):
        return False
    counts, dtype = s.some("nan +inf -inf"), s.places.get("dtype")
    half = dtype in ("float16", "bfloat16") or above(s["highest"], 0.9 * FULL)
    if counts["+inf"] + counts["-inf"] and half:
        cause = f"overflow: {dtype} ends at {FULL:.0f} (bfloat16: 3.4e38); keep logits in float32"
    elif counts["-inf"] and not counts["+inf"] + counts["nan"]:
        cause = "classes masked with -inf, or logarithms of probabilities that are 0; leave those classes out"
    elif counts["nan"] and not counts["+inf"] + counts["-inf"]:
        cause = "NaN alone: a network that diverged, inf - inf in a normalisation, or missing values"
    else:
        cause = "infinities and NaN: an overflow, then inf - inf"
    bad = s.places.get("left_out", [])
    evidence = {"rows": len(bad), "fraction": s["left_out"], "first_rows": list(bad[:FIRST]), **counts, "dtype": dtype}
    finite = s["examples"] * (1 - s["left_out"])
    return evidence | {"largest_finite": s["highest"], "likely_cause": cause, "_finite": finite}


KINDS = {
    "probabilities": (
        "Rows sum to {row_sum:g}: save the values before the softmax; a second softmax of probabilities is nearly "
        "uniform. Read here as log p."
    ),
    "log-probabilities": (
        "Rows are log-softmax outputs: the same targets at every tau, but wrong in a loss on raw logits (squared "
        "error, z-scores); save the values before the log-softmax."
    ),
    "scores": "All values are between 0 and 1, and rows do not sum to 1: sigmoid outputs? Save the values before it.",
}


@finding(severity="error", claim="F7-twice")
def not_logits(s: Statistics, limit: Limits) -> Found:
    """Rows are probabilities, their logarithms, or scores between 0 and 1."""
    kind = s.places.get("kind")
    if kind not in KINDS or (kind == "scores" and not above(s["z"], 5)):
        return False
    severity = {"_severity": "warning"} if kind == "log-probabilities" else {}
    return s.some("lowest row_sum") | {"kind": kind, "_advice": KINDS[kind]} | severity


@finding(shows="constant", severity="error")
def constant_rows(s: Statistics, limit: Limits) -> Found:
    """Rows whose logits are all equal.

    A network never gives equal logits for all classes: such rows teach nothing. Look for a buffer that was not filled,
    a failed or padded batch, or dead units; leave these rows out ({which}).
    """
    return above(s["constant"], s["by_chance"] or 0.0) and which(s, "constant")


@finding(shows="zero", severity="error")
def zero_rows(s: Statistics, limit: Limits) -> Found:
    """Rows whose logits are all exactly 0, as memory is before it is written.

    {_cause}Compute rows {which} again, or leave them out of logits and labels.
    """
    rows = s.places.get("zero", [])
    end = len(rows) and rows[-1] == s["examples"] - 1 and rows[-1] - rows[0] == len(rows) - 1
    cause = "They are the last rows: the last batch was not stored. " if end else ""
    return above(s["zero"], s["by_chance"] or 0.0) and which(s, "zero") | {"_cause": cause}


@finding(shows="copied")
def repeated_rows(s: Statistics, limit: Limits) -> Found:
    """Rows are exact copies of others that have another label.

    The teacher is much surer of these rows than their labels allow: a batch was stored twice, or a buffer was written
    over. Compute the teacher on rows {which} again.
    """
    by_rounding = s["classes"] < 5 and above(s["equal"], 1e-4)
    if by_rounding or not above(s["copied"], limit["copied"]) or not above(s["copied_gap"], limit["copied_gap"]):
        return False
    severity = {"_severity": "error"} if s["copied"] > limit["constant_fraction"] else {}
    return which(s, "copied") | severity


TAIL = (
    "What stands for the others is not knowledge: keep tau low, or take the softmax over the k classes, or store the "
    "mass of the tail (log-probabilities) and give each of the others its part."
)


@finding(shows="tail_mass_at_tau_1 tail_mass_at_tau_4 label_kept", claim="F7-argmax")
def truncated_top_k(s: Statistics, limit: Limits) -> Found:
    """Only the largest logits of each row are there; one number stands in place of all others."""
    if s["masked"] or not above(s["tied"], limit["truncated"]):
        return False
    known, value = s.places.get("kind") != "logits", s.places.get("fill")
    least, most = s["kept_least"], s["kept_most"]
    evidence = {"kept": least if least == most else [least, most], "classes": s["classes"]}
    evidence["in_their_place"] = "a number of its own in each row" if value is None else f"{value:g}"
    if s["topk_given"] or (known and below(s["tail_above"], TAIL_ABOVE)):
        return evidence | {"_advice": f"Read as top-k. {TAIL}", "_severity": "info" if known else "warning"}
    if not above(s["tail_mass_at_tau_1"], WRONG_MASS) and not above(s["tail_above"], TAIL_ABOVE):
        return evidence | {"_advice": f"{TAIL} In a loss, take the softmax over the k kept classes."}
    advice = (
        "Softmax gives the other classes {tail_mass_at_tau_1:.1%} of the mass at tau 1 and {tail_mass_at_tau_4:.1%} at "
        "tau 4, which the teacher never said: fill with -1e4, or renormalise over the k that are kept. "
    )
    return evidence | {"_advice": advice + TAIL, "_severity": "error"}


@finding(shows="kept_most classes")
def masked_classes(s: Statistics, limit: Limits) -> Found:
    """The same classes have one and the same logit in every row.

    These columns are no classes of this teacher (padding of a vocabulary, a mask): leave them out of both.
    """
    return above(s["masked"], 0) and above(s["tied"], limit["truncated"]) and {"value": str(s.places.get("fill"))}


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
    fair = limit["repair_accuracy"]
    if best == "shift" and abs(s["shift"]) == 1 and above(s["next_ratio"], limit["token_shift"]):
        fair = 0.0
    least = max(fair, s["accuracy"] + limit["repair_gain"], s["chance_high"])
    return best if ways[best] >= least else None


@finding(
    shows="accuracy chance histogram confidence apart shift shifted_accuracy reversed_accuracy renamed_accuracy",
    severity="error", claim="F7-order",
)  # fmt: skip
def misaligned(s: Statistics, limit: Limits) -> Found:
    """Logits of a trained teacher that stand beside other examples' labels, or name the classes in another order.

    Logits and labels are in different orders. {_remedy}Store logits by the example's index, and do not shuffle while
    they are computed.
    """
    way = _repair(s, limit)
    if way is None:
        return at_chance(s, limit) and _trained(s, limit) and {"_remedy": ""}
    columns = s.places.get("renaming") or {}
    listed = [columns.get(label, label) for label in range(max(columns, default=-1) + 1)]
    restored, typed = {
        "shift": ("shifted_accuracy", f"np.roll(teacher_logits, {-int(s['shift'] or 0)}, axis=0)"),
        "reversal": ("reversed_accuracy", "teacher_logits[::-1]"),
        "renaming": ("renamed_accuracy", f"teacher_logits[:, {listed}]"),
    }[way]
    evidence = _renaming(columns, int(s["classes"])) if way == "renaming" else {}
    typed = f"teacher_logits = {typed}"
    words = {"_remedy": f"To restore: {typed} (accuracy {s[restored]:.3f}). "}
    return evidence | {"repair": way, "remedy": typed} | words


def _renaming(columns: Mapping[int, int], classes: int) -> dict[str, list[int]]:
    """Where every class is a label, the class that each column is; else the column of each label."""
    if sorted(columns) == list(range(classes)):
        return {"renaming": sorted(columns, key=columns.get)}
    return {"labels_used": list(columns), "columns": list(columns.values())}


@finding(shows="shift accuracy shifted_accuracy", severity="error", claim="F7-order")
def token_shift(s: Statistics, limit: Limits) -> Found:
    """Labels stand one row before or after their logits, as those of the next token are.

    Row i of a language model says what token i + 1 is: pair {_pair}, in each sequence by itself (of (N, T, V): along
    T), or type teacher_logits = np.roll(teacher_logits, {_back}, axis=0).
    """
    if _repair(s, limit) != "shift" or abs(s["shift"]) != 1:
        return False
    pair = "teacher_logits[:-1] with labels[1:]" if s["shift"] < 0 else "teacher_logits[1:] with labels[:-1]"
    return {"_pair": pair, "_back": -int(s["shift"])}


@finding(unless="misaligned", severity="error")
def classes_exchanged(s: Statistics, limit: Limits) -> Found:
    """Some classes are called by each other's names.

    More examples of a class are called by the next one's name than by their own ({_words}). To restore: {remedy}.
    """
    if not above(s["exchanged"], limit["exchanged"]) or at_chance(s, limit):
        return False
    cycles = [cycle for cycle, share in s.places.get("cycles", []) if share > limit["exchanged"]]
    to = dict(pair for cycle in cycles for pair in zip(cycle, cycle[1:] + cycle[:1]))
    names = s.places.get("class_names") or [str(c) for c in range(int(s["classes"]))]
    words = "; ".join(" -> ".join(names[c] for c in (*cycle, cycle[0])) for cycle in cycles[:FIRST])
    typed = f"teacher_logits[:, {list(to)}] = teacher_logits[:, {list(to.values())}]"
    return {"classes": list(to), "called": list(to.values()), "remedy": typed, "_words": words}


@finding(unless="misaligned repeated_rows classes_exchanged")
def partly_misaligned(s: Statistics, limit: Limits) -> Found:
    """Some of the rows stand beside other examples' labels."""
    if above(s["block"], limit["block"]):
        runs = [(i, j) for i, j, nats in s.places.get("blocks", []) if nats > limit["block"]]
        advice = (
            "In rows {rows} the teacher is as sure as elsewhere, and right by chance only: their logits belong to "
            "other examples (a worker's part in another order, a batch stored twice). Compute these rows again."
        )
        share, rows = sum(j + 1 - i for i, j in runs) / s["examples"], ", ".join(f"{i}-{j}" for i, j in runs)
        return {"share": share, "rows": rows, "_advice": advice, "_severity": "error"}
    if above(s["stray"], limit["stray"]) and above(s["stray_sure"], limit["stray_sure"]) and not at_chance(s, limit):
        advice = (
            "Of {stray:.0%} of the rows the teacher is sure, and the label has nothing to do with what it says: labels "
            "are wrong there, or the rows are other examples'. Look at some of them."
        )
        severity = "error" if s["stray"] > MOSTLY else "warning"
        return s.some("stray stray_sure accuracy") | {"_advice": advice, "_severity": severity}
    return False


@finding(shows="narrow accuracy confidence", unless="misaligned", severity="error")
def collapsed_predictions(s: Statistics, limit: Limits) -> Found:
    """Most predictions name a few of the classes.

    {narrow:.1%} of the predictions name the classes {named}, of which labels are no such share: put the teacher in eval
    mode, look at its batch-norm statistics, and give it inputs normalised as in its training.
    """
    sure = above(s["sure"], limit["trained_sure"])  # else it was hardly trained
    many = s["classes"] > 2 and s["examples"] >= FEWEST
    return above(s["narrow"], limit["collapsed"]) and sure and many and {"named": s.places.get("named", [])}


@finding(shows="accuracy chance kappa confidence", unless="misaligned collapsed_predictions")
def weak_teacher(s: Statistics, limit: Limits) -> Found:
    """The teacher is at chance, or poor on its own training set.

    The teacher is wrong on many examples: train it longer or take a larger one, unless labels are noisy. If it is much
    surer than it is right, part of the rows may be in another order than the labels.
    """
    if at_chance(s, limit):
        advice = "The teacher is at chance on these labels: untrained, of another task, or without its weights loaded."
        return {"_advice": advice, "_severity": "error"}
    tokens = s["classes"] > VOCABULARY or s["positions"]
    deserved = tokens and abs(s["confidence"] - s["accuracy"]) < limit["repair_gain"]
    return below(s["kappa"], limit["weak_kappa"]) and not rows_lost(s) and not deserved


@finding()
def padding_as_rows(s: Statistics, limit: Limits) -> Found:
    """One label stands in long runs where others do not, as padding does.

    Label {label} is {share:.0%} of the rows, in runs as at the ends of padded sequences: they weigh in every mean.
    Leave them out (keep = labels != {label}), label them -100, or give the attention mask as mask.
    """
    return above(s["padding"], limit["padding"]) and {"label": s.places.get("pad"), "share": s["padded"]}


# ---------------------------------------------------------------- what its targets can tell


@finding(shows="pinned spread mass_right", unless="misaligned weak_teacher", doubts="domain instance", claim="F1")
def smoothed_teacher(s: Statistics, limit: Limits) -> Found:
    """The mass is nearly the same for all examples, and spread evenly over the other classes.

    Targets are nearly the same for all examples of a class, as after label smoothing: they tell little about examples
    and classes. Train the teacher on hard labels, or expect little more than smoothing gives; if these logits were
    already divided by a temperature, store them as they were.
    """
    even = s["classes"] == 2 or below(s["spread"], limit["smoothed_spread"])
    alike = above(s["pinned"], limit["smoothed_pinned"]) and above(s["mass_right"], limit["saturated_mass"])
    return even and alike and not rows_lost(s)


@finding(shows="under accuracy mass confidence", unless="misaligned", doubts=LEVELS, claim="F4-high")
def already_softened(s: Statistics, limit: Limits) -> Found:
    """The teacher is right far more often than the mean probability of the label says.

    Logits that were divided by a temperature (or multiplied by less than 1) before they were stored look like this:
    store them as the network gives them, or do not divide them again; else a teacher that was regularised hard.
    """
    return above(s["under"], limit["softened"]) and not rows_lost(s)


@finding(
    shows="mass_right mass_middle accuracy", unless="misaligned weak_teacher smoothed_teacher", doubts=LEVELS,
    claim="F4-low",
)  # fmt: skip
def saturated_teacher(s: Statistics, limit: Limits) -> Found:
    """The teacher is so sure of its training set that its targets are the labels.

    At tau = 1 the targets are the labels: raise tau, stop the teacher earlier, or take its logits on examples that it
    was not trained on (cross-fitting).
    """
    return below(s["mass_right"], limit["saturated_mass"]) and not rows_lost(s)


@finding(
    shows="mass heldout_mass mass_gap accuracy heldout_accuracy", unless="misaligned weak_teacher", doubts="instance",
    claim="F3-cross",
)  # fmt: skip
def train_memorised(s: Statistics, limit: Limits) -> Found:
    """The teacher is far surer, and righter, of its training examples than of held-out ones.

    The masses on the training set say what was memorised, not what is hard: take the teacher's logits on examples that
    it was not trained on (cross-fitting), stop earlier, or regularise it.
    """
    return above(s["mass_gap"], limit["memorised_gap"])


@finding(
    shows="structure structure_p", unless="misaligned weak_teacher smoothed_teacher constant_rows", doubts="domain",
    claim="D3",
)  # fmt: skip
def no_class_structure(s: Statistics, limit: Limits) -> Found:
    """The other classes' logits do not depend on the label beyond what a permutation gives.

    Where the mass goes does not depend on the class: there is no domain knowledge to hand on. Were the logits truncated
    to their largest, perturbed, or mixed up among the other classes?
    """
    enough = s["classes"] >= limit["structure_classes"] and s["examples"] >= limit["structure_rows"] * s["classes"]
    return enough and above(s["structure_p"], SIGNIFICANT) and not rows_lost(s)


@finding(shows="classes", doubts="domain", claim="F5-less")
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


@finding(shows="student_accuracy teacher_accuracy student_gain student_p", unless="misaligned other_vocabulary")
def student_beats_teacher(s: Statistics, limit: Limits) -> Found:
    """The student is right more often than its teacher, beyond chance.

    The student is right more often than its teacher on the {examples} examples: take a better teacher.
    """
    better = above(s["student_gain"], limit["student_gain"]) and s["student_p"] <= SIGNIFICANT
    return better and {"examples": s.places.get("student_on")}


# ---------------------------------------------------------------- the temperature in use


def _of_temperature(s: Statistics) -> dict[str, object]:
    return {"tau": s["asked"], "low": s["tau_low"], "high": s["tau_high"], "mass": s["asked_mass"]}


@finding(unless="misaligned weak_teacher", doubts=LEVELS, claim="F4-low")
def temperature_low(s: Statistics, limit: Limits) -> Found:
    """The temperature in use leaves less mass off the label than the range that is recommended.

    At this tau less mass leaves the label than where the study's students learnt most: try tau from {low:g} on.
    """
    return s["tau_low"] is not None and below(s["asked"], s["tau_low"]) and _of_temperature(s)


@finding(unless="misaligned weak_teacher", doubts="domain instance", claim="F4-high")
def temperature_high(s: Statistics, limit: Limits) -> Found:
    """The temperature in use leaves more mass off the label than the range that is recommended.

    At this tau more mass leaves the label than where most of the study's students learnt most: try tau up to {high:g}
    too. A wide student may bear more, and noisy data need more.
    """
    return s["tau_high"] is not None and above(s["asked"], s["tau_high"]) and _of_temperature(s)
