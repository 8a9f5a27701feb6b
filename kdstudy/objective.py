"""The one loss, and its gradient in closed form.

    L = -<hard, log q> - tau^2 <soft, log q^tau> - tau^2 rest log(1 - q^tau_t)

with q = softmax(z), q^tau = softmax(z / tau) and t the true class. Every condition is a choice of the
three weights of a `Target`; `loss` is the definition, `gradient` what training uses.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Target:
    """What one example asks of the student: the three weights of the loss above."""

    hard: Float[Tensor, "*R N C"]
    soft: Float[Tensor, "*R N C"]
    rest: Float[Tensor, "*R N"]

    def map(self, fn: Callable[[Tensor], Tensor]) -> "Target":
        """The target with `fn` applied to each of its tensors."""
        return Target(*(fn(getattr(self, f.name)) for f in fields(self)))


@dataclass(frozen=True)
class Pull:
    """A target as training needs it: the gradient is plain q + cool q^tau - goal - others pi.

    goal = hard + tau soft, plain = sum_k hard_k, cool = tau (sum_k soft_k + rest), others = tau rest;
    pi = q^tau over the classes other than the label, normalised.
    """

    goal: Float[Tensor, "*R N C"]
    plain: Float[Tensor, "*R N"]
    cool: Float[Tensor, "*R N"]
    others: Float[Tensor, "*R N"]

    @staticmethod
    def of(target: Target, tau: float) -> "Pull":
        """The pull of a target whose soft part stands at temperature `tau`."""
        hard, soft, rest = target.hard, target.soft, target.rest
        return Pull(hard + tau * soft, hard.sum(-1), tau * (soft.sum(-1) + rest), tau * rest)

    def map(self, fn: Callable[[Tensor], Tensor]) -> "Pull":
        """The pull with `fn` applied to each of its tensors."""
        return Pull(*(fn(getattr(self, f.name)) for f in fields(self)))


def stack(pulls: Sequence[Pull]) -> Pull:
    """Several pulls along a new leading axis."""
    return Pull(*(torch.stack([getattr(p, f.name) for p in pulls]) for f in fields(Pull)))


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


def gradient(
    logits: Float[Tensor, "*R B C"], pull: Pull, label: Int[Tensor, "*R B"], tau: Float[Tensor, "*R"]
) -> Float[Tensor, "*R B C"]:
    """dL/dz of each example's own loss (not divided by B), by the formula of `Pull`."""
    cool = logits / tau[..., None, None]
    found = logits.softmax(-1).mul_(pull.plain[..., None])
    found.add_(cool.softmax(-1).mul_(pull.cool[..., None])).sub_(pull.goal)
    if pull.others.any():
        pi = cool.scatter(-1, label[..., None], -torch.inf).softmax(-1)
        found.sub_(pi.mul_(pull.others[..., None]))
    return found


def rescaling(
    logits: Float[Tensor, "*R B C"], pull: Pull, label: Int[Tensor, "*R B"], tau: Float[Tensor, "*R"]
) -> Float[Tensor, "*R B"]:
    """w = (dL/dz_t) / (dL_CE/dz_t): how much more an example counts than under cross-entropy. Tang et al. 2020.

    With r = 1 - q_t, r^tau = 1 - q^tau_t it is plain + (cool r^tau - (plain + cool - goal_t)) / r, which for
    KD is (1 - alpha) + alpha tau (p^tau_t - q^tau_t) / (1 - q_t). r is a sum over the other classes, without
    cancellation; a pull in single precision leaves an error of about 1e-7 / r.
    """
    logits, pull, tau = logits.double(), pull.map(Tensor.double), tau.double()
    rest, cool = log_rest(logits, label).exp(), log_rest(logits / tau[..., None, None], label).exp()
    asked = pull.plain + pull.cool - pull.goal.gather(-1, label[..., None]).squeeze(-1)
    extra = pull.cool * cool - asked
    return pull.plain + torch.where(extra == 0, 0.0, extra / rest)
