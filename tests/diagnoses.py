"""Diagnoses of all that can be given, and of hardly anything."""

import numpy as np
from logit_files import example

from kdstudy.diagnosis.api import DiagnosisReport, diagnose

NASTY = ["<script>alert(1)</script>", "a & b", '" onload="x', "$x_{", "漢字\n"]


def given(**more: object) -> DiagnosisReport:
    """A diagnosis of everything that can be given."""
    whole, held = example(), example(100, seed=1)
    return diagnose(
        **whole, student_logits=whole["teacher_logits"] / 2, heldout_teacher_logits=held["teacher_logits"],
        heldout_labels=held["labels"], superclass=[0, 0, 1, 1, 1], **more,
    )  # fmt: skip


def empty() -> DiagnosisReport:
    """A diagnosis of logits none of which is finite."""
    return diagnose(np.full((4, 3), np.nan), [0, 1, 2, 0])


EXTREMES = {
    "everything": lambda: given(class_names=NASTY, tau=3),
    "nothing finite": empty,
    "two classes": lambda: diagnose(**example(50, 2)),
    "one example": lambda: diagnose([[1.0, 2.0, 3.0]], [2]),
    "only labels": lambda: diagnose(1e5 * np.eye(3), [0, 1, 2]),
    "huge": lambda: diagnose([[1e300, -1e300], [-1e300, 1e300]], [0, 1], student_logits=[[0.0, 1e9], [1e9, 0.0]]),
    "too many classes": lambda: diagnose(**example(2010, 201)),
}
