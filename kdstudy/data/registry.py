"""A named data set as tensors: checked by digest, split the same way every time, standardised.

`load(Data(name, options))` is the one call. Files are looked for in $KDSTUDY_DATA, then in
data/downloads, and are downloaded there if they are in neither (data/README.md).
"""

import inspect
from collections.abc import Callable
from functools import cache, lru_cache, partial
from pathlib import Path

from kdstudy.core.caution import caution
from kdstudy.core.registry import unknown
from kdstudy.core.spec import Data, pairs
from kdstudy.data import cifar, images, synthetic, table, texts, transforms  # noqa: F401  they register their data sets
from kdstudy.data.custom import fingerprint, is_path
from kdstudy.data.custom import parts as own_parts
from kdstudy.data.dataset import DATASETS, SPLITS, TRANSFORMS, Dataset, Parts, dataset, digest_of, split_from

__all__ = ["check", "dataset", "grouped", "load", "maker", "named", "names", "options", "variant"]


def names() -> list[str]:
    """Every data set there is."""
    return list(DATASETS)


def is_own(name: str) -> bool:
    """Whether a name is a path to a user's own data; the name of a data set never is."""
    return name not in DATASETS and is_path(name)


def is_users(name: str) -> bool:
    """Whether a name is a path to a user's own data of any kind."""
    return is_own(name) or (name not in names() and table.is_table(name))


def maker(name: str) -> Callable[..., Parts]:
    """The function that makes a data set; ValueError with the names there are if it is none, nor a path."""
    return partial(own_parts, name) if is_own(name) else DATASETS[name]


def options(name: str) -> dict[str, object]:
    """Names and defaults of a data set's options."""
    return {p.name: p.default for p in inspect.signature(maker(name)).parameters.values()}


def check(data: Data) -> None:
    """ValueError unless the data set and all its options are known; values are checked by `load`."""
    known = dict.fromkeys([*options(data.name), *TRANSFORMS])
    for key, _ in data.options:
        if key not in known:
            raise unknown(f"data set {data.name!r} has no option {key!r}; it has", key, known)


def variant(name: str, **given: object) -> Data:
    """A data set with those options that differ from its defaults."""
    own = options(name)
    return Data(name, pairs({k: v for k, v in given.items() if k not in own or v != own[k]}))


def named(name: str | Data) -> Data:
    """The data set of that name, checked; of a path, the data that are there now, by their fingerprint.

    Warns of examples of train that are in other splits of a user's own data too.
    """
    if not isinstance(name, Data) and is_users(name):
        path = Path(name).expanduser().absolute()
        by = {"content": table.fingerprint} if table.is_table(str(path)) else {"sha256": fingerprint}
        name = Data(str(path), pairs({option: of(str(path)) for option, of in by.items()}))
    data = name if isinstance(name, Data) else Data(name)
    check(data)
    if is_users(data.name):
        _warn_of_copies(data)
    return data


@cache
def _warn_of_copies(asked: Data) -> None:
    """Say how many examples of test and validation equal one of train; what is 0 throughout says nothing."""
    data = load(asked)
    rows = {s: [hash(x.numpy().tobytes()) if x.any() else None for x in getattr(data, s).x] for s in SPLITS}
    seen = {*rows["train"]} - {None}
    if copies := {s: n for s in SPLITS[1:] if (n := sum(h in seen for h in rows[s]))}:
        found = " and ".join(f"{n} of {len(rows[s])} examples of {s}" for s, n in copies.items())
        todo = "accuracy there is partly memory; leave each in one split only"
        caution(f"{data.name}: {found} have the features of an example of train: {todo}")


def grouped(data: Data) -> bool:
    """Whether the classes have super-classes; a user's own data are read to know."""
    if is_users(data.name) or "merge" in dict(data.options):
        return load(data).superclass is not None
    return getattr(maker(data.name), "grouped", False)


@lru_cache(maxsize=6)
def load(data: Data) -> Dataset:
    """The data set that `data` names; the last six are kept in memory.

    Options that are none of the set's own are transforms, which every data set can have, done in the order of
    `kdstudy.data.transforms`. ValueError for an unknown name, option or value; DataError
    for files that are absent or altered.
    """
    check(data)
    given = dict(data.options)
    if asked := [t for t in TRANSFORMS if t in given and t not in options(data.name)]:
        value = given.pop(asked[-1])
        return TRANSFORMS[asked[-1]](load(Data(data.name, pairs(given))), value)
    parts = maker(data.name)(**given)
    splits = {s: split_from(*parts.pop(s)) for s in SPLITS}
    source = parts.pop("source", [t for s in splits.values() for t in (s.x, s.y)])
    return Dataset(data.label, **splits, digest=digest_of(*source), **parts)
