"""Published results: scalars as CSV so that diffs read, a chapter's arrays in one npz file.

Read-only for everybody but `publish`, which replaces a chapter's two files atomically.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd

from kdstudy.store import ROOT, Record

TEXT = ("key", "dataset", "condition", "hidden", "dtype", "options", "teacher", "code", "digest", "torch", "device")
ORDER = ["dataset", "options", "condition", "key"]


def _read(path: Path) -> pd.DataFrame:
    """A table as `publish` wrote it: numbers by Python's own reader, which returns every bit."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    numbers = frame.columns.difference(TEXT)
    return frame.assign(**frame[numbers].map(lambda cell: json.loads(cell) if cell else np.nan))


def _atomic(path: Path, write: Callable[[BinaryIO], object]) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("wb") as f:
        write(f)
    os.replace(part, path)


def _grouped(keys: Sequence[str], arrays: dict[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
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


class Published:
    """The committed results in one folder (default data/results, or $KDSTUDY_RESULTS)."""

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder or os.environ.get("KDSTUDY_RESULTS", ROOT / "data/results"))
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

    def publish(self, chapter: str, records: Sequence[Record]) -> Path:
        """Replace a chapter's results; logits and weights stay in the working store."""
        self.folder.mkdir(parents=True, exist_ok=True)
        frame = pd.DataFrame([r.row for r in records]).sort_values(ORDER, kind="stable")
        kept = {r.key: {n: a for n, a in r.arrays.items() if not n.startswith("logits")} for r in records}
        path = self.folder / f"{chapter}.csv"
        _atomic(path.with_suffix(".npz"), lambda f: np.savez_compressed(f, **_grouped(list(frame["key"]), kept)))
        _atomic(path, lambda f: f.write(frame.to_csv(index=False).encode()))
        self._tables[chapter] = _read(path)
        return path
