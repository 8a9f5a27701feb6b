"""Somebody's logits and labels, checked, and read in chunks of rows as float64; the originals are never written to.

| logits | labels | read as |
| --- | --- | --- |
| (N, C) | (N,), (N, 1) or one-hot (N, C) | as they are |
| (N, T, V), of tokens | (N, T) | a row for each position |
| (N, C, H, W), of pixels | (N, H, W) | a row for each pixel |
| k values and `topk_indices`, in place of C or V | as above | all C classes, the others sharing the tail |

Positions labelled -100 (or 255, where there are fewer classes) or masked by `mask` are left out, and `notes` say so.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kdstudy.diagnosis.arrays import BELOW, Fill, OnDisk, Part, TopK, as_float64, filled, stacked

ENTRIES = 250_000  # logits in one chunk: 2 MB in float64, which a processor keeps at hand
HUGE = 1e30  # larger logits are read as this, so that squares stay finite
CLOSE = 0.02  # of a sum of probabilities to 1: room for half precision and for rounding in text files
MOST = 0.99  # of the rows, to be called probabilities
MOSTLY_FILLED = 0.9  # of the rows, to take -inf in them for classes that are left out
TWO = "; one logit z for two classes is [0, z]"
TOPK = ("teacher_logits", "topk_indices", "labels")
IGNORED = (-100, 255)  # labels that stand for none; 255 where there are at most as many classes
WHOLE = 2e9  # bytes that are read at once


class Unusable(ValueError):
    """Logits or labels that cannot be diagnosed: what was asked, what was found, what is allowed."""


def unusable(found: str, allowed: str, name: str = "") -> Unusable:
    """The error in the words that all of them have."""
    return Unusable(f"{name}{name and ': '}found {found}, allowed: {allowed}")


@dataclass(frozen=True, eq=False)
class RawValues:
    """What values show before any softmax: what is not finite, and whether rows are logits at all.

    `kind` is "logits", "probabilities" (rows sum to `total`), "log-probabilities", or "scores" (all in [0, 1]).
    `floor` stands for a probability of 0. `counts` of entries that are "nan", "+inf", "-inf". `constant`: rows with
    all values equal, by place, of which `zero` are 0. `code`: a number for each finite row, equal for equal rows.
    `fill`: what stands in place of logits that are left out.
    """

    kind: str
    total: float
    floor: float
    counts: dict[str, int]
    finite: Bool[np.ndarray, " N"]
    low: float
    high: float
    constant: Int[np.ndarray, " K"]
    zero: Int[np.ndarray, " Z"]
    code: Float[np.ndarray, " M"]
    fill: Fill | None = None


@dataclass(frozen=True, eq=False)
class LabelledLogits:
    """Finite rows of logits, by their place among all N `values`, and their labels; `dtype` as they were given.

    `positions`: whether rows are those of tokens or pixels. `notes` say what was done to what was given.
    """

    values: object
    labels: Int[np.ndarray, " M"]
    rows: Int[np.ndarray, " M"]
    classes: int
    dtype: str
    raw: RawValues
    positions: bool = False
    notes: tuple[str, ...] = ()

    def numbers(self, places: Int[np.ndarray, " K"]) -> list[int]:
        """Places among `values` as places among the rows that were given, in order."""
        return np.sort(self.values.rows[places] if isinstance(self.values, Part) else places).tolist()

    def chunks(self, at: Int[np.ndarray, " K"] | None = None) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Place among the finite rows (or among `at`), logits (n, C) in float64 and labels (n,), chunk by chunk.

        Probabilities come as their logarithms, which are logits of the same distribution.
        """
        rows, labels = (self.rows, self.labels) if at is None else (self.rows[at], self.labels[at])
        whole = len(rows) == len(self.values) and at is None
        for place in _slices(len(rows), self.classes):
            x = _floored(as_float64(self.values, place if whole else rows[place]), self.raw.fill)
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
    foreign: LabelledLogits | None = None  # a student with other classes


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
    topk_indices: object = None,
    tail_mass: object = None,
    num_classes: int | None = None,
    mask: object = None,
) -> Inputs:
    """All that was given, checked; the arguments are those of `diagnose`. Raises Unusable."""
    if topk_indices is not None:
        teacher_logits = _topk(teacher_logits, topk_indices, tail_mass, num_classes, labels)
    held = {"heldout_teacher_logits": heldout_teacher_logits, "student_val_logits": student_val_logits}
    held = {name: value for name, value in held.items() if value is not None}
    if held and heldout_labels is None:
        raise unusable("without labels", "together with heldout_labels", next(iter(held)))
    if heldout_labels is not None and not held:
        raise unusable("without logits", "together with heldout_teacher_logits", "heldout_labels")
    teacher = labelled("teacher_logits", teacher_logits, labels, mask=mask)
    classes, student = teacher.classes, None
    out = {name: labelled(name, value, heldout_labels, "heldout_labels", classes) for name, value in held.items()}
    foreign = None if student_logits is None else _foreign(student_logits, labels, classes, mask)
    if student_logits is not None and foreign is None:
        student = labelled("student_logits", student_logits, labels, classes=classes, mask=mask)
    names, groups = (
        _for_each_class(*given, classes) for given in (("class_names", class_names), ("superclass", superclass))
    )
    number = {name: i for i, name in enumerate(dict.fromkeys(groups or ()))}  # in order of their first class
    return Inputs(
        teacher=teacher,
        heldout=out.get("heldout_teacher_logits"),
        student=student,
        student_val=out.get("student_val_logits"),
        superclass=None if groups is None else np.array([number[name] for name in groups]),
        class_names=tuple(names or ()),
        foreign=foreign,
    )


