"""Every condition as one pure function, and the one loss that serves them all.

A condition maps (teacher logits, labels, context) to `Target(hard, soft, rest)`; the loss is

    L = -<hard, log q> - tau^2 <soft, log q^tau> - tau^2 rest log(1 - q^tau_t)

with q = softmax(z), q^tau = softmax(z / tau) and t the true class. A function whose first
argument is `teacher` listens to a teacher; its keyword arguments are the condition's parameters.
Conditions see all N training examples at once, so a data set mean is a mean over rows.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from kdstudy.spec import Condition, pairs


@dataclass(frozen=True)
class Target:
    """What one example asks of the student: the three weights of the loss above."""

    hard: Float[Tensor, "*R N C"]
    soft: Float[Tensor, "*R N C"]
    rest: Float[Tensor, "*R N"]

    def map(self, fn: Callable[[Tensor], Tensor]) -> "Target":
        """The target with `fn` applied to each of its tensors."""
        return Target(*(fn(getattr(self, f.name)) for f in fields(self)))


def stack(goals: Sequence[Target]) -> Target:
    """Several targets along a new leading axis."""
    return Target(*(torch.stack([getattr(g, f.name) for g in goals]) for f in fields(Target)))


@dataclass(frozen=True)
class Context:
    """What a condition may know besides logits and labels: the number of classes."""

    classes: int
    dtype: torch.dtype = torch.float32


CONDITIONS: dict[str, Callable[..., Target]] = {}


def condition(fn: Callable[..., Target]) -> Callable[..., Target]:
    """Register `fn` under its own name."""
    CONDITIONS[fn.__name__] = fn
    return fn


def named(name: str) -> Callable[..., Target]:
    """The condition called `name`; ValueError with the names there are if none is."""
    if name not in CONDITIONS:
        near = get_close_matches(name, CONDITIONS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"condition {name!r} is unknown; there are: {', '.join(CONDITIONS)}{hint}")
    return CONDITIONS[name]


def parameters(name: str) -> dict[str, float]:
    """Names and defaults of a condition's parameters."""
    signature = inspect.signature(named(name)).parameters.values()
    return {p.name: p.default for p in signature if p.kind is p.KEYWORD_ONLY}


def listens(name: str) -> bool:
    """Whether the condition needs a teacher."""
    return "teacher" in inspect.signature(named(name)).parameters


ALLOWED = {
    "tau": (lambda v: v > 0, "a number above 0"),
    "alpha": (lambda v: 0 <= v <= 1, "0 <= alpha <= 1"),
    "epsilon": (lambda v: 0 <= v <= 1, "0 <= epsilon <= 1"),
}


def make(name: str, **values: float) -> Condition:
    """A checked `Condition`: defaults filled in, every parameter known and within its range."""
    known = parameters(name)
    for key, value in values.items():
        if key not in known:
            raise ValueError(f"condition {name!r} has no parameter {key!r}; it has: {', '.join(known) or 'none'}")
        ok, allowed = ALLOWED[key]
        if not ok(value):
            raise ValueError(f"{key} of condition {name!r}: found {value!r}, allowed: {allowed}")
    return Condition(name, pairs({k: float(values.get(k, default)) for k, default in known.items()}))


def target(spec: Condition, teacher: Tensor | None, label: Tensor, ctx: Context) -> Target:
    """The `Target` of a condition on all training examples; ValueError if it lacks the teacher it listens to."""
    if listens(spec.name) and teacher is None:
        raise ValueError(f"condition {spec.name!r} listens to a teacher; none was given")
    args = (teacher.to(ctx.dtype), label, ctx) if listens(spec.name) else (label, ctx)
    return named(spec.name)(*args, **dict(spec.params))


def _labels(label: Int[Tensor, " N"], ctx: Context) -> Float[Tensor, "N C"]:
    return one_hot(label, ctx.classes).to(ctx.dtype)


def _hard_only(rho: Float[Tensor, "N C"]) -> Target:
    return Target(rho, torch.zeros_like(rho), rho.new_zeros(len(rho)))


def _distil(rho: Float[Tensor, "N C"], label: Int[Tensor, " N"], ctx: Context, alpha: float) -> Target:
    return Target((1 - alpha) * _labels(label, ctx), alpha * rho, rho.new_zeros(len(rho)))


