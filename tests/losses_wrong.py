"""Distillation losses of a wrong form or a wrong behaviour; `WRONG` then holds every wrong one there is."""

import torch
import torch.nn.functional as F
from losses import WRONG, batchmean, by_hand, cool, kl, kl_, log_cool, plant, plant_hard, wrong
from losses_weights import tf_kd
from torch import nn

__all__ = ["WRONG"]

# ---------------------------------------------------------------- wrong forms


plant("student_cooled", "tau_on_student_only", lambda z, v, T: kl_(log_cool(z, T), F.softmax(v, -1)))
plant("teacher_cooled", "tau_on_teacher_only", lambda z, v, T: kl_(F.log_softmax(z, -1), cool(v, T)))
plant("none_cooled", "tau_not_applied", lambda z, v, T: kl_(F.log_softmax(z, -1), F.softmax(v, -1)))
plant("cached_probabilities", "softmax_twice", lambda z, v, T: kl_(log_cool(z, T), cool(v.softmax(-1), T)))  # Tf-KD_reg
plant("model_ends_in_softmax", "softmax_twice", lambda z, v, T: kl_(log_cool(z.softmax(-1), T), cool(v, T)))
plant("both_end_in_softmax", "softmax_twice", lambda z, v, T: kl(z.softmax(-1), v.softmax(-1), T))
plant("log_softmax_of_softmax", "softmax_twice", lambda z, v, T: kl_(F.log_softmax(cool(z, T), -1), cool(v, T)))
plant("entropy_of_softmax", "softmax_twice", lambda z, v, T: F.cross_entropy(cool(z, T), cool(v, T)))
plant("over_the_batch", "softmax_over_batch", lambda z, v, T: kl_((z / T).log_softmax(0), (v / T).softmax(0)))
plant("student_over_the_batch", "softmax_over_batch", lambda z, v, T: kl_((z / T).log_softmax(0), cool(v, T)))
plant("teacher_over_the_batch", "softmax_over_batch", lambda z, v, T: kl_(log_cool(z, T), (v / T).softmax(0)))
plant("reversed", "reversed_kl", lambda z, v, T: kl_(log_cool(v, T), cool(z, T)))  # labml, keras-io
plant("reversed_by_hand", "reversed_kl", lambda z, v, T: (cool(z, T) * (log_cool(z, T) - log_cool(v, T))).sum(1).mean())
plant("no_log", "log_missing", lambda z, v, T: kl_(cool(z, T), cool(v, T)))
plant("logs_of_the_teacher", "log_target_mismatch", lambda z, v, T: kl_(log_cool(z, T), log_cool(v, T)))
plant("log_target_set", "log_target_mismatch", lambda z, v, T: kl_(log_cool(z, T), cool(v, T), log_target=True))
plant("mse_of_logits", "squared_error", lambda z, v, T: nn.MSELoss()(z, v))
plant("mse_of_probabilities", "squared_error", lambda z, v, T: nn.MSELoss()(cool(z, T), cool(v, T)))
plant("mse_of_raw_probabilities", "squared_error", lambda z, v, T: F.mse_loss(z.softmax(1), v.softmax(1)))
plant("argmax", "teacher_argmax", lambda z, v, T: F.cross_entropy(z, v.argmax(1)))
plant("soft_detached", "student_detached", lambda z, v, T: kl(z.detach(), v, T))
plant("reversed_mean", ("reversed_kl", "averaged_over_classes"),
      lambda z, v, T: nn.KLDivLoss()(log_cool(v, T), cool(z, T)))  # fmt: skip
plant("one_sided_without_squared", ("tau_on_student_only", "tau_squared_missing"),
      lambda z, v, T: kl_(log_cool(z, T), F.softmax(v, -1)) / T**2)  # fmt: skip
plant("no_log_summed", ("log_missing", "summed_over_batch"),
      lambda z, v, T: F.kl_div(cool(z, T), cool(v, T), reduction="sum"))  # fmt: skip

plant_hard("softened", "hard_softened", lambda z, y, T: F.cross_entropy(z / T, y))
plant_hard("entropy_of_probabilities", "softmax_twice", lambda z, y, T: F.cross_entropy(z.softmax(-1), y))
plant_hard("softened_probabilities", "softmax_twice", lambda z, y, T: F.cross_entropy(cool(z, T), y))
plant_hard("nll_of_probabilities", "log_missing", lambda z, y, T: F.nll_loss(z.softmax(-1), y))
plant_hard("gnosis", "hard_all_pairs", lambda z, y, T: -F.log_softmax(z, -1)[..., y].mean())
plant_hard("hard_summed", "summed_over_batch", lambda z, y, T: F.cross_entropy(z, y, reduction="sum"))
plant_hard("hard_detached", "student_detached", lambda z, y, T: F.cross_entropy(z.detach(), y))


