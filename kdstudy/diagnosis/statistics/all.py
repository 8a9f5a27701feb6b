"""All statistics of what was given: one number each for rules and calibration, lists over temperatures for people.

A statistic is a number, or None where it is not defined: every rule must do without it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import stats as scipy_stats

from kdstudy.diagnosis.inputs import Inputs, LabelledLogits, common_rows
from kdstudy.diagnosis.statistics import alignment, examples
from kdstudy.diagnosis.statistics.classes import ClassStructure, class_structure, superclass_test
from kdstudy.diagnosis.statistics.examples import RowStatistics, row_statistics
from kdstudy.diagnosis.statistics.shares import LEVEL_NAMES, LevelShares, level_shares

Number = float | int | None
SHARE = ("share", "share_low", "share_high")
ALIKE = {"float32": 1e-5, "float64": 1e-9, "top-k": 1e-5}  # chance of two logits to be equal
LOW = 0.8  # of the agreement that class counts allow: below it, what would restore the pairing is looked for


@dataclass(frozen=True, eq=False)
class Statistics:
    """Statistics by name, None for one that is not defined, and what they came from."""

    inputs: Inputs | None  # None: numbers from a table
    value: dict[str, Number]
    places: dict[str, object] = field(default_factory=dict)  # rows and classes that evidence names
    structure: ClassStructure | None = None

    def __getitem__(self, name: str) -> Number:
        return self.value.get(name)

    def some(self, names: str) -> dict[str, Number]:
        """Those of that names, which spaces separate."""
        return {name: self[name] for name in names.split()}


def compute_statistics(inputs: Inputs) -> Statistics:
    """All statistics of what is given; with no finite row, only those of the raw values."""
    teacher = inputs.teacher
    value, y, classes = of_raw_values(teacher), teacher.labels, teacher.classes
    places = of_places(inputs)
    if not len(y):
        return Statistics(inputs, value, places)
    rows = row_statistics(teacher)
    value |= alignment.agreement(rows.predicted, y, classes) | certainty(rows, classes)
    structure, (numbers, found) = class_structure(teacher), alignment.misfits(teacher, rows)
    if kept := value.get("kept_most"):
        value["label_kept"] = float((rows.rank < kept).mean())
    value |= numbers | ({"structure": structure.strength, "structure_p": structure.p} if structure else {})
    value["next_ratio"] = alignment.next_ratio(rows.predicted, y, max(value["accuracy"], value["chance"]))
    places |= found
    if value["accuracy"] < LOW * (1 - value["histogram"]) or value["histogram"] > 1 - LOW:
        repairs = alignment.repairs(rows.predicted, y, classes)
        places["renaming"] = repairs.pop("renaming")
        value |= repairs | {"apart": alignment.separation(teacher, rows.predicted)}
    value |= on_heldout(inputs, rows) | of_student(inputs)
    return Statistics(inputs, value, places, structure)


def of_raw_values(logits: LabelledLogits) -> dict[str, Number]:
    """Of the values as they were given: fractions of rows left out, constant, and equal to another's; `by_chance`: how
    many constant ones rounding to the type's digits allows.
    """  # fmt: skip
    raw, n, m = logits.raw, len(logits.values), len(logits.rows)
    value = {"examples": n, "classes": logits.classes, "left_out": 1 - m / n, "highest": None} | raw.counts
    if not m:
        return value
    equal = ALIKE.get(logits.dtype, 0.01 if logits.dtype in ("float16", "bfloat16") else 0.25)
    return (
        value
        | of_fill(logits)
        | {
            "positions": int(logits.positions),
            "row_sum": raw.total,
            "lowest": raw.low,
            "equal": equal,
            "constant": len(raw.constant) / m,
            "zero": len(raw.zero) / m,
            "by_chance": 3 * equal ** (logits.classes - 1),
            "highest": max(abs(raw.low), abs(raw.high)),
        }
    )


def of_fill(logits: LabelledLogits) -> dict[str, Number]:
    """Of what stands in place of classes: how alike rows are in it (`tied`), and what it does."""
    fill = logits.raw.fill
    if fill is None:
        return {"tied": 0.0}
    mass = {f"tail_mass_at_tau_{tau}": m for tau, m in zip((1, 4), fill.mass)}
    kept = {"kept_least": fill.kept[0], "kept_most": fill.kept[1], "tail_above": fill.above}
    given = {"topk_given": int(logits.dtype == "top-k"), "masked": int(fill.masked)}
    return {"tied": fill.alike} | kept | mass | given


def of_places(inputs: Inputs) -> dict[str, object]:
    """What is no number and evidence names: kinds of values, names, rows by the places that they were given in."""
    teacher, raw = inputs.teacher, inputs.teacher.raw
    return {
        "dtype": teacher.dtype,
        "kind": raw.kind,
        "fill": raw.fill and raw.fill.value,
        "left_out": teacher.numbers(np.flatnonzero(~raw.finite)),
        "constant": teacher.numbers(raw.constant),
        "zero": teacher.numbers(raw.zero),
        "class_names": inputs.class_names,
        "student_on": "held-out" if inputs.student_val and inputs.heldout else "training",
    }


def certainty(rows: RowStatistics, classes: int) -> dict[str, Number]:
    """How sure the teacher is, and how alike its examples are in that, over those that it gets right (1 - p_t < 1/2).

    `sure` = (mean largest probability - 1 / C) / (1 - 1 / C). `pinned` = median / mean of the mass: near 1 where the
    mass is the same for all, near 0 where few examples have most of it. `spread`: median of `RowStatistics.spread`.
    """
    right = rows.mass < 0.5
    confidence, mean = float(rows.confidence.mean()), float(rows.mass[right].mean()) if right.any() else None
    return {
        "mass": float(rows.mass.mean()),
        "under": float((rows.rank == 0).mean() - 1 + rows.mass.mean()),
        "mass_middle": float(np.median(rows.mass)),
        "confidence": confidence,
        "sure": (confidence - 1 / classes) / (1 - 1 / classes),
        "mass_right": mean,
        "pinned": float(np.median(rows.mass[right])) / mean if mean else None,
        "spread": None if mean is None else float(np.median(rows.spread[right])),
    }


def on_heldout(inputs: Inputs, rows: RowStatistics) -> dict[str, Number]:
    """The teacher on held-out examples: accuracy, mean mass and loss, and how much the training ones differ."""
    heldout = inputs.heldout
    if heldout is None or not len(heldout.labels):
        return {}
    out = row_statistics(heldout)
    accuracy = float((out.predicted == heldout.labels).mean())
    return {
        "heldout_accuracy": accuracy,
        "heldout_mass": float(out.mass.mean()),
        "mass_gap": float(out.mass.mean() - rows.mass.mean()),
        "nll_gap": float(out.nll.mean() - rows.nll.mean()),
        "accuracy_gap": float((rows.predicted == inputs.teacher.labels).mean()) - accuracy,
    }


def of_student(inputs: Inputs) -> dict[str, Number]:
    """Student minus teacher in accuracy, on held-out examples where both are given, else on the training set.

    `student_p`: exact two-sided sign test of the examples on which one is right and the other wrong (McNemar 1947).
    """
    if inputs.foreign:
        return _of_foreign(inputs)
    held = inputs.student_val and inputs.heldout
    student, teacher = (inputs.student_val, inputs.heldout) if held else (inputs.student, inputs.teacher)
    its, at = (np.empty(0), np.empty(0)) if student is None else common_rows(student, teacher)
    if not len(its):
        return {}
    label = teacher.labels[at]
    one, two = (row_statistics(x).predicted[i] == label for x, i in ((student, its), (teacher, at)))
    more, fewer = int((one & ~two).sum()), int((~one & two).sum())
    p = scipy_stats.binomtest(more, more + fewer).pvalue if more + fewer else 1.0
    return {
        "student_accuracy": float(one.mean()),
        "teacher_accuracy": float(two.mean()),
        "student_gain": (more - fewer) / len(label),
        "student_p": float(p),
    }


def _of_foreign(inputs: Inputs) -> dict[str, Number]:
    """A student of other classes: its number of them, its accuracy, and how often it names the teacher's column."""
    its, at = common_rows(inputs.foreign, inputs.teacher)
    rows, teacher = row_statistics(inputs.foreign), row_statistics(inputs.teacher)
    if not len(rows.rank):
        return {"student_classes": inputs.foreign.classes}
    return {
        "student_classes": inputs.foreign.classes,
        "student_accuracy": float((rows.rank == 0).mean()),
        "student_mass": float(rows.mass.mean()),
        "same_column": float((rows.predicted[its] == teacher.predicted[at]).mean()) if len(its) else None,
    }


