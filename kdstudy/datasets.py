"""A named data set as tensors: checked by digest, split the same way every time, standardised.

`load(Data(name, options))` is the one call. Files are looked for in $KDSTUDY_DATA, then in
data/downloads, and are downloaded there if they are in neither (data/README.md).
"""

import gzip
import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import lru_cache, partial
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdstudy import clinc150 as clinc
from kdstudy import own_data
from kdstudy.downloads import SOURCES, cache_folder, fetch
from kdstudy.models import generator
from kdstudy.spec import Data, pairs, require
from kdstudy.synthetic import synthetic, whole

SPLITS = ("train", "validation", "test")
FOLDS = 5
OWN = ", or a path to your own (a .csv file of texts, a folder of images)"


@dataclass(frozen=True, eq=False)
class Split:
    """Examples and their labels."""

    x: Float[Tensor, "N D"]
    y: Int[Tensor, " N"]


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
DATASETS: dict[str, Callable[..., Parts]] = {}


def dataset(fn: Callable[..., Parts]) -> Callable[..., Parts]:
    """Register `fn` under its own name; its keyword-only arguments are the data set's options."""
    DATASETS[fn.__name__] = fn
    return fn


def names() -> list[str]:
    """Every data set there is."""
    return list(DATASETS)


def _known(name: str, there: Iterable[str], what: str, other: str = "") -> None:
    if name not in there:
        near = get_close_matches(name, there, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{what}: {', '.join(there)}{other}{hint}")


def is_own(name: str) -> bool:
    """Whether a name is a path to a user's own data; the name of a data set never is."""
    return name not in DATASETS and own_data.is_path(name)


def maker(name: str) -> Callable[..., Parts]:
    """The function that makes a data set; ValueError with the names there are if it is none, nor a path."""
    if is_own(name):
        return partial(own_data.parts, name)
    _known(name, DATASETS, f"data set {name!r} is unknown; there are", OWN)
    return DATASETS[name]


def options(name: str) -> dict[str, object]:
    """Names and defaults of a data set's options."""
    return {p.name: p.default for p in inspect.signature(maker(name)).parameters.values()}


def check(data: Data) -> None:
    """ValueError unless the data set and all its options are known; values are checked by `load`."""
    known = [*options(data.name), "fold"]
    for key, _ in data.options:
        _known(key, known, f"data set {data.name!r} has no option {key!r}; it has")


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
    if is_own(data.name):
        return load(data).superclass is not None
    return data.name in ("synthetic", "clinc150")


@lru_cache(maxsize=4)
def load(data: Data) -> Dataset:
    """The data set that `data` names; the last four are kept in memory.

    The option `fold`, which every data set has, leaves that fold of the training split out: it becomes
    the validation split. ValueError for an unknown name, option or value; DataError for files that are
    absent or altered.
    """
    check(data)
    given = dict(data.options)
    if (fold := given.pop("fold", None)) is not None:
        return without(load(Data(data.name, pairs(given))), fold)
    parts = maker(data.name)(**given)
    splits = {s: Split(*parts.pop(s)) for s in SPLITS}
    source = parts.pop("source", [t for s in splits.values() for t in (s.x, s.y)])
    return Dataset(data.label, **splits, digest=_digest(*source), **parts)


def fold_of(examples: int) -> Int[Tensor, " N"]:
    """The fold of each training example, at random once and for all, all folds equally large to one."""
    place = torch.randperm(examples, generator=generator(0, "fold"))
    return place % FOLDS


def without(data: Dataset, fold: int) -> Dataset:
    """Training on all folds but one, validated on that one."""
    require(isinstance(fold, int) and 0 <= fold < FOLDS, "fold", fold, f"a whole number from 0 to {FOLDS - 1}")
    out = fold_of(len(data.train.y)) == fold
    parts = {"train": ~out, "validation": out}
    splits = {name: Split(data.train.x[at], data.train.y[at]) for name, at in parts.items()}
    inside = data.extra.get("train", {})
    extra = {**data.extra, **{name: {k: v[at] for k, v in inside.items()} for name, at in parts.items()}}
    return replace(data, **splits, digest=_digest(data.digest, fold), extra=extra)


def _digest(*parts: object) -> str:
    """16 hex digits of the sha256 of tensors (their bytes) and of anything JSON can write."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part.numpy().tobytes() if isinstance(part, Tensor) else json.dumps(part, sort_keys=True).encode())
    return sha.hexdigest()[:16]


dataset(synthetic)


def _standardised(train: tuple[Tensor, Tensor], *others: tuple[Tensor, Tensor]) -> Parts:
    """The splits with x minus one mean and over one standard deviation, over all features of train."""
    std, mean = (v.item() for v in torch.std_mean(train[0].double(), correction=0))
    splits = zip(SPLITS, (train, *others))
    return {split: ((x.float() - mean) / std, y) for split, (x, y) in splits}


@dataset
def digits(*, seed: int = 0) -> Parts:
    """8x8 grey digits of `sklearn.datasets.load_digits`: 997 / 300 / 500, stratified by class.

    Alpaydin and Kaynak 1998, UCI repository, CC BY 4.0; the copy that scikit-learn ships.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    whole("seed", seed, 0)
    x, y = map(torch.from_numpy, load_digits(return_X_y=True))
    rest, test = train_test_split(torch.arange(len(y)), test_size=500, stratify=y, random_state=seed)
    train, validation = train_test_split(rest, test_size=300, stratify=y[rest], random_state=seed)
    return {"classes": tuple("0123456789"), **_standardised(*((x[i], y[i]) for i in (train, validation, test)))}


def _idx(file: str, header: int) -> Tensor:
    data = gzip.decompress(fetch("fashion_mnist", file).read_bytes())
    return torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=header)


@dataset
def fashion_mnist(*, train: int = 50_000) -> Parts:
    """`train` / 10 000 / 10 000 grey 28x28 images of clothes. Xiao et al. 2017, MIT.

    The published training set, permuted once and for all: its last sixth is the validation split, its
    first `train` images the training split, so that smaller training splits are nested in larger ones.
    """
    x, test_x = (_idx(f"{half}-images-idx3-ubyte.gz", 16).view(-1, 784) for half in ("train", "t10k"))
    y, test_y = (_idx(f"{half}-labels-idx1-ubyte.gz", 8).long() for half in ("train", "t10k"))
    most, order = len(y) * 5 // 6, torch.randperm(len(y), generator=generator(0, "fashion_mnist:split"))
    require(isinstance(train, int) and 0 < train <= most, "train", train, f"a whole number from 1 to {most}")
    clothes = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
    return {
        "classes": tuple(clothes.split(",")),
        "source": (SOURCES["fashion_mnist"][-1], train),
        **_standardised(*((x[i], y[i]) for i in (order[:train], order[most:])), (test_x, test_y)),
    }


@dataset
def clinc150(*, variant: str = "full", features: int = 256) -> Parts:
    """15 000 (`variant` "small": 7 500, "imbalanced": 10 525) / 3 000 / 4 500 sentences of 150 intents.

    Their 10 domains are the super-classes; out-of-scope sentences are left out. x has `features`
    columns, fitted on the training split alone (`kdstudy.clinc150`). Larson et al. 2019, CC BY 3.0.
    """
    return clinc.parts(partial(fetch, "clinc150"), cache_folder() / "clinc150", variant, features)
