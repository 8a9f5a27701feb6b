"""What a data set is, and where data sets and transforms are registered.

@DATASETS.register(grouped=True)          # its classes have super-classes: known without loading it
def mine(*, size: int = 32) -> Parts: ...  # keyword-only arguments are its options

@TRANSFORMS.register
def noise(data, fraction): ...             # any data set then has an option of that name
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from jaxtyping import Float, Int
from torch import Tensor

from kdstudy.core.registry import Registry

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """Examples and their labels."""

    x: Float[Tensor, "N D"]
    y: Int[Tensor, " N"]


@dataclass(frozen=True, eq=False)
class Images(Split):
    """Images and their labels."""

    x: Float[Tensor, "N channels height width"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three splits, the names of the C classes, and their super-classes where the source has any.

    `digest` (16 hex digits) identifies what the tensors were made from: checked files and options, or
    the tensors themselves. `extra` maps a split's name to more tensors of its examples.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    digest: str
    superclass: Int[Tensor, " C"] | None = None
    superclasses: tuple[str, ...] = ()
    extra: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)


Parts = dict[str, object]  # Dataset's fields by name, a split as (x, y); "source" if not the splits are hashed
OWN = ", or a path to your own (a .csv file of texts, a folder of images)"
DATASETS: Registry[Callable[..., Parts]] = Registry("data set", OWN)
dataset = DATASETS.register
TRANSFORMS: Registry[Callable[..., "Dataset"]] = Registry("transform")  # (data set, value) -> data set, in this order


def split_from(x: Tensor, y: Tensor) -> Split:
    """A split of features, or of images."""
    return (Images if x.ndim == 4 else Split)(x, y)


def digest_of(*parts: object) -> str:
    """16 hex digits of the sha256 of tensors (their bytes) and of anything JSON can write."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part.numpy().tobytes() if isinstance(part, Tensor) else json.dumps(part, sort_keys=True).encode())
    return sha.hexdigest()[:16]
