"""Data sets as published results know them: labels, classes and sizes, but no features, so that no file is needed.

A study's runs are named, its beds described and its claims judged from outlines; who trains loads the data themselves.
"""

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from kdstudy.core import paths
from kdstudy.core.spec import Data, pairs
from kdstudy.data import registry
from kdstudy.data.dataset import TRANSFORMS, Dataset, split_from
from kdstudy.store.published import Published

FILE = "outlines.npz"
EMBEDDED = ("digits", "synthetic")  # which need no file


def outline(data: Data) -> Dataset:
    """`registry.load(data)` whose features have a shape and no values, if its outline is published; else that itself.

    Of an outline only train has examples; extra["train"]["difficulty"] is what `study.difficulty` says of them.
    """
    path = paths.results_folder() / FILE
    return _outline(data, path, path.stat().st_mtime_ns if path.exists() else 0)


@lru_cache(maxsize=512)
def _outline(data: Data, path: Path, state: int) -> Dataset:
    own, given = registry.options(data.name), dict(data.options)
    if not state or own.keys() & given.keys() or f"{data.name}.label" not in _held(path, state):
        return registry.load(data)
    registry.check(data)
    if asked := [t for t in TRANSFORMS if t in given]:
        value = given.pop(asked[-1])
        return TRANSFORMS[asked[-1]](_outline(Data(data.name, pairs(given)), path, state), value)
    held, known = _held(path, state), Published(path.parent).classes()[data.name]
    label, shape = torch.from_numpy(held[f"{data.name}.label"]).long(), held[f"{data.name}.features"].tolist()
    none = split_from(torch.empty(0, *shape, device="meta"), label[:0])
    groups = None if known.superclass is None else torch.tensor(known.superclass)
    train = split_from(torch.empty(len(label), *shape, device="meta"), label)
    extra = {"train": {"difficulty": torch.from_numpy(held[f"{data.name}.difficulty"])}}
    return Dataset(data.name, train, none, none, known.names, "", groups, known.superclasses, extra)


@lru_cache(maxsize=4)
def _held(path: Path, state: int) -> Mapping[str, np.ndarray]:
    with np.load(path) as held:
        return {name: held[name] for name in held}


def publish(difficulty: Mapping[str, np.ndarray], published: Published) -> Path:
    """Write the outlines of data sets that need files, by name with the difficulty of their training examples."""
    path, held = published.folder / FILE, {}
    for name, hard in difficulty.items():
        data = registry.load(Data(name))
        small = np.min_scalar_type(len(data.classes))
        held[f"{name}.label"] = data.train.y.numpy().astype(small)
        held[f"{name}.features"] = np.array(data.train.x.shape[1:])
        held[f"{name}.difficulty"] = hard.astype(np.float32)
    part = path.with_name(f"{FILE}.part")
    with part.open("wb") as file:
        np.savez_compressed(file, **held)
    os.replace(part, path)
    return path
