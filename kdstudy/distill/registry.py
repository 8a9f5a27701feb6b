"""Conditions by name: what they may know, which parameters they have, which values are allowed."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdstudy.core.registry import Registry
from kdstudy.core.spec import Condition, pairs
from kdstudy.distill.loss import Target


@dataclass(frozen=True)
class Context:
    """What a condition may know besides logits and labels.

    The number of classes; their super-classes and the teacher's logit-layer rows, where there are any;
    the teacher's seed, from which controls draw their permutations.
    """

    classes: int
    dtype: torch.dtype = torch.float32
    superclass: Int[Tensor, " C"] | None = None
    rows: Float[Tensor, "C H"] | None = None
    seed: int = 0


CONDITIONS: Registry[Callable[..., Target]] = Registry("condition")
condition = CONDITIONS.register


def named(name: str) -> Callable[..., Target]:
    """The condition called `name`; ValueError with the names there are if none is."""
    return CONDITIONS[name]


def parameters(name: str) -> dict[str, float]:
    """Names and defaults of a condition's parameters."""
    signature = inspect.signature(named(name)).parameters.values()
    return {p.name: p.default for p in signature if p.kind is p.KEYWORD_ONLY}


def listens(name: str) -> bool:
    """Whether the condition needs a teacher."""
    return "teacher" in inspect.signature(named(name)).parameters


ABOVE_0 = (lambda v: v > 0, "a number above 0")
AT_LEAST_0 = (lambda v: 0 <= v < torch.inf, "a finite number of at least 0")
FINITE = (lambda v: abs(v) < torch.inf, "a finite number")  # of what a user's own condition is given
ALLOWED = {
    "tau": ABOVE_0,
    "power": ABOVE_0,
    "sharpness": ABOVE_0,
    "target": AT_LEAST_0,
    "nontarget": AT_LEAST_0,
    "k": (lambda v: v >= 1 and v == int(v), "a whole number of at least 1"),
    **{name: (lambda v: 0 <= v <= 1, f"0 <= {name} <= 1") for name in ("alpha", "epsilon", "dose")},
}


def make(name: str, **values: float) -> Condition:
    """A checked `Condition`: defaults filled in, every parameter known and within its range."""
    known = parameters(name)
    for key, value in values.items():
        if key not in known:
            raise ValueError(f"condition {name!r} has no parameter {key!r}; it has: {', '.join(known) or 'none'}")
        ok, allowed = ALLOWED.get(key, FINITE)
        if not ok(value):
            raise ValueError(f"{key} of condition {name!r}: found {value!r}, allowed: {allowed}")
    return Condition(name, pairs({k: float(values.get(k, default)) for k, default in known.items()}))


def target(spec: Condition, teacher: Tensor | None, label: Tensor, ctx: Context) -> Target:
    """The `Target` of a condition on all training examples; ValueError if it lacks the teacher it listens to."""
    if listens(spec.name) and teacher is None:
        raise ValueError(f"condition {spec.name!r} listens to a teacher; none was given")
    args = (teacher.to(ctx.dtype), label, ctx) if listens(spec.name) else (label, ctx)
    return named(spec.name)(*args, **dict(spec.params))