@wrong("hard_softened", "softmax_twice")
def softened_and_twice(T, a):
    return lambda z, v, y: (1 - a) * F.cross_entropy(z / T, y) + a * T * T * kl_(log_cool(z, T), cool(v.softmax(-1), T))


@wrong("hard_all_pairs", "reversed_kl")
def gnosis_reversed(T, a):
    return lambda z, v, y: -(1 - a) * z.log_softmax(-1)[..., y].mean() + a * T * T * kl_(log_cool(v, T), cool(z, T))


# ---------------------------------------------------------------- wrong gradients and behaviour


@wrong("arguments_swapped")
def called_the_other_way_round(T, a):
    return lambda z, v, y: batchmean(T, a)(v, z, y)


@wrong("arguments_swapped")
def the_other_way_round_and_detached(T, a):
    return lambda z, v, y: by_hand(T, a)(v, z, y)


@wrong("arguments_swapped")
def the_student_as_a_fixed_target(T, a):
    return lambda z, v, y: (1 - a) * F.cross_entropy(z, y) + a * T * T * kl_(log_cool(v, T), cool(z.detach(), T))


@wrong("arguments_swapped", "averaged_over_classes")
def the_other_way_round_and_averaged(T, a):
    return lambda z, v, y: tf_kd(T, a)(v, z.detach(), y)


@wrong("student_detached")
def detached(T, a):
    return lambda z, v, y: batchmean(T, a)(z.detach(), v, y)


@wrong("student_detached")
def made_anew(T, a):
    return lambda z, v, y: torch.tensor(batchmean(T, a)(z, v, y).item())


@wrong("not_a_tensor")
def a_number(T, a):
    return lambda z, v, y: batchmean(T, a)(z, v, y).item()


@wrong("not_a_tensor")
def a_pair(T, a):
    return lambda z, v, y: (F.cross_entropy(z, y), kl(z, v, T))


@wrong("per_example")
def unreduced(T, a):
    def loss(z, v, y):
        soft = nn.KLDivLoss(reduction="none")(log_cool(z, T), cool(v, T)).sum(1)
        return (1 - a) * F.cross_entropy(z, y, reduction="none") + a * T * T * soft

    return loss


@wrong("per_example", "tau_squared_missing")
def unreduced_without_squared(T, a):
    def loss(z, v, y):
        soft = nn.KLDivLoss(reduction="none")(log_cool(z, T), cool(v, T)).sum(1)
        return (1 - a) * F.cross_entropy(z, y, reduction="none") + a * soft

    return loss


@wrong("depends_on_order")
def cached_in_another_order(T, a):  # haitongli
    return lambda z, v, y: batchmean(T, a)(z, v.flip(0), y)


@wrong("depends_on_other_rows")
def normalised_over_the_batch(T, a):
    return lambda z, v, y: batchmean(T, a)(z - z.mean(0), v, y)


@wrong("not_deterministic")
def with_dropout(T, a):
    return lambda z, v, y: batchmean(T, a)(F.dropout(z, 0.5), v, y)


@wrong("modifies_its_input", "hard_softened")
def in_place(T, a):
    def loss(z, v, y):
        z /= T
        return (1 - a) * F.cross_entropy(z, y) + a * T * T * kl(z, v.detach() / T, 1.0)

    return loss


@wrong("modifies_its_input")
def cleared_after_use(T, a):
    def loss(z, v, y):
        value = batchmean(T, a)(z, v.detach(), y)
        v.detach().zero_()
        return value

    return loss


@wrong("not_finite")
def log_of_softmax(T, a):
    def loss(z, v, y):
        return (1 - a) * F.cross_entropy(z, y) - a * T * T * (cool(v, T) * cool(z, T).log()).sum(1).mean()

    return loss


@wrong("not_finite")
def entropy_by_hand(T, a):
    def loss(z, v, y):
        p = cool(v, T)
        return (1 - a) * F.cross_entropy(z, y) + a * T * T * (p * (p.log() - log_cool(z, T))).sum(1).mean()

    return loss


@wrong("not_finite")
def softmax_by_hand(T, a):
    def loss(z, v, y):
        p = (v / T).exp() / (v / T).exp().sum(1, keepdim=True)
        return (1 - a) * F.cross_entropy(z, y) + a * T * T * F.kl_div(log_cool(z, T), p, reduction="batchmean")

    return loss


@wrong("unknown")
def something_else(T, a):
    return lambda z, v, y: F.cross_entropy(z, y) + (z - v.detach()).abs().pow(1.5).mean()
