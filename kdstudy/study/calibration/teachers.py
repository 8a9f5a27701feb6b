"""Teachers of known kind, on which the rules of a diagnosis are calibrated.

A kind is a way to train a teacher, or something done to the logits of a healthy one. Data sets vary in what they are
of, in classes, examples, similarity of classes, softness, noise and imbalance of labels.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdstudy.core.registry import Registry
from kdstudy.core.spec import Data, Recipe, Run, pairs
from kdstudy.distill import conditions

SATURATED = (2, 5, 20, 100)  # synthetic tasks, by seed, with a teacher trained eight times as long
NOISE = 0.4  # of the labels, which a memorising teacher learns by heart
EPSILONS = (0.05, 0.1, 0.2)
EXPECTED = {  # the code that a kind must have; a kind that is not named is healthy. Corruptions add theirs.
    "smoothed": "smoothed_teacher",
    "saturated": "saturated_teacher",
    "memorised": "train_memorised",
    "weak": "weak_teacher",
    "random": "weak_teacher",
    "outdone": "student_beats_teacher",
}
RECIPES = {
    "digits": Recipe((256,), 30, batch=64),
    "fashion_mnist": Recipe((128,), 20),
    "clinc150": Recipe((256,), 25),
    "synthetic": Recipe((256,), 40),
}
Logits = Float[np.ndarray, "N C"]
Labels = Int[np.ndarray, " N"]


@dataclass(frozen=True)
class Case:
    """A teacher and what is wrong with it; `detail` is the smoothing of one that is smoothed."""

    kind: str
    run: Run
    detail: float | None = None


def data() -> list[Data]:
    """The data sets, each with its own options."""
    out = [Data("digits", pairs(o)) for o in ({}, {"merge": 5}, {"merge": 2})]
    out += [Data("digits", pairs(o)) for o in ({"seed": 1, "noise": 0.1}, {"seed": 2, "imbalance": 10.0})]
    out += [Data("fashion_mnist", pairs({"train": 2000} | m)) for m in ({}, {"merge": 5}, {"merge": 2})]
    out += [Data("clinc150", pairs({"variant": "small"} | m)) for m in ({}, {"merge": 75}, {"merge": 10})]
    sizes = {"train": 2000, "validation": 1000, "test": 100}
    for c in (2, 3, 5, 10, 20, 50, 100):
        groups = max(1, c // 4)
        law = {"classes": c, "superclasses": groups, "features": max(16, c + groups), "sines": 1, "seed": c}
        out.append(Data("synthetic", pairs(sizes | law)))
    soft = {"classes": 10, "superclasses": 2, "features": 24, "train": 1000, "sines": 1, "softness": 0.2}
    plain = {"classes": 20, "superclasses": 4, "features": 32, "sines": 0, "similarity": 0.0}
    return [*out, *(Data("synthetic", pairs(sizes | law)) for law in (soft, plain))]


def cases() -> list[Case]:
    """Every kind of trained teacher on every data set."""
    return [case for d in data() for case in _on(d, RECIPES[d.name])]


def _on(data: Data, recipe: Recipe) -> Iterator[Case]:
    """Healthy: seeds, half as long, with weight decay. Smoothed: by epsilon, and twice as long. The others once."""
    hard = conditions.make("hard")
    long = replace(recipe, epochs=2 * recipe.epochs)
    half = replace(recipe, epochs=max(8, recipe.epochs // 2))
    for seed, r in enumerate((recipe, recipe, half, replace(recipe, weight_decay=1e-3))):
        yield Case("healthy", Run(data, r, hard, seed))
    for epsilon in EPSILONS:
        yield Case("smoothed", Run(data, recipe, conditions.make("label_smoothing", epsilon=epsilon), 4), epsilon)
    yield Case("smoothed", Run(data, long, conditions.make("label_smoothing", epsilon=0.1), 5), 0.1)
    if len(data.options) < 2 or dict(data.options).get("seed") in SATURATED:
        yield Case("saturated", Run(data, replace(recipe, epochs=8 * recipe.epochs, lr=0.2), hard, 6))
    yield Case("weak", Run(data, replace(recipe, hidden=(2,), epochs=2), hard, 7))
    yield Case("weak", Run(data, replace(recipe, epochs=1, lr=0.001), hard, 8))
    yield Case("random", Run(data, replace(recipe, epochs=0), hard, 9))
    noisy = data if "noise" in dict(data.options) else replace(data, options=(*data.options, ("noise", NOISE)))
    yield Case("memorised", Run(noisy, long, hard, 10))


# ---------------------------------------------------------------- what is done to a healthy teacher's logits

Spoilt = np.ndarray | Tensor | tuple[np.ndarray, np.ndarray]
Corruption = Callable[[Logits, Labels, np.random.Generator], Spoilt]
CORRUPTIONS: Registry[Corruption] = Registry("corruption")


def corruption(code: str, classes: int = 2) -> Callable[[Corruption], Corruption]:
    """Register a way to spoil logits of at least so many classes, and labels; its name is the kind, `code` the finding
    that must name it, or "healthy".
    """  # fmt: skip

    def register(fn: Corruption) -> Corruption:
        EXPECTED[fn.__name__] = code
        return CORRUPTIONS.register(fn, classes=classes)

    return register


def spoilt(kind: str, v: Logits, y: Labels, rng: np.random.Generator) -> tuple[np.ndarray | Tensor, np.ndarray]:
    """Logits and labels after a corruption."""
    after = CORRUPTIONS[kind](v, y, rng)
    return after if isinstance(after, tuple) else (after, y)


@corruption("misaligned")
def shuffled(v: Logits, y: Labels, rng: np.random.Generator) -> Logits:
    """Rows in a random order."""
    return v[rng.permutation(len(v))]


@corruption("misaligned")
def shifted(v: Logits, y: Labels, rng: np.random.Generator) -> Logits:
    """Rows shifted by up to a hundred."""
    return np.roll(v, int(rng.integers(1, 100)), 0)


@corruption("misaligned")
def backwards(v: Logits, y: Labels, rng: np.random.Generator) -> Logits:
    """Rows in reverse order."""
    return v[::-1].copy()


@corruption("misaligned")
def renamed(v: Logits, y: Labels, rng: np.random.Generator) -> Logits:
    """Classes in another order: every one moved by one place."""
    return np.roll(v, 1, 1)


@corruption("no_class_structure", classes=3)
def structureless(v: Logits, y: Labels, rng: np.random.Generator) -> Logits:
    """The other classes' logits permuted in each row."""
    j, out = np.arange(v.shape[1] - 1), v.copy()
    others = j + (j >= y[:, None])
    np.put_along_axis(out, others, np.take_along_axis(v, rng.permuted(others, axis=1), 1), 1)
    return out


