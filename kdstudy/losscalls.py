"""Calling somebody's loss on crafted batches: values, gradients, and whatever goes wrong as a finding."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from kdstudy.lossfaults import Setting
from kdstudy.lossfit import Probe, Seen
from kdstudy.lossreport import finding

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


class Stop(Exception):
    """A finding after which nothing more can be measured."""

    def __init__(self, code: str, **evidence: object) -> None:
        super().__init__(code)
        self.finding = finding(code, **evidence)


@dataclass(frozen=True)
class Answer:
    """Value, gradients at the student's and the teacher's logits, and how the answer was given."""

    value: float
    student: Float[Tensor, "B C"]
    teacher: Float[Tensor, "B C"]
    shape: tuple[int, ...]
    dtype: torch.dtype
    wrote: bool

    @property
    def finite(self) -> bool:
        """Whether value and gradient are."""
        return bool(torch.tensor(self.value).isfinite()) and bool(self.student.isfinite().all())


@dataclass(frozen=True)
class Caller:
    """A function, what it is meant to be, and the precision it is called in."""

    fn: Loss
    meant: Setting
    dtype: torch.dtype

    def ask(self, at: Probe, teacher: bool = False) -> Answer:
        """Value and gradients on a probe; a tensor of one value per example is averaged."""
        try:
            return self._ask(at, teacher)
        except Stop:
            raise
        except Exception as error:  # whatever it is, it is what the function's author wants to know
            raise Stop("raises", error=type(error).__name__, message=str(error), batch=len(at.y),
                        classes=self.meant.classes, dtype=name_of(self.dtype)) from None  # fmt: skip

    def _ask(self, at: Probe, teacher: bool) -> Answer:
        leaves = [x.to(self.dtype, copy=True).requires_grad_(r) for x, r in ((at.z, True), (at.v, teacher))]
        given = [leaf.clone() for leaf in leaves] + [at.y.clone()]  # no leaves: those would forbid writing in place
        out = self.fn(*given)
        if not isinstance(out, Tensor):
            raise Stop("not_a_tensor", found=f"a {type(out).__name__}")
        total = out.sum() if out.numel() == 1 else out.sum() / len(at.y)
        found = [None, None]
        if total.requires_grad:
            found = [*torch.autograd.grad(total, leaves[: 1 + teacher], allow_unused=True), None]
        gradients = [torch.zeros_like(at.z) if g is None else g.double() for g in found[:2]]
        wrote = not all(torch.equal(a.detach(), b.detach()) for a, b in zip(given, [*leaves, at.y]))
        return Answer(float(total.detach()), *gradients, tuple(out.shape), out.dtype, wrote)

    def seen(self, at: Probe) -> Seen:
        """The answers on a probe's two students."""
        one, two = self.ask(at), self.ask(replace(at, z=at.other))
        return Seen(at, one.student, one.value, two.value)


def name_of(dtype: torch.dtype) -> str:
    """What a precision is called."""
    return str(dtype).removeprefix("torch.")
