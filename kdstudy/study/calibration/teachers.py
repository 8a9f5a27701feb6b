"""Teachers of known kind, on which the rules of a diagnosis are calibrated.

A kind is a way to train a teacher, or something done to the logits of a healthy one. Data sets vary in what they are
of, in classes, examples, similarity of classes, softness, noise and imbalance of labels.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from kdstudy.core.registry import Registry
from kdstudy.core.spec import Data, Recipe, Run, pairs
from kdstudy.distill import conditions

SATURATED = (2, 5, 20, 100)  # synthetic tasks, by seed, with a teacher trained eight times as long
NOISE = 0.4  # of the labels, which a memorising teacher learns by heart
EPSILONS = (0.05, 0.1, 0.2)
EXPECTED = {  # the code that a kind must have; a kind that is not named has none. Corruptions add theirs.
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

Corruption = Callable[[Logits, Labels, np.random.Generator], np.ndarray]
CORRUPTIONS: Registry[Corruption] = Registry("corruption")


def corruption(code: str) -> Callable[[Corruption], Corruption]:
    """Register a way to spoil logits; its name is the kind, `code` the finding that must name it."""

    def register(fn: Corruption) -> Corruption:
        EXPECTED[fn.__name__] = code
        return CORRUPTIONS.register(fn)

    return register


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


@corruption("no_class_structure")
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