@corruption("weak_teacher")
def gaussian(v: Logits, y: Labels, rng: np.random.Generator) -> Logits:
    """Independent Gaussian logits of a random scale from 0.1 to 10."""
    return rng.standard_normal(v.shape) * 10 ** rng.uniform(-1, 1)


@corruption("not_logits")
def probabilities(v: Logits, y: Labels, rng: np.random.Generator) -> Logits:
    """softmax(v)."""
    p = np.exp(v - v.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


@corruption("not_logits")
def log_probabilities(v: Logits, y: Labels, rng: np.random.Generator) -> Logits:
    """log softmax(v)."""
    v = v - v.max(1, keepdims=True)
    return v - np.log(np.exp(v).sum(1, keepdims=True))


@corruption("non_finite")
def overflow(v: Logits, y: Labels, rng: np.random.Generator) -> np.ndarray:
    """Half precision of logits so large that a tenth of the rows overflow."""
    scale = 65504 / np.quantile(np.abs(v).max(1), 0.9)
    with np.errstate(over="ignore"):
        return (v * scale).astype(np.float16)


@corruption("constant_rows")
def unfilled(v: Logits, y: Labels, rng: np.random.Generator) -> Logits:
    """The last tenth of the rows 0, as in a buffer that was not filled."""
    out = v.copy()
    out[-(len(v) // 10) :] = 0
    return out


@corruption("zero_rows")
def zeroed(v: Logits, y: Labels, rng: np.random.Generator) -> Logits:
    """One row 0."""
    out = v.copy()
    out[rng.integers(len(v))] = 0
    return out


@corruption("truncated_top_k", classes=10)
def top_k(v: Logits, y: Labels, rng: np.random.Generator) -> np.ndarray:
    """Of each row the k largest, from 2 to half of them; 0, -100, -inf or the least of what is kept for the rest."""
    k = int(rng.integers(2, v.shape[1] // 2 + 1))
    top = np.argsort(-v, 1)[:, :k]
    kept = np.take_along_axis(v, top, 1)
    fill = rng.choice([0, -100, -np.inf, np.nan])
    out = np.repeat(kept[:, -1:] if np.isnan(fill) else np.full_like(kept[:, :1], fill), v.shape[1], 1)
    np.put_along_axis(out, top, kept, 1)
    return out


@corruption("already_softened")
def softened(v: Logits, y: Labels, rng: np.random.Generator) -> Logits:
    """Divided by a temperature that leaves the label half of the mass, or less, on the rows that are right."""
    right = v.argmax(1) == y
    for tau in 2.0 ** np.arange(1, 9):
        p = np.exp((v - v.max(1, keepdims=True)) / tau)
        if (1 / p.sum(1))[right].mean() < 0.4 + 0.4 / v.shape[1]:
            break
    return v / tau


@corruption("collapsed_predictions", classes=5)
def collapsed(v: Logits, y: Labels, rng: np.random.Generator) -> Logits:
    """One class or two of the labels' commoner half far above all others, as in train mode or of wrong inputs."""
    out = 0.5 * v
    out[:, rng.choice(v.shape[1], int(rng.integers(1, 3)), replace=False)] += np.ptp(out, axis=1).max()
    return out


@corruption("repeated_rows")
def repeated(v: Logits, y: Labels, rng: np.random.Generator) -> Logits:
    """A batch of 32 rows in place of another, as in a buffer that is written twice."""
    out, (one, two) = v.copy(), 32 * rng.choice(len(v) // 32, 2, replace=False)
    out[one : one + 32] = v[two : two + 32]
    return out


@corruption("partly_misaligned")
def part_reordered(v: Logits, y: Labels, rng: np.random.Generator) -> Logits:
    """A tenth of the rows, in one piece, in another order."""
    out, size = v.copy(), len(v) // 10
    start = int(rng.integers(len(v) - size))
    out[start : start + size] = v[start + rng.permutation(size)]
    return out


@corruption("partly_misaligned", classes=5)
def scattered(v: Logits, y: Labels, rng: np.random.Generator) -> Logits:
    """Half of the rows, here and there, in another order."""
    out, at = v.copy(), np.flatnonzero(rng.random(len(v)) < 0.5)
    out[at] = v[rng.permutation(at)]
    return out


@corruption("classes_exchanged", classes=10)
def exchanged(v: Logits, y: Labels, rng: np.random.Generator) -> Logits:
    """Two of the labels' ten commonest classes in each other's place."""
    out, pair = v.copy(), rng.choice(np.argsort(-np.bincount(y))[:10], 2, replace=False)
    out[:, pair] = v[:, pair[::-1]]
    return out


@corruption("token_shift")
def next_token(v: Logits, y: Labels, rng: np.random.Generator) -> Logits:
    """Rows shifted by one, either way."""
    return np.roll(v, int(rng.choice([-1, 1])), 0)


@corruption("padding_as_rows", classes=5)
def padded(v: Logits, y: Labels, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """After every 20 rows, 20 on average of the commonest label."""
    pads, at = np.flatnonzero(y == np.bincount(y).argmax()), np.arange(len(y))
    order = [row for i in at[::20] for row in (*at[i : i + 20], *rng.choice(pads, rng.integers(10, 31)))]
    return v[order], y[order]


@corruption("healthy")
def rounded(v: Logits, y: Labels, rng: np.random.Generator) -> Tensor:
    """Rounded to bfloat16."""
    return torch.tensor(v).bfloat16()


@corruption("healthy")
def noisy_labels(v: Logits, y: Labels, rng: np.random.Generator) -> tuple[Logits, Labels]:
    """From 5 to 25 % of the labels drawn anew, as annotators' errors are."""
    anew = rng.random(len(y)) < rng.uniform(0.05, 0.25)
    return v, np.where(anew, rng.permutation(y), y)
