"""Silent bugs of public distillation code: where each was seen, which condition plants it, and what finds it.

A bug in the loss is planted as a loss for `check_loss`, one in the teacher's outputs as logits for `diagnose`. `table`
runs both, so what it says is found was found.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div

from kdstudy.core.random import generator
from kdstudy.diagnosis import diagnose
from kdstudy.losscheck import check_loss

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
Soft = Callable[[Tensor, Tensor, float], Tensor]
Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Fault:
    """A bug: where it was seen, what it did there, what of the three levels it takes, its condition, what finds it.

    `takes` follows from the formula of its targets, not from runs. `code` is the finding that names it: of
    `check_loss` on `loss(tau, alpha)`, or of `diagnose` on `logits(v)`.
    """

    fault: str
    seen: str
    consequence: str
    takes: str
    condition: str | None
    code: str
    loss: Callable[[float, float], Loss] | None = None
    logits: Change | None = None

    @property
    def tool(self) -> str:
        """The function that finds it."""
        return "check_loss" if self.loss else "diagnose"

    def found(self, teacher: Tensor, label: Tensor, tau: float, alpha: float) -> Sequence[str]:
        """The codes of all that its tool finds, run now."""
        if self.loss:
            return check_loss(self.loss(tau, alpha), teacher.shape[-1], tau=tau, alpha=alpha).codes
        return diagnose(self.logits(teacher), label, tau=tau).codes


def _log(x: Tensor, tau: float) -> Tensor:
    return (x / tau).log_softmax(-1)


def _cool(x: Tensor, tau: float) -> Tensor:
    return (x / tau).softmax(-1)


def _kl(log_q: Tensor, p: Tensor, tau: float) -> Tensor:
    return tau**2 * kl_div(log_q, p, reduction="batchmean")


def _soft(soft: Soft) -> Callable[[float, float], Loss]:
    """(1 - alpha) CE + alpha soft, with a soft part of its own."""
    return lambda tau, alpha: lambda z, v, y: (1 - alpha) * cross_entropy(z, y) + alpha * soft(z, v.detach(), tau)


def _all_pairs(tau: float, alpha: float) -> Loss:
    """KD whose hard part is the measure that gnosis reported."""

    def loss(z: Tensor, v: Tensor, y: Tensor) -> Tensor:
        soft = _kl(_log(z, tau), _cool(v.detach(), tau), tau)
        return -(1 - alpha) * z.log_softmax(-1)[..., y].mean() + alpha * soft

    return loss


def _exchanged(tau: float, alpha: float) -> Loss:
    """Right but for its arguments: called with the teacher in the student's place."""
    right = _soft(lambda z, v, tau: _kl(_log(z, tau), _cool(v, tau), tau))(tau, alpha)
    return lambda z, v, y: right(v, z, y)


def _reordered(teacher: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
    return teacher[torch.randperm(len(teacher), generator=generator(0, "catalogue"))]


CATALOGUE = [
    Fault(
        "mean over batch and classes", "Tf-KD (issues 5, 41); DeiT (61)",
        "a nominal 19 : 1 of KD to cross-entropy is 0.19 : 1 on 100 classes",
        "the weight of all three: 1 / C of it is left", "fault_class_mean", "averaged_over_classes",
        loss=_soft(lambda z, v, tau: tau**2 * kl_div(_log(z, tau), _cool(v, tau))),
    ),
    Fault(
        "τ² left out", "IntelLabs distiller (issue 122)", "the soft part fades as τ grows",
        "the weight of all three: 1 / τ² of it is left", "fault_no_tau2", "tau_squared_missing",
        loss=_soft(lambda z, v, tau: kl_div(_log(z, tau), _cool(v, tau), reduction="batchmean")),
    ),
    Fault(
        "softmax of probabilities", "Tf-KD_reg",
        "a virtual teacher of 99 % gives the label 0.0105 at τ = 20, where uniform is 0.0100",
        "domain and instance; of the universe too much is left", "fault_softmax_twice", "softmax_twice",
        loss=_soft(lambda z, v, tau: _kl(_log(z, tau), _cool(v.softmax(-1), tau), tau)),
    ),
    Fault(
        "probabilities cached as logits", "the same, in a file", "the same, before any loss is called",
        "domain and instance; of the universe too much is left", "fault_softmax_twice", "not_logits",
        logits=lambda v: v.softmax(-1),
    ),
    Fault(
        "the teacher on both sides", "labml (issue 66)", "no distillation at all",
        "all three", "fault_detached", "soft_term_missing",
        loss=_soft(lambda z, v, tau: _kl(_log(v, tau), _cool(v, tau), tau)),
    ),
    Fault(
        "student and teacher exchanged", "keras-io (issue 257)", "the teacher is trained, by the student's answers",
        "all three", None, "arguments_swapped", loss=_exchanged,
    ),
    Fault(
        "outputs cached in another order", "haitongli (issue 9, pull requests 16, 17)",
        "the teacher is at chance; nothing complains",
        "domain and instance; of the universe too much is left", "shuffled_teacher", "misaligned", logits=_reordered,
    ),
    Fault(
        "classes off by one", "TensorFlow's ImageNet models (tensorflow/hub 574)",
        "1001 logits, of which the first is no class: every class is taken for its neighbour",
        "the label: its mass is the next class's, and so are domain and instance", "fault_class_offset", "misaligned",
        logits=lambda v: v.roll(1, -1),
    ),
    Fault(
        "τ on the student alone", "the formula of TinyBERT's paper (issue 11)",
        "none at τ = 1, which its authors used",
        "of all three what only a higher τ shows", "fault_student_cooled", "tau_on_student_only",
        loss=_soft(lambda z, v, tau: _kl(_log(z, tau), v.softmax(-1), tau)),
    ),
    Fault(
        "the teacher's class alone", "mixle (pull request 96)", "the mass on all other classes is thrown away",
        "universe and domain; of the instance, all but the teacher's errors", "fault_argmax", "teacher_argmax",
        loss=_soft(lambda z, v, tau: tau**2 * cross_entropy(z / tau, v.argmax(-1))),
    ),
    Fault(
        "no logarithm of the student's probabilities", "ProDA (issue 43)", "a mistake, its authors say",
        "the loss is no divergence", None, "log_missing",
        loss=_soft(lambda z, v, tau: _kl(_cool(z, tau), _cool(v, tau), tau)),
    ),
    Fault(
        "NLL of all pairs of rows and labels", "gnosis", "a test NLL of 6.35 reported where 0.43 is true",
        "nothing: a measure, right in training", None, "hard_all_pairs", loss=_all_pairs,
    ),
]  # fmt: skip


def table(
    teacher: Float[np.ndarray, "N C"], label: Int[np.ndarray, " N"], tau: float = 4.0, alpha: float = 0.9
) -> pd.DataFrame:
    """The catalogue, each fault planted now into a loss of C classes or into these logits, and what was found."""
    logits, labels = torch.as_tensor(teacher), torch.as_tensor(label)
    rows = []
    for fault in CATALOGUE:
        codes = fault.found(logits, labels, tau, alpha)
        rows.append(
            {"fault": fault.fault, "seen in": fault.seen, "consequence": fault.consequence, "takes": fault.takes,
             "condition": fault.condition, "tool": fault.tool, "finds": ", ".join(codes),
             "named": fault.code in codes}
        )  # fmt: skip
    return pd.DataFrame(rows)