# ---------------------------------------------------------------- over temperatures


def level_statistics(s: Statistics, taus: Sequence[float]) -> dict[str, dict[str, object]]:
    """Level -> its numbers, lists over `tau`: the three levels of a teacher's knowledge."""
    each = level_shares(s.inputs.teacher, taus) if len(s.inputs.teacher.labels) else []
    taus, out = list(taus) if each else [], {}
    for level in LEVEL_NAMES:
        out[level] = {"tau": taus} | {k: [p.shares[level][i] for p in each] for i, k in enumerate(SHARE)}
    out["universe"] |= {
        "mass": [float(p.mass.mean()) for p in each],
        "entropy": [p.entropy for p in each],
        "label_largest": [p.label_largest for p in each],
    }
    out["domain"] |= {"structure": _structure(s), "superclass": _superclass(s)}
    out["instance"] |= _weights(s, each, taus)
    return out


def _structure(s: Statistics) -> dict[str, object]:
    """Class structure against its permutation null, or the reason why there is none."""
    if (found := s.structure) is None:
        few = s["classes"] < 3
        why = "needs at least 3 classes" if few else "needs finite rows, several of them for most classes, that vary"
        return dict.fromkeys(("statistic", "null", "p", "strength", "error", "sample")) | {"reason": why}
    numbers = {"statistic": found.explained, "null": list(found.null), "p": found.p, "strength": found.strength}
    looked = {"rows": found.rows, "classes": len(found.columns)}
    return numbers | {"reason": None, "error": found.error, "sample": looked}


