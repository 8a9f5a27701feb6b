"""How a teacher's masses weigh examples, and whether they follow difficulty: the instance level, without training."""

import numpy as np
from jaxtyping import Float
from scipy import stats as scipy_stats

from kdstudy import signals_rows
from kdstudy.signals import Signals
from kdstudy.signals_input import Table

ALPHA = 0.9  # weight of the distillation term in the weights that are stated
QUANTILES = (0.05, 0.5, 0.95)


def at_start(mass: Float[np.ndarray, " M"], tau: float, classes: int) -> Float[np.ndarray, " M"]:
    """w of a student that knows nothing, q = 1 / C: w0 = (1 - alpha) + alpha tau (1 - m / (1 - 1 / C)).

    It is `objective.rescaling` at equal student logits. Tang et al. 2020.
    """
    return 1 - ALPHA + ALPHA * tau * (1 - mass / (1 - 1 / classes))


def actual(mass: Float[np.ndarray, " M"], tau: float, odds: np.ndarray, cool: np.ndarray) -> Float[np.ndarray, " M"]:
    """w = (1 - alpha) + alpha tau (r^tau - m) / r, r = 1 - q_t from the student's log-odds at 1 and at tau.

    The log of r is bounded at the smallest normal number, where the ratio would not be finite.
    """
    r = np.maximum(np.exp(-np.logaddexp(0.0, odds)), 1e-300)
    extra = np.exp(-np.logaddexp(0.0, cool)) - mass
    return 1 - ALPHA + ALPHA * tau * np.where(extra == 0, 0.0, extra / r)


def spread(w: Float[np.ndarray, " M"]) -> dict[str, float | None]:
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


def student_weights(signals: Signals, mass: np.ndarray, tau: float) -> dict[str, float | None] | None:
    """`spread` of the actual w over the examples that student and teacher share; None without a student."""
    table = signals.given.student
    if table is None:
        return None
    at, mine = _shared(table, signals.given.teacher)
    if not len(at):
        return None
    odds, cool = (_odds(table, t)[mine] for t in (1.0, tau))
    return spread(actual(mass[at], tau, odds, cool))


def _odds(table: Table, tau: float) -> np.ndarray:
    out = np.zeros(len(table.labels))
    for at, x, y in table.chunks():
        x = x / tau
        own = x.gather(-1, y[:, None]).squeeze(-1)
        out[at] = (own - x.scatter(-1, y[:, None], -np.inf).logsumexp(-1)).numpy()
    return out


def _shared(one: Table, two: Table) -> tuple[np.ndarray, np.ndarray]:
    """Places in two and in one of the examples whose rows are finite in both."""
    _, mine, at = np.intersect1d(one.rows, two.rows, assume_unique=True, return_indices=True)
    return at, mine


def difficulty(signals: Signals, mass: np.ndarray) -> dict[str, object]:
    """Spearman's correlation of the teacher's masses with difficulty, what that is, and why there is none.

    Difficulty is the student's miss 1 - q_t on the same examples; else, class by class, the teacher's own mean mass
    on held-out examples.
    """
    given = signals.given
    if given.student is not None:
        at, mine = _shared(given.student, given.teacher)
        return _ranked(mass[at], _miss(given.student)[mine], "the student's 1 - q_t, by example")
    if given.heldout is not None and len(given.heldout.labels):
        train, out = given.teacher, given.heldout
        means = [_by_class(t, m) for t, m in ((train, mass), (out, signals_rows.rows(out).mass))]
        both = np.isfinite(means[0]) & np.isfinite(means[1])
        return _ranked(means[0][both], means[1][both], "the teacher's held-out 1 - p_t, by class")
    return {"rank": None, "with": None, "reason": "needs student_logits, or heldout_teacher_logits and their labels"}


def _miss(table: Table) -> np.ndarray:
    return signals_rows.rows(table).mass


def _by_class(table: Table, mass: np.ndarray) -> np.ndarray:
    counts = np.bincount(table.labels, minlength=table.classes)
    sums = np.bincount(table.labels, mass, minlength=table.classes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _ranked(a: np.ndarray, b: np.ndarray, what: str) -> dict[str, object]:
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return {"rank": None, "with": what, "reason": f"fewer than 3 values, or all equal ({len(a)} values)"}
    return {"rank": float(scipy_stats.spearmanr(a, b).statistic), "with": what, "reason": None}
