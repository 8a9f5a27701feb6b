"""Do logits and labels belong together, row by row and class by class? What would restore the pairing?"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from scipy.optimize import linear_sum_assignment

DRAWS = 4  # of random phases, whose correlation over all shifts is averaged
NULLS = 3  # assignments of shuffled labels, against which the best assignment is held


@dataclass(frozen=True)
class Pairing:
    """Agreement of predictions with labels, against what their class counts alone would give.

    chance = sum_c h_c g_c with h and g the frequencies of class c among labels and predictions;
    kappa = (accuracy - chance) / (1 - chance) (Cohen 1960); histogram = sum_c |h_c - g_c| / 2.
    With one class among both there is no telling: kappa and z are None.
    """

    accuracy: float
    chance: float
    kappa: float | None
    z: float | None
    histogram: float


def pairing(guess: Int[np.ndarray, " M"], label: Int[np.ndarray, " M"], classes: int) -> Pairing:
    """How well predictions and labels agree, and by how many standard errors of chance that is above it."""
    h, g = (np.bincount(v, minlength=classes) / len(label) for v in (label, guess))
    accuracy, chance = float((guess == label).mean()), float(h @ g)
    histogram = float(np.abs(h - g).sum() / 2)
    if not 0 < chance < 1 - 1e-12:
        return Pairing(accuracy, chance, 0.0 if chance < 0.5 else None, None, histogram)
    error = np.sqrt(chance * (1 - chance) / len(label))
    return Pairing(accuracy, chance, (accuracy - chance) / (1 - chance), float((accuracy - chance) / error), histogram)


def shift(guess: Int[np.ndarray, " M"], label: Int[np.ndarray, " M"], classes: int) -> tuple[int, float]:
    """The shift k != 0 for which prediction i + k agrees with label i most often, and how often (rows wrap around).

    Every class gets a random unit phase; by the Fourier transform the sum of phase differences, whose expectation is
    the number of agreements, is had for all shifts at once. The three best are then counted.
    """
    n, rng, total = len(label), np.random.default_rng(0), 0.0
    if n < 2:
        return 0, 0.0
    for _ in range(DRAWS):
        phase = np.exp(2j * np.pi * rng.random(classes))
        total = total + np.fft.ifft(np.fft.fft(phase[guess]) * np.fft.fft(phase[label]).conj()).real
    total[0] = -np.inf
    best = np.argpartition(total, -min(3, n - 1))[-min(3, n - 1) :]
    hits = {int(k): float((np.roll(guess, -k) == label).mean()) for k in best}
    k = max(hits, key=hits.get)
    return (k if k <= n // 2 else k - n), hits[k]


def reassigned(
    guess: Int[np.ndarray, " M"], label: Int[np.ndarray, " M"], classes: int
) -> tuple[float, float, list[int]]:
    """Accuracy after the best renaming of the predicted classes, the same for shuffled labels, and the renaming.

    The renaming is an assignment of classes (Kuhn 1955); for shuffled labels the largest of three draws.
    """
    rng = np.random.default_rng([classes, len(label), 1])  # no seed that somebody shuffles with
    best, to = _assigned(guess, label, classes)
    null = max(_assigned(guess, rng.permutation(label), classes)[0] for _ in range(NULLS))
    return best, null, to


def _assigned(guess: np.ndarray, label: np.ndarray, classes: int) -> tuple[float, list[int]]:
    counts = np.bincount(guess * classes + label, minlength=classes**2).reshape(classes, classes)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return float(counts[rows, columns].sum() / len(label)), columns.tolist()


def repairs(guess: Int[np.ndarray, " M"], label: Int[np.ndarray, " M"], classes: int) -> dict[str, object]:
    """Accuracy with rows shifted by the best k, rows reversed, classes renamed; and the same of shuffled labels."""
    by, shifted = shift(guess, label, classes)
    renamed, null, to = reassigned(guess, label, classes)
    return {
        "shift": by,
        "shifted_accuracy": shifted,
        "reversed_accuracy": float((guess[::-1] == label).mean()),
        "renamed_accuracy": renamed,
        "renamed_null": null,
        "renaming": to,
    }