def _foreign(logits: object, labels: object, classes: int, mask: object) -> LabelledLogits | None:
    """A student whose classes are as many as no teacher's; labels that it lacks are left out."""
    values = stacked(logits) if isinstance(logits, list) else logits
    shape, y = np.shape(values) if not hasattr(values, "shape") else tuple(values.shape), _numbers("labels", labels)[0]
    if shape[:-1] != y.shape or len(shape) < 2 or shape[-1] in (0, 1, classes):
        return None
    y = np.where((y >= 0) & (y < shape[-1]), y, IGNORED[0])
    return None if (y == IGNORED[0]).all() else labelled("student_logits", values, y, mask=mask)


def _for_each_class(name: str, values: object, classes: int) -> list[str] | None:
    """As text, in the order of the classes; None if nothing was given."""
    if values is None:
        return None
    values = values.tolist() if hasattr(values, "tolist") else values
    several = isinstance(values, Iterable) and not isinstance(values, str | bytes | Mapping)
    listed = [str(value) for value in values] if several else []
    if len(listed) != classes:
        found = f"{len(listed)} entries" if several else type(values).__name__
        raise unusable(found, f"a list of {classes}, one for each class in order", name)
    return listed


def labelled(
    name: str, logits: object, labels: object, labels_name: str = "labels", classes: int | None = None,
    mask: object = None,
) -> LabelledLogits:  # fmt: skip
    """Logits (called `name` in errors) and labels, checked; `classes`: how many there must be. Raises Unusable."""
    (array, dtype), (y, _) = _numbers(name, logits), _numbers(labels_name, labels)
    values, lead, notes = _as_rows(name, array, y.shape)
    _check_shape(name, values, classes)
    y, more = _one_each(labels_name, y, lead, values.shape[1], name)
    keep = _kept(labels_name, y, values.shape[1], mask, lead)
    if not keep.any():
        raise unusable(f"no label but {IGNORED[0]} (ignored)", "at least 1 example", labels_name)
    if not keep.all():
        why = "masked" if mask is not None else "labelled " + ", ".join(str(v) for v in IGNORED if (y == v).any())
        more.append(f"{len(y) - int(keep.sum())} of {len(y)} rows are left out, which are {why}")
        values, y = Part(values, np.flatnonzero(keep)), y[keep]
    y = _checked_labels(labels_name, y, values)
    raw = inspect(values)
    rows = np.flatnonzero(raw.finite)
    return LabelledLogits(values, y[rows], rows, values.shape[1], dtype, raw, len(lead) > 1, (*notes, *more))


