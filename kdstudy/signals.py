"""Numbers that say what kind of teacher left these logits, and what its targets hold; `findings` reads them.

A signal is a number, or None where it is not defined: every finding must do without it.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int
from scipy import stats as scipy_stats

from kdstudy import signals_classes, signals_pairing, signals_rows
from kdstudy.signals_input import Table
from kdstudy.signals_rows import Rows

Number = float | int | None
HIGH = 6.0  # standard errors above chance that not even the best of a million shifts reaches by chance
LOW = 0.8  # of the agreement that class counts allow: below it, what would restore the pairing is looked for


@dataclass(frozen=True, eq=False)
class Given:
    """What a diagnosis is made of: the teacher on the training set, and what else there is."""

    teacher: Table
    heldout: Table | None = None
    student: Table | None = None
    student_val: Table | None = None
    superclass: Int[np.ndarray, " C"] | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Signals:
    """Signals by name, and what they came from."""

    given: Given
    rows: Rows | None
    value: dict[str, Number]
    repairs: dict[str, object] = field(default_factory=dict)
    structure: signals_classes.Structure | None = None

    def __getitem__(self, name: str) -> Number:
        return self.value.get(name)


def measure(given: Given) -> Signals:
    """All signals of what is given; with no finite row, only those of the raw values."""
    table = given.teacher
    value = raw(table)
    if not len(table.labels):
        return Signals(given, None, value)
    rows = signals_rows.rows(table)
    value |= agreement(table, rows) | certainty(rows, table.classes)
    found = signals_classes.structure(table, table.labels)
    value |= {"structure": found.strength, "structure_p": found.p} if found else {}
    repairs = {}
    if value["accuracy"] < LOW * (1 - value["histogram"]) or value["histogram"] > 1 - LOW:
        repairs = signals_pairing.repairs(rows.guess, table.labels, table.classes)
        value |= {k: v for k, v in repairs.items() if k != "renaming"}
        value["apart"] = signals_rows.apart(table, rows.guess)
    value |= heldout(given, rows) | student(given, rows)
    return Signals(given, rows, value, repairs, found)


def raw(table: Table) -> dict[str, Number]:
    """Of the values as they were given: fractions of rows left out, constant, and equal to the commonest row."""
    look, n = table.look, len(table.values)
    value = {"examples": n, "classes": table.classes, "left_out": 1 - len(table.rows) / n, "highest": None}
    if len(table.rows):
        _, at, counts = np.unique(look.code, return_inverse=True, return_counts=True)
        here = table.labels[at == counts.argmax()]
        purity = np.bincount(here).max() / len(here)
        repeated = len(here) / len(table.rows) if len(here) > 1 and purity < 0.9 else 0.0
        value |= {"constant": look.constant / len(table.rows), "repeated": repeated}
        value["highest"] = max(abs(look.low), abs(look.high))
    return value


def agreement(table: Table, rows: Rows) -> dict[str, Number]:
    """How well labels and predictions go together."""
    found = signals_pairing.pairing(rows.guess, table.labels, table.classes)
    high = found.chance + HIGH * (found.chance * (1 - found.chance) / len(table.labels)) ** 0.5
    return {k: getattr(found, k) for k in ("accuracy", "chance", "kappa", "z", "histogram")} | {"chance_high": high}


def certainty(rows: Rows, classes: int) -> dict[str, Number]:
    """How sure the teacher is, and how alike its examples are in that, over those that it gets right (1 - p_t < 1/2).

    `sure` = (mean largest probability - 1 / C) / (1 - 1 / C). `pinned` = median / mean of the mass: near 1 where the
    mass is the same for all, near 0 where few examples have most of it. `spread`: median of `Rows.spread`.
    """
    right = rows.mass < 0.5
    mass, top = rows.mass[right], float(rows.top.mean())
    value = {
        "mass": float(rows.mass.mean()),
        "mass_middle": float(np.median(rows.mass)),
        "confidence": top,
        "sure": (top - 1 / classes) / (1 - 1 / classes),
    }
    if not right.any():
        return value | {"mass_right": None, "pinned": None, "spread": None}
    mean = float(mass.mean())
    value |= {"mass_right": mean, "pinned": float(np.median(mass)) / mean if mean > 0 else None}
    return value | {"spread": float(np.median(rows.spread[right]))}


def heldout(given: Given, rows: Rows) -> dict[str, Number]:
    """The teacher on held-out examples: accuracy, mean mass and loss, and how much the training ones differ."""
    table = given.heldout
    if table is None or not len(table.labels):
        return {}
    out = signals_rows.rows(table)
    accuracy = float((out.guess == table.labels).mean())
    return {
        "heldout_accuracy": accuracy,
        "heldout_mass": float(out.mass.mean()),
        "mass_gap": float(out.mass.mean() - rows.mass.mean()),
        "nll_gap": float(out.nll.mean() - rows.nll.mean()),
        "accuracy_gap": float((rows.guess == given.teacher.labels).mean()) - accuracy,
    }


def student(given: Given, rows: Rows) -> dict[str, Number]:
    """Student less teacher in accuracy, on held-out examples where both are given, else on the training set.

    `student_p`: exact two-sided sign test of the examples on which one is right and the other wrong (McNemar 1947).
    """
    pair = (given.student_val, given.heldout) if given.student_val and given.heldout else (given.student, given.teacher)
    if pair[0] is None:
        return {}
    _, mine, other = np.intersect1d(pair[0].rows, pair[1].rows, assume_unique=True, return_indices=True)
    if not len(mine):
        return {}
    label = pair[1].labels[other]
    one, two = (signals_rows.rows(t).guess[at] == label for t, at in zip(pair, (mine, other)))
    more, less = int((one & ~two).sum()), int((~one & two).sum())
    p = scipy_stats.binomtest(more, more + less).pvalue if more + less else 1.0
    return {
        "student_accuracy": float(one.mean()),
        "teacher_accuracy": float(two.mean()),
        "student_gain": (more - less) / len(label),
        "student_p": float(p),
    }
