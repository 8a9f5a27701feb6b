"""Measuring somebody's loss on crafted batches: values, gradients, and whatever goes wrong as a finding."""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdstudy.core.random import generator
from kdstudy.losscheck.report import finding
from kdstudy.losscheck.variants import Form, KDLoss, Loss


@dataclass(frozen=True)
class Batch:
    """A crafted batch: student and teacher logits, labels, and another student of the same teacher."""

    z: Float[Tensor, "B C"]
    v: Float[Tensor, "B C"]
    y: Int[Tensor, " B"]
    other: Float[Tensor, "B C"]


def draw_batch(size: int, classes: int, spread: float) -> Batch:
    """Normal logits of that standard deviation, whose numbers float32 holds exactly."""
    g = generator(size, f"probe:{classes}")
    z, v, other = (spread * torch.randn(3, size, classes, generator=g)).double()
    return Batch(z, v, torch.randint(classes, (size,), generator=g), other)


@dataclass(frozen=True)
class Measured:
    """What a function gave on a batch: its gradient at the student's logits, its value, and the other student's."""

    batch: Batch
    gradient: Float[Tensor, "B C"]
    value: float
    other_value: float
    cache: dict = field(default_factory=dict, repr=False, compare=False)

    def parts(self, form: Form, loss: KDLoss) -> Float[Tensor, "2 BC"]:
        """Gradients of a form's hard and soft part at the student's logits."""
        soft = replace(form, hard="right", smoothing=0.0)
        keys = [("hard", form.hard, form.smoothing, loss.tau), ("soft", soft, loss.tau)]
        for part, key in enumerate(keys):
            if key not in self.cache:
                z = self.batch.z.clone().requires_grad_()
                values = loss.parts(form, z, self.batch.v, self.batch.y)
                self.cache[key] = torch.autograd.grad(values[part], z)[0].flatten()
        return torch.stack([self.cache[key] for key in keys])

    def difference(self, loss: KDLoss) -> float:
        """|measured - stated| / |stated| of the gradient."""
        weights = torch.tensor(loss.weights.at(*self.gradient.shape), dtype=torch.float64)
        stated = weights @ self.parts(Form(), loss)
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
