"""Distillation losses as people write them: how right and wrong ones are entered, and the right ones."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdstudy.lossreport import LossReport

GRID = [(2, 4.0), (10, 2.0), (100, 20.0), (1000, 4.0)]  # classes and temperature
Made = Callable[[float, float], Callable]
RIGHT: dict[str, Made] = {}
WRONG: dict[str, tuple[Made, set[str]]] = {}


def errors(report: LossReport) -> set[str]:
    return {f.code for f in report.findings if f.severity == "error"}


def right(make: Made) -> Made:
    RIGHT[make.__name__] = make
    return make


def wrong(*codes: str) -> Callable[[Made], Made]:
    def register(make: Made) -> Made:
        WRONG[make.__name__] = make, set(codes)
        return make

    return register


def mixed(soft: Callable[[Tensor, Tensor, float], Tensor]) -> Made:
    """A maker of (1 - a) CE + a T^2 soft, for faults of the soft part alone."""

    def make(T: float, a: float) -> Callable:
        return lambda z, v, y: (1 - a) * F.cross_entropy(z, y) + a * T * T * soft(z, v.detach(), T)

    return make


def plant(name: str, codes: str | tuple[str, ...], soft: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """A loss with a wrong soft part."""
    WRONG[name] = mixed(soft), {codes} if isinstance(codes, str) else set(codes)


def plant_hard(name: str, code: str, hard: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """A loss with a wrong hard part."""
    WRONG[name] = lambda T, a: lambda z, v, y: (1 - a) * hard(z, y, T) + a * T * T * kl(z, v.detach(), T), {code}


def kl(z: Tensor, v: Tensor, T: float) -> Tensor:
    return F.kl_div(F.log_softmax(z / T, dim=1), F.softmax(v / T, dim=1), reduction="batchmean")


def kl_(log_q: Tensor, p: Tensor, **options: object) -> Tensor:
    return F.kl_div(log_q, p, reduction="batchmean", **options)


def cool(z: Tensor, T: float) -> Tensor:
    return torch.softmax(z / T, -1)


def log_cool(z: Tensor, T: float) -> Tensor:
    return torch.log_softmax(z / T, -1)


# ---------------------------------------------------------------- right


@right
def batchmean(T, a):
    criterion = nn.KLDivLoss(reduction="batchmean")

    def loss_fn_kd(outputs, teacher_outputs, labels):
        soft = criterion(F.log_softmax(outputs / T, dim=1), F.softmax(teacher_outputs / T, dim=1))
        return soft * (a * T * T) + F.cross_entropy(outputs, labels) * (1.0 - a)

    return loss_fn_kd


@right
def soft_cross_entropy(T, a):
    return lambda z, v, y: (1 - a) * F.cross_entropy(z, y) + a * T**2 * F.cross_entropy(z / T, (v / T).softmax(-1))


@right
def by_hand(T, a):
    def loss(z, v, y):
        log_q = z - z.logsumexp(-1, keepdim=True)
        soft = (z / T).log_softmax(-1) * (v.detach() / T).softmax(-1)
        return -(1 - a) * log_q[torch.arange(len(y)), y].sum() / len(y) - a * T * T * soft.sum() / z.shape[0]

    return loss


@right
def log_target(T, a):
    criterion = nn.KLDivLoss(reduction="batchmean", log_target=True)

    def loss(z, v, y):
        with torch.no_grad():
            teacher = F.log_softmax(v / T, dim=-1)
        return (1 - a) * nn.NLLLoss()(F.log_softmax(z, dim=-1), y) + a * T * T * criterion(
            F.log_softmax(z / T, dim=-1), teacher
        )

    return loss


@right
def one_hot_labels_and_a_mean_over_rows(T, a):
    def loss(z, v, y):
        target = F.one_hot(y, z.shape[1]).to(z)
        p = torch.softmax(v / T, 1)
        hard = -(target * z.log_softmax(1)).sum(1)
        soft = F.kl_div((z / T).log_softmax(1), p, reduction="none").sum(1)
        return (hard * (1 - a) + soft * a * T**2).mean()

    return loss


@right
def a_module(T, a):
    class Distiller(nn.Module):
        def forward(self, student, teacher, labels):
            return (1 - a) * F.cross_entropy(student, labels) + a * T * T * kl(student, teacher.detach(), T)

    return Distiller()


@right
def a_mean_over_everything_times_the_classes(T, a):
    def soft(z, v):
        return nn.KLDivLoss(reduction="mean")((z / T).log_softmax(1), (v / T).softmax(1)) * z.shape[1]

    return lambda z, v, y: (1 - a) * F.cross_entropy(z, y) + a * T * T * soft(z, v)


@right
def log_softmax_of_log_softmax(T, a):  # idempotent: superfluous, but right
    return lambda z, v, y: (
        (1 - a) * F.cross_entropy(z.log_softmax(-1), y) + a * T * T * kl(z.log_softmax(-1), v.log_softmax(-1), T)
    )
