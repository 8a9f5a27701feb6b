"""What each row of logits shows at temperature 1: predicted class, confidence, how even the other classes are."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from kdstudy.diagnosis.inputs import LabelledLogits


@dataclass(frozen=True, eq=False)
class RowStatistics:
    """One value for each example.

    `mass` 1 - p_t; `log_odds` log(p_t / (1 - p_t)); `confidence` the largest probability; `spread` the standard
    deviation of the other classes' logits (0 where they are even).
    """

    predicted: Int[np.ndarray, " M"]
    mass: Float[np.ndarray, " M"]
    log_odds: Float[np.ndarray, " M"]
    confidence: Float[np.ndarray, " M"]
    spread: Float[np.ndarray, " M"]

    @property
    def nll(self) -> Float[np.ndarray, " M"]:
        """-log p_t = log(1 + exp(-log_odds))."""
        return np.logaddexp(0.0, -self.log_odds)


def row_statistics(logits: LabelledLogits) -> RowStatistics:
    """One pass over the logits."""
    n = len(logits.labels)
    predicted, (mass, log_odds, confidence, spread) = np.zeros(n, dtype=np.int64), np.zeros((4, n))
    for at, x, y in logits.chunks():
        largest, place = x.max(-1)
        predicted[at], confidence[at] = place.numpy(), (largest - x.logsumexp(-1)).exp().numpy()
        odds = log_odds_of(x, y)
        log_odds[at], mass[at] = odds.numpy(), torch.sigmoid(-odds).numpy()
        others = x - x.gather(-1, y[:, None])
        centre = others.sum(-1, keepdim=True) / (x.shape[-1] - 1)
        squares = ((others - centre) ** 2).scatter(-1, y[:, None], 0.0)
        spread[at] = squares.sum(-1).div(x.shape[-1] - 1).sqrt().numpy()
    return RowStatistics(predicted, mass, log_odds, confidence, spread)


def log_odds_of(x: Float[torch.Tensor, "n C"], label: Int[torch.Tensor, " n"]) -> Float[torch.Tensor, " n"]:
    """log(p_t / (1 - p_t)) = x_t - log sum_{k != t} exp(x_k), t the label: exact however sure the row is."""
    others = x.scatter(-1, label[:, None], -torch.inf).logsumexp(-1)
    return x.gather(-1, label[:, None]).squeeze(-1) - others
