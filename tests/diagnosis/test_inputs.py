"""Reading somebody's logits: any real array, in chunks, left as it is; what rows are; what is refused and how."""

import numpy as np
import pytest
import torch
from conftest import says
from reference_statistics import teacher

from kdstudy import diagnose
from kdstudy.diagnosis import inputs
from kdstudy.diagnosis.inputs import Unusable, labelled, read_inputs
from kdstudy.diagnosis.statistics.all import compute_statistics
from kdstudy.diagnosis.statistics.shares import level_shares


def plain(given: object) -> np.ndarray:
    """The same numbers, one by one."""
    with torch.no_grad():
        rows = [x.detach().float() if isinstance(x, torch.Tensor) else x for x in given]
        return np.array([[float(x) for x in row] for row in rows])


MAKE = [
    lambda v: v.tolist(), lambda v: v.astype(np.float16), lambda v: np.asfortranarray(v.astype(">f4")),
    lambda v: torch.tensor(v, requires_grad=True), lambda v: torch.tensor(v).bfloat16(),
    lambda v: list(torch.tensor(v)),
]  # fmt: skip


@pytest.mark.parametrize("make", MAKE)
def test_any_real_array_is_read_and_left_as_it_is(make):
    v, y = teacher(40)
    given = make(np.round(v * 4) / 4)
    before = plain(given)
    read = np.concatenate([x.numpy() for _, x, _ in labelled("v", given, y).chunks()])
    compute_statistics(read_inputs(given, y))
    np.testing.assert_array_equal(read, before)
    np.testing.assert_array_equal(plain(given), before)


def test_chunks_do_not_change_what_is_found(monkeypatch):
    whole = compute_statistics(read_inputs(*teacher())).value
    monkeypatch.setattr(inputs, "ENTRIES", 100)
    assert compute_statistics(read_inputs(*teacher())).value == pytest.approx(whole)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (lambda p: p, "probabilities"),
        (lambda p: 100 * p, "probabilities"),
        (lambda p: p.astype(np.float16), "probabilities"),
        (lambda p: p.round(4), "probabilities"),
        (lambda p: np.log(p), "log-probabilities"),
        (lambda p: np.log(p) + 1, "logits"),
        (lambda p: p / p.max(1, keepdims=True), "scores"),
    ],
)
def test_what_rows_are(given, kind):
    v, y = teacher(200, 50)
    assert labelled("v", given(torch.tensor(v).softmax(-1).numpy()), y).raw.kind == kind


def test_probabilities_are_read_as_their_logarithms():
    v, y = teacher()
    one, two = (level_shares(labelled("v", x, y), [2.0])[0] for x in (v, torch.tensor(v).softmax(-1)))
    np.testing.assert_allclose(one.mass, two.mass)


V, Y, TWO = np.arange(12.0).reshape(4, 3), np.array([0, 1, 2, 0]), "one logit z for two classes is [0, z]"
NAMES, TODO = (
    "a list of 3, one for each class in order",
    "number the classes 0, 1, ... and give their names as class_names",
)
LOGITS, LABELS, HELD = "teacher_logits", "labels", "heldout_teacher_logits"
MULTI = (
    "several labels to a row (2 on average), allowed: one; this is a multi-label task, whose distillation is binary "
    "cross-entropy with sigmoid(teacher) for each class: diagnose each class by itself, as logits [0, z] and labels 0 "
    "or 1"
)
BAD = [
    (LOGITS, V[0], f"shape (3,), allowed: (N, C), one row for each example; {TWO}"),
    (LOGITS, V[:0], "no rows (shape (0, 3)), allowed: at least 1 example"),
    (LOGITS, V[:, :1], f"1 classes (shape (4, 1)), allowed: at least 2; {TWO}"),
    (LOGITS, [[1, 2], [3]], "something that is no array of numbers, allowed: rows of equal length"),
    (LOGITS, V + 1j, "values of type complex128, allowed: real numbers"),
    (LABELS, Y[:3], "3 labels for 4 rows of teacher_logits, allowed: equally many"),
    (LABELS, np.array([[1, 1, 0]] * 4), MULTI),
    (LABELS, Y.reshape(2, 2), "shape (2, 2), allowed: (4,), one label for each row of teacher_logits"),
    (LABELS, Y + 1, "1 to 3, allowed: 0 to 2 (3 classes); they seem to count from 1: subtract 1"),
    (
        LABELS,
        Y - 1,
        "-1 to 1, allowed: 0 to 2 (3 classes); leave out examples without a label (-100 is left out by itself)",
    ),
    (LABELS, Y + 7, "7 to 9, allowed: 0 to 2 (3 classes)"),
    (LABELS, Y + 0.5, "0.5 at row 0, allowed: whole numbers 0 to 2"),
    (LABELS, Y * np.nan, "nan at row 0, allowed: whole numbers 0 to 2"),
    (LABELS, list("abca"), f"values of type <U1, such as 'a', allowed: real numbers; {TODO}"),
    ("tau", 0, "0, allowed: a number from 0.001 to 1000"),
    ("class_names", ["a"], f"1 entries, allowed: {NAMES}"),
    ("class_names", "abc", f"str, allowed: {NAMES}"),
    ("superclass", [0], f"1 entries, allowed: {NAMES}"),
    ("superclass", np.array(3), f"int, allowed: {NAMES}"),
    (HELD, V[:, 0], "without labels, allowed: together with heldout_labels"),
    (HELD, V, "without labels, allowed: together with heldout_labels"),
    ("heldout_labels", Y, f"without logits, allowed: together with {HELD}"),
]


@pytest.mark.parametrize(("name", "value", "message"), BAD)
def test_unusable_says_found_and_allowed(name, value, message):
    with pytest.raises(Unusable, match=says(f"{name}: found {message}")):
        diagnose(**{LOGITS: V, LABELS: Y} | {name: value})


@pytest.mark.parametrize(("name", "other"), [("student_logits", LABELS), (HELD, "heldout_labels")])
def test_labels_go_with_every_table(name, other):
    with pytest.raises(Unusable, match=says(f"{other}: found 4 labels for 2 rows of {name}, allowed: equally many")):
        diagnose(V, Y, **{name: V[:2]} | ({other: Y} if other != LABELS else {}))
