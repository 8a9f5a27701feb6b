"""A named data set as tensors: checked by digest, split the same way every time, standardised.

`load(Data(name, options))` is the one call. Files are looked for in $KDSTUDY_DATA, then in
data/downloads, and are downloaded there if they are in neither (data/README.md).
"""

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdstudy import clinc150 as clinc
from kdstudy import images, own_data, pictures, treatments
from kdstudy.core.paths import cache_folder
from kdstudy.core.random import generator
from kdstudy.core.registry import Registry, unknown
from kdstudy.downloads import fetch
from kdstudy.spec import Data, pairs, require
from kdstudy.synthetic import synthetic

SPLITS = ("train", "validation", "test")
FOLDS = 5
OWN = ", or a path to your own (a .csv file of texts, a folder of images)"


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
DATASETS: Registry[Callable[..., Parts]] = Registry("data set", OWN)


def dataset(fn: Callable[..., Parts] | None = None, *, grouped: bool = False) -> Callable[..., object]:
    """Register `fn` under its own name; its keyword-only arguments are the data set's options.

    `@dataset(grouped=True)` says that its classes have super-classes, so that it need not be loaded to know.
    """
    if fn is None:
        return partial(dataset, grouped=grouped)
    fn.grouped = grouped
    return DATASETS.register(fn)


def names() -> list[str]:
    """Every data set there is."""
    return list(DATASETS)


def is_own(name: str) -> bool:
    """Whether a name is a path to a user's own data; the name of a data set never is."""
    return name not in DATASETS and own_data.is_path(name)


def maker(name: str) -> Callable[..., Parts]:
    """The function that makes a data set; ValueError with the names there are if it is none, nor a path."""
    return partial(own_data.parts, name) if is_own(name) else DATASETS[name]


def options(name: str) -> dict[str, object]:
    """Names and defaults of a data set's options."""
    return {p.name: p.default for p in inspect.signature(maker(name)).parameters.values()}


def check(data: Data) -> None:
    """ValueError unless the data set and all its options are known; values are checked by `load`."""
    known = dict.fromkeys([*options(data.name), *TREATMENTS])
    for key, _ in data.options:
        if key not in known:
            raise unknown(f"data set {data.name!r} has no option {key!r}; it has", key, known)


def variant(name: str, **given: object) -> Data:
    """A data set with those options that differ from its defaults."""
    own = options(name)
    return Data(name, pairs({k: v for k, v in given.items() if k not in own or v != own[k]}))


def named(name: str | Data) -> Data:
    """The data set of that name, checked; of a path, the data that are there now, by their fingerprint."""
    if not isinstance(name, Data) and is_own(name):
        path = Path(name).expanduser().absolute()
        name = Data(str(path), pairs({"sha256": own_data.fingerprint(str(path))}))
    data = name if isinstance(name, Data) else Data(name)
    check(data)
    return data


def grouped(data: Data) -> bool:
    """Whether the classes have super-classes; a user's own data are read to know."""
    if is_own(data.name) or "merge" in dict(data.options):
        return load(data).superclass is not None
    return getattr(maker(data.name), "grouped", False)


@lru_cache(maxsize=6)
def load(data: Data) -> Dataset:
    """The data set that `data` names; the last six are kept in memory.

    Options that are none of the set's own are treatments, which every data set can have: `merge`, `imbalance` and
    `noise`, `fold` and `crossfit`, done in this order. ValueError for an unknown name, option or value; DataError
    for files that are absent or altered.
    """
    check(data)
    given = dict(data.options)
    if asked := [t for t in TREATMENTS if t in given and t not in options(data.name)]:
        value = given.pop(asked[-1])
        return TREATMENTS[asked[-1]](load(Data(data.name, pairs(given))), value)
    parts = maker(data.name)(**given)
    splits = {s: _split(*parts.pop(s)) for s in SPLITS}
    source = parts.pop("source", [t for s in splits.values() for t in (s.x, s.y)])
    return Dataset(data.label, **splits, digest=_digest(*source), **parts)


def _split(x: Tensor, y: Tensor) -> Split:
    return (Images if x.ndim == 4 else Split)(x, y)