def spread(mass: Float[Tensor, " N"], label: Int[Tensor, " N"], ctx: Context) -> Float[Tensor, "N C"]:
    """rho_t = 1 - mass, the mass shared equally by the other C - 1 classes."""
    y = _labels(label, ctx)
    m = mass[:, None]
    return (1 - m) * y + m / (ctx.classes - 1) * (1 - y)


def left(teacher: Float[Tensor, "N C"], label: Int[Tensor, " N"], tau: float) -> Float[Tensor, " N"]:
    """Mass that leaves the label, 1 - p^tau_t, as the sum over the other classes (no cancellation)."""
    p = (teacher / tau).softmax(-1)
    return p.scatter(-1, label[:, None], 0.0).sum(-1)


@condition
def hard(label: Int[Tensor, " N"], ctx: Context) -> Target:
    """rho = e_t: cross-entropy with the labels alone."""
    return _hard_only(_labels(label, ctx))


@condition
def label_smoothing(label: Int[Tensor, " N"], ctx: Context, *, epsilon: float = 0.1) -> Target:
    """rho = (1 - epsilon) e_t + epsilon / C. Szegedy et al. 2016, section 7."""
    return _hard_only((1 - epsilon) * _labels(label, ctx) + epsilon / ctx.classes)


@condition
def label_smoothing_matched(
    teacher: Float[Tensor, "N C"], label: Int[Tensor, " N"], ctx: Context, *, tau: float = 2.0, alpha: float = 0.9
) -> Target:
    """rho_t = 1 - m, the rest uniform, with m = mean of 1 - p^tau_t over the training set.

    KD's amount of mass and KD's loss at the same tau and alpha, without any of its knowledge of
    classes or examples: the universe level alone. At tau = 1 it is label smoothing with
    epsilon = alpha m C / (C - 1).
    """
    mass = left(teacher, label, tau).mean().expand(len(label))
    return _distil(spread(mass, label, ctx), label, ctx, alpha)


@condition
def kd(
    teacher: Float[Tensor, "N C"], label: Int[Tensor, " N"], ctx: Context, *, tau: float = 2.0, alpha: float = 0.9
) -> Target:
    """rho = softmax(v / tau) with weight alpha, the labels with weight 1 - alpha. Hinton et al. 2015."""
    return _distil((teacher / tau).softmax(-1), label, ctx, alpha)


def taught(goal: Target) -> Float[Tensor, "N C"]:
    """The distribution a condition teaches: its soft part where it has one, else its hard part."""
    part = goal.soft if goal.soft.any() else goal.hard
    return part / part.sum(-1, keepdim=True)


def summary(goal: Target, label: Int[Tensor, " N"]) -> dict[str, float]:
    """Mean mass off the label and mean entropy (nats) of what is taught on the training set."""
    rho = taught(goal)
    off = rho.scatter(-1, label[:, None], 0.0).sum(-1)
    return {"target_mass": float(off.mean()), "target_entropy": float(torch.special.entr(rho).sum(-1).mean())}


def log_rest(logits: Float[Tensor, "*R B C"], label: Int[Tensor, "*R B"]) -> Float[Tensor, "*R B"]:
    """log(1 - q_t) as a log-sum-exp over the other classes: finite where log1p(-q_t) is -inf."""
    others = logits.scatter(-1, label[..., None], -torch.inf)
    return others.logsumexp(-1) - logits.logsumexp(-1)


def loss(
    logits: Float[Tensor, "*R B C"], goal: Target, label: Int[Tensor, "*R B"], tau: Float[Tensor, "*R"]
) -> Float[Tensor, "*R"]:
    """The one loss, averaged over the batch, one value per run (nats)."""
    cool = logits / tau[..., None, None]
    per_example = -(goal.hard * logits.log_softmax(-1)).sum(-1)
    per_example = per_example - tau[..., None] ** 2 * (goal.soft * cool.log_softmax(-1)).sum(-1)
    if goal.rest.any():
        per_example = per_example - tau[..., None] ** 2 * goal.rest * log_rest(cool, label)
    return per_example.mean(-1)
