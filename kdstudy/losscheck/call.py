"""Measuring somebody's loss on crafted batches: values, gradients, and whatever goes wrong as a finding."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from kdstudy.core.random import generator
from kdstudy.losscheck.report import finding
from kdstudy.losscheck.variants import Form, KDLoss, Loss, Size

ROWS, TOKENS = ((5,), (8,), (12,)), ((2, 5), (3, 4), (2, 7))  # sizes of the batches: rows, or sequences and tokens
FEW_ROWS, FEW_TOKENS = ((3,), (4,), (6,)), ((2, 2), (1, 4), (2, 3))  # where classes are many
SMALL = 512  # classes on which a loss of more is explained
MORE_CLASSES = 3  # in the last batch, if the function is not bound to a number of classes
NEVER = -3e4  # a logit so low that its class has no probability at all, and that float16 holds


class Stop(Exception):
    """A finding after which nothing more can be measured."""

    def __init__(self, code: str, **evidence: object) -> None:
        super().__init__(code)
        self.finding = finding(code, **evidence)


class Batch(NamedTuple):
    """A crafted batch: student and teacher logits, and labels."""

    z: Float[Tensor, "*B C"]
    v: Float[Tensor, "*B C"]
    y: Int[Tensor, "*B"]

    @property
    def other(self) -> "Batch":
        """The same with another student."""
        return self._replace(z=self.z.roll(1, -1) / 2)  # exact in any precision

    def to(self, dtype: torch.dtype) -> "Batch":
        """The same with logits that this precision holds exactly."""
        return Batch(self.z.to(dtype).double(), self.v.to(dtype).double(), self.y)


def draw_batch(size: tuple[int, ...], classes: int, spread: float, ignored: int | None = None) -> Batch:
    """Normal logits of that standard deviation, whose numbers float32 holds exactly, for B rows or S sequences of T.

    The first and the last class are among the labels; labels repeat; each fourth label is `ignored`, if one may be.
    """
    g = generator(sum(size), f"probe:{classes}")
    z, v = (spread * torch.randn(2, *size, classes, generator=g)).double()
    y = torch.randint(classes, size, generator=g).flatten()
    y[0], y[1], y[-1] = y[3 % len(y)], classes - 1, 0
    if ignored is not None:
        y[2::4] = ignored
    return Batch(z, v, y.view(size))


def least_squares(columns: Float[Tensor, "K N"], gradient: Float[Tensor, "N"]) -> tuple[Float[Tensor, "K"], float]:
    """Weights of the columns that come closest to a gradient, and the residual as a share of its length."""
    lengths = columns.norm(dim=1).clamp(min=1e-300)
    basis = (columns / lengths[:, None]).T
    weights = torch.linalg.lstsq(basis, gradient[:, None]).solution[:, 0]
    residual = float((gradient - basis @ weights).norm() / gradient.norm())
    return weights / lengths, residual


@dataclass(frozen=True)
class Measured:
    """What a function gave on a batch: its gradient at the student's logits, its value, and the other student's.

    `classes`: how many there are, with those that no batch gives any probability.
    """

    batch: Batch
    gradient: Float[Tensor, "*B C"]
    value: float
    other_value: float
    classes: int
    cache: dict = field(default_factory=dict, repr=False, compare=False)

    def parts(self, form: Form, loss: KDLoss) -> Float[Tensor, "2 BC"]:
        """Gradients of a form's hard and soft part at the student's logits; nan for labels that are no class."""
        meant = (loss.tau, loss.tokens, loss.ignore_index)
        soft = replace(form, hard="right", smoothing=0.0, hard_rows="labelled")
        keys = [(form.hard, form.smoothing, form.shift, form.hard_rows, meant), (soft, meant)]
        for k, key in enumerate(keys):
            if key not in self.cache:
                z = self.batch.z.clone().requires_grad_()
                try:
                    value = loss.part(k, form, z, self.batch.v, self.batch.y)
                    slope = torch.autograd.grad(value, z)[0] if value.requires_grad else torch.zeros_like(z)
                except (RuntimeError, IndexError):
                    slope = torch.full_like(z, torch.nan)
                self.cache[key] = slope.flatten()
        return torch.stack([self.cache[key] for key in keys])

    def fit(self, form: Form, loss: KDLoss) -> tuple[Float[Tensor, "2"] | None, float]:
        """Weights of a form's two parts that come closest, None if it has no gradient, and the residual."""
        key = (form, loss.tau, loss.tokens)
        if key not in self.cache:
            parts = self.parts(form, loss)
            finite = parts.isfinite().all()
            self.cache[key] = least_squares(parts, self.gradient.flatten()) if finite else (None, float("inf"))
        return self.cache[key]

    def sizes(self, form: Form, loss: KDLoss) -> tuple[Size, Size]:
        """What a form's hard and soft part are means over."""
        return loss.sizes(form, self.batch.y, self.classes)

    def difference(self, loss: KDLoss) -> float:
        """|measured - stated| / |stated| of the gradient."""
        weights = torch.tensor(loss.weights.at(*self.sizes(loss.form, loss)), dtype=torch.float64)
        stated = weights @ self.parts(loss.form, loss)
        return float((self.gradient.flatten() - stated).norm() / stated.norm())