def common_rows(a: LabelledLogits, b: LabelledLogits) -> tuple[Int[np.ndarray, " K"], Int[np.ndarray, " K"]]:
    """Places in a and in b of the examples whose rows are finite in both."""
    _, in_a, in_b = np.intersect1d(a.rows, b.rows, assume_unique=True, return_indices=True)
    return in_a, in_b


# ---------------------------------------------------------------- checks


def _as_rows(name: str, array: object, labels: tuple[int, ...]) -> tuple[object, tuple[int, ...], list[str]]:
    """Logits of tokens or pixels as rows (N, C), by the shape of their labels; the positions' shape; what was done."""
    shape = tuple(array.shape)
    lead = shape[:-1]
    if len(shape) == 2:
        return array, lead, []
    if len(shape) not in (3, 4) or 0 in shape:
        hint = TWO if len(shape) == 1 else "; of tokens (N, T, V), of pixels (N, C, H, W)"
        raise unusable(f"shape {shape}", f"(N, C), one row for each example{hint}", name)
    inner = shape[0], *shape[2:]
    if labels not in (lead, (math.prod(lead),)):
        if labels not in (inner, (math.prod(inner),)):
            allowed = f"labels {lead}, a class each (or {inner}, if the second dimension is that of the classes)"
            raise unusable(f"shape {shape} with labels {labels}", allowed, name)
        if isinstance(array, OnDisk):
            if math.prod(shape) * array.dtype.itemsize > WHOLE:
                raise unusable(f"{shape} of several GB", "classes last, (N, H, W, C)", name)
            array = array[slice(0, shape[0])]
        lead, array = inner, array.movedim(1, -1) if isinstance(array, Tensor) else np.moveaxis(array, 1, -1)
    array = array.flat() if isinstance(array, OnDisk) else array.reshape(-1, array.shape[-1])
    return array, lead, [f"{shape} is read as {tuple(array.shape)}: a row for each position"]


def _check_shape(name: str, values: object, classes: int | None) -> None:
    """At least one row and two classes (and C = `classes`)."""
    shape = tuple(values.shape)
    if shape[0] == 0:
        raise unusable(f"no rows (shape {shape})", "at least 1 example", name)
    if shape[1] < 2:
        raise unusable(f"{shape[1]} classes (shape {shape})", f"at least 2{TWO if shape[1] else ''}", name)
    if classes not in (None, shape[1]):
        raise unusable(f"{shape[1]} classes", f"{classes}, as teacher_logits have", name)


def _one_each(
    name: str, y: np.ndarray, lead: tuple[int, ...], classes: int, of: str
) -> tuple[np.ndarray, list[str]]:  # fmt: skip
    """Labels (N,), one for each row; one-hot rows as the class they name. Several to a row are refused."""
    rows = math.prod(lead)
    if y.shape == (*lead, classes) and y.size > rows:
        y = y.reshape(rows, classes)
        binary, sums = np.isin(y, (0, 1)).all(), y.sum(-1)
        if binary and (sums == 1).all():
            return y.argmax(-1), ["labels are one-hot: each row is read as its class"]
        if binary:
            allowed = (
                "one; this is a multi-label task, whose distillation is binary cross-entropy with sigmoid(teacher) for "
                "each class: diagnose each class by itself, as logits [0, z] and labels 0 or 1"
            )
            raise unusable(f"several labels to a row ({float(sums.mean()):.3g} on average)", allowed, name)
        allowed = f"({rows},), the class of each row; of soft or mixed labels give the class before mixing"
        raise unusable(f"shape {y.shape} that are not one-hot", allowed, name)
    if y.ndim == 1 and len(y) != rows:
        raise unusable(f"{len(y)} labels for {rows} rows of {of}", "equally many", name)
    if y.shape not in (lead, (rows, 1), (rows,)):
        raise unusable(f"shape {y.shape}", f"({rows},), one label for each row of {of}", name)
    return y.reshape(-1), []


