"""How hard a training example is, said by nobody who has seen it: neither its student nor any teacher.

Where the law of the data is known, it is the true margin of the label, negated. Elsewhere it is the leave-one-out miss
of ridge regression on all the data that the teacher was given, which needs no training: with the hat matrix
H = X (X'X + lambda I)^-1 X' and one-hot labels Y, example i is predicted without itself by (H Y - h Y)_i / (1 - h_i),
h its diagonal. Allen 1974.
"""

from functools import cache

import numpy as np
from jaxtyping import Float, Int

from kdstudy.core.spec import Data
from kdstudy.data import registry, transforms
from kdstudy.data.dataset import Dataset
from kdstudy.engine import teachers
from kdstudy.engine.outline import outline
from kdstudy.train import probe

RIDGES = tuple(10.0**k for k in range(-4, 3))  # lambda, times the mean eigenvalue of X'X


def left_out(x: Float[np.ndarray, "N D"], label: Int[np.ndarray, " N"], classes: int) -> Float[np.ndarray, "N C"]:
    """Ridge regression's prediction of each example without it, at the lambda of least squared error (PRESS)."""
    x, y = x - x.mean(0), np.eye(classes)[label]
    y = y - y.mean(0)
    values, vectors = np.linalg.eigh(x.T @ x)
    turned, best = x @ vectors, (np.inf, y)
    for ridge in np.array(RIDGES) * values.mean():
        scaled = turned / (values + ridge)
        h = (scaled * turned).sum(1)[:, None]
        without = (scaled @ (turned.T @ y) - h * y) / (1 - h)
        best = min(best, (float(((y - without) ** 2).sum()), without), key=lambda pair: pair[0])
    return best[1]


def margin(scores: Float[np.ndarray, "N C"], label: Int[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """The label's score minus the largest other."""
    other = scores.copy()
    own = other[np.arange(len(label)), label]
    other[np.arange(len(label)), label] = -np.inf
    return own - other.max(1)


@cache
def of_data(data: Data) -> Float[np.ndarray, " N"]:
    """The difficulty of every training example of a data set: as it is published, else computed."""
    known = {} if data.options else outline(data).extra.get("train", {})
    return known["difficulty"].double().numpy() if "difficulty" in known else computed(registry.load(data))


def computed(found: Dataset) -> Float[np.ndarray, " N"]:
    """The difficulty of every training example of a data set that is loaded."""
    label, known = found.train.y.numpy(), found.extra.get("train", {})
    if "posterior" not in known:
        return -margin(left_out(found.train.x.flatten(1).double().numpy(), label, len(found.classes)), label)
    with np.errstate(divide="ignore"):
        true = margin(np.log(known["posterior"].double().numpy()), label)
    return np.where(np.isfinite(true), -true, -known["margin"].numpy())  # of a law that is certain: of its scores


@cache
def watched(seen: Data) -> Float[np.ndarray, " probe"]:
    """The difficulty of the examples that are watched in runs on a data set (`probe`), whatever they see of it."""
    data = teachers.unrestricted(seen)
    every = of_data(data)
    if (few := dict(seen.options).get("labels")) is not None:
        every = every[transforms.drawn(outline(data).train.y, *transforms.few_labels("labels", few)).numpy()]
    return every[probe.probe_examples(len(every)).numpy()]
