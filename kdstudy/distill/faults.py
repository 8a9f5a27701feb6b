"""Silent bugs of other people's code, planted: each a condition, trained and stored as any other.

No exception, no strange curve: only a worse student, or none that listens. Written out, the loss of each is that of
`kd` with another soft part. A teacher cached in one order and read in another is the condition `shuffled_teacher`.
Where each was seen, what it does and what finds it is in `kdstudy.study.known_bugs`.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int
from scipy.special import log_softmax
from torch.nn.functional import one_hot

from kdstudy.distill import conditions
from kdstudy.distill.conditions import Context, Labels, Logits, condition
from kdstudy.distill.loss import Target

FAULTS = ("fault_class_mean", "fault_no_tau2", "fault_softmax_twice", "fault_detached", "fault_class_offset",
          "fault_student_cooled", "fault_argmax", "shuffled_teacher")  # fmt: skip


@condition
def fault_class_mean(teacher: Logits, label: Labels, ctx: Context, *, tau: float = 2.0, alpha: float = 0.9) -> Target:
    """soft = alpha p^tau / C: KLDivLoss's default mean, over batch and classes. Tf-KD (issues 5, 41), DeiT (61)."""
    target = conditions.kd(teacher, label, ctx, tau=tau, alpha=alpha)
    return replace(target, soft=target.soft / ctx.classes)


@condition
def fault_no_tau2(teacher: Logits, label: Labels, ctx: Context, *, tau: float = 2.0, alpha: float = 0.9) -> Target:
    """soft = alpha p^tau / tau^2: the factor tau^2 left out. IntelLabs distiller (issue 122)."""
    target = conditions.kd(teacher, label, ctx, tau=tau, alpha=alpha)
    return replace(target, soft=target.soft / tau**2)


@condition
def fault_softmax_twice(
    teacher: Logits, label: Labels, ctx: Context, *, tau: float = 2.0, alpha: float = 0.9
) -> Target:
    """rho = softmax(softmax(v) / tau): probabilities taken for logits. Tf-KD_reg.

    No two logits differ by more than 1, so rho_t < e^(1 / tau) / (C - 1 + e^(1 / tau)): next to uniform.
    """
    return conditions.kd(teacher.softmax(-1), label, ctx, tau=tau, alpha=alpha)


@condition
def fault_detached(teacher: Logits, label: Labels, ctx: Context, *, tau: float = 2.0, alpha: float = 0.9) -> Target:
    """soft = 0, hard = (1 - alpha) e_t: no gradient of the divergence reaches the student. labml (issue 66).

    There both sides of the divergence were the teacher's; a detached student in the teacher's place does the same.
    """
    target = conditions.kd(teacher, label, ctx, tau=tau, alpha=alpha)
    return replace(target, soft=target.soft.new_zeros(target.soft.shape))


@condition
def fault_class_offset(teacher: Logits, label: Labels, ctx: Context, *, tau: float = 2.0, alpha: float = 0.9) -> Target:
    """rho_k = p^tau_(k - 1): the teacher counts its classes from 1. TensorFlow's ImageNet models (tensorflow/hub 574).

    They have a class 0, background: of 1001 logits the last 1000 are the classes, not the first. Here the last of C
    classes comes first instead.
    """
    return conditions.kd(teacher.roll(1, -1), label, ctx, tau=tau, alpha=alpha)


@condition
def fault_student_cooled(
    teacher: Logits, label: Labels, ctx: Context, *, tau: float = 2.0, alpha: float = 0.9
) -> Target:
    """rho = softmax(v) against q^tau: only the student's logits are divided by tau. The formula of TinyBERT's paper.

    Its authors used tau = 1, where it is right, and their code divides both (issue 11).
    """
    target = conditions.kd(teacher, label, ctx, tau=tau, alpha=alpha)
    return replace(target, soft=alpha * teacher.softmax(-1))


@condition
def fault_argmax(teacher: Logits, label: Labels, ctx: Context, *, tau: float = 2.0, alpha: float = 0.9) -> Target:
    """rho = e_k, k = argmax v: of the teacher's answer only its class is kept. mixle (pull request 96).

    Against q at tau = 1 it is a method of its own, hard distillation: Touvron et al. 2021.
    """
    target = conditions.kd(teacher, label, ctx, tau=tau, alpha=alpha)
    return replace(target, soft=alpha * one_hot(teacher.argmax(-1), ctx.classes).to(target.soft))


def nlls(logits: Float[np.ndarray, "N C"], label: Int[np.ndarray, " N"]) -> dict[str, float]:
    """Test NLL in nats, and the number that gnosis reported for it.

    right = -mean_n log q_n[y_n]; all pairs = -mean_(n, m) log q_n[y_m], the mean of log_softmax(z)[..., y], which is
    N x N: each example against the labels of all. With f_k the share of label k it is -mean_n sum_k f_k log q_n[k].
    """
    log_q = log_softmax(np.asarray(logits, np.float64), axis=-1)
    share = np.bincount(label, minlength=log_q.shape[-1]) / len(label)
    own = np.take_along_axis(log_q, np.asarray(label)[:, None], axis=-1)
    return {"right": float(-own.mean()), "all pairs": float(-(log_q @ share).mean())}
