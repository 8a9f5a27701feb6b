"""Calling somebody's loss on crafted batches: values, gradients, and whatever goes wrong as a finding."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from kdstudy.losscheck.fit import Batch, Measured
from kdstudy.losscheck.report import finding
from kdstudy.losscheck.variants import KDLoss, Loss


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
    student: Float[Tensor, "B C"]
    teacher: Float[Tensor, "B C"]
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
            raise Stop("raises", error=type(error).__name__, message=str(error), batch=len(batch.y),
                        classes=self.loss.classes, dtype=name_of(self.dtype)) from None  # fmt: skip

    def _call(self, batch: Batch, teacher: bool) -> Answer:
        sides = ((batch.z, True), (batch.v, teacher))
        leaves = [logits.to(self.dtype, copy=True).requires_grad_(wanted) for logits, wanted in sides]
        arguments = [leaf.clone() for leaf in leaves] + [batch.y.clone()]  # leaves would forbid writing in place
        out = self.fn(*arguments)
        if not isinstance(out, Tensor):
            raise Stop("not_a_tensor", found=f"a {type(out).__name__}")
        total = out.sum() if out.numel() == 1 else out.sum() / len(batch.y)
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


def name_of(dtype: torch.dtype) -> str:
    """What a precision is called."""
    return str(dtype).removeprefix("torch.")
