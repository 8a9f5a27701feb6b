"""Do logits and labels belong together, row by row and class by class? What would restore the pairing?"""

import numpy as np
import torch
from jaxtyping import Int
from scipy.optimize import linear_sum_assignment
from scipy.stats import norm

from kdstudy.diagnosis.inputs import LabelledLogits

DRAWS = 4  # of random phases, whose correlation over all shifts is averaged
NULLS = 3  # assignments of shuffled labels, against which the best assignment is held
HIGH = 6.0  # standard errors above chance that not even the best of a million shifts reaches by chance

Classes = Int[np.ndarray, " M"]


def agreement(predicted: Classes, label: Classes, classes: int) -> dict[str, float | None]:
    """Agreement of predictions with labels, against what their class counts alone would give.

    chance = sum_c h_c g_c with h and g the frequencies of class c among labels and predictions;
    kappa = (accuracy - chance) / (1 - chance) (Cohen 1960); z = (accuracy - chance) over the standard error of
    chance, of which `chance_high` lies 6 above it; histogram = sum_c |h_c - g_c| / 2.
    With one class among both there is no telling: kappa and z are None.
    """
    h, g = (np.bincount(v, minlength=classes) / len(label) for v in (label, predicted))
    accuracy, chance = float((predicted == label).mean()), float(h @ g)
    error = (chance * (1 - chance) / len(label)) ** 0.5
    if 0 < chance < 1 - 1e-12:
        kappa, z = (accuracy - chance) / (1 - chance), (accuracy - chance) / error
    else:
        kappa, z = 0.0 if chance < 0.5 else None, None
    return {
        "accuracy": accuracy,
        "chance": chance,
        "kappa": kappa,
        "z": z,
        "histogram": float(np.abs(h - g).sum() / 2),
        "chance_high": chance + HIGH * error,
    }


def repairs(predicted: Classes, label: Classes, classes: int) -> dict[str, object]:
    """Accuracy with rows shifted by the best k, rows reversed, classes renamed; and the same of shuffled labels."""
    by, shifted = best_shift(predicted, label, classes)
    renamed, null, renaming = best_renaming(predicted, label, classes)
    return {
        "shift": by,
        "shifted_accuracy": shifted,
        "reversed_accuracy": float((predicted[::-1] == label).mean()),
        "renamed_accuracy": renamed,
        "renamed_null": null,
        "renaming": renaming,
    }


def best_shift(predicted: Classes, label: Classes, classes: int) -> tuple[int, float]:
    """The shift k != 0 for which prediction i + k agrees with label i most often, and how often (rows wrap around).

    Every class gets a random unit phase; by the Fourier transform the sum of phase differences, whose expectation is
    the number of agreements, is had for all shifts at once. The three best are then counted.
    """
    n, rng, total = len(label), np.random.default_rng(0), 0.0
    if n < 2:
        return 0, 0.0
    for _ in range(DRAWS):
        phase = np.exp(2j * np.pi * rng.random(classes))
        total = total + np.fft.ifft(np.fft.fft(phase[predicted]) * np.fft.fft(phase[label]).conj()).real
    total[0] = -np.inf
    best = np.argpartition(total, -min(3, n - 1))[-min(3, n - 1) :]
    hits = {int(k): float((np.roll(predicted, -k) == label).mean()) for k in best}
    k = max(hits, key=hits.get)
    return (k if k <= n // 2 else k - n), hits[k]


def best_renaming(predicted: Classes, label: Classes, classes: int) -> tuple[float, float, list[int]]:
    """Accuracy after the best renaming of the predicted classes, the same for shuffled labels, and the renaming.

    The renaming is an assignment of classes (Kuhn 1955); for shuffled labels the largest of three draws.
    """
    rng = np.random.default_rng([classes, len(label), 1])  # no seed that somebody shuffles with
    best, renaming = _assigned(predicted, label, classes)
    null = max(_assigned(predicted, rng.permutation(label), classes)[0] for _ in range(NULLS))
    return best, null, renaming


def _assigned(predicted: np.ndarray, label: np.ndarray, classes: int) -> tuple[float, list[int]]:
    counts = np.bincount(predicted * classes + label, minlength=classes**2).reshape(classes, classes)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return float(counts[rows, columns].sum() / len(label)), columns.tolist()


def separation(logits: LabelledLogits, predicted: Classes) -> float | None:
    """How far apart the predicted classes lie, beyond independent Gaussian logits: b - g - 1 / sqrt(M).

    b is the share of the logits' variance, each row minus its mean, that the predicted class explains (adjusted for
    the means of K classes: 1 - (1 - share)(M - 1) / (M - K)); g = (E max)^2 C / (C - 1)^2 what it is for C independent
    Gaussian logits; 1 / sqrt(M) is about 3 standard errors of b there. None if all rows are equal, or M <= K.
    """
    classes, n = logits.classes, len(predicted)
    sums, square = torch.zeros(classes, classes, dtype=torch.float64), 0.0
    for at, x, _ in logits.chunks():
        x = x - x.mean(-1, keepdim=True)
        square += float((x**2).sum())
        sums.index_add_(0, torch.from_numpy(predicted[at]), x)
    counts = torch.bincount(torch.from_numpy(predicted), minlength=classes).double()
    mean, named = sums.sum(0) / n, int((counts > 0).sum())
    total = square - n * float(mean @ mean)
    between = float((sums**2).sum(-1) @ (1 / counts.clamp(min=1))) - n * float(mean @ mean)
    if n <= named or total <= 1e-9 * max(square, 1e-300):
        return None
    return 1 - (1 - between / total) * (n - 1) / (n - named) - gaussian_separation(classes) - n**-0.5


def gaussian_separation(classes: int) -> float:
    """(E max)^2 C / (C - 1)^2 of C independent standard normal numbers; C = 2: 2 / pi."""
    z = np.linspace(-10, 10, 20_001)
    most = float(np.trapezoid(z * classes * norm.pdf(z) * norm.cdf(z) ** (classes - 1), z))
    return most**2 * classes / (classes - 1) ** 2
