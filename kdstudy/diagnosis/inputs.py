"""Somebody's logits and labels, checked, and read in chunks of rows as float64; the originals are never written to."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

ENTRIES = 250_000  # logits in one chunk: 2 MB in float64, which a processor keeps at hand
HUGE = 1e30  # larger logits are read as this, so that squares stay finite
CLOSE = 0.02  # of a sum of probabilities to 1: room for half precision and for rounding in text files
MOST = 0.99  # of the rows, to be called probabilities
TWO = "; one logit z for two classes is [0, z]"


class Unusable(ValueError):
    """Logits or labels that cannot be diagnosed: what was asked, what was found, what is allowed."""


@dataclass(frozen=True, eq=False)
class RawValues:
    """What values show before any softmax: what is not finite, and whether rows are logits at all.

    `kind` is "logits", "probabilities" (rows sum to `total`), "log-probabilities", or "scores" (all in [0, 1]).
    `floor` stands for a probability of 0. `counts` of entries that are "nan", "+inf", "-inf". `constant`: rows with
    all values equal. `code`: a number for each finite row, equal for equal rows.
    """

    kind: str
    total: float
    floor: float
    counts: dict[str, int]
    finite: Bool[np.ndarray, " N"]
    low: float
    high: float
    constant: int
    code: Float[np.ndarray, " M"]


@dataclass(frozen=True, eq=False)
class LabelledLogits:
    """Finite rows of logits, by their place among all N `values`, and their labels; `dtype` as they were given."""

    values: np.ndarray
    labels: Int[np.ndarray, " M"]
    rows: Int[np.ndarray, " M"]
    classes: int
    dtype: str
    raw: RawValues

    def chunks(self, at: Int[np.ndarray, " K"] | None = None) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Place among the finite rows (or among `at`), logits (n, C) in float64 and labels (n,), chunk by chunk.

        Probabilities come as their logarithms, which are logits of the same distribution.
        """
        rows, labels = (self.rows, self.labels) if at is None else (self.rows[at], self.labels[at])
        whole = len(rows) == len(self.values) and at is None
        for place in _slices(len(rows), self.classes):
            x = _as_float64(self.values, place if whole else rows[place])
            if self.raw.kind == "probabilities":
                x = (x / self.raw.total).clamp_(min=self.raw.floor).log_()
            yield place, x.clamp_(-HUGE, HUGE), torch.from_numpy(labels[place])


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a diagnosis is made of: the teacher on the training set, and what else there is."""

    teacher: LabelledLogits
    heldout: LabelledLogits | None = None
    student: LabelledLogits | None = None
    student_val: LabelledLogits | None = None
    superclass: Int[np.ndarray, " C"] | None = None
    class_names: tuple[str, ...] = ()


def read_inputs(
    teacher_logits: object,
    labels: object,
    *,
    student_logits: object = None,
    heldout_teacher_logits: object = None,
    heldout_labels: object = None,
    student_val_logits: object = None,
    class_names: Iterable[object] | None = None,
    superclass: Iterable[object] | None = None,
) -> Inputs:
    """All that was given, checked; the arguments are those of `diagnose`. Raises Unusable."""
    teacher = labelled("teacher_logits", teacher_logits, labels)
    classes = teacher.classes
    for name, value in (("heldout_teacher_logits", heldout_teacher_logits), ("student_val_logits", student_val_logits)):
        if value is not None and heldout_labels is None:
            raise Unusable(f"{name}: found without labels, allowed: together with heldout_labels")
    if heldout_labels is not None and heldout_teacher_logits is None and student_val_logits is None:
        raise Unusable("heldout_labels: found without logits, allowed: together with heldout_teacher_logits")

    def optional(name: str, value: object, its_labels: object, labels_name: str) -> LabelledLogits | None:
        return None if value is None else labelled(name, value, its_labels, labels_name, classes)

    return Inputs(
        teacher=teacher,
        heldout=optional("heldout_teacher_logits", heldout_teacher_logits, heldout_labels, "heldout_labels"),
        student=optional("student_logits", student_logits, labels, "labels"),
        student_val=optional("student_val_logits", student_val_logits, heldout_labels, "heldout_labels"),
        superclass=_superclasses(superclass, classes),
        class_names=_class_names(class_names, classes),
    )


def _class_names(names: Iterable[object] | None, classes: int) -> tuple[str, ...]:
    allowed = f"a list of {classes} names, one for each class"
    return () if names is None else tuple(map(str, _for_each_class("class_names", names, classes, "names", allowed)))


def _superclasses(superclass: Iterable[object] | None, classes: int) -> Int[np.ndarray, " C"] | None:
    """Numbers of the super-classes in order of their first class."""
    if superclass is None:
        return None
    allowed = f"{classes}, the super-class of each class in order"
    values = [str(v) for v in _for_each_class("superclass", superclass, classes, "entries", allowed)]
    number = {name: i for i, name in enumerate(dict.fromkeys(values))}
    return np.array([number[name] for name in values])


def _for_each_class(name: str, values: object, classes: int, unit: str, allowed: str) -> list[object]:
    values = values.tolist() if hasattr(values, "tolist") else values
    several = isinstance(values, Iterable) and not isinstance(values, str | bytes | Mapping)
    listed = list(values) if several else []
    if len(listed) != classes:
        found = f"{len(listed)} {unit}" if several else type(values).__name__
        raise Unusable(f"{name}: found {found}, allowed: {allowed}")
    return listed


def labelled(
    name: str, logits: object, labels: object, labels_name: str = "labels", classes: int | None = None
) -> LabelledLogits:
    """Logits (called `name` in errors) and labels, checked; `classes`: how many there must be. Raises Unusable."""
    values, dtype = _checked_logits(name, logits, classes)
    y = _checked_labels(labels_name, labels, *values.shape, name)
    raw = inspect(values)
    rows = np.flatnonzero(raw.finite)
    return LabelledLogits(values, y[rows], rows, values.shape[1], dtype, raw)


def common_rows(a: LabelledLogits, b: LabelledLogits) -> tuple[Int[np.ndarray, " K"], Int[np.ndarray, " K"]]:
    """Places in a and in b of the examples whose rows are finite in both."""
    _, in_a, in_b = np.intersect1d(a.rows, b.rows, assume_unique=True, return_indices=True)
    return in_a, in_b


# ---------------------------------------------------------------- checks


def _checked_logits(name: str, value: object, classes: int | None) -> tuple[np.ndarray, str]:
    """An (N, C) array of numbers with N >= 1 and C >= 2 (and C = `classes`), and the name of its type."""
    array, dtype = _numbers(name, value)
    shape = array.shape
    if array.ndim != 2:
        hint = TWO if array.ndim == 1 else ""
        raise Unusable(f"{name}: found shape {shape}, allowed: (N, C), one row for each example{hint}")
    if shape[0] == 0:
        raise Unusable(f"{name}: found no rows (shape {shape}), allowed: at least 1 example")
    if shape[1] < 2:
        hint = TWO if shape[1] == 1 else ""
        raise Unusable(f"{name}: found {shape[1]} classes (shape {shape}), allowed: at least 2{hint}")
    if classes not in (None, shape[1]):
        raise Unusable(f"{name}: found {shape[1]} classes, allowed: {classes}, as teacher_logits have")
    return array, dtype


def _checked_labels(name: str, value: object, rows: int, classes: int, of: str) -> Int[np.ndarray, " N"]:
    """Labels as whole numbers 0 ... C - 1, one for each row of the logits that are called `of`."""
    array, _ = _numbers(name, value)
    if array.shape == (rows, classes):
        raise Unusable(f"{name}: found shape {array.shape}, allowed: ({rows},); of one-hot rows take argmax(1)")
    if array.ndim != 1:
        raise Unusable(f"{name}: found shape {array.shape}, allowed: ({rows},), one label for each row of {of}")
    if len(array) != rows:
        raise Unusable(f"{name}: found {len(array)} labels for {rows} rows of {of}, allowed: equally many")
    if array.dtype.kind == "f" and len(broken := np.flatnonzero(~np.isfinite(array) | (np.floor(array) != array))):
        found = f"{float(array[broken[0]])!r} at row {broken[0]}"
        raise Unusable(f"{name}: found {found}, allowed: whole numbers 0 to {classes - 1}")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= classes:
        from_one = "; they seem to count from 1: subtract 1" if (low, high) == (1, classes) else ""
        hint = "; leave out examples without a label" if low < 0 else from_one
        raise Unusable(f"{name}: found {low} to {high}, allowed: 0 to {classes - 1} ({classes} classes){hint}")
    return array.astype(np.int64)


def _numbers(name: str, value: object) -> tuple[np.ndarray, str]:
    """An array of real numbers, and the name of its type."""
    if isinstance(value, Sequence) and len(value) and all(isinstance(v, Tensor) for v in value):
        try:
            value = torch.stack(list(value))
        except RuntimeError as error:
            why = f"found tensors that do not stack ({error})"
            raise Unusable(f"{name}: {why}, allowed: rows of equal length") from None
    array, dtype = _from_torch(value) if isinstance(value, Tensor) else _from_numpy(name, value)
    if array.dtype.kind not in "fiub":
        raise Unusable(f"{name}: found values of type {dtype}, allowed: real numbers")
    return array, dtype


def _from_torch(value: Tensor) -> tuple[np.ndarray, str]:
    dense = value.detach().to("cpu")
    dense = dense if dense.layout == torch.strided else dense.to_dense()
    known = value.dtype in (torch.float16, torch.float32, torch.float64) or not value.dtype.is_floating_point
    array = (dense if known else dense.float()).resolve_neg().resolve_conj().numpy()
    return array, str(value.dtype).removeprefix("torch.")


def _from_numpy(name: str, value: object) -> tuple[np.ndarray, str]:
    if isinstance(value, np.ma.MaskedArray):
        value = value.astype(float).filled(np.nan) if value.dtype.kind in "fiub" else value.data
    try:
        array = np.asarray(value)
        array = array.astype(np.float64) if array.dtype.kind == "O" else array
    except (TypeError, ValueError):
        raise Unusable(f"{name}: found something that is no array of numbers, allowed: rows of equal length") from None
    return array, str(array.dtype)


# ---------------------------------------------------------------- raw values


def inspect(values: np.ndarray) -> RawValues:
    """What raw values (N, C) show, in one pass of chunks."""
    n, classes = values.shape
    counts, finite = {"nan": 0, "+inf": 0, "-inf": 0}, np.ones(n, bool)
    sums, log_sums, code = np.zeros(n), np.zeros(n), np.zeros(n)
    low, high, least, constant = np.inf, -np.inf, np.inf, 0
    weights = torch.from_numpy(np.random.default_rng(0).standard_normal(classes))
    for at in _slices(n, classes):
        x = _as_float64(values, at)
        for name, entries in (("nan", x.isnan()), ("+inf", x == torch.inf), ("-inf", x == -torch.inf)):
            counts[name] += int(entries.sum())
        good = x.isfinite().all(-1)
        finite[at] = good.numpy()
        x = torch.where(good[:, None], x, 0.0).clamp_(-HUGE, HUGE)
        sums[at], log_sums[at], code[at] = x.sum(-1).numpy(), x.logsumexp(-1).numpy(), (x @ weights).numpy()
        x = x[good]
        if len(x):
            low, high = min(low, float(x.min())), max(high, float(x.max()))
            least = min(least, float(torch.where(x > 0, x, torch.inf).min()))
            constant += int((x.amax(-1) == x.amin(-1)).sum())
    kind, total = _kind(sums[finite], log_sums[finite], low, high)
    floor = least / total / 2 if np.isfinite(least) else 0.5
    return RawValues(kind, total, floor, counts, finite, low, high, constant, code[finite])


def _kind(sums: np.ndarray, log_sums: np.ndarray, low: float, high: float) -> tuple[str, float]:
    """What rows are, and what they sum to."""
    if not len(sums):
        return "logits", 1.0
    if low >= 0:
        for total in (1.0, 100.0):
            if (np.abs(sums / total - 1) < CLOSE).mean() >= MOST:
                return "probabilities", total
        if 0.5 < high <= 1:
            return "scores", 1.0
    if high <= 1e-3 and (np.abs(log_sums) < CLOSE).mean() >= MOST:
        return "log-probabilities", 1.0
    return "logits", 1.0


def _slices(rows: int, classes: int) -> Iterator[slice]:
    """Chunks of rows with about `ENTRIES` values each."""
    step = max(1, ENTRIES // classes)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def _as_float64(values: np.ndarray, at: object) -> Tensor:
    return torch.from_numpy(np.array(values[at], dtype=np.float64, order="C"))
