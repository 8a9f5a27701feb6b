"""Somebody's logits and labels, checked, and read in chunks of rows as float64; the originals are never written to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

ENTRIES = 250_000  # logits in one chunk: 2 MB in float64, which a processor keeps at hand
HUGE = 1e30  # larger logits are read as this, so that squares stay finite
CLOSE = 0.02  # of a sum of probabilities to 1: room for half precision and for rounding in text files
MOST = 0.99  # of the rows, to be called probabilities


class Unusable(ValueError):
    """Logits or labels that cannot be diagnosed: what was asked, what was found, what is allowed."""


@dataclass(frozen=True, eq=False)
class Look:
    """What raw values show before any softmax: what is not finite, and whether rows are logits at all.

    `kind` is "logits", "probabilities" (rows sum to `total`), "log-probabilities", or "scores" (all in [0, 1]).
    """

    kind: str
    total: float
    floor: float
    counts: dict[str, int]  # entries that are "nan", "+inf", "-inf"
    kept: Bool[np.ndarray, " N"]
    low: float
    high: float
    constant: int
    code: Float[np.ndarray, " M"]  # equal for equal rows


@dataclass(frozen=True, eq=False)
class Table:
    """Finite rows of logits and their labels; `dtype` as they were given."""

    values: np.ndarray
    labels: Int[np.ndarray, " M"]
    rows: Int[np.ndarray, " M"]
    classes: int
    dtype: str
    look: Look

    def chunks(self, at: Int[np.ndarray, " K"] | None = None) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Place among the finite rows (or among `at`), logits (n, C) in float64 and labels (n,), chunk by chunk.

        Probabilities come as their logarithms, which are logits of the same distribution.
        """
        rows, labels = (self.rows, self.labels) if at is None else (self.rows[at], self.labels[at])
        whole = len(rows) == len(self.values) and at is None
        step = max(1, ENTRIES // self.classes)
        for start in range(0, len(rows), step):
            place = slice(start, min(start + step, len(rows)))
            x = torch.from_numpy(_copy(self.values, place if whole else rows[place]))
            yield place, _as_logits(x, self.look), torch.from_numpy(labels[place])


def _copy(values: np.ndarray, at: object) -> np.ndarray:
    part = values[at]
    return np.array(part, dtype=np.float64, order="C")


def _as_logits(x: Tensor, look: Look) -> Tensor:
    if look.kind == "probabilities":
        x = (x / look.total).clamp_(min=look.floor).log_()
    return x.clamp_(-HUGE, HUGE)


def plain(what: str, value: object) -> tuple[np.ndarray, str]:
    """`value` as an array of numbers, and the name of its type; Unusable if it holds anything else."""
    if isinstance(value, Sequence) and len(value) and all(isinstance(v, Tensor) for v in value):
        try:
            value = torch.stack(list(value))
        except RuntimeError as error:
            raise Unusable(
                f"{what}: found tensors that do not stack ({error}), allowed: rows of equal length"
            ) from None
    if isinstance(value, Tensor):
        name = str(value.dtype).removeprefix("torch.")
        value = value.detach().to("cpu")
        value = value.to_dense() if value.layout != torch.strided else value
        known = value.dtype in (torch.float16, torch.float32, torch.float64) or not value.dtype.is_floating_point
        array = (value if known else value.float()).resolve_neg().resolve_conj().numpy()
    else:
        array, name = _array(what, value)
    if array.dtype.kind not in "fiub":
        raise Unusable(f"{what}: found values of type {name}, allowed: real numbers")
    return array, name


def _array(what: str, value: object) -> tuple[np.ndarray, str]:
    if isinstance(value, np.ma.MaskedArray):
        value = value.astype(float).filled(np.nan) if value.dtype.kind in "fiub" else value.data
    try:
        array = np.asarray(value)
        array = array.astype(np.float64) if array.dtype.kind == "O" else array
    except (TypeError, ValueError):
        raise Unusable(f"{what}: found something that is no array of numbers, allowed: rows of equal length") from None
    return array, str(array.dtype)


def logits(what: str, value: object, classes: int | None = None) -> tuple[np.ndarray, str]:
    """An (N, C) array of numbers; Unusable unless N >= 1 and C >= 2, and C is `classes` where that is given."""
    array, name = plain(what, value)
    shape = array.shape
    if array.ndim != 2:
        hint = "; one logit z for two classes is [0, z]" if array.ndim == 1 else ""
        raise Unusable(f"{what}: found shape {shape}, allowed: (N, C), one row for each example{hint}")
    if shape[0] == 0:
        raise Unusable(f"{what}: found no rows (shape {shape}), allowed: at least 1 example")
    if shape[1] < 2:
        hint = "; one logit z for two classes is [0, z]" if shape[1] == 1 else ""
        raise Unusable(f"{what}: found {shape[1]} classes (shape {shape}), allowed: at least 2{hint}")
    if classes is not None and shape[1] != classes:
        raise Unusable(f"{what}: found {shape[1]} classes, allowed: {classes}, as teacher_logits have")
    return array, name


def labels(what: str, value: object, rows: int, classes: int, of: str) -> Int[np.ndarray, " N"]:
    """Labels as whole numbers 0 ... C - 1, one for each row of `of`; Unusable otherwise."""
    array, _ = plain(what, value)
    if array.ndim == 2 and array.shape[1] == classes and array.shape[0] == rows:
        raise Unusable(f"{what}: found shape {array.shape}, allowed: ({rows},); of one-hot rows take argmax(1)")
    if array.ndim != 1:
        raise Unusable(f"{what}: found shape {array.shape}, allowed: ({rows},), one label for each row of {of}")
    if len(array) != rows:
        raise Unusable(f"{what}: found {len(array)} labels for {rows} rows of {of}, allowed: equally many")
    if array.dtype.kind == "f" and not (np.isfinite(array) & (np.floor(array) == array)).all():
        at = int(np.flatnonzero(~(np.isfinite(array) & (np.floor(array) == array)))[0])
        raise Unusable(f"{what}: found {float(array[at])!r} at row {at}, allowed: whole numbers 0 to {classes - 1}")
    low, high = array.min(), array.max()
    if low < 0 or high >= classes:
        hint = ""
        if (low, high) == (1, classes):
            hint = "; they seem to count from 1: subtract 1"
        elif low < 0:
            hint = "; leave out examples without a label"
        raise Unusable(
            f"{what}: found {int(low)} to {int(high)}, allowed: 0 to {classes - 1} ({classes} classes){hint}"
        )
    return array.astype(np.int64)


def look(values: np.ndarray) -> Look:
    """What raw values show, in one pass of chunks."""
    n, classes = values.shape
    counts, sums, logsums, kept = {"nan": 0, "+inf": 0, "-inf": 0}, np.zeros(n), np.zeros(n), np.ones(n, bool)
    code, low, high, floor, constant = np.zeros(n), np.inf, -np.inf, np.inf, 0
    weights = torch.from_numpy(np.random.default_rng(0).standard_normal(classes))
    step = max(1, ENTRIES // classes)
    for start in range(0, n, step):
        at = slice(start, min(start + step, n))
        x = torch.from_numpy(_copy(values, at))
        counts["nan"] += int(x.isnan().sum())
        counts["+inf"] += int((x == torch.inf).sum())
        counts["-inf"] += int((x == -torch.inf).sum())
        good = x.isfinite().all(-1)
        kept[at] = good.numpy()
        x = torch.where(good[:, None], x, 0.0).clamp_(-HUGE, HUGE)
        sums[at], logsums[at], code[at] = x.sum(-1).numpy(), x.logsumexp(-1).numpy(), (x @ weights).numpy()
        x = x[good]
        if len(x):
            low, high = min(low, float(x.min())), max(high, float(x.max()))
            floor = min(floor, float(torch.where(x > 0, x, torch.inf).min()))
            constant += int((x.amax(-1) == x.amin(-1)).sum())
    kind, total = _kind(sums[kept], logsums[kept], low, high)
    floor = floor / total / 2 if np.isfinite(floor) else 0.5
    return Look(kind, total, floor, counts, kept, low, high, constant, code[kept])


def _kind(sums: np.ndarray, logsums: np.ndarray, low: float, high: float) -> tuple[str, float]:
    """What rows are, and what they sum to."""
    if not len(sums):
        return "logits", 1.0
    if low >= 0:
        for total in (1.0, 100.0):
            if (np.abs(sums / total - 1) < CLOSE).mean() >= MOST:
                return "probabilities", total
        if 0.5 < high <= 1:
            return "scores", 1.0
    if high <= 1e-3 and (np.abs(logsums) < CLOSE).mean() >= MOST:
        return "log-probabilities", 1.0
    return "logits", 1.0


def table(what: str, value: object, given: object, named: str, classes: int | None = None) -> Table:
    """Logits `value` (called `what`) and the labels `given` (called `named`) as a checked `Table`."""
    values, dtype = logits(what, value, classes)
    y = labels(named, given, len(values), values.shape[1], what)
    seen = look(values)
    rows = np.flatnonzero(seen.kept)
    return Table(values, y[rows], rows, values.shape[1], dtype, seen)
