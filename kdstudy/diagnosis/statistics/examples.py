"""The instance level, without training: what each example shows, how it is weighed, whether mass follows difficulty."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import stats as scipy_stats

from kdstudy.diagnosis.inputs import Inputs, LabelledLogits, common_rows

ALPHA = 0.9  # weight of the distillation term in the weights that are stated
QUANTILES = (0.05, 0.5, 0.95)

Masses = Float[np.ndarray, " M"]


@dataclass(frozen=True, eq=False)
class RowStatistics:
    """One value for each example.

    `mass` 1 - p_t; `log_odds` log(p_t / (1 - p_t)); `confidence` the largest probability; `spread` the standard
    deviation of the other classes' logits (0 where they are even); `rank` the number of logits above the label's.
    """

    predicted: Int[np.ndarray, " M"]
    mass: Masses
    log_odds: Float[np.ndarray, " M"]
    confidence: Float[np.ndarray, " M"]
    spread: Float[np.ndarray, " M"]
    rank: Int[np.ndarray, " M"]

    @property
    def nll(self) -> Float[np.ndarray, " M"]:
        """-log p_t = log(1 + exp(-log_odds))."""
        return np.logaddexp(0.0, -self.log_odds)


def row_statistics(logits: LabelledLogits) -> RowStatistics:
    """One pass over the logits."""
    n = len(logits.labels)
    (predicted, rank), (mass, log_odds, confidence, spread) = np.zeros((2, n), dtype=np.int64), np.zeros((4, n))
    for at, x, y in logits.chunks():
        largest, place = x.max(-1)
        predicted[at], confidence[at] = place.numpy(), (largest - x.logsumexp(-1)).exp().numpy()
        odds = log_odds_of(x, y)
        log_odds[at], mass[at] = odds.numpy(), torch.sigmoid(-odds).numpy()
        others = x - x.gather(-1, y[:, None])
        rank[at] = (others > 0).sum(-1).numpy()
        centre = others.sum(-1, keepdim=True) / (x.shape[-1] - 1)
        squares = ((others - centre) ** 2).scatter(-1, y[:, None], 0.0)
        spread[at] = squares.sum(-1).div(x.shape[-1] - 1).sqrt().numpy()
    return RowStatistics(predicted, mass, log_odds, confidence, spread, rank)


def log_odds_of(x: Float[torch.Tensor, "n C"], label: Int[torch.Tensor, " n"]) -> Float[torch.Tensor, " n"]:
    """log(p_t / (1 - p_t)) = x_t - log sum_{k != t} exp(x_k), t the label: exact however sure the row is."""
    others = x.scatter(-1, label[:, None], -torch.inf).logsumexp(-1)
    return x.gather(-1, label[:, None]).squeeze(-1) - others


# ---------------------------------------------------------------- weights


def weights_at_start(mass: Masses, tau: float, classes: int) -> Masses:
    """w of a student that knows nothing, q = 1 / C: w0 = (1 - alpha) + alpha tau (1 - m / (1 - 1 / C)).

    It is `loss.rescaling` at equal student logits. Tang et al. 2020.
    """
    return 1 - ALPHA + ALPHA * tau * (1 - mass / (1 - 1 / classes))


def weights_of_student(mass: Masses, tau: float, log_odds: np.ndarray, softened: np.ndarray) -> Masses:
    """w = (1 - alpha) + alpha tau (r^tau - m) / r, r = 1 - q_t from the student's log-odds at 1 and (softened) at tau.

    The log of r is bounded at the smallest normal number, where the ratio would not be finite.
    """
    r = np.maximum(np.exp(-np.logaddexp(0.0, log_odds)), 1e-300)
    extra = np.exp(-np.logaddexp(0.0, softened)) - mass
    return 1 - ALPHA + ALPHA * tau * np.where(extra == 0, 0.0, extra / r)


def summary(w: Masses) -> dict[str, float | None]:
    """Mean, quantiles, share below 0, and effective fraction (sum w)^2 / (N sum w^2), in (0, 1]."""
    largest = np.abs(w).max()
    unit = w / largest if largest > 0 else w
    square = (unit**2).sum()
    low, middle, high = np.quantile(w, QUANTILES)
    return {
        "mean": float(w.mean()),
        "low": float(low),
        "median": float(middle),
        "high": float(high),
        "negative": float((w < 0).mean()),
        "effective": float(unit.sum() ** 2 / (len(w) * square)) if square > 0 else None,
    }


def student_summary(inputs: Inputs, mass: Masses, tau: float) -> dict[str, float | None] | None:
    """`summary` of the student's own w over the examples that it and the teacher share; None without a student."""
    if inputs.student is None:
        return None
    at, its = common_rows(inputs.teacher, inputs.student)
    if not len(at):
        return None
    return summary(weights_of_student(mass[at], tau, *(_log_odds(inputs.student, t)[its] for t in (1.0, tau))))


def _log_odds(logits: LabelledLogits, tau: float) -> np.ndarray:
    out = np.zeros(len(logits.labels))
    for at, x, y in logits.chunks():
        out[at] = log_odds_of(x / tau, y).numpy()
    return out


def difficulty(inputs: Inputs, masses: Sequence[Masses]) -> dict[str, object]:
    """Spearman's correlation of the teacher's masses, at each temperature, with difficulty; what that is; why there
    is none.

    Difficulty is the student's miss 1 - q_t on the same examples; else, class by class, the teacher's own mean mass
    on held-out examples.
    """  # fmt: skip
    teacher, student, heldout = inputs.teacher, inputs.student, inputs.heldout
    if student is not None:
        at, its = common_rows(teacher, student)
        miss = row_statistics(student).mass[its]
        return _ranked([mass[at] for mass in masses], miss, "the student's 1 - q_t, by example")
    if heldout is not None and len(heldout.labels):
        out = _class_means(heldout, row_statistics(heldout).mass)
        means = [_class_means(teacher, mass) for mass in masses]
        both = np.isfinite(out) & (np.bincount(teacher.labels, minlength=teacher.classes) > 0)
        return _ranked([m[both] for m in means], out[both], "the teacher's held-out 1 - p_t, by class")
    reason = "needs student_logits, or heldout_teacher_logits and their labels"
    return {"rank": [None] * len(masses), "with": None, "reason": reason}


def _class_means(logits: LabelledLogits, mass: Masses) -> np.ndarray:
    counts = np.bincount(logits.labels, minlength=logits.classes)
    sums = np.bincount(logits.labels, mass, minlength=logits.classes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _ranked(masses: Sequence[np.ndarray], hard: np.ndarray, what: str) -> dict[str, object]:
    few = len(hard) < 3 or np.ptp(hard) == 0
    ranks = [None if few or np.ptp(m) == 0 else float(scipy_stats.spearmanr(m, hard).statistic) for m in masses]
    reason = f"fewer than 3 values, or all equal ({len(hard)} values)" if None in ranks else None
    return {"rank": ranks, "with": what, "reason": reason}
