"""Slow, obvious twins of the statistics: one example, class, block or shift at a time; and a teacher to try them on."""

import numpy as np
import torch

from kdstudy.distill import levels


def teacher(examples: int = 240, classes: int = 6, seed: int = 0, scale: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a teacher that knows its labels, and that neighbouring classes are alike."""
    rng = np.random.default_rng(seed)
    y = rng.integers(classes, size=examples)
    near = -np.minimum(abs(y[:, None] - np.arange(classes)), 3.0)
    return scale * (near + 0.4 * rng.standard_normal((examples, classes))), y


def shares(v: np.ndarray, y: np.ndarray, tau: float) -> dict[str, float]:
    """Levels of softmax(v / tau) by `shapes.level_split`, each over their sum."""
    x = torch.tensor(v, dtype=torch.float64)
    pieces = levels.level_split((x / tau).softmax(-1), torch.tensor(y))
    return {level: value / sum(pieces.values()) for level, value in pieces.items()}


def jackknife(v: np.ndarray, y: np.ndarray, tau: float, block: np.ndarray, level: str) -> float:
    """Standard error of a share from leaving each block out in turn."""
    each = np.array([shares(v[block != g], y[block != g], tau)[level] for g in np.unique(block)])
    return float(np.sqrt((len(each) - 1) * np.mean((each - each.mean()) ** 2)))


def best_shift(predicted: np.ndarray, label: np.ndarray) -> tuple[int, float]:
    """The shift other than 0 with the most agreements, found by trying all."""
    hits = [float((np.roll(predicted, -k) == label).mean()) for k in range(1, len(label))]
    k = int(np.argmax(hits)) + 1
    return (k if k <= len(label) // 2 else k - len(label)), max(hits)


def explained(v: np.ndarray, y: np.ndarray) -> float:
    """Share of the variation of the other classes' logits, standardised by row, that the class explains."""
    n, classes = v.shape
    z, mean, present = np.full((n, classes), np.nan), np.full((classes, classes), np.nan), np.unique(y)
    for i in range(n):
        others = [k for k in range(classes) if k != y[i]]
        z[i, others] = (v[i, others] - v[i, others].mean()) / v[i, others].std()
    pairs = [(t, k) for t in present for k in range(classes) if k != t]
    for t, k in pairs:
        mean[t, k] = z[y == t, k].mean()
    between = 0.0
    for t, k in pairs:
        column = np.mean([mean[s, k] for s in present if s != k])
        between += (y == t).sum() * (mean[t, k] - column) ** 2
    return between / np.nansum(z**2)


def rows(v: np.ndarray, y: np.ndarray) -> dict[str, list[float]]:
    """Mass, log-odds, largest probability and spread of the others of each example."""
    out = {k: [] for k in ("mass", "log_odds", "confidence", "spread")}
    for x, t in zip(v.astype(float), y):
        p = np.exp(x) / np.exp(x).sum()
        rest = np.delete(p, t).sum()
        for k, value in zip(out, (rest, np.log(p[t] / rest), p.max(), np.delete(x, t).std())):
            out[k].append(value)
    return out


def separation(v: np.ndarray, predicted: np.ndarray) -> float:
    """Adjusted share of the variance of centred logits that the predicted class explains."""
    z = v - v.mean(1, keepdims=True)
    total = ((z - z.mean(0)) ** 2).sum()
    within = sum(((z[predicted == c] - z[predicted == c].mean(0)) ** 2).sum() for c in np.unique(predicted))
    n, named = len(v), len(np.unique(predicted))
    return 1 - within / total * (n - 1) / (n - named)
