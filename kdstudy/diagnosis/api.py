"""Somebody's own teacher: which level of knowledge its logits hold, and what is wrong with them.

diagnose(teacher_logits, labels) trains nothing: it reads the teacher's logits on the student's training set, and says
what the targets hold at each temperature and what makes a distillation from them fail.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from kdstudy.core.findings import Finding, Report, plain
from kdstudy.core.threads import one_thread
from kdstudy.diagnosis.inputs import Inputs, Unusable, read_inputs, unusable
from kdstudy.diagnosis.rulebook import limits, recommended
from kdstudy.diagnosis.rules import findings
from kdstudy.diagnosis.statistics.all import Statistics, compute_statistics, level_statistics

__all__ = ["DiagnosisReport", "Finding", "Unusable", "diagnose", "diagnose_file"]
MEND_FIRST = ("misaligned", "collapsed_predictions")  # a temperature of such targets means nothing
Amend = Callable[[Statistics, dict[str, dict[str, object]]], None]
TAUS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


@dataclass(frozen=True, repr=False)
class DiagnosisReport(Report):
    """What logits hold, and what is wrong with them.

    `facts`: what was given. `levels`: "universe", "domain" and "instance", each with lists over its "tau". `tau`: the
    recommended range {"low", "high", "reason"}. `findings`: errors first. All of it is plain numbers, lists and text.
    Beside it, and not in JSON: `similarity` of classes (see `ClassStructure`), `superclass` of each class.
    """

    facts: dict[str, object]
    levels: dict[str, dict[str, object]]
    tau: dict[str, object]
    findings: tuple[Finding, ...]
    similarity: np.ndarray | None = field(default=None, compare=False)
    superclass: list[int] | None = None

    __repr__ = Report.__str__

    @property
    def headline(self) -> str:
        """The outcome in one sentence."""
        errors, warnings = (", ".join(f.code for f in self.findings if f.severity == s) for s in ("error", "warning"))
        if errors:
            return f"Not usable as it is: {errors}." + (f" Also: {warnings}." if warnings else "")
        return f"Usable, with warnings: {warnings}." if warnings else "No fault found."

    def as_dict(self) -> dict[str, object]:
        """All of it as JSON knows it: None where a number is not defined."""
        return super().as_dict() | plain({"facts": self.facts, "levels": self.levels, "tau": self.tau})


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
    topk_indices: object = None,
    tail_mass: object = None,
    num_classes: int | None = None,
    mask: object = None,
) -> DiagnosisReport:
    """Which levels of knowledge a teacher's logits hold, and what is wrong with them.

    `teacher_logits` (N, C) and `labels` (N,) are of the student's training set; `student_logits` (N, C) of a student
    on the same examples; `heldout_teacher_logits` (M, C), `student_val_logits` (M, C) and `heldout_labels` (M,) of
    examples that the teacher was not trained on. `superclass` has one entry for each class, `tau` is the temperature
    in use. Arrays may be numpy's, torch's or lists, of any real type; they are not modified. Logits of tokens (N, T, V)
    or pixels (N, C, H, W) may have their labels' shape with it; labels of -100 are left out, and what `mask` has at 0.
    With `topk_indices` (N, k), `teacher_logits` (N, k) are the k largest of `num_classes` (or log-probabilities, whose
    tail, or `tail_mass` (N,), the others share).

    Shares of the levels are `levels.level_split` of softmax(v / tau); findings are those of `rules`, by calibrated
    limits. Raises `Unusable` (a ValueError) that says what was asked, found and allowed if what is given does not fit.

        >>> diagnose([[4.0, 1.0, 0.0], [0.0, 3.0, 1.0]], [0, 1]).codes
        ('smoothed_teacher', 'few_examples')
    """
    inputs = read_inputs(
        teacher_logits, labels, student_logits=student_logits, heldout_teacher_logits=heldout_teacher_logits,
        heldout_labels=heldout_labels, student_val_logits=student_val_logits, class_names=class_names,
        superclass=superclass, topk_indices=topk_indices, tail_mass=tail_mass, num_classes=num_classes, mask=mask,
    )  # fmt: skip
    return judge(inputs, tau)


def judge(inputs: Inputs, tau: float | None = None, amend: Amend | None = None) -> DiagnosisReport:
    """The diagnosis of what was read; `amend` mends statistics before findings are made. Raises Unusable."""
    asked = temperature(tau)
    s, taus = compute_statistics(inputs), sorted({*TAUS, *([asked] if asked else [])})
    over_tau, range_ = level_statistics(s, taus), recommended(s, limits())
    if amend:
        amend(s, over_tau)
    found, range_ = _findings(s, over_tau, range_, asked)
    whole = s.structure and len(s.structure.columns) == inputs.teacher.classes
    similarity = s.structure.similarity if whole else None
    groups = None if inputs.superclass is None else inputs.superclass.tolist()
    return DiagnosisReport(plain(_facts(inputs, taus, s)), plain(over_tau), plain(range_), found, similarity, groups)


def _findings(
    s: Statistics, over_tau: Mapping[str, Mapping[str, list]], range_: dict[str, object], asked: float | None
) -> tuple[tuple[Finding, ...], dict[str, object]]:
    """What is found, and the range of temperatures, which waits where something has to be mended first."""
    s.value.update(tau_low=range_["low"], tau_high=range_["high"], asked=asked)
    if asked and over_tau["universe"]["tau"]:
        s.value["asked_mass"] = over_tau["universe"]["mass"][over_tau["universe"]["tau"].index(asked)]
    found = findings(s)
    if wrong := [f.code for f in found if f.code in MEND_FIRST]:
        range_ = {"low": None, "high": None, "reason": f"mend {wrong[0]} first"}
    return found + (_healthy(s),) * all(f.severity == "info" for f in found), range_


def diagnose_file(
    path: str, heldout: str | None = None, tau: float | None = None, labels: str | None = None
) -> DiagnosisReport:
    """The diagnosis of a file, with its name and the names it left out among the facts.

    `heldout`: a second file, of held-out examples; `labels`: one of labels alone. `tau` goes before the file's own.
    Raises Unusable.
    """
    from kdstudy.diagnosis import files  # readers of every format, which logits in memory do not need

    arrays, names = files.read(path, heldout, labels)
    notes = arrays.pop("notes", [])
    with one_thread():
        d = diagnose(**(arrays if tau is None else arrays | {"tau": tau}))
    of_file = {"file": files.printable(Path(path).name), "ignored": files.ignored(names)}
    return replace(d, facts=d.facts | of_file | {"notes": [*notes, *d.facts["notes"]]})


def _healthy(s: Statistics) -> Finding:
    evidence = plain(s.some("accuracy mass structure"))
    return Finding("healthy", "info", evidence, "Nothing is wrong that logits and labels could show.", "No fault found")


def _facts(inputs: Inputs, taus: list[float], s: Statistics) -> dict[str, object]:
    teacher = inputs.teacher
    optional = {name: getattr(inputs, name) is not None for name in ("heldout", "student", "student_val", "superclass")}
    return {
        "examples": len(teacher.values),
        "classes": teacher.classes,
        "class_names": list(inputs.class_names) or None,
        "dtype": teacher.dtype,
        "kind": teacher.raw.kind,
        "rows_left_out": len(teacher.values) - len(teacher.rows),
        **optional,
        "notes": list(teacher.notes),
        "taus": taus,
        "signals": dict(s.value),
    }


def temperature(tau: float | None) -> float | None:
    """A temperature in use, checked. Raises Unusable."""
    if tau is None:
        return None
    try:
        value = float(tau)
    except (TypeError, ValueError):
        value = math.nan
    if not 1e-3 <= value <= 1e3:
        raise unusable(repr(tau), "a number from 0.001 to 1000", "tau")
    return value
