"""Estimates that a verdict rests on: mean, interval, p and the smallest effect that the same data could have shown.

What varies is said for each: seeds; the test examples too, where it is known which were classified rightly; and the
search, where settings were chosen on tuning seeds that might have been others.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import stdtr, stdtrit

LEVEL, POWER = 0.95, 0.8


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error and `n` seeds: mean +- t quantile x error, of n - 1 degrees of freedom if no other
    `freedom` is said.
    """

    mean: float
    error: float
    n: int
    freedom: float | None = None

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}], n = {self.n}"

    @property
    def half(self) -> float:
        """Half the width of the interval; infinite for one seed."""
        return self._quantile((1 + LEVEL) / 2) * self.error if self.n > 1 else np.inf

    @property
    def low(self) -> float:
        """The lower limit."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """The upper limit."""
        return self.mean + self.half

    @property
    def detectable(self) -> float:
        """The smallest true effect whose interval would leave out 0 with probability 0.8:
        (t_{0.975} + t_{0.8}) x error. Cohen 1988.
        """
        return (self._quantile((1 + LEVEL) / 2) + self._quantile(POWER)) * self.error if self.n > 1 else np.inf

    def _quantile(self, at: float) -> float:
        return float(stdtrit(self._freedom, at))

    @property
    def _freedom(self) -> float:
        return max(1, self.n - 1) if self.freedom is None else self.freedom

    def p(self, of: float = 0.0) -> float:
        """Two-sided p of a t test of the mean `of`."""
        return min(1.0, 2 * self._tail(abs(self.mean - of)))

    def p_within(self, margin: float) -> float:
        """p of the two one-sided tests that the mean lies within +- margin, doubled: below 0.05 if and only if the
        interval does. Schuirmann 1987.
        """
        return min(1.0, 2 * max(self._tail(margin - self.mean), self._tail(margin + self.mean)))

    def _tail(self, distance: float) -> float:
        if self.n < 2:
            return 0.5
        if self.error == 0:
            return float(distance <= 0)
        return float(stdtr(self._freedom, -distance / self.error))


def over_seeds(values: Float[np.ndarray, " S"]) -> Estimate:
    """The estimate if nothing but the seed varies: error = s / sqrt(S). ValueError unless all values are finite."""
    x = _finite(values)
    return Estimate(float(x.mean()), float(x.std(ddof=1)) / len(x) ** 0.5 if len(x) > 1 and np.ptp(x) else 0.0, len(x))


def over_seeds_and_examples(values: Float[np.ndarray, "S N"]) -> Estimate:
    """The estimate if other seeds and other test examples might have been drawn: error^2 = V_s + V_n - V_sn.

    V_s = var(row means) / S, V_n = var(column means) / N, and V_sn = var(residuals) / (S N), of which both hold one.
    Owen 2007 (the pigeonhole bootstrap, in closed form).
    """
    x = _finite(values)
    (seeds, examples), rows, columns, mean = x.shape, x.mean(1), x.mean(0), float(x.mean())
    if seeds < 2 or examples < 2:
        return over_seeds(rows)
    rest = x - rows[:, None] - columns + mean
    shared = float((rest**2).sum()) / ((seeds - 1) * (examples - 1)) / (seeds * examples)
    parts = float(rows.var(ddof=1)) / seeds, float(columns.var(ddof=1)) / examples
    return Estimate(mean, max(sum(parts) - shared, *parts) ** 0.5, seeds)


def with_search(
    estimate: Estimate,
    instead: Mapping[tuple[int, ...], Float[np.ndarray, " few"]],
    probability: Mapping[tuple[int, ...], float],
) -> Estimate:
    """The estimate of what the protocol finds whichever settings its tuning seeds choose: error^2 and the variance of
    the search.

    `instead` is how far, on each of a few seeds, the effect would have been from this one, had each resample of the T
    tuning seeds chosen the settings. Its variance over resamples is the mean of its covariances between different
    seeds, to which what varies with the seed adds nothing; a bootstrap's is too small by (T - 1) / T, for which it is
    made up. Two sides chose by T seeds each: degrees of freedom by Satterthwaite 1946, 2 (T - 1) of the search.
    """
    tuning, few = len(next(iter(instead), ())), len(next(iter(instead.values()), ()))
    if tuning < 2 or few < 2 or estimate.n < 2:
        return estimate
    weight, shift = np.array([probability[c] for c in instead]), np.stack(list(instead.values()))
    shift = shift - weight @ shift
    pairs = weight @ shift.sum(1) ** 2 - weight @ (shift**2).sum(1)
    own, spread = estimate.error**2, max(0.0, float(pairs)) / (few * (few - 1)) * tuning / (tuning - 1)
    if spread == 0:
        return estimate
    freedom = (own + spread) ** 2 / (own**2 / (estimate.n - 1) + spread**2 / (2 * (tuning - 1)))
    return Estimate(estimate.mean, (own + spread) ** 0.5, estimate.n, freedom)


def expected_best(
    chosen_by: Float[np.ndarray, " settings"], shown: Float[np.ndarray, " settings"]
) -> Float[np.ndarray, " settings"]:
    """E[shown of the best by `chosen_by` among b settings drawn without replacement], for b = 1, ..., S.

    The r-th best of all (r = 0, 1, ...) is the best of b with probability C(S - 1 - r, b - 1) / C(S, b).
    Dodge et al. 2019.
    """
    ranked = np.asarray(shown, float)[np.argsort(-np.asarray(chosen_by, float), kind="stable")]
    settings = len(ranked)
    out, chance = np.empty(settings), np.full(settings, 1 / settings)
    for budget in range(1, settings + 1):
        out[budget - 1] = chance @ ranked
        left = settings - np.arange(settings) - budget  # C(n, b) / C(n, b - 1) = (n - b + 1) / b, for both parts
        chance = chance * left.clip(min=0) / budget * (budget + 1) / max(settings - budget, 1)
    return out


def _finite(values: Float[np.ndarray, "S *N"]) -> Float[np.ndarray, "S *N"]:
    x = np.asarray(values, float)
    if x.size == 0 or not np.isfinite(x).all():
        raise ValueError(
            f"an estimate needs finite values, found {x.size}, of which {int(np.isfinite(x).sum())} finite"
        )
    return x
