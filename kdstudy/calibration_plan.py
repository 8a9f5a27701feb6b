"""Teachers of known kind, on which the rules of a diagnosis are calibrated.

A kind is a way to train a teacher, or something done to the logits of a healthy one. Data sets vary in what they are
of, in classes, examples, similarity of classes, softness, noise and imbalance of labels.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from kdstudy import targets
from kdstudy.spec import Data, Recipe, Run, pairs

SATURATED = (2, 5, 20, 100)  # synthetic tasks, by seed, with a teacher trained eight times as long
NOISE = 0.4  # of the labels, which a memorising teacher learns by heart
EPSILONS = (0.05, 0.1, 0.2)
RECIPES = {
    "digits": Recipe((256,), 30, batch=64),
    "fashion_mnist": Recipe((128,), 20),
    "clinc150": Recipe((256,), 25),
    "synthetic": Recipe((256,), 40),
}
Array = Float[np.ndarray, "N C"]
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
    hard = targets.make("hard")
    long = replace(recipe, epochs=2 * recipe.epochs)
    half = replace(recipe, epochs=max(8, recipe.epochs // 2))
    for seed, r in enumerate((recipe, recipe, half, replace(recipe, weight_decay=1e-3))):
        yield Case("healthy", Run(data, r, hard, seed))
    for epsilon in EPSILONS:
        yield Case("smoothed", Run(data, recipe, targets.make("label_smoothing", epsilon=epsilon), 4), epsilon)
    yield Case("smoothed", Run(data, long, targets.make("label_smoothing", epsilon=0.1), 5), 0.1)
    if len(data.options) < 2 or dict(data.options).get("seed") in SATURATED:
        yield Case("saturated", Run(data, replace(recipe, epochs=8 * recipe.epochs, lr=0.2), hard, 6))
    yield Case("weak", Run(data, replace(recipe, hidden=(2,), epochs=2), hard, 7))
    yield Case("weak", Run(data, replace(recipe, epochs=1, lr=0.001), hard, 8))
    yield Case("random", Run(data, replace(recipe, epochs=0), hard, 9))
    noisy = data if "noise" in dict(data.options) else replace(data, options=(*data.options, ("noise", NOISE)))
    yield Case("memorised", Run(noisy, long, hard, 10))


# ---------------------------------------------------------------- what is done to a healthy teacher's logits

Spoil = Callable[[Array, Labels, np.random.Generator], np.ndarray]
SPOILT: dict[str, Spoil] = {}


def spoil(fn: Spoil) -> Spoil:
    """Register a way to spoil logits; its name is the kind."""
    SPOILT[fn.__name__] = fn
    return fn


@spoil
def shuffled(v: Array, y: Labels, rng: np.random.Generator) -> Array:
    """Rows in a random order."""
    return v[rng.permutation(len(v))]


@spoil
def shifted(v: Array, y: Labels, rng: np.random.Generator) -> Array:
    """Rows shifted by up to a hundred."""
    return np.roll(v, int(rng.integers(1, 100)), 0)


@spoil
def backwards(v: Array, y: Labels, rng: np.random.Generator) -> Array:
    """Rows in reverse order."""
    return v[::-1].copy()


@spoil
def renamed(v: Array, y: Labels, rng: np.random.Generator) -> Array:
    """Classes in another order: every one moved by one place."""
    return np.roll(v, 1, 1)


@spoil
def structureless(v: Array, y: Labels, rng: np.random.Generator) -> Array:
    """The other classes' logits permuted in each row."""
    others = np.arange(v.shape[1] - 1) + (np.arange(v.shape[1] - 1) >= y[:, None])
    out = v.copy()
    moved = np.take_along_axis(v, rng.permuted(others, axis=1), 1)
    np.put_along_axis(out, others, moved, 1)
    return out


@spoil
def gaussian(v: Array, y: Labels, rng: np.random.Generator) -> Array:
    """Independent Gaussian logits of a random scale from 0.1 to 10."""
    return rng.standard_normal(v.shape) * 10 ** rng.uniform(-1, 1)


@spoil
def probabilities(v: Array, y: Labels, rng: np.random.Generator) -> Array:
    """softmax(v)."""
    p = np.exp(v - v.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


@spoil
def log_probabilities(v: Array, y: Labels, rng: np.random.Generator) -> Array:
    """log softmax(v)."""
    v = v - v.max(1, keepdims=True)
    return v - np.log(np.exp(v).sum(1, keepdims=True))


@spoil
def overflow(v: Array, y: Labels, rng: np.random.Generator) -> np.ndarray:
    """Half precision of logits so large that a tenth of the rows overflow."""
    scale = 65504 / np.quantile(np.abs(v).max(1), 0.9)
    with np.errstate(over="ignore"):
        return (v * scale).astype(np.float16)


@spoil
def unfilled(v: Array, y: Labels, rng: np.random.Generator) -> Array:
    """The last tenth of the rows 0, as in a buffer that was not filled."""
    out = v.copy()
    out[-(len(v) // 10) :] = 0
    return out
