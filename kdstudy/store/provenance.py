"""What makes a run stale: the digest of the code that its stored row rests on is no longer the same.

A row rests on its condition, the training of its kind of network, its data set with every transform, the composition
of a composed teacher, and each measure that it holds. Each of these is a root, named "kind:name", with a digest by
meaning (`kdstudy.core.source`); the row's `code` is the digest of its roots' digests. Nothing is imported for it.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import chain, compress, repeat

import pandas as pd

from kdstudy.core import paths
from kdstudy.core.registry import Registry, is_outside
from kdstudy.core.source import Sources

IGNORED = frozenset(  # what a run is has a version of its own (`spec`); the others change no number
    f"kdstudy.{name}" for name in ("core.spec", "core.paths", "core.registry", "core.threads", "data.download")
)
SOURCES = Sources.of(paths.PACKAGE, IGNORED)  # read now: a file edited meanwhile is not what runs
TRAINING = {"mlp": "kdstudy.train.mlp:train", "images": "kdstudy.train.cnn:train", "own": "kdstudy.train.own:train"}
OWN_DATA = {"own": "kdstudy.data.custom:parts", "table": "kdstudy.data.table:parts"}  # by path, with its digest
DIGESTS = {"sha256": "own", "content": "table"}
FIELDS = ("code", "condition", "dataset", "options")
MEASURES = ("measure", "measure with teacher")
KINDS = ("condition", "network", "data set", "transform", "composed teacher", *MEASURES)


@cache
def _registered(kind: str) -> dict[str, str]:
    return SOURCES.registered(kind)


def _entry(kind: str, name: str) -> object:
    """What a root is: "module:name" in the package, a function from outside, or None if there is none."""
    if kind == "training":
        return TRAINING[name]
    if kind == "data set" and name in OWN_DATA:
        return OWN_DATA[name]
    here = Registry.every.get(kind, {}).get(name)
    return here if here is not None and is_outside(here) else _registered(kind).get(name)


@cache
def _measures(column: str) -> list[str]:
    """The roots of the measure that a row's field holds, if it holds one."""
    name = column.partition("_")[2]
    return [f"{kind}:{name}" for kind in MEASURES if name in _registered(kind)]


def _roots(condition: str, net: str, dataset: str, options: str) -> Iterator[str]:
    """The roots of a row but for its measures; `options` is the JSON of its data set's."""
    given = json.loads(options)
    yield f"condition:{condition}"
    yield f"training:{'mlp' if net == 'mlp' else 'own' if net.startswith('own:') else 'images'}"
    if net != "mlp":
        yield f"network:{re.match('[A-Za-z_]*', net)[0]}"
    yield next((f"data set:{own}" for option, own in DIGESTS.items() if option in given), f"data set:{dataset}")
    yield from (f"transform:{name}" for name in given if _entry("transform", name) is not None)
    if "composed" in given:
        yield f"composed teacher:{given['composed'].partition(':')[0]}"


def from_outside() -> bool:
    """Whether anything that rows can rest on was registered outside the package."""
    return any(Registry.every[kind].outside() for kind in KINDS if kind in Registry.every)


def root_digest(root: str) -> str | None:
    """The digest of a root; None if it is not there. OSError for code from outside without a source."""
    entry = _entry(*root.split(":", 1))
    return None if entry is None else SOURCES.digest(entry)


def _together(roots: Iterable[str], digest: Callable[[str], str | None]) -> str | None:
    """The digest of roots together; None if one of them is not there."""
    each = [digest(root) for root in sorted(roots)]
    return None if None in each else hashlib.sha256("\n".join(each).encode()).hexdigest()[:12]


def _all_roots(condition: str, net: str, dataset: str, options: str, fields: Iterable[str]) -> list[str]:
    """The roots of a row with these fields."""
    return [*dict.fromkeys(chain(_roots(condition, net, dataset, options), *map(_measures, fields)))]


def roots(row: Mapping[str, object]) -> list[str]:
    """What a row rests on, as "kind:name"."""
    return _all_roots(row["condition"], row.get("net") or "mlp", row["dataset"], row["options"], row)


def code(row: Mapping[str, object]) -> str | None:
    """12 hex digits over the meaning of the code that a row rests on; None if some of it is gone."""
    return _together(roots(row), root_digest)


def _ours(*fields: object) -> bool:
    """Whether a row has the fields that this package writes; one that has not is stale."""
    return all(isinstance(f, str) for f in fields) and fields[-1].startswith("{")


def stale(row: Mapping[str, object]) -> bool:
    """Whether a stored row was computed by code that has changed its meaning since."""
    return not _ours(*map(row.get, FIELDS)) or row["code"] != code(row)


def stale_rows(frame: pd.DataFrame) -> pd.Series:
    """`stale` of each row of a table, whose absent fields are NaN."""
    measured = frame[[c for c in frame if _measures(c)]].notna()
    nets = frame["net"].fillna("mlp") if "net" in frame else repeat("mlp")
    valid = cache(lambda *what, held: _together(_all_roots(*what, compress(measured, held)), root_digest))
    known, condition, dataset, options = (frame[c] if c in frame else repeat(None, len(frame)) for c in FIELDS)
    rows = zip(known, zip(condition, nets, dataset, options), measured.to_numpy())
    found = [not _ours(c, *what) or c != valid(*what, held=bytes(held)) for c, what, held in rows]
    return pd.Series(found, frame.index, dtype=bool)


def current() -> dict[str, str]:
    """The digest of every root of the package itself."""
    names = [f"{kind}:{name}" for kind in KINDS for name in _registered(kind)]
    every = [*names, *(f"training:{kind}" for kind in TRAINING), *(f"data set:{own}" for own in OWN_DATA)]
    return {root: str(SOURCES.digest(str(_entry(*root.split(":", 1))))) for root in sorted(every)}
