"""Somebody's own teacher: which level of knowledge its logits hold, and what is wrong with them.

diagnose(teacher_logits, labels) trains nothing: it reads the teacher's logits on the student's training set, and says
what the targets hold at each temperature and what makes a distillation from them fail.
"""

import html
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

import numpy as np

from kdstudy import signals, signals_input, signals_levels
from kdstudy.findings import Finding, findings, limits
from kdstudy.signals_input import Table, Unusable

__all__ = ["Diagnosis", "Finding", "Unusable", "diagnose"]
TAUS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


@dataclass(frozen=True)
class Diagnosis:
    """What logits hold, and what is wrong with them.

    `facts`: what was given. `levels`: "universe", "domain" and "instance", each with lists over its "tau". `tau`: the
    recommended range {"low", "high", "reason"}. `findings`: errors first. All of it is plain numbers, lists and text.
    Beside it, and not in JSON: `similarity` of classes (see `signals_classes.Structure`), `superclass` of each class.
    """

    facts: dict[str, object]
    levels: dict[str, dict[str, object]]
    tau: dict[str, object]
    findings: tuple[Finding, ...]
    similarity: np.ndarray | None = field(default=None, repr=False, compare=False)
    superclass: list[int] | None = None

    @property
    def ok(self) -> bool:
        """No finding is an error."""
        return not any(f.severity == "error" for f in self.findings)

    @property
    def codes(self) -> list[str]:
        """The findings' names, errors first."""
        return [f.code for f in self.findings]

    def as_dict(self) -> dict[str, object]:
        """All of it as JSON knows it: None where a number is not defined."""
        found = [asdict(f) for f in self.findings]
        return _plain({"facts": self.facts, "levels": self.levels, "tau": self.tau, "findings": found})

    def _repr_html_(self) -> str:
        items = "".join(
            f"<li><b>{html.escape(f.code)}</b> ({html.escape(f.severity)}): {html.escape(f.advice)}</li>"
            for f in self.findings
        )
        size = f"{self.facts['examples']} examples, {self.facts['classes']} classes"
        low, high, reason = (self.tau[k] for k in ("low", "high", "reason"))
        range_ = f"τ {low:g} to {high:g}" if low is not None else f"no τ: {reason}"
        return f"<p>{html.escape(size)}; {html.escape(range_)}</p><ul>{items}</ul>"


def diagnose(
    teacher_logits: object,
    labels: object,
    *,
    student_logits: object = None,
    heldout_teacher_logits: object = None,
    heldout_labels: object = None,
    class_names: Iterable[object] | None = None,
    superclass: Iterable[object] | None = None,
    student_val_logits: object = None,
    tau: float | None = None,
) -> Diagnosis:
    """Which levels of knowledge a teacher's logits hold, and what is wrong with them.

    `teacher_logits` (N, C) and `labels` (N,) are of the student's training set; `student_logits` (N, C) of a student
    on the same examples; `heldout_teacher_logits` (M, C), `student_val_logits` (M, C) and `heldout_labels` (M,) of
    examples that the teacher was not trained on. `superclass` has one entry for each class, `tau` is the temperature
    in use. Arrays may be numpy's, torch's or lists, of any real type; they are not modified.

    Shares of the levels are `shapes.level_split` of softmax(v / tau); findings, limits are in `findings`. Raises
    `Unusable` (a ValueError) that says what was asked, found and allowed if shapes, labels or numbers do not fit.
    """
    given = _given(
        teacher_logits, labels, student_logits, heldout_teacher_logits, heldout_labels, student_val_logits,
        class_names, superclass,
    )  # fmt: skip
    asked = _temperature(tau)
    taus = sorted({*TAUS, *([asked] if asked else [])})
    s = signals.measure(given)
    levels, _ = signals_levels.levels(s, taus)
    range_ = signals_levels.recommended(s, limits())
    s.value.update(tau_low=range_["low"], tau_high=range_["high"], asked=asked)
    if asked and levels["universe"]["tau"]:
        s.value["asked_mass"] = levels["universe"]["mass"][taus.index(asked)]
    found = findings(s)
    if all(f.severity == "info" for f in found):
        found = (*found, Finding("healthy", "info", _healthy(s), "Nothing is wrong that logits and labels could show."))
    found = tuple(Finding(f.code, f.severity, _plain(f.evidence), f.advice) for f in found)
    groups = None if given.superclass is None else given.superclass.tolist()
    beside = s.structure and s.structure.similarity, groups
    return Diagnosis(_plain(_facts(given, taus, s)), _plain(levels), _plain(range_), found, *beside)


