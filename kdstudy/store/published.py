"""Published results as Parquet: a table of rows for each chapter, and beside it the arrays that the chapter shows.

Read-only for everybody but `publish`, which replaces a chapter's two files atomically. `kdstudy runs --export` writes
the rows as CSV.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from kdstudy.core import paths
from kdstudy.store.working import Record

if TYPE_CHECKING:  # reading results needs no torch
    from kdstudy.data.dataset import Dataset

CLASSES = "classes.json"
ROWS, ARRAYS = ".parquet", ".arrays.parquet"
Arrays = dict[str, np.ndarray]
ORDER = ["dataset", "options", "condition", "key"]
PACKED = pa.schema([("key", pa.string()), ("name", pa.string()), ("dtype", pa.string()),
                    ("shape", pa.list_(pa.int64())), ("data", pa.binary())])  # fmt: skip


def _read(path: Path) -> pd.DataFrame:
    """A table as `publish` wrote it, read once for as long as the file stays as it is."""
    there = path.stat()
    return _parsed(path, there.st_mtime_ns, there.st_size)


@lru_cache(maxsize=32)
def _parsed(path: Path, *_: int) -> pd.DataFrame:
    return _table(path).to_pandas().set_index("key", drop=False)


def _table(path: Path, **options: object) -> pa.Table:
    """A file as a table; OSError with a remedy if it is damaged."""
    try:
        return pq.read_table(path, **options)
    except pa.ArrowInvalid as error:
        why = str(error).splitlines()[0]
        raise OSError(
            f"{path}: found no Parquet that can be read ({why}); get it anew (git checkout {path.name}), or remove it "
            "with the other of its chapter: its runs are trained again when asked for"
        ) from error


@lru_cache(maxsize=16)
def _packed(path: Path, *_: int) -> tuple[pa.Table, dict[tuple[str, str], int]]:
    """Arrays as they are packed, read once for as long as the file stays as it is, and the row of each (key, name)."""
    table = _table(path)
    pairs = zip(table["key"].to_pylist(), table["name"].to_pylist())
    return table, {pair: i for i, pair in enumerate(pairs)}


def _atomic(path: Path, write: Callable[[Path], object]) -> None:
    part = path.with_name(path.name + ".part")
    write(part)
    os.replace(part, path)


def _write(frame: pd.DataFrame, path: Path) -> None:
    """A table as Parquet: the same rows give the same bytes."""
    floats = [*frame.select_dtypes("float")]
    pq.write_table(
        pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(),
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=[*frame.columns.difference(floats)],
        use_byte_stream_split=floats,
    )


def _pack(arrays: Mapping[str, Arrays]) -> pa.Table:
    """Arrays by key and name as one row each, equal names together."""
    each = [(name, key, np.asarray(a)) for key, held in arrays.items() for name, a in held.items()]
    each.sort(key=lambda item: item[0])
    columns = [(key, name, a.dtype.str, list(a.shape), a.tobytes()) for name, key, a in each]
    return pa.Table.from_arrays([pa.array(c, t.type) for c, t in zip(zip(*columns) if each else [[]] * 5, PACKED)],
                                schema=PACKED)  # fmt: skip


def as_rows(frame: pd.DataFrame) -> list[dict[str, object]]:
    """A table's rows, without the fields that do not apply."""
    if frame.empty:
        return []
    columns, there = [frame[c].tolist() for c in frame], frame.notna().to_numpy().tolist()
    cells = zip(zip(*columns), there)
    return [{n: v for n, v, ok in zip(frame, values, oks) if ok} for values, oks in cells]


@dataclass(frozen=True)
class Classes:
    """The classes of a data set: names, and where there are any the index and the names of their super-classes."""

    names: tuple[str, ...]
    superclass: tuple[int, ...] | None = None
    superclasses: tuple[str, ...] = ()

    @staticmethod
    def of(data: "Dataset") -> "Classes":
        """The classes of a loaded data set."""
        groups = None if data.superclass is None else tuple(data.superclass.tolist())
        return Classes(data.classes, groups, data.superclasses)


class Published:
    """The committed results in one folder (default data/results, or $KDSTUDY_RESULTS)."""

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder or paths.results_folder())
        files = (p for p in sorted(self.folder.glob(f"*{ROWS}")) if not p.name.endswith(ARRAYS))
        self._tables = {p.name.removesuffix(ROWS): _read(p) for p in files}

    def frame(self, chapter: str | None = None) -> pd.DataFrame:
        """All rows, or those of a chapter, as one table; NaN where a field does not apply."""
        tables = [t for name, t in self._tables.items() if chapter in (None, name)]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({"key": []}, dtype=str)

    def rows(self, keys: Iterable[str] | None = None) -> dict[str, dict[str, object]]:
        """Rows by key: of the keys given, or all. Fields that do not apply are left out."""
        wanted = None if keys is None else pd.Index(set(keys), dtype=object)
        tables = (t if wanted is None else t.loc[wanted.intersection(t.index)] for t in self._tables.values())
        return {str(row["key"]): row for table in tables for row in as_rows(table)}

    def arrays(self, keys: Iterable[str], names: Sequence[str]) -> dict[str, Arrays]:
        """Arrays by key and name, where present."""
        keys, found = set(keys), {}
        for path in (self.folder / f"{stem}{ARRAYS}" for stem in self._tables):
            if path.exists() and keys and names:
                there = path.stat()
                table, place = _packed(path, there.st_mtime_ns, there.st_size)
                for key, name in ((k, n) for k in keys for n in names if (k, n) in place):
                    (row,) = table.slice(place[key, name], 1).to_pylist()
                    array = np.frombuffer(row["data"], row["dtype"]).reshape(row["shape"])
                    found.setdefault(key, {})[name] = array
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
        _atomic(self.folder / CLASSES, lambda part: part.write_text(f"{{\n{text}\n}}\n", "utf-8"))

    def publish(self, chapter: str, records: Sequence[Record], more: Mapping[str, Arrays] | None = None) -> Path:
        """Replace a chapter's results; `more` are arrays of runs that another chapter lists, by key.

        Logits, which are large, stay in the working store.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        rows = pd.DataFrame([r.row for r in records], columns=None if records else ORDER)
        frame = rows.sort_values(ORDER, kind="stable")
        arrays = {r.key: r.arrays for r in records} | dict(more or {})
        keys = [*frame["key"], *sorted(arrays.keys() - set(frame["key"]))]
        kept = {key: {n: a for n, a in arrays[key].items() if not n.startswith("logits")} for key in keys}
        path = self.folder / f"{chapter}{ROWS}"
        packed = {"compression": "zstd", "use_dictionary": ["name", "dtype"]}
        _atomic(self.folder / f"{chapter}{ARRAYS}", lambda part: pq.write_table(_pack(kept), part, **packed))
        _atomic(path, lambda part: _write(frame, part))
        self._tables[chapter] = _read(path)
        return path
