"""Data sets as published results know them: labels, classes and sizes, but no features, so that no file is needed.

A study's runs are named, its beds described and its claims judged from outlines; who trains loads the data themselves.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from kdstudy.core import paths
from kdstudy.core.spec import Data, pairs
from kdstudy.data import registry
from kdstudy.data.dataset import TRANSFORMS, Dataset, split_from
from kdstudy.store.published import Published, checked

FILE = "outlines.npz"
PARTS = ("label", "features", "difficulty")
EMBEDDED = ("digits", "synthetic")  # which need no file


def outline(data: Data) -> Dataset:
    """`registry.load(data)` whose features have a shape and no values, if its outline is published; else that itself.

    Outlines are looked for beside the results that are read, then beside those that the package comes with.

    Of an outline only train has examples; extra["train"]["difficulty"] is what `study.difficulty` says of them.
    """
    places = (paths.results_folder(), paths.published("data/results"))
    path = next((p for p in (place / FILE for place in places) if p.exists()), places[0] / FILE)
    return _outline(data, path, checked(path) if path.exists() else ())


@lru_cache(maxsize=512)
def _outline(data: Data, path: Path, state: tuple[int, ...]) -> Dataset:
    own, given = registry.options(data.name), dict(data.options)
    if not state or own.keys() & given.keys() or f"{data.name}.label" not in _held(path, state):
        return registry.load(data)
    registry.check(data)
    if asked := [t for t in TRANSFORMS if t in given]:
        value = given.pop(asked[-1])
        return TRANSFORMS[asked[-1]](_outline(Data(data.name, pairs(given)), path, state), value)
    label, shape, hard = (_held(path, state)[f"{data.name}.{part}"] for part in PARTS)
    y, known = torch.from_numpy(label).long(), Published(path.parent).classes()[data.name]
    train, none = (split_from(torch.empty(len(t), *shape.tolist(), device="meta"), t) for t in (y, y[:0]))
    groups = None if known.superclass is None else torch.tensor(known.superclass)
    extra = {"train": {"difficulty": torch.from_numpy(hard)}}
    return Dataset(data.name, train, none, none, known.names, "", groups, known.superclasses, extra)


@lru_cache(maxsize=4)
def _held(path: Path, state: tuple[int, ...]) -> Mapping[str, np.ndarray]:
    with np.load(path) as held:
        return {name: held[name] for name in held}


def publish(difficulty: Mapping[str, np.ndarray], published: Published) -> None:
    """Write the outlines of data sets that need files, by name with the difficulty of their training examples."""
    held = {}
    for name, hard in difficulty.items():
        data = registry.load(Data(name))
        label, shape = data.train.y.numpy(), np.array(data.train.x.shape[1:])
        small = label.astype(np.min_scalar_type(len(data.classes)))
        held |= {f"{name}.{part}": array for part, array in zip(PARTS, (small, shape, hard.astype(np.float32)))}

    def write(part: Path) -> None:
        with part.open("wb") as file:
            np.savez_compressed(file, **held)

    published.replace({FILE: write})