def _superclass(s: Statistics) -> dict[str, object]:
    """Mantel's test of the class similarity against super-class blocks, or the reason why there is none."""
    test, superclass = None, s.inputs.superclass
    if superclass is None or s.structure is None:
        reason = "no superclass given" if superclass is None else "no class structure"
    elif (test := superclass_test(s.structure, superclass)) is None:
        reason = "super-classes that are all one, or one for each class, order nothing"
    else:
        reason = None
    return {name: getattr(test, name, None) for name in ("correlation", "p", "n_classes")} | {"reason": reason}


def _weights(s: Statistics, each: Sequence[LevelShares], taus: Sequence[float]) -> dict[str, object]:
    """Spread of w at a student that knows nothing, of the student's own w, and the masses against difficulty."""
    start = [examples.summary(examples.weights_at_start(p.mass, tau, s["classes"])) for p, tau in zip(each, taus)]
    student = [examples.student_summary(s.inputs, p.mass, tau) for p, tau in zip(each, taus)]
    ranks = examples.difficulty(s.inputs, [p.mass for p in each])
    return {
        "alpha": examples.ALPHA,
        "weights": _columns(start),
        "student_weights": _columns(student) if any(student) else None,
        "difficulty": ranks if each else {"rank": [], "with": None, "reason": "no finite rows"},
    }


def _columns(rows: Sequence[dict[str, Number]]) -> dict[str, list[Number]]:
    return {name: [row[name] for row in rows] for row in rows[:1] for name in row}