def _healthy(s: signals.Signals) -> dict[str, object]:
    return {k: s[k] for k in ("accuracy", "mass", "structure")}


def _facts(given: signals.Given, taus: list[float], s: signals.Signals) -> dict[str, object]:
    table = given.teacher
    return {
        "examples": len(table.values),
        "classes": table.classes,
        "class_names": list(given.names) or None,
        "dtype": table.dtype,
        "kind": table.look.kind,
        "rows_left_out": len(table.values) - len(table.rows),
        "heldout": given.heldout is not None,
        "student": given.student is not None,
        "student_val": given.student_val is not None,
        "superclass": given.superclass is not None,
        "taus": taus,
        "signals": dict(s.value),
    }


def _given(
    teacher: object, labels: object, student: object, heldout: object, heldout_labels: object, student_val: object,
    names: Iterable[object] | None, superclass: Iterable[object] | None,
) -> signals.Given:  # fmt: skip
    """All that was given, checked."""
    read = signals_input.table
    mine = read("teacher_logits", teacher, labels, "labels")
    c = mine.classes
    for what, value in (("heldout_teacher_logits", heldout), ("student_val_logits", student_val)):
        if value is not None and heldout_labels is None:
            raise Unusable(f"{what}: found without labels, allowed: together with heldout_labels")
    if heldout_labels is not None and heldout is None and student_val is None:
        raise Unusable("heldout_labels: found without logits, allowed: together with heldout_teacher_logits")

    def also(what: str, value: object, given: object, named: str) -> Table | None:
        return None if value is None else read(what, value, given, named, c)

    return signals.Given(
        teacher=mine,
        heldout=also("heldout_teacher_logits", heldout, heldout_labels, "heldout_labels"),
        student=also("student_logits", student, labels, "labels"),
        student_val=also("student_val_logits", student_val, heldout_labels, "heldout_labels"),
        superclass=_groups(superclass, c),
        names=_names(names, c),
    )


def _names(names: Iterable[object] | None, classes: int) -> tuple[str, ...]:
    if names is None:
        return ()
    several = isinstance(names, Iterable) and not isinstance(names, str | bytes | Mapping)
    known = tuple(map(str, names)) if several else ()
    if len(known) != classes:
        found = f"{len(known)} names" if several else type(names).__name__
        raise Unusable(f"class_names: found {found}, allowed: a list of {classes} names, one for each class")
    return known


def _groups(superclass: Iterable[object] | None, classes: int) -> np.ndarray | None:
    if superclass is None:
        return None
    several = isinstance(superclass, Iterable) and not isinstance(superclass, str | bytes | Mapping)
    values = [*(superclass.tolist() if hasattr(superclass, "tolist") else superclass)] if several else []
    if len(values) != classes:
        found = f"{len(values)} entries" if several else type(superclass).__name__
        raise Unusable(f"superclass: found {found}, allowed: {classes}, the super-class of each class in order")
    places: dict[str, int] = {}
    return np.array([places.setdefault(str(v), len(places)) for v in values])


def _temperature(tau: float | None) -> float | None:
    if tau is None:
        return None
    try:
        value = float(tau)
    except (TypeError, ValueError):
        value = math.nan
    if not 1e-3 <= value <= 1e3:
        raise Unusable(f"tau: found {tau!r}, allowed: a number from 0.001 to 1000")
    return value


def _plain(value: object) -> object:
    """Numbers, lists and dictionaries as JSON knows them; None for what is no finite number."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
