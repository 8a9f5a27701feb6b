"""What each row of logits shows at temperature 1: guess, confidence, margins, how even the other classes are."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from kdstudy.signals_input import Table


@dataclass(frozen=True, eq=False)
class Rows:
    """One value for each example.

    `mass` 1 - p_t; `odds` log(p_t / (1 - p_t)); `top` the largest probability; `margin` the largest logit less the
    second; `uneven` = spread of the other classes' logits / (v_t - their mean), which no temperature changes; `nll`
    -log p_t, in nats.
    """

    guess: Int[np.ndarray, " M"]
    mass: Float[np.ndarray, " M"]
    odds: Float[np.ndarray, " M"]
    top: Float[np.ndarray, " M"]
    margin: Float[np.ndarray, " M"]
    uneven: Float[np.ndarray, " M"]

    @property
    def nll(self) -> Float[np.ndarray, " M"]:
        """-log p_t = log(1 + exp(-odds))."""
        return np.logaddexp(0.0, -self.odds)


def rows(table: Table) -> Rows:
    """One pass over the logits."""
    n = len(table.labels)
    guess, out = np.zeros(n, dtype=np.int64), {k: np.zeros(n) for k in ("mass", "odds", "top", "margin", "uneven")}
    for at, x, y in table.chunks():
        top = x.topk(2).values
        # argmax, as measures.accuracy has it: of equal logits the first
        guess[at], out["margin"][at] = x.argmax(-1).numpy(), (top[:, 0] - top[:, 1]).numpy()
        out["top"][at] = (top[:, 0] - x.logsumexp(-1)).exp().numpy()
        own = x.gather(-1, y[:, None])
        others = x.scatter(-1, y[:, None], -torch.inf).logsumexp(-1)
        odds = own.squeeze(-1) - others
        out["odds"][at], out["mass"][at] = odds.numpy(), torch.sigmoid(-odds).numpy()
        centre = (x - own).sum(-1, keepdim=True) / (x.shape[-1] - 1)
        spread = ((x - own - centre) ** 2).scatter(-1, y[:, None], 0.0).sum(-1).div(x.shape[-1] - 1).sqrt()
        out["uneven"][at] = (spread / (-centre.squeeze(-1)).clamp(min=1e-300)).clamp(max=1e30).numpy()
    return Rows(guess, **out)


def clusters(table: Table, guess: Int[np.ndarray, " M"]) -> float | None:
    """Share of the logits' variance, each row less its mean, that the predicted class explains.

    Independent Gaussian logits have a share that falls with C (C = 2: 2 / pi); None if all rows are equal.
    """
    classes, n = table.classes, len(guess)
    sums, square = torch.zeros(classes, classes, dtype=torch.float64), 0.0
    for at, x, _ in table.chunks():
        x = x - x.mean(-1, keepdim=True)
        square += float((x**2).sum())
        sums.index_add_(0, torch.from_numpy(guess[at]), x)
    counts = torch.bincount(torch.from_numpy(guess), minlength=classes).double()
    mean = sums.sum(0) / n
    total = square - n * float(mean @ mean)
    between = float((sums**2).sum(-1) @ (1 / counts.clamp(min=1))) - n * float(mean @ mean)
    return between / total if total > 1e-9 * max(square, 1e-300) else None
