"""Published results: scalars as CSV so that diffs read, a chapter's arrays in one npz file.

Read-only for everybody but `publish`, which replaces a chapter's two files atomically.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd

from kdstudy.core.paths import results_folder
from kdstudy.datasets import Dataset
from kdstudy.store import Record

TEXT = ("key", "dataset", "condition", "hidden", "dtype", "options", "teacher", "code", "digest", "torch", "device",
        "net")  # fmt: skip
CLASSES = "classes.json"
Arrays = dict[str, np.ndarray]
ORDER = ["dataset", "options", "condition", "key"]


def _read(path: Path) -> pd.DataFrame:
    """A table as `publish` wrote it, read once for as long as the file stays as it is."""
    there = path.stat()
    return _parsed(path, there.st_mtime_ns, there.st_size)


@lru_cache(maxsize=16)
def _parsed(path: Path, *_: int) -> pd.DataFrame:
    """Numbers by Python's own reader, which returns every bit."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    numbers = frame.columns.difference(TEXT)
    nets = {"net": frame["net"].replace("", np.nan)} if "net" in frame else {}  # perceptrons have none
    return frame.assign(**nets, **frame[numbers].map(lambda cell: json.loads(cell) if cell else np.nan))


def _atomic(path: Path, write: Callable[[BinaryIO], object]) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("wb") as f:
        write(f)
    os.replace(part, path)


def _grouped(keys: Sequence[str], arrays: Mapping[str, Arrays]) -> dict[str, np.ndarray]:
    """Arrays of equal name, shape and type stacked as "name|i", their keys beside them as "name|i|keys"."""
    groups: dict[tuple[str, tuple[int, ...], str], dict[str, np.ndarray]] = {}
    for key in keys:
        for name, a in arrays[key].items():
            groups.setdefault((name, a.shape, a.dtype.str), {})[key] = a
    packed = {}
    for i, ((name, *_), members) in enumerate(groups.items()):
        packed[f"{name}|{i}"] = np.stack(list(members.values()))
        packed[f"{name}|{i}|keys"] = np.array(list(members))
    return packed


@dataclass(frozen=True)
class Classes:
    """The classes of a data set: names, and where there are any the index and the names of their super-classes."""

    names: tuple[str, ...]
    superclass: tuple[int, ...] | None = None
    superclasses: tuple[str, ...] = ()

    @staticmethod
    def of(data: Dataset) -> "Classes":
        """The classes of a loaded data set."""
        groups = None if data.superclass is None else tuple(data.superclass.tolist())
        return Classes(data.classes, groups, data.superclasses)


class Published:
    """The committed results in one folder (default data/results, or $KDSTUDY_RESULTS)."""

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder or results_folder())
        self._tables = {p.stem: _read(p) for p in sorted(self.folder.glob("*.csv"))}

    def rows(self, keys: Iterable[str] | None = None) -> dict[str, dict[str, object]]:
        """Rows by key: of the keys given, or all. Fields that do not apply are left out."""
        wanted = None if keys is None else set(keys)
        return {
            row["key"]: {k: v for k, v in row.items() if not pd.isna(v)}
            for table in self._tables.values()
            for row in (table if wanted is None else table[table["key"].isin(wanted)]).to_dict("records")
        }

    def arrays(self, keys: Iterable[str], names: Sequence[str]) -> dict[str, dict[str, np.ndarray]]:
        """Arrays by key and name, where present."""
        wanted, found = set(keys), {}
        for path in (self.folder / f"{stem}.npz" for stem in self._tables):
            if not path.exists():
                continue
            with np.load(path, allow_pickle=False) as held:
                for label in held.files:
                    name, _, rest = label.partition("|")
                    if name in names and "|" not in rest:
                        pairs = zip(held[f"{label}|keys"].tolist(), held[label])
                        for key, value in pairs:
                            if key in wanted:
                                found.setdefault(key, {})[name] = value
        return found

    def classes(self) -> dict[str, Classes]:
        """The classes of the published data sets, by name."""
        path = self.folder / CLASSES
        found = json.loads(path.read_text("utf-8")) if path.exists() else {}
        return {name: Classes(*(tuple(v) if v is not None else v for v in c.values())) for name, c in found.items()}

    def publish_classes(self, known: Mapping[str, Classes]) -> None:
        """Write the classes of these data sets beside those published before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        every = {k: asdict(v) for k, v in (self.classes() | dict(known)).items()}
        text = "\n".join(f" {json.dumps(k)}: {json.dumps(v)}," for k, v in sorted(every.items())).rstrip(",")
        _atomic(self.folder / CLASSES, lambda f: f.write(f"{{\n{text}\n}}\n".encode()))

    def publish(self, chapter: str, records: Sequence[Record], more: Mapping[str, Arrays] | None = None) -> Path:
        """Replace a chapter's results; `more` are arrays of runs that another chapter lists, by key.

        Logits, which are large, stay in the working store.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        frame = pd.DataFrame([r.row for r in records]).sort_values(ORDER, kind="stable")
        arrays = {r.key: r.arrays for r in records} | dict(more or {})
        kept = {key: {n: a for n, a in held.items() if not n.startswith("logits")} for key, held in arrays.items()}
        keys = [*frame["key"], *sorted(kept.keys() - set(frame["key"]))]
        path = self.folder / f"{chapter}.csv"
        _atomic(path.with_suffix(".npz"), lambda f: np.savez_compressed(f, **_grouped(keys, kept)))
        _atomic(path, lambda f: f.write(frame.to_csv(index=False).encode()))
        self._tables[chapter] = _read(path)
        return path
