"""Distillation losses whose two parts are right but for their weights."""

import torch.nn.functional as F
from losses import batchmean, kl, wrong
from torch import nn


@wrong("averaged_over_classes")
def tf_kd(T, a):
    def loss_kd(outputs, teacher_outputs, labels):
        D_KL = nn.KLDivLoss()(F.log_softmax(outputs / T, dim=1), F.softmax(teacher_outputs / T, dim=1)) * (T * T)
        return (1.0 - a) * F.cross_entropy(outputs, labels) + a * D_KL

    return loss_kd


@wrong("averaged_over_classes", "tau_squared_missing")
def tf_kd_without_squared(T, a):
    return lambda z, v, y: (
        (1 - a) * F.cross_entropy(z, y) + a * nn.KLDivLoss()(F.log_softmax(z / T, 1), F.softmax(v / T, 1))
    )


@wrong("tau_squared_missing")
def distiller(T, a):
    return lambda z, v, y: a * kl(z, v, T) + (1 - a) * nn.CrossEntropyLoss()(z, y)


@wrong("tau_not_squared")
def times_tau(T, a):
    return lambda z, v, y: a * T * kl(z, v, T) + (1 - a) * F.cross_entropy(z, y)


@wrong("tau_squared_twice")
def squared_twice(T, a):
    return lambda z, v, y: a * T**2 * (kl(z, v, T) * T**2) + (1 - a) * F.cross_entropy(z, y)


@wrong("tau_squared_on_hard")
def squared_around_both(T, a):
    return lambda z, v, y: (a * kl(z, v, T) + (1 - a) * F.cross_entropy(z, y)) * T * T


@wrong("summed_over_batch")
def summed(T, a):
    kld = nn.KLDivLoss(reduction="sum")
    return lambda z, v, y: (
        a * T * T * kld(F.log_softmax(z / T, 1), F.softmax(v / T, 1)) + (1 - a) * F.cross_entropy(z, y)
    )


@wrong("summed_over_batch")
def both_summed(T, a):
    def loss(z, v, y):
        soft = -((v / T).softmax(1) * (z / T).log_softmax(1)).sum()
        return a * T * T * soft + (1 - a) * F.cross_entropy(z, y, reduction="sum")

    return loss


@wrong("averaged_twice")
def averaged_again(T, a):
    return lambda z, v, y: a * T * T * kl(z, v, T) / len(z) + (1 - a) * F.cross_entropy(z, y)


@wrong("alpha_swapped")
def swapped_weights(T, a):
    return lambda z, v, y: (1 - a) * T * T * kl(z, v, T) + a * F.cross_entropy(z, y)


@wrong("alpha_swapped", "tau_squared_missing")
def swapped_weights_without_squared(T, a):
    return lambda z, v, y: (1 - a) * kl(z, v, T) + a * F.cross_entropy(z, y)


@wrong("alpha_missing")
def hard_unweighted(T, a):
    return lambda z, v, y: a * T * T * kl(z, v, T) + F.cross_entropy(z, y)


@wrong("alpha_missing")
def unweighted(T, a):
    return lambda z, v, y: T * T * kl(z, v, T) + F.cross_entropy(z, y)


@wrong("hard_term_missing")
def soft_only(T, a):
    return lambda z, v, y: T * T * kl(z, v, T)


@wrong("soft_term_missing")
def hard_only(T, a):
    return lambda z, v, y: F.cross_entropy(z, y) * (1 - a)


@wrong("other_weights")
def some_weights(T, a):
    return lambda z, v, y: 0.37 * F.cross_entropy(z, y) + 2.9 * kl(z, v, T)


@wrong("other_alpha")
def another_alpha(T, a):
    return batchmean(T, 0.35)


@wrong("other_temperature")
def another_temperature(T, a):
    return batchmean(3.0, a)


@wrong("other_temperature", "averaged_over_classes")
def another_temperature_averaged(T, a):
    return tf_kd(2.5, a)
