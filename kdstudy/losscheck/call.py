"""Measuring somebody's loss on crafted batches: values, gradients, and whatever goes wrong as a finding."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdstudy.core.random import generator
from kdstudy.losscheck.report import finding
from kdstudy.losscheck.variants import Form, KDLoss, Loss


@dataclass(frozen=True)
class Batch:
    """A crafted batch: student and teacher logits, labels, and another student of the same teacher."""

    z: Float[Tensor, "*B C"]
    v: Float[Tensor, "*B C"]
    y: Int[Tensor, "*B"]
    other: Float[Tensor, "*B C"]

    def rounded(self, dtype: torch.dtype) -> "Batch":
        """The same in numbers that a lower precision holds exactly."""
        z, v, other = (logits.to(dtype).double() for logits in (self.z, self.v, self.other))
        return Batch(z, v, self.y, other)


def draw_batch(size: int | tuple[int, int], classes: int, spread: float, ignored: int | None = None) -> Batch:
    """Normal logits of that standard deviation, whose numbers float32 holds exactly, for B rows or S sequences of T.

    The first and the last class are among the labels; labels repeat; each fourth label is `ignored`, if one may be.
    """
    shape = size if isinstance(size, tuple) else (size,)
    g = generator(sum(shape), f"probe:{classes}")
    z, v, other = (spread * torch.randn(3, *shape, classes, generator=g)).double()
    y = torch.randint(classes, shape, generator=g).flatten()
    y[0], y[1], y[-1] = y[3 % len(y)], classes - 1, 0
    if ignored is not None:
        y[2::4] = ignored
    return Batch(z, v, y.view(shape), other)


@dataclass(frozen=True)
class Measured:
    """What a function gave on a batch: its gradient at the student's logits, its value, and the other student's."""

    batch: Batch
    gradient: Float[Tensor, "*B C"]
    value: float
    other_value: float
    cache: dict = field(default_factory=dict, repr=False, compare=False)

    def parts(self, form: Form, loss: KDLoss) -> Float[Tensor, "2 BC"]:
        """Gradients of a form's hard and soft part at the student's logits."""
        meant = (loss.tau, loss.tokens, loss.ignore_index)
        soft = replace(form, hard="right", smoothing=0.0, hard_rows="labelled")
        keys = [("hard", form.hard, form.smoothing, form.shift, form.hard_rows, meant), ("soft", soft, meant)]
        for part, key in enumerate(keys):
            if key not in self.cache:
                self.cache[key] = self._slope(form, loss, part).flatten()
        return torch.stack([self.cache[key] for key in keys])

    def _slope(self, form: Form, loss: KDLoss, part: int) -> Float[Tensor, "*B C"]:
        """The gradient of one part; nan where it has none, as of labels that are no class."""
        z = self.batch.z.clone().requires_grad_()
        try:
            value = loss.parts(form, z, self.batch.v, self.batch.y)[part]
        except (RuntimeError, IndexError):
            return torch.full_like(z, torch.nan)
        slope = torch.autograd.grad(value, z, allow_unused=True)[0] if value.requires_grad else None
        return torch.zeros_like(z) if slope is None else slope

    def weights(self, form: Form, loss: KDLoss) -> tuple[float, float]:
        """Those of the two parts of a form as they are meant."""
        return loss.weights.at(*loss.sizes(form, self.batch.y, self.gradient.shape[-1]))

    def difference(self, loss: KDLoss) -> float:
        """|measured - stated| / |stated| of the gradient."""
        stated = torch.tensor(self.weights(loss.form, loss), dtype=torch.float64) @ self.parts(loss.form, loss)
        return float((self.gradient.flatten() - stated).norm() / stated.norm())


class Stop(Exception):
    """A finding after which nothing more can be measured."""

    def __init__(self, code: str, **evidence: object) -> None:
        super().__init__(code)
        self.finding = finding(code, **evidence)


@dataclass(frozen=True)
class Answer:
    """Value, gradients at the student's and the teacher's logits, and how the answer was given.

    `shape` and `dtype` are those of what was returned; `wrote`: whether the function changed its arguments.
    """

    value: float
    student: Float[Tensor, "*B C"]
    teacher: Float[Tensor, "*B C"]
    shape: torch.Size
    dtype: torch.dtype
    wrote: bool

    @property
    def finite(self) -> bool:
        """Whether value and gradient are."""
        return bool(torch.tensor(self.value).isfinite()) and bool(self.student.isfinite().all())


@dataclass(frozen=True)
class Caller:
    """A function, the loss that it is meant to be, and the precision it is called in."""

    fn: Loss
    loss: KDLoss
    dtype: torch.dtype

    def call(self, batch: Batch, teacher: bool = False) -> Answer:
        """Value and gradients on a batch; a tensor of one value per example is averaged.

        The gradient at the teacher's logits is taken if asked for, else 0. Raises `Stop`.
        """
        try:
            return self._call(batch, teacher)
        except Stop:
            raise
        except Exception as error:  # whatever it is, it is what the function's author wants to know
            raise Stop("raises", error=type(error).__name__, message=str(error), batch=shape_of(batch.y),
                        classes=batch.z.shape[-1], dtype=name_of(self.dtype)) from None  # fmt: skip

    def _call(self, batch: Batch, teacher: bool) -> Answer:
        sides = ((batch.z, True), (batch.v, teacher))
        leaves = [logits.to(self.dtype, copy=True).requires_grad_(wanted) for logits, wanted in sides]
        arguments = [leaf.clone() for leaf in leaves] + [batch.y.clone()]  # leaves would forbid writing in place
        out = self.fn(*arguments)
        if not isinstance(out, Tensor):
            raise Stop("not_a_tensor", found=f"a {type(out).__name__}")
        rows = self.loss.sizes(self.loss.form, batch.y, batch.z.shape[-1])[1].rows
        total = out.sum() if out.numel() == 1 else out.sum() / max(rows, 1)
        gradients = [None, None]
        if total.requires_grad:
            gradients = [*torch.autograd.grad(total, leaves[: 1 + teacher], allow_unused=True), None]
        student, teachers = (torch.zeros_like(batch.z) if g is None else g.double() for g in gradients[:2])
        wrote = not all(torch.equal(a.detach(), b.detach()) for a, b in zip(arguments, [*leaves, batch.y]))
        return Answer(float(total.detach()), student, teachers, out.shape, out.dtype, wrote)

    def measure(self, batch: Batch) -> Measured:
        """The answers for a batch's two students."""
        one, two = self.call(batch), self.call(replace(batch, z=batch.other))
        return Measured(batch, one.student, one.value, two.value)


def guarded(name: str, fn: Callable[..., Any] | None) -> Callable[..., Tensor] | None:
    """A part of the loss that is meant, given as a function: in float64 or else float32; raises `Stop`."""

    def call(*given: Tensor) -> Tensor:
        for dtype in (torch.float64, torch.float32):
            try:
                value = fn(*(x.to(dtype) if x.is_floating_point() else x for x in given))
            except Exception as error:
                stop = Stop("stated_part_fails", part=name, found=f"{type(error).__name__}: {error}")
                continue
            if isinstance(value, Tensor) and value.is_floating_point():
                return (value.mean() if name == "hard" else value).double()
            stop = Stop("stated_part_fails", part=name, found=f"it returns a {type(value).__name__}")
        raise stop

    return None if fn is None else call


def shape_of(y: Tensor) -> int | tuple[int, ...]:
    """The number of rows, or of sequences and tokens."""
    return len(y) if y.ndim == 1 else tuple(y.shape)


def name_of(dtype: torch.dtype) -> str:
    """What a precision is called."""
    return str(dtype).removeprefix("torch.")
