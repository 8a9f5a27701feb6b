"""Slow, obvious twins of the signals: one example, class, block or shift at a time."""

import numpy as np
import torch

from kdstudy import shapes


def shares(v: np.ndarray, y: np.ndarray, tau: float) -> dict[str, float]:
    """Levels of softmax(v / tau) by `shapes.level_split`, each over their sum."""
    x = torch.tensor(v, dtype=torch.float64)
    pieces = shapes.level_split((x / tau).softmax(-1), torch.tensor(y))
    return {level: value / sum(pieces.values()) for level, value in pieces.items()}


def jackknife(v: np.ndarray, y: np.ndarray, tau: float, block: np.ndarray, level: str) -> float:
    """Standard error of a share from leaving each block out in turn."""
    each = np.array([shares(v[block != g], y[block != g], tau)[level] for g in np.unique(block)])
    return float(np.sqrt((len(each) - 1) * np.mean((each - each.mean()) ** 2)))


def best_shift(guess: np.ndarray, label: np.ndarray) -> tuple[int, float]:
    """The shift other than 0 with the most agreements, found by trying all."""
    hits = [float((np.roll(guess, -k) == label).mean()) for k in range(1, len(label))]
    k = int(np.argmax(hits)) + 1
    return (k if k <= len(label) // 2 else k - len(label)), max(hits)


def explained(v: np.ndarray, y: np.ndarray) -> float:
    """Share of the variation of the other classes' logits, standardised by row, that the class explains."""
    n, classes = v.shape
    z = np.full((n, classes), np.nan)
    for i in range(n):
        others = [k for k in range(classes) if k != y[i]]
        z[i, others] = (v[i, others] - v[i, others].mean()) / v[i, others].std()
    present = np.unique(y)
    mean = np.full((classes, classes), np.nan)
    for t in present:
        for k in range(classes):
            if k != t:
                mean[t, k] = z[y == t, k].mean()
    between = 0.0
    for t in present:
        for k in range(classes):
            if k != t:
                column = np.mean([mean[s, k] for s in present if s != k])
                between += (y == t).sum() * (mean[t, k] - column) ** 2
    return between / np.nansum(z**2)


def rows(v: np.ndarray, y: np.ndarray) -> dict[str, list[float]]:
    """Mass, log-odds, largest probability and spread of the others of each example."""
    out = {k: [] for k in ("mass", "odds", "top", "spread")}
    for x, t in zip(v.astype(float), y):
        p = np.exp(x) / np.exp(x).sum()
        others = np.delete(x, t)
        out["mass"].append(np.delete(p, t).sum())
        out["odds"].append(np.log(p[t] / np.delete(p, t).sum()))
        out["top"].append(p.max())
        out["spread"].append(others.std())
    return out


def apart(v: np.ndarray, guess: np.ndarray) -> float:
    """Adjusted share of the variance of centred logits that the predicted class explains."""
    z = v - v.mean(1, keepdims=True)
    total = ((z - z.mean(0)) ** 2).sum()
    within = sum(((z[guess == c] - z[guess == c].mean(0)) ** 2).sum() for c in np.unique(guess))
    n, named = len(v), len(np.unique(guess))
    return 1 - within / total * (n - 1) / (n - named)
