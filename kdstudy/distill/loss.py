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
class LossGradient:
    """A target as training needs it, dL/dz = hard_weight q + soft_weight q^tau - target - rest_weight pi.

    target = hard + tau soft, hard_weight = sum_k hard_k, soft_weight = tau (sum_k soft_k + rest), rest_weight = tau
    rest; pi = q^tau over the classes other than the label, normalised.
    """

    target: Float[Tensor, "*R N C"]
    hard_weight: Float[Tensor, "*R N"]
    soft_weight: Float[Tensor, "*R N"]
    rest_weight: Float[Tensor, "*R N"]

    @staticmethod
    def of(target: Target, tau: float) -> "LossGradient":
        """The gradient of a target whose soft part stands at temperature `tau`."""
        hard, soft, rest = target.hard, target.soft, target.rest
        return LossGradient(hard + tau * soft, hard.sum(-1), tau * (soft.sum(-1) + rest), tau * rest)

    def map(self, fn: Callable[[Tensor], Tensor]) -> "LossGradient":
        """The same with `fn` applied to each of its tensors."""
        return LossGradient(*(fn(getattr(self, f.name)) for f in fields(self)))


def stack(gradients: Sequence[LossGradient]) -> LossGradient:
    """Several targets along a new leading axis."""
    return LossGradient(*(torch.stack([getattr(g, f.name) for g in gradients]) for f in fields(LossGradient)))


def log_off_label(logits: Float[Tensor, "*R B C"], label: Int[Tensor, "*R B"]) -> Float[Tensor, "*R B"]:
    """log(1 - q_t) as a log-sum-exp over the other classes: finite where log1p(-q_t) is -inf."""
    others = logits.scatter(-1, label[..., None], -torch.inf)
    return others.logsumexp(-1) - logits.logsumexp(-1)


def loss(
    logits: Float[Tensor, "*R B C"], target: Target, label: Int[Tensor, "*R B"], tau: Float[Tensor, "*R"]
) -> Float[Tensor, "*R"]:
    """The one loss, averaged over the batch, one value per run (nats)."""
    scaled = logits / tau[..., None, None]
    per_example = -(target.hard * logits.log_softmax(-1)).sum(-1)
    per_example = per_example - tau[..., None] ** 2 * (target.soft * scaled.log_softmax(-1)).sum(-1)
    if target.rest.any():
        per_example = per_example - tau[..., None] ** 2 * target.rest * log_off_label(scaled, label)
    return per_example.mean(-1)


def gradient(
    logits: Float[Tensor, "*R B C"], weights: LossGradient, label: Int[Tensor, "*R B"], tau: Float[Tensor, "*R"]
) -> Float[Tensor, "*R B C"]:
    """dL/dz of each example's own loss (not divided by B), by the formula of `LossGradient`."""
    scaled = logits / tau[..., None, None]
    out = logits.softmax(-1).mul_(weights.hard_weight[..., None])
    out.add_(scaled.softmax(-1).mul_(weights.soft_weight[..., None])).sub_(weights.target)
    if weights.rest_weight.any():
        pi = scaled.scatter(-1, label[..., None], -torch.inf).softmax(-1)
        out.sub_(pi.mul_(weights.rest_weight[..., None]))
    return out


def rescaling(
    logits: Float[Tensor, "*R B C"], weights: LossGradient, label: Int[Tensor, "*R B"], tau: Float[Tensor, "*R"]
) -> Float[Tensor, "*R B"]:
    """w = (dL/dz_t) / (dL_CE/dz_t): how much more an example counts than under cross-entropy. Tang et al. 2020.

    With r = 1 - q_t, r^tau = 1 - q^tau_t and h, s the hard and the soft weight it is h + (s r^tau - (h + s - target_t))
    / r, which for KD is (1 - alpha) + alpha tau (p^tau_t - q^tau_t) / (1 - q_t). r is a sum over the other classes,
    without cancellation; weights in single precision leave an error of about 1e-7 / r.
    """
    logits, weights, tau = logits.double(), weights.map(Tensor.double), tau.double()
    rest = log_off_label(logits, label).exp()
    scaled_rest = log_off_label(logits / tau[..., None, None], label).exp()
    at_label = weights.target.gather(-1, label[..., None]).squeeze(-1)
    extra = weights.soft_weight * scaled_rest - (weights.hard_weight + weights.soft_weight - at_label)
    return weights.hard_weight + torch.where(extra == 0, 0.0, extra / rest)