def fold_of(examples: int) -> Int[Tensor, " N"]:
    """The fold of each training example, at random once and for all, all folds equally large to one."""
    place = torch.randperm(examples, generator=generator(0, "fold"))
    return place % FOLDS


def without(data: Dataset, fold: int) -> Dataset:
    """Training on all folds but one, validated on that one."""
    require(isinstance(fold, int) and 0 <= fold < FOLDS, "fold", fold, f"a whole number from 0 to {FOLDS - 1}")
    out = fold_of(len(data.train.y)) == fold
    left, rest = chosen(data, out), chosen(data, ~out)
    extra = {**data.extra, "train": rest.extra.get("train", {}), "validation": left.extra.get("train", {})}
    digest = _digest(data.digest, fold)
    return replace(data, train=rest.train, validation=left.train, digest=digest, extra=extra)


def crossfit(data: Dataset, fold: int) -> Dataset:
    """`without` a fold, the data set's own validation split kept behind it: what a teacher of that fold must see."""
    part = without(data, fold)
    both = zip((part.validation.x, part.validation.y), (data.validation.x, data.validation.y))
    validation = _split(*map(torch.cat, both))
    extra = {k: v for k, v in part.extra.items() if k != "validation"}
    return replace(part, validation=validation, digest=_digest(part.digest, "crossfit"), extra=extra)


def chosen(data: Dataset, at: Tensor) -> Dataset:
    """The data set with these training examples alone."""
    inside = {k: v[at] for k, v in data.extra.get("train", {}).items()}
    extra = {**data.extra, **({"train": inside} if inside else {})}
    return replace(data, train=_split(data.train.x[at], data.train.y[at]), extra=extra)


def imbalance(data: Dataset, ratio: float) -> Dataset:
    """Training examples of class c thinned to a fraction between 1 and 1 / ratio (`treatments.thinned`)."""
    kept = treatments.thinned(data.train.y, len(data.classes), ratio)
    return replace(chosen(data, kept), digest=_digest(data.digest, "imbalance", ratio))


def noise(data: Dataset, fraction: float) -> Dataset:
    """Each training label replaced, with probability `fraction`, by one drawn from all classes."""
    y = treatments.noisy(data.train.y, len(data.classes), fraction)
    return replace(data, train=replace(data.train, y=y), digest=_digest(data.digest, "noise", fraction))


def merge(data: Dataset, classes: int) -> Dataset:
    """Neighbouring classes merged until `classes` are left (`treatments.groups`); extras of the old ones go."""
    group = treatments.groups(len(data.classes), classes, data.superclass)
    splits = {s: replace(getattr(data, s), y=group[getattr(data, s).y]) for s in SPLITS}
    names = tuple(treatments.called([data.classes[i] for i in (group == g).nonzero()]) for g in range(classes))
    above = treatments.above(group, data.superclass)
    rest = {"classes": names, "superclass": above, "extra": {}, "digest": _digest(data.digest, "merge", classes)}
    return replace(data, **splits, **rest, superclasses=data.superclasses if above is not None else ())


TREATMENTS = {"merge": merge, "imbalance": imbalance, "noise": noise, "fold": without, "crossfit": crossfit}


def _digest(*parts: object) -> str:
    """16 hex digits of the sha256 of tensors (their bytes) and of anything JSON can write."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part.numpy().tobytes() if isinstance(part, Tensor) else json.dumps(part, sort_keys=True).encode())
    return sha.hexdigest()[:16]


dataset(synthetic, grouped=True)
dataset(images.digits)
dataset(images.fashion_mnist)
dataset(images.fashion_images)
dataset(pictures.tiny_imagenet, grouped=True)
dataset(pictures.cifar10)
dataset(pictures.cifar100, grouped=True)


@dataset(grouped=True)
def clinc150(*, variant: str = "full", features: int = 256) -> Parts:
    """15 000 (`variant` "small": 7 500, "imbalanced": 10 525) / 3 000 / 4 500 sentences of 150 intents.

    Their 10 domains are the super-classes; out-of-scope sentences are left out. x has `features`
    columns, fitted on the training split alone (`kdstudy.clinc150`). Larson et al. 2019, CC BY 3.0.
    """
    return clinc.parts(partial(fetch, "clinc150"), cache_folder() / "clinc150", variant, features)