def _kept(name: str, y: np.ndarray, classes: int, mask: object, lead: tuple[int, ...]) -> Bool[np.ndarray, " N"]:
    """Which rows have a label, and are not masked."""
    keep = (y != IGNORED[0]) & ((y != IGNORED[1]) | (classes > IGNORED[1]))
    if mask is not None:
        array = _numbers("mask", mask)[0]
        if array.shape not in (lead, keep.shape):
            raise unusable(f"shape {array.shape}", f"{lead}, that of {name}", "mask")
        keep &= array.reshape(-1) != 0
    return keep


def _checked_labels(name: str, array: np.ndarray, values: object) -> Int[np.ndarray, " N"]:
    """Labels as whole numbers 0 ... C - 1."""
    classes = values.shape[1]
    if array.dtype.kind == "f" and len(broken := np.flatnonzero(~np.isfinite(array) | (np.floor(array) != array))):
        found = f"{float(array[broken[0]])!r} at row {broken[0]}"
        raise unusable(found, f"whole numbers 0 to {classes - 1}", name)
    low, high = int(array.min()), int(array.max())
    if 0 <= low and high < classes:
        return array.astype(np.int64)
    few = as_float64(values, slice(0, min(len(values), 64)))
    hint = "; they seem to count from 1: subtract 1" if (low, high) == (1, classes) else ""
    if low < 0:
        hint = "; leave out examples without a label (-100 is left out by itself)"
    elif len(few) > 1 and bool((few.diff(dim=-1) <= 0).all()):
        hint = (
            f"; every row falls from left to right, so these are the {classes} largest logits of more classes (top-k) "
            "and columns are no classes: give their classes too, as topk_indices (N, k)"
        )
    raise unusable(f"{low} to {high}", f"0 to {classes - 1} ({classes} classes){hint}", name)


def _topk(values: object, index: object, tail: object, classes: int | None, labels: object) -> TopK:
    """Rows of all classes from the k largest of each; log-probabilities and probabilities leave their tail."""
    (x, _), (i, _), (y, _) = (_numbers(*given) for given in zip(TOPK, (values, index, labels)))
    if tuple(x.shape) != tuple(i.shape) or len(i.shape) < 2 or i.dtype.kind not in "iu":
        found = f"{tuple(i.shape)} of {i.dtype} for values {tuple(x.shape)}"
        raise unusable(found, "whole numbers, one for each value", "topk_indices")
    if not i.size:
        raise unusable(f"none (shape {i.shape})", "at least 1 example", "topk_indices")
    k, most = i.shape[-1], int(max(i.max(), np.nan_to_num(y.astype(float), nan=0).max() if y.size else 0)) + 1
    number = most if classes is None else int(classes)
    if not most <= number <= 10**7 or int(i.min()) < IGNORED[0]:
        raise unusable(f"{i.min()} to {i.max()}", f"0 to {min(number, 10**7) - 1}", "topk_indices")
    x = as_float64(x, slice(0, x.shape[0])).reshape(-1, k)
    i = torch.from_numpy(i.astype(np.int64).reshape(-1, k))
    x = torch.where((i >= 0) & ~x.isnan(), x, -torch.inf)
    logs = x if not (x >= 0).all() or x.amax() > 1 or bool((x.sum(-1) > 1 + CLOSE).any()) else x.log()
    total = logs.logsumexp(-1).exp()
    rest = None if bool((total > 1 + CLOSE).any()) else (1 - total).clamp(min=0)
    if tail is not None:
        rest = as_float64(_numbers("tail_mass", tail)[0].reshape(-1), slice(0, len(x)))
        if len(rest) != len(x) or not bool(((rest >= 0) & (rest <= 1)).all()):
            raise unusable(f"{len(rest)} values", f"{len(x)} from 0 to 1, one for each row", "tail_mass")
        logs = logs.log_softmax(-1) + (1 - rest).clamp(min=1e-300).log()[:, None]
    return TopK(x if rest is None else logs, i, max(number, k + 1), rest)


