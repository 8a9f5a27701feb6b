"""What each row of logits shows at temperature 1: guess, confidence, how even the other classes are."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.stats import norm

from kdstudy.signals_input import Table


@dataclass(frozen=True, eq=False)
class Rows:
    """One value for each example.

    `mass` 1 - p_t; `odds` log(p_t / (1 - p_t)); `top` the largest probability; `spread` the
    standard deviation of the other classes' logits (0 where they are even).
    """

    guess: Int[np.ndarray, " M"]
    mass: Float[np.ndarray, " M"]
    odds: Float[np.ndarray, " M"]
    top: Float[np.ndarray, " M"]
    spread: Float[np.ndarray, " M"]

    @property
    def nll(self) -> Float[np.ndarray, " M"]:
        """-log p_t = log(1 + exp(-odds))."""
        return np.logaddexp(0.0, -self.odds)


def rows(table: Table) -> Rows:
    """One pass over the logits."""
    n = len(table.labels)
    guess, out = np.zeros(n, dtype=np.int64), {k: np.zeros(n) for k in ("mass", "odds", "top", "spread")}
    for at, x, y in table.chunks():
        most, named = x.max(-1)
        guess[at], out["top"][at] = named.numpy(), (most - x.logsumexp(-1)).exp().numpy()
        own = x.gather(-1, y[:, None])
        others = x.scatter(-1, y[:, None], -torch.inf).logsumexp(-1)
        odds = own.squeeze(-1) - others
        out["odds"][at], out["mass"][at] = odds.numpy(), torch.sigmoid(-odds).numpy()
        centre = (x - own).sum(-1, keepdim=True) / (x.shape[-1] - 1)
        spread = ((x - own - centre) ** 2).scatter(-1, y[:, None], 0.0).sum(-1).div(x.shape[-1] - 1).sqrt()
        out["spread"][at] = spread.numpy()
    return Rows(guess, **out)


def apart(table: Table, guess: Int[np.ndarray, " M"]) -> float | None:
    """How far apart the predicted classes lie, beyond independent Gaussian logits: b - g - 1 / sqrt(M).

    b is the share of the logits' variance, each row less its mean, that the predicted class explains (adjusted for
    the means of K classes: 1 - (1 - share)(M - 1) / (M - K)); g = (E max)^2 C / (C - 1)^2 what it is for C independent
    Gaussian logits; 1 / sqrt(M) is about 3 standard errors of b there. None if all rows are equal, or M <= K.
    """
    classes, n = table.classes, len(guess)
    sums, square = torch.zeros(classes, classes, dtype=torch.float64), 0.0
    for at, x, _ in table.chunks():
        x = x - x.mean(-1, keepdim=True)
        square += float((x**2).sum())
        sums.index_add_(0, torch.from_numpy(guess[at]), x)
    counts = torch.bincount(torch.from_numpy(guess), minlength=classes).double()
    mean, named = sums.sum(0) / n, int((counts > 0).sum())
    total = square - n * float(mean @ mean)
    between = float((sums**2).sum(-1) @ (1 / counts.clamp(min=1))) - n * float(mean @ mean)
    if n <= named or total <= 1e-9 * max(square, 1e-300):
        return None
    return 1 - (1 - between / total) * (n - 1) / (n - named) - gaussian(classes) - n**-0.5


def gaussian(classes: int) -> float:
    """(E max)^2 C / (C - 1)^2 of C independent standard normal numbers; C = 2: 2 / pi."""
    z = np.linspace(-10, 10, 20_001)
    most = float(np.trapezoid(z * classes * norm.pdf(z) * norm.cdf(z) ** (classes - 1), z))
    return most**2 * classes / (classes - 1) ** 2
