"""Silent bugs of public distillation code: where each was seen, which condition plants it, and what finds it.

A bug in the loss is planted as a loss for `check_loss`, one in the teacher's outputs as logits for `diagnose`.
`planted` runs both, so what it says is found was found.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdstudy.core.findings import Report
from kdstudy.core.random import generator
from kdstudy.diagnosis import diagnose
from kdstudy.losscheck import check_loss
from kdstudy.losscheck.variants import Form, KDLoss, Loss, weightings


@dataclass(frozen=True)
class Bug:
    """A bug: where it was seen, what it did there, what of the three levels it takes, its condition, what finds it.

    `takes` follows from the formula of its targets, not from runs. `condition` trains students with it, if it can be
    trained. `finding` is the name it is found by: by `check_loss` of `loss(right)`, `right` the loss as it is meant,
    or by `diagnose` of `logits(v)`.
    """

    name: str
    seen: str
    consequence: str
    takes: str
    condition: str | None
    finding: str
    loss: Callable[[KDLoss], Loss] | None = None
    logits: Callable[[Tensor], Tensor] | None = None

    @property
    def tool(self) -> str:
        """The function that finds it."""
        return "check_loss" if self.loss else "diagnose"

    def report(self, teacher: object, label: object, tau: float, alpha: float) -> Report:
        """What its tool finds, run now on the bug planted into a loss of C classes or into these logits (N, C)."""
        teacher = torch.as_tensor(teacher)
        if self.loss:
            right = KDLoss(teacher.shape[-1], tau, alpha)
            return check_loss(self.loss(right), right.classes, tau=tau, alpha=alpha)
        return diagnose(self.logits(teacher), label, tau=tau)


def _form(**changes: str) -> Callable[[KDLoss], Loss]:
    """The loss as it is meant but for fields of its `Form`."""
    return lambda right: right.variant(Form(**changes), right.weights)


def _weights(code: str) -> Callable[[KDLoss], Loss]:
    """The loss as it is meant but for that fault of the soft part's weight."""
    faulty = [(code, "soft")]
    return lambda right: right.variant(
        Form(), next(w for w in weightings(right) if [(fault.code, fault.part) for fault in w.faults] == faulty)
    )


def _reordered(teacher: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
    return teacher[torch.randperm(len(teacher), generator=generator(0, "catalogue"))]


KNOWN_BUGS = [
    Bug(
        "mean over batch and classes", "Tf-KD (issues 5, 41); DeiT (61)",
        "a nominal 19 : 1 of KD to cross-entropy is 0.19 : 1 on 100 classes",
        "the weight of all three: 1 / C of it is left", "fault_class_mean", "averaged_over_classes",
        loss=_weights("averaged_over_classes"),
    ),
    Bug(
        "τ² left out", "IntelLabs distiller (issue 122)", "the soft part fades as τ grows",
        "the weight of all three: 1 / τ² of it is left", "fault_no_tau2", "tau_squared_missing",
        loss=_weights("tau_squared_missing"),
    ),
    Bug(
        "softmax of probabilities", "Tf-KD_reg",
        "a virtual teacher of 99 % gives the label 0.0105 at τ = 20, where uniform is 0.0100",
        "domain and instance; of the universe too much is left", "fault_softmax_twice", "softmax_twice",
        loss=_form(teacher="probabilities, softened"),
    ),
    Bug(
        "probabilities cached as logits", "the same, in a file", "the same, before any loss is called",
        "domain and instance; of the universe too much is left", "fault_softmax_twice", "not_logits",
        logits=lambda v: v.softmax(-1),
    ),
    Bug(
        "the teacher on both sides", "labml (issue 66)", "no distillation at all",
        "all three", "fault_detached", "soft_term_missing",
        loss=_weights("soft_term_missing"),
    ),
    Bug(
        "student and teacher exchanged", "keras-io (issue 257)", "the teacher is trained, by the student's answers",
        "all three", None, "arguments_swapped", loss=lambda right: lambda z, v, y: right(v, z, y),
    ),
    Bug(
        "outputs cached in another order", "haitongli (issue 9, pull requests 16, 17)",
        "the teacher is at chance; nothing complains",
        "domain and instance; of the universe too much is left", "shuffled_teacher", "misaligned", logits=_reordered,
    ),
    Bug(
        "classes off by one", "TensorFlow's ImageNet models (tensorflow/hub 574)",
        "1001 logits, of which the first is no class: every class is taken for its neighbour",
        "the label: its mass is the next class's, and so are domain and instance", "fault_class_offset", "misaligned",
        logits=lambda v: v.roll(1, -1),
    ),
    Bug(
        "τ on the student alone", "the formula of TinyBERT's paper (issue 11)",
        "none at τ = 1, which its authors used",
        "of all three what only a higher τ shows", "fault_student_cooled", "tau_on_student_only",
        loss=_form(teacher="raw"),
    ),
    Bug(
        "the teacher's class alone", "mixle (pull request 96)", "the mass on all other classes is thrown away",
        "universe and domain; of the instance, all but the teacher's errors", "fault_argmax", "teacher_argmax",
        loss=_form(soft="argmax"),
    ),
    Bug(
        "no logarithm of the student's probabilities", "ProDA (issue 43)", "a mistake, its authors say",
        "the loss is no divergence", None, "log_missing",
        loss=_form(soft="no log"),
    ),
    Bug(
        "NLL of all pairs of rows and labels", "gnosis", "a test NLL of 6.35 reported where 0.43 is true",
        "nothing: a measure, right in training", None, "hard_all_pairs", loss=_form(hard="all pairs"),
    ),
]  # fmt: skip


def planted(
    teacher: Float[np.ndarray, "N C"], label: Int[np.ndarray, " N"], tau: float = 4.0, alpha: float = 0.9
) -> pd.DataFrame:
    """All bugs, each planted now into a loss of C classes or into these logits, and what was found."""
    rows = []
    for bug in KNOWN_BUGS:
        codes = bug.report(teacher, label, tau, alpha).codes
        rows.append(
            {"fault": bug.name, "seen in": bug.seen, "consequence": bug.consequence, "takes": bug.takes,
             "condition": bug.condition, "tool": bug.tool, "finds": ", ".join(codes), "named": bug.finding in codes}
        )  # fmt: skip
    return pd.DataFrame(rows)