def _numbers(name: str, value: object) -> tuple[object, str]:
    """An array of real numbers (or a tensor of a type that numpy lacks, or rows on disk), and the name of its type."""
    if isinstance(value, TopK | OnDisk | Part):
        return value, str(getattr(value, "dtype", "top-k")).removeprefix("torch.")
    try:
        value = stacked(value)
    except RuntimeError as error:
        raise unusable(f"tensors that do not stack ({error})", "rows of equal length", name) from None
    array, dtype = _from_torch(value) if isinstance(value, Tensor) else _from_numpy(name, value)
    if not isinstance(array, Tensor) and array.dtype.kind not in "fiub":
        example = f", such as {str(array.ravel()[0])[:40]!r}" if array.size and array.dtype.kind in "USO" else ""
        todo = "; number the classes 0, 1, ... and give their names as class_names" if "labels" in name else ""
        raise unusable(f"values of type {dtype}{example}", f"real numbers{todo}", name)
    return array, dtype


def _from_torch(value: Tensor) -> tuple[object, str]:
    dense = value.detach().to("cpu")
    dense = dense if dense.layout == torch.strided else dense.to_dense()
    known = value.dtype in (torch.float16, torch.float32, torch.float64) or not value.dtype.is_floating_point
    small = not known and dense.ndim < 2  # labels and masks, of which numpy is asked more
    array = (dense.float() if small else dense).resolve_neg().resolve_conj()
    return array.numpy() if known or small else array, str(value.dtype).removeprefix("torch.")


def _from_numpy(name: str, value: object) -> tuple[np.ndarray, str]:
    if isinstance(value, np.ma.MaskedArray):
        value = value.astype(float).filled(np.nan) if value.dtype.kind in "fiub" else value.data
    try:
        array = np.asarray(value)
        array = array.astype(np.float64) if array.dtype.kind == "O" else array
    except (TypeError, ValueError):
        raise unusable("something that is no array of numbers", "rows of equal length", name) from None
    return array, str(array.dtype)


# ---------------------------------------------------------------- raw values


def inspect(values: object) -> RawValues:
    """What raw values (N, C) show, in one pass of chunks."""
    n, classes = values.shape
    counts, finite, (constant, zero) = {"nan": 0, "+inf": 0, "-inf": 0}, np.ones(n, bool), np.zeros((2, n), bool)
    sums, log_sums, code = np.zeros(n), np.zeros(n), np.zeros(n)
    low, high, least = np.inf, -np.inf, np.inf
    weights = torch.from_numpy(np.random.default_rng(0).standard_normal(classes))
    fill = filled(values)
    for at in _slices(n, classes):
        x = _floored(as_float64(values, at), fill)
        good = x.isfinite().all(-1)
        finite[at] = good.numpy()
        if not good.all():
            odd = x[~good]
            for name, entries in (("nan", odd.isnan()), ("+inf", odd == torch.inf), ("-inf", odd == -torch.inf)):
                counts[name] += int(entries.sum())
            x[~good] = 0.0
        x.clamp_(-HUGE, HUGE)
        sums[at], log_sums[at], code[at] = x.sum(-1).numpy(), x.logsumexp(-1).numpy(), (x @ weights).numpy()
        lowest, highest = x.amin(-1), x.amax(-1)
        constant[at] = good & (highest == lowest)
        zero[at] = good & (highest == lowest) & (lowest == 0)
        if good.any():
            low, high = min(low, float(lowest[good].min())), max(high, float(highest[good].max()))
            least = min(least, float(torch.where(x[good] > 0, x[good], torch.inf).min())) if low >= 0 else least
    kind, total = _kind(sums[finite], log_sums[finite], low, high)
    floor = least / total / 2 if np.isfinite(least) else 0.5
    equal = np.flatnonzero(constant), np.flatnonzero(zero)
    return RawValues(kind, total, floor, counts, finite, low, high, *equal, code[finite], fill)


def _floored(x: Float[Tensor, "n C"], fill: Fill | None) -> Float[Tensor, "n C"]:
    """Rows whose left out classes are -inf, with these far below the smallest logit that is there."""
    if fill is None or fill.value != -np.inf or fill.alike < MOSTLY_FILLED:
        return x
    out = x == -torch.inf
    lowest = x.masked_fill(out, torch.inf).amin(-1, keepdim=True) - BELOW
    return torch.where(out & lowest.isfinite(), lowest, x)


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
