"""From logits to numbers. A measure is one function of (logits, labels) or (logits, labels, teacher)."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdstudy.core.registry import Registry

SPLITS = ("train", "validation", "test")
BINS = 15

MEASURES: Registry[Callable[..., Tensor]] = Registry("measure")  # of (logits, labels)
WITH_TEACHER: Registry[Callable[..., Tensor]] = Registry("measure with teacher")  # of (logits, labels, teacher logits)
measure = MEASURES.register
measure_with_teacher = WITH_TEACHER.register


@measure
def accuracy(logits: Float[Tensor, "N C"], label: Int[Tensor, " N"]) -> Float[Tensor, ""]:
    """Fraction of examples whose largest logit is the label's."""
    return (logits.argmax(-1) == label).to(logits).mean()


@measure
def nll(logits: Float[Tensor, "N C"], label: Int[Tensor, " N"]) -> Float[Tensor, ""]:
    """Mean of -log q_t, in nats."""
    return -logits.log_softmax(-1).gather(-1, label[:, None]).mean()


@measure
def confidence(logits: Float[Tensor, "N C"], label: Int[Tensor, " N"]) -> Float[Tensor, ""]:
    """Mean of the largest probability."""
    return logits.softmax(-1).amax(-1).mean()


@measure
def entropy(logits: Float[Tensor, "N C"], label: Int[Tensor, " N"]) -> Float[Tensor, ""]:
    """Mean of -sum_k q_k log q_k, in nats."""
    log_q = logits.log_softmax(-1)
    return -(log_q.exp() * log_q).sum(-1).mean()


def reliability(logits: Float[Tensor, "N C"], label: Int[Tensor, " N"]) -> Float[Tensor, "3 bins"]:
    """For 15 bins of equal width in confidence: example count, summed confidence, summed correctness.

    Bin b holds confidences in (b/15, (b+1)/15]. Guo et al. 2017, section 2.
    """
    top, guess = logits.softmax(-1).amax(-1), logits.argmax(-1)  # probabilities may round to a tie
    inner = [b / BINS for b in range(1, BINS)]  # torch.linspace is an ulp off
    edges = torch.tensor(inner, dtype=top.dtype, device=top.device)
    bin_of = torch.bucketize(top, edges)
    rows = torch.stack([torch.ones_like(top), top, (guess == label).to(top)]).double()
    return torch.zeros(3, BINS, dtype=torch.float64, device=top.device).index_add(1, bin_of, rows)


@measure
def ece(logits: Float[Tensor, "N C"], label: Int[Tensor, " N"]) -> Float[Tensor, ""]:
    """Expected calibration error: sum over bins of (n_b / N) |accuracy_b - confidence_b|. Naeini et al. 2015."""
    _, confidence, correct = reliability(logits, label)
    return (correct - confidence).abs().sum() / len(label)


@measure_with_teacher
def agreement(
    logits: Float[Tensor, "N C"], label: Int[Tensor, " N"], teacher: Float[Tensor, "N C"]
) -> Float[Tensor, ""]:
    """Fraction of examples on which student and teacher choose the same class. Stanton et al. 2021."""
    return (logits.argmax(-1) == teacher.argmax(-1)).to(logits).mean()


@measure_with_teacher
def teacher_kl(
    logits: Float[Tensor, "N C"], label: Int[Tensor, " N"], teacher: Float[Tensor, "N C"]
) -> Float[Tensor, ""]:
    """Mean of KL(p || q) in nats, at temperature 1: how far the student is from the teacher. Stanton et al. 2021."""
    log_p, log_q = teacher.log_softmax(-1), logits.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1).mean()


def evaluate(
    logits: Mapping[str, Tensor], labels: Mapping[str, Tensor], teacher: Mapping[str, Tensor] | None
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Every measure on every split as {"test_accuracy": ...}, and the test reliability bins."""
    metrics = {}
    for split in logits:
        z, y = logits[split], labels[split]
        values = {name: fn(z, y) for name, fn in MEASURES.items()}
        if teacher is not None:
            v = teacher[split].to(z)
            values |= {name: fn(z, y, v) for name, fn in WITH_TEACHER.items()}
        metrics |= {f"{split}_{name}": float(value) for name, value in values.items()}
    return metrics, {"reliability": reliability(logits["test"], labels["test"]).cpu().numpy()}
