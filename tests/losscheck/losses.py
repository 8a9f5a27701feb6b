"""Distillation losses as people write them, by name: right ones, and wrong ones with their findings."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.functional import cross_entropy as ce

from kdstudy.losscheck import LossReport
from kdstudy.losscheck.variants import METHODS

GRID = [(2, 4.0), (10, 2.0), (100, 20.0)]  # classes and temperature
Make = Callable[[float, float], Callable]  # of temperature and alpha
RIGHT: dict[str, Make] = {}
WRONG: dict[str, tuple[Make, set[str]]] = {}


def errors(report: LossReport) -> set[str]:
    """Errors and other methods, which are none."""
    return {f.code for f in report.findings if f.severity == "error" or f.code in METHODS}


def plant(name: str, codes: str, fn: Callable[..., object]) -> Make:
    """Enter a function of (z, v, y, T, a), as right if it has no codes."""

    def make(T: float, a: float) -> Callable:
        return lambda z, v, y: fn(z, v, y, T, a)

    if codes:
        WRONG[name] = make, set(codes.split())
    else:
        RIGHT[name] = make
    return make


def planted(codes: str = "") -> Callable[[Callable[..., object]], Make]:
    """`plant` as a decorator."""
    return lambda fn: plant(fn.__name__, codes, fn)


def plant_soft(name: str, codes: str, soft: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """A loss with a wrong soft part."""
    plant(name, codes, lambda z, v, y, T, a: (1 - a) * ce(z, y) + a * T * T * soft(z, v.detach(), T))


def plant_hard(name: str, codes: str, hard: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """A loss with a wrong hard part."""
    plant(name, codes, lambda z, v, y, T, a: (1 - a) * hard(z, y, T) + a * T * T * kl(z, v.detach(), T))


def kl(z: Tensor, v: Tensor, T: float) -> Tensor:
    return F.kl_div(F.log_softmax(z / T, dim=1), F.softmax(v / T, dim=1), reduction="batchmean")


def kl_(log_q: Tensor, p: Tensor, **options: object) -> Tensor:
    return F.kl_div(log_q, p, reduction="batchmean", **options)


def cool(z: Tensor, T: float) -> Tensor:
    return torch.softmax(z / T, -1)


def log_cool(z: Tensor, T: float) -> Tensor:
    return torch.log_softmax(z / T, -1)


# ---------------------------------------------------------------- right


@planted()
def batchmean(outputs, teacher_outputs, labels, T, a):
    soft = nn.KLDivLoss(reduction="batchmean")(F.log_softmax(outputs / T, dim=1), F.softmax(teacher_outputs / T, dim=1))
    return soft * (a * T * T) + F.cross_entropy(outputs, labels) * (1.0 - a)


@planted()
def soft_cross_entropy(z, v, y, T, a):
    return (1 - a) * ce(z, y) + a * T**2 * ce(z / T, (v / T).softmax(-1))


@planted()
def by_hand(z, v, y, T, a):
    log_q = z - z.logsumexp(-1, keepdim=True)
    soft = (z / T).log_softmax(-1) * (v.detach() / T).softmax(-1)
    return -(1 - a) * log_q[torch.arange(len(y)), y].sum() / len(y) - a * T * T * soft.sum() / z.shape[0]


@planted()
def log_target(z, v, y, T, a):
    with torch.no_grad():
        teacher = F.log_softmax(v / T, dim=-1)
    soft = nn.KLDivLoss(reduction="batchmean", log_target=True)(F.log_softmax(z / T, dim=-1), teacher)
    return (1 - a) * nn.NLLLoss()(F.log_softmax(z, dim=-1), y) + a * T * T * soft


@planted()
def one_hot_labels_and_a_mean_over_rows(z, v, y, T, a):
    target = F.one_hot(y, z.shape[1]).to(z)
    hard = -(target * z.log_softmax(1)).sum(1)
    soft = F.kl_div((z / T).log_softmax(1), torch.softmax(v / T, 1), reduction="none").sum(1)
    return (hard * (1 - a) + soft * a * T**2).mean()


@planted()
def a_mean_over_everything_times_the_classes(z, v, y, T, a):
    soft = nn.KLDivLoss(reduction="mean")((z / T).log_softmax(1), (v / T).softmax(1)) * z.shape[1]
    return (1 - a) * ce(z, y) + a * T * T * soft


@planted()
def log_softmax_of_log_softmax(z, v, y, T, a):  # idempotent: superfluous, but right
    return (1 - a) * ce(z.log_softmax(-1), y) + a * T * T * kl(z.log_softmax(-1), v.log_softmax(-1), T)


class Distiller(nn.Module):
    """The loss as a module."""

    def __init__(self, T: float, a: float) -> None:
        super().__init__()
        self.T, self.a = T, a

    def forward(self, student, teacher, labels):  # noqa: D102
        return (1 - self.a) * ce(student, labels) + self.a * self.T**2 * kl(student, teacher.detach(), self.T)


RIGHT["a_module"] = Distiller

# ---------------------------------------------------------------- wrong weights


@planted("averaged_over_classes")
def tf_kd(outputs, teacher_outputs, labels, T, a):
    D_KL = nn.KLDivLoss()(F.log_softmax(outputs / T, dim=1), F.softmax(teacher_outputs / T, dim=1)) * (T * T)
    return (1.0 - a) * F.cross_entropy(outputs, labels) + a * D_KL


plant("distiller", "tau_squared_missing", lambda z, v, y, T, a: a * kl(z, v, T) + (1 - a) * ce(z, y))
plant("times_tau", "tau_not_squared", lambda z, v, y, T, a: a * T * kl(z, v, T) + (1 - a) * ce(z, y))
plant(
    "tf_kd_without_squared", "averaged_over_classes tau_squared_missing",
    lambda z, v, y, T, a: (1 - a) * ce(z, y) + a * nn.KLDivLoss()(log_cool(z, T), cool(v, T)),
)  # fmt: skip
plant("swapped_weights", "alpha_swapped", lambda z, v, y, T, a: (1 - a) * T * T * kl(z, v, T) + a * ce(z, y))
plant("soft_only", "hard_term_missing", lambda z, v, y, T, a: T * T * kl(z, v, T))
plant("squared_around_both", "tau_squared_on_hard",
      lambda z, v, y, T, a: (a * kl(z, v, T) + (1 - a) * ce(z, y)) * T * T)  # fmt: skip
plant("both_summed", "summed_over_batch", lambda z, v, y, T, a:
      (1 - a) * ce(z, y, reduction="sum") - a * T * T * (cool(v, T) * log_cool(z, T)).sum())  # fmt: skip
plant("swapped_weights_without_squared", "alpha_swapped tau_squared_missing",
      lambda z, v, y, T, a: (1 - a) * kl(z, v, T) + a * ce(z, y))  # fmt: skip
plant("hard_unweighted", "alpha_missing", lambda z, v, y, T, a: a * T * T * kl(z, v, T) + ce(z, y))
plant("unweighted", "alpha_missing", lambda z, v, y, T, a: T * T * kl(z, v, T) + ce(z, y))
plant("hard_only", "soft_term_missing", lambda z, v, y, T, a: ce(z, y) * (1 - a))
plant("some_weights", "other_weights", lambda z, v, y, T, a: 0.37 * ce(z, y) + 2.9 * kl(z, v, T))
plant("another_alpha", "other_alpha", lambda z, v, y, T, a: batchmean(T, 0.35)(z, v, y))
plant("another_temperature", "other_temperature", lambda z, v, y, T, a: batchmean(3.0, a)(z, v, y))
plant("another_temperature_averaged", "other_temperature averaged_over_classes",
      lambda z, v, y, T, a: tf_kd(2.5, a)(z, v, y))  # fmt: skip

# ---------------------------------------------------------------- wrong forms

plant_soft("student_cooled", "tau_on_student_only", lambda z, v, T: kl_(log_cool(z, T), F.softmax(v, -1)))
plant_soft("teacher_cooled", "tau_on_teacher_only", lambda z, v, T: kl_(F.log_softmax(z, -1), cool(v, T)))
plant_soft("none_cooled", "tau_not_applied", lambda z, v, T: kl_(F.log_softmax(z, -1), F.softmax(v, -1)))
plant_soft("cached_probabilities", "softmax_twice", lambda z, v, T: kl_(log_cool(z, T), cool(v.softmax(-1), T)))
plant_soft("model_ends_in_softmax", "softmax_twice", lambda z, v, T: kl_(log_cool(z.softmax(-1), T), cool(v, T)))
plant_soft("both_end_in_softmax", "softmax_twice", lambda z, v, T: kl(z.softmax(-1), v.softmax(-1), T))
plant_soft("log_softmax_of_softmax", "softmax_twice", lambda z, v, T: kl_(F.log_softmax(cool(z, T), -1), cool(v, T)))
plant_soft("entropy_of_softmax", "softmax_twice", lambda z, v, T: ce(cool(z, T), cool(v, T)))
plant_soft("over_the_batch", "softmax_over_batch", lambda z, v, T: kl_((z / T).log_softmax(0), (v / T).softmax(0)))
plant_soft("student_over_the_batch", "softmax_over_batch", lambda z, v, T: kl_((z / T).log_softmax(0), cool(v, T)))
plant_soft("teacher_over_the_batch", "softmax_over_batch", lambda z, v, T: kl_(log_cool(z, T), (v / T).softmax(0)))
plant_soft("reversed", "reversed_kl", lambda z, v, T: kl_(log_cool(v, T), cool(z, T)))  # labml, keras-io
plant_soft("reversed_by_hand", "reversed_kl",
           lambda z, v, T: (cool(z, T) * (log_cool(z, T) - log_cool(v, T))).sum(1).mean())  # fmt: skip
plant_soft("no_log", "log_missing", lambda z, v, T: kl_(cool(z, T), cool(v, T)))
plant_soft("logs_of_the_teacher", "log_target_mismatch", lambda z, v, T: kl_(log_cool(z, T), log_cool(v, T)))
plant_soft("log_target_set", "log_target_mismatch", lambda z, v, T: kl_(log_cool(z, T), cool(v, T), log_target=True))
plant_soft("mse_of_logits", "squared_error", lambda z, v, T: nn.MSELoss()(z, v))
plant_soft("mse_of_probabilities", "squared_error", lambda z, v, T: nn.MSELoss()(cool(z, T), cool(v, T)))
plant_soft("mse_of_raw_probabilities", "squared_error", lambda z, v, T: F.mse_loss(z.softmax(1), v.softmax(1)))
plant_soft("argmax", "teacher_argmax", lambda z, v, T: ce(z, v.argmax(1)))
plant_soft("summed", "summed_over_batch", lambda z, v, T: nn.KLDivLoss(reduction="sum")(log_cool(z, T), cool(v, T)))
plant_soft("averaged_again", "averaged_twice", lambda z, v, T: kl(z, v, T) / len(z))
plant_soft("squared_twice", "tau_squared_twice", lambda z, v, T: kl(z, v, T) * T**2)
plant_soft("soft_detached", "student_detached", lambda z, v, T: kl(z.detach(), v, T))
plant_soft("reversed_mean", "reversed_kl averaged_over_classes",
           lambda z, v, T: nn.KLDivLoss()(log_cool(v, T), cool(z, T)))  # fmt: skip
plant_soft("one_sided_without_squared", "tau_on_student_only tau_squared_missing",
           lambda z, v, T: kl_(log_cool(z, T), F.softmax(v, -1)) / T**2)  # fmt: skip
plant_soft("no_log_summed", "log_missing summed_over_batch",
           lambda z, v, T: F.kl_div(cool(z, T), cool(v, T), reduction="sum"))  # fmt: skip

plant_hard("softened", "hard_softened", lambda z, y, T: ce(z / T, y))
plant_hard("entropy_of_probabilities", "softmax_twice", lambda z, y, T: ce(z.softmax(-1), y))
plant_hard("softened_probabilities", "softmax_twice", lambda z, y, T: ce(cool(z, T), y))
plant_hard("nll_of_probabilities", "log_missing", lambda z, y, T: F.nll_loss(z.softmax(-1), y))
plant_hard("gnosis", "hard_all_pairs", lambda z, y, T: -F.log_softmax(z, -1)[..., y].mean())
plant_hard("hard_summed", "summed_over_batch", lambda z, y, T: ce(z, y, reduction="sum"))
plant_hard("hard_detached", "student_detached", lambda z, y, T: ce(z.detach(), y))

plant("softened_and_twice", "hard_softened softmax_twice", lambda z, v, y, T, a:
      (1 - a) * ce(z / T, y) + a * T * T * kl_(log_cool(z, T), cool(v.softmax(-1), T)))  # fmt: skip
plant("gnosis_reversed", "hard_all_pairs reversed_kl", lambda z, v, y, T, a:
      -(1 - a) * z.log_softmax(-1)[..., y].mean() + a * T * T * kl_(log_cool(v, T), cool(z, T)))  # fmt: skip

# ---------------------------------------------------------------- wrong gradients and behaviour

plant("called_the_other_way_round", "arguments_swapped", lambda z, v, y, T, a: batchmean(T, a)(v, z, y))
plant("the_other_way_round_and_detached", "arguments_swapped", lambda z, v, y, T, a: by_hand(T, a)(v, z, y))
plant("the_student_as_a_fixed_target", "arguments_swapped",
      lambda z, v, y, T, a: (1 - a) * ce(z, y) + a * T * T * kl_(log_cool(v, T), cool(z.detach(), T)))  # fmt: skip
plant("the_other_way_round_and_averaged", "arguments_swapped averaged_over_classes",
      lambda z, v, y, T, a: tf_kd(T, a)(v, z.detach(), y))  # fmt: skip
plant("detached", "student_detached", lambda z, v, y, T, a: batchmean(T, a)(z.detach(), v, y))
plant("made_anew", "student_detached", lambda z, v, y, T, a: torch.tensor(batchmean(T, a)(z, v, y).item()))
plant("a_number", "not_a_tensor", lambda z, v, y, T, a: batchmean(T, a)(z, v, y).item())
plant("a_pair", "not_a_tensor", lambda z, v, y, T, a: (ce(z, y), kl(z, v, T)))
plant("cached_in_another_order", "depends_on_order", lambda z, v, y, T, a: batchmean(T, a)(z, v.flip(0), y))
plant("normalised_over_the_batch", "depends_on_other_rows", lambda z, v, y, T, a: batchmean(T, a)(z - z.mean(0), v, y))
plant("something_else", "unknown", lambda z, v, y, T, a: ce(z, y) + (z - v.detach()).abs().pow(1.5).mean())
plant("with_dropout", "not_deterministic", lambda z, v, y, T, a: batchmean(T, a)(F.dropout(z, 0.5), v, y))


def unreduced(z, v, y, T, a, scale):
    soft = nn.KLDivLoss(reduction="none")(log_cool(z, T), cool(v, T)).sum(1)
    return (1 - a) * ce(z, y, reduction="none") + a * scale * soft


plant("unreduced", "per_example", lambda z, v, y, T, a: unreduced(z, v, y, T, a, T * T))
plant("unreduced_without_squared", "per_example tau_squared_missing", lambda *given: unreduced(*given, 1))


@planted("modifies_its_input hard_softened")
def in_place(z, v, y, T, a):
    z /= T
    return (1 - a) * ce(z, y) + a * T * T * kl(z, v.detach() / T, 1.0)


@planted("modifies_its_input")
def cleared_after_use(z, v, y, T, a):
    value = batchmean(T, a)(z, v.detach(), y)
    v.detach().zero_()
    return value


plant_soft("log_of_softmax", "not_finite", lambda z, v, T: -(cool(v, T) * cool(z, T).log()).sum(1).mean())
plant_soft("entropy_by_hand", "not_finite",
           lambda z, v, T: (cool(v, T) * (cool(v, T).log() - log_cool(z, T))).sum(1).mean())  # fmt: skip
plant_soft("softmax_by_hand", "not_finite",
           lambda z, v, T: kl_(log_cool(z, T), (v / T).exp() / (v / T).exp().sum(1, keepdim=True)))  # fmt: skip