class Answer(NamedTuple):
    """Value and gradient at the student's logits, shape and precision of what was returned, and `wrote`.

    That is, whether the function changed its arguments.
    """

    value: float
    student: Float[Tensor, "*B C"]
    shape: torch.Size
    dtype: torch.dtype
    wrote: bool

    @property
    def finite(self) -> bool:
        """Whether value and gradient are."""
        return bool(torch.tensor(self.value).isfinite()) and bool(self.student.isfinite().all())


@dataclass(frozen=True)
class Probes:
    """A function, the losses that may be meant by it, how it is called, and what of its answers counts as equal.

    It is called in `dtype` with (B, C), or with (B, T, C) if `tokens`, of so many `classes`, and `more` that have no
    probability; if `swapped`, with its first two arguments exchanged. `rounding`: the precision to which it rounds the
    logits itself.
    """

    fn: Loss
    losses: tuple[KDLoss, ...]
    dtype: torch.dtype
    tokens: bool
    classes: int
    more: int = 0
    swapped: bool = False
    tolerance: float = 0.0
    rounding: torch.dtype | None = None

    def draw(self, k: int, more: int = 0, spread: float = 2.0, ignored: int | None = None) -> Batch:
        """The batch of the k-th size."""
        few = self.classes > SMALL
        sizes = (FEW_TOKENS if few else TOKENS) if self.tokens else (FEW_ROWS if few else ROWS)
        ignored = self.losses[0].ignore_index if ignored is None else ignored
        batch = draw_batch(sizes[k], self.classes + more, spread, ignored)
        return batch if self.rounding is None else batch.to(self.rounding)

    def call(self, batch: Batch) -> Answer:
        """Value and gradient on a batch; a tensor of one value per example is averaged. Raises `Stop`."""
        try:
            return self._call(batch)
        except Stop:
            raise
        except (Exception, SystemExit) as error:  # whatever it is, it is what the function's author wants to know
            shape = len(batch.y) if batch.y.ndim == 1 else tuple(batch.y.shape)
            told = {"batch": shape, "classes": batch.z.shape[-1], "dtype": str(self.dtype).removeprefix("torch.")}
            said = traceback.format_exception_only(error)[-1].strip().partition(": ")[2]  # also if str(error) fails
            raise Stop("raises", error=type(error).__name__, message=said[:500], **told) from None

    def _call(self, batch: Batch) -> Answer:
        z, v = (logits.to(self.dtype, copy=True) for logits in (batch.z, batch.v))
        z.requires_grad_()
        wide = [pad(logits, (0, self.more), value=NEVER) for logits in ((v, z) if self.swapped else (z, v))]
        arguments = [*(logits.clone() for logits in wide), batch.y.clone()]  # leaves would forbid writing in place
        out = self.fn(*arguments)
        if not isinstance(out, Tensor):
            raise Stop("not_a_tensor", found=f"a {type(out).__name__}")
        rows = self.losses[0].sizes(self.losses[0].form, batch.y, self.classes)[1].rows
        total = out.sum() if out.numel() == 1 else out.sum() / max(rows, 1)
        slope = torch.autograd.grad(total, z, allow_unused=True)[0] if total.requires_grad else None
        student = torch.zeros_like(batch.z) if slope is None else slope.double()
        wrote = not all(torch.equal(a.detach(), b.detach()) for a, b in zip(arguments, [*wide, batch.y]))
        return Answer(float(total.detach()), student, out.shape, out.dtype, wrote)

    def measure(self, *batches: Batch) -> list[Measured]:
        """The answers for the two students of each batch."""
        pairs = [(batch, self.call(batch), self.call(batch.other).value) for batch in batches]
        return [Measured(b, one.student, one.value, other, b.z.shape[-1] + self.more) for b, one, other in pairs]

    def measure_wider(self) -> list[Measured]:
        """The answer on a batch with more classes, if the function and the loss that is meant take them."""
        try:
            measured = self.measure(self.draw(2, MORE_CLASSES))
            stated = measured[0].parts(self.losses[0].form, self.losses[0])
        except Stop:
            return []
        return measured if measured[0].gradient.isfinite().all() and stated.isfinite().all() else []


def guarded(name: str, fn: Callable[..., Any] | None) -> Callable[..., Tensor] | None:
    """A part of the loss that is meant, given as a function: in float64 or else float32; raises `Stop`."""

    def call(*given: Tensor) -> Tensor:
        for dtype in (torch.float64, torch.float32):
            try:
                value = fn(*(x.to(dtype) if x.is_floating_point() else x for x in given))
            except (Exception, SystemExit) as error:
                found = traceback.format_exception_only(error)[-1].strip()[:500]
                continue
            if isinstance(value, Tensor) and value.is_floating_point():
                return (value.mean() if name == "hard" else value).double()
            found = f"it returns a {type(value).__name__}"
        raise Stop("stated_part_fails", part=name, found=found)

    return None if fn is None else call
