"""Where rows of logits lie: in memory, in a file that is read piece by piece, or as k values and their classes.

Each has a `shape`, and gives some of its rows (a slice, or places) as a tensor or an array.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

BELOW = 5e3  # logits below the smallest that is there: a class that has no probability at any temperature
SAMPLE = 64  # rows, by which filled ones are known
TIES = 4  # equal logits of a row, that are more than chance

Place = slice | Int[np.ndarray, " n"]


class Rows:
    """What has a shape, of which the first number counts the rows."""

    def __len__(self) -> int:
        return self.shape[0]


@dataclass(frozen=True, eq=False)
class OnDisk(Rows):
    """Rows of an array that lies in a file in one piece; `dtype` is torch's, or numpy's if its bytes are swapped."""

    path: str
    offset: int
    dtype: torch.dtype | np.dtype
    shape: tuple[int, ...]

    def __getitem__(self, place: Place) -> Tensor | np.ndarray:
        width = math.prod(self.shape[1:]) * self.dtype.itemsize
        starts, step = (np.array([place.start]), place.stop - place.start) if isinstance(place, slice) else (place, 1)
        with open(self.path, "rb") as file:
            raw = bytearray(b"".join(self._piece(file, int(start), step, width) for start in starts))
        shape = (-1, *self.shape[1:])
        if isinstance(self.dtype, np.dtype):
            return np.frombuffer(raw, self.dtype).reshape(shape)
        return torch.frombuffer(raw, dtype=self.dtype).reshape(shape) if raw else torch.zeros((0, *self.shape[1:]))

    def _piece(self, file: object, start: int, rows: int, width: int) -> bytes:
        file.seek(self.offset + start * width)
        return file.read(rows * width)

    def flat(self) -> "OnDisk":
        """All dimensions but the last as one."""
        return OnDisk(self.path, self.offset, self.dtype, (math.prod(self.shape[:-1]), self.shape[-1]))


@dataclass(frozen=True, eq=False)
class Part(Rows):
    """Some rows of others."""

    whole: object
    rows: Int[np.ndarray, " n"]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and classes."""
        return len(self.rows), self.whole.shape[1]

    def __getitem__(self, place: Place) -> Tensor | np.ndarray:
        return taken(self.whole, self.rows[place])


@dataclass(frozen=True, eq=False)
class TopK(Rows):
    """The k largest logits (N, k) of each row and their classes, as rows of all C.

    With `tail` (N,), the probability of all other classes, values are log-probabilities and each of the others has an
    equal part of it; without, the others have none. An index below 0 stands for no class.
    """

    values: Float[Tensor, "N k"]
    index: Int[Tensor, "N k"]
    classes: int
    tail: Float[Tensor, " N"] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and classes."""
        return len(self.values), self.classes

    def __getitem__(self, place: Place) -> Tensor:
        place = place if isinstance(place, slice) else torch.from_numpy(place)
        x, index = self.values[place].double(), self.index[place]
        there = index >= 0
        floor = torch.where(there & x.isfinite(), x, torch.inf).amin(-1, keepdim=True) - BELOW
        if self.tail is not None:
            others = (self.classes - there.sum(-1, keepdim=True)).clamp(min=1)
            even = (self.tail[place].double()[:, None] / others).clamp(min=0).log()
            floor = torch.maximum(even, floor)
        rows = torch.where(floor.isfinite(), floor, 0.0).repeat(1, self.classes + 1)  # the last one: no class
        rows.scatter_(-1, torch.where(there, index, self.classes), x)
        return rows[:, : self.classes]


@dataclass(frozen=True)
class Fill:
    """A number that stands in each row for classes that are left out: `value`, None if each row has its own.

    `alike`: share of the rows in which it stands for as many, or in place of most. `kept`: fewest and most logits
    beside it. `masked`: the same classes everywhere. `mass`: what softmax gives them, at tau 1 and 4. `above`: share of
    rows in which it is larger than a logit that is kept.
    """

    value: float | None
    alike: float
    kept: tuple[int, int]
    masked: bool
    mass: tuple[float, float]
    above: float


def taken(values: object, place: Place) -> Tensor | np.ndarray:
    """Rows of anything that has rows."""
    if not isinstance(values, Tensor) or isinstance(place, slice):
        return values[place]
    if values.dtype.itemsize == 1 and values.dtype.is_floating_point:  # torch cannot index these
        return values.view(torch.uint8)[torch.from_numpy(place)].view(values.dtype)
    return values[torch.from_numpy(place)]


def as_float64(values: object, place: Place) -> Tensor:
    """Rows as float64, in memory of their own."""
    rows = taken(values, place)
    if isinstance(rows, Tensor):
        rows = rows.float() if rows.dtype.itemsize == 1 else rows
        return rows.to(torch.float64, copy=True)
    return torch.from_numpy(np.array(rows, dtype=np.float64, order="C"))


def filled(values: object) -> Fill | None:
    """What number comes nearest to standing in place of classes, by some rows, looked at for all."""
    n, classes = values.shape
    if n < 2 or classes < 2 * TIES:
        return None
    size = min(n, max(8, min(SAMPLE, 10**7 // classes)))
    x = as_float64(values, np.unique(np.linspace(0, n - 1, size).astype(np.int64)))
    x = x[~x.isnan().any(-1) & (x.amax(-1) > x.amin(-1))]
    if len(x) < 2:
        return None
    tried = [_fill(x, number) for number in (x.median(-1).values, x.amin(-1), torch.zeros(len(x), dtype=x.dtype))]
    best = max(tried, key=lambda fill: fill.alike)
    return best if best.alike else None


def _fill(x: Tensor, number: Tensor) -> Fill:
    ties = x == number[:, None]
    count = ties.sum(-1)
    same = ((count == count.mode().values) & (count >= TIES)).double().mean()
    lowest = ((number == x.amin(-1)) & (count > x.shape[-1] / 2)).double().mean()
    mass = tuple(
        float((x / t).softmax(-1).mul(ties).sum(-1).mean()) if (number > -1e300).all() else 0.0 for t in (1, 4)
    )
    above = torch.where(ties, torch.inf, x).amin(-1) < number
    value = float(number[0]) if (number == number[0]).all() else None
    masked = bool((ties == ties[0]).all())
    kept = x.shape[-1] - int(count.max()), x.shape[-1] - int(count.min())
    return Fill(value, float(max(same, lowest)), kept, masked, mass, float(above.double().mean()))


def stacked(value: object) -> object:
    """A list of tensors as one, if they stack; all else as it is."""
    several = isinstance(value, Sequence) and len(value) and all(isinstance(v, Tensor) for v in value)
    return torch.stack(list(value)) if several else value
