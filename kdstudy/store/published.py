"""Published results as Parquet: a table of rows for each chapter, and beside it the arrays that the chapter shows.

Read-only for everybody but `publish`, which replaces a chapter's two files atomically. SHA256SUMS, as `sha256sum`
writes it, lists all of them: a file that is not as it says is not read. `kdstudy runs --export` writes the rows as CSV.
"""

import hashlib
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

CLASSES, SUMS = "classes.json", "SHA256SUMS"
ROWS, ARRAYS = ".parquet", ".arrays.parquet"
Arrays = dict[str, np.ndarray]
ORDER = ["dataset", "options", "condition", "key"]
PACKED = pa.schema([("key", pa.string()), ("name", pa.string()), ("dtype", pa.string()),
                    ("shape", pa.list_(pa.int64())), ("data", pa.binary())])  # fmt: skip


def _read(path: Path) -> pd.DataFrame:
    """A table as `publish` wrote it, read once for as long as the file stays as it is."""
    return _parsed(path, *checked(path))


@lru_cache(maxsize=32)
def _parsed(path: Path, *_: int) -> pd.DataFrame:
    return _table(path).to_pandas().set_index("key", drop=False)


def _table(path: Path) -> pa.Table:
    """A file as a table; OSError with a remedy if it is damaged."""
    try:
        return pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise _unsound(path, f"no Parquet that can be read ({str(error).splitlines()[0]})") from error


@lru_cache(maxsize=16)
def _packed(path: Path, *_: int) -> tuple[pa.Table, dict[tuple[str, str], int]]:
    """Arrays as they are packed, read once for as long as the file stays as it is, and the row of each (key, name)."""
    table = _table(path)
    pairs = zip(table["key"].to_pylist(), table["name"].to_pylist())
    return table, {pair: i for i, pair in enumerate(pairs)}


def _listed(folder: Path) -> list[tuple[str, str]]:
    """Digest and name of every published file; while a file is replaced, both of its digests are listed."""
    path = folder / SUMS
    return _sums(path, *_state(path)) if path.is_file() else []


@lru_cache(maxsize=16)
def _sums(path: Path, *_: int) -> list[tuple[str, str]]:
    lines = path.read_text("utf-8", "replace").split("\n")
    return [(words[0], words[1].lstrip("*")) for line in lines if len(words := line.split(maxsplit=1)) == 2]


def _state(path: Path) -> tuple[int, int, int]:
    """What tells a file from another one of its name."""
    there = path.stat()
    return there.st_mtime_ns, there.st_size, there.st_ino


@lru_cache(maxsize=128)
def _digest(path: Path, *_: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checked(path: Path) -> tuple[int, int, int]:
    """The state of a file, if it is as it was published. OSError with a remedy if it is not."""
    if not path.is_file():
        raise _unsound(path, f"no file, though {SUMS} lists it")
    state, digests = _state(path), [d for d, name in _listed(path.parent) if name == path.name]
    if _digest(path, *state) not in digests:
        raise _unsound(path, f"other contents than {SUMS} says" if digests else f"a file that {SUMS} does not list")
    return state


def _unsound(path: Path, found: str) -> OSError:
    """What to do about a file that is not as it was published."""
    return OSError(
        f"{path}: found {found}; get back what was published (git checkout -- {path.name} {SUMS}, or a new "
        f"installation), or set KDSTUDY_RESULTS to another folder; results that are meant to be so are listed by "
        f"sha256sum *.parquet *.json > {SUMS}"
    )


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
        names = {name for _, name in _listed(self.folder)} | {p.name for p in self.folder.glob(f"*{ROWS}")}
        for absent in (n for n in sorted(names) if not (self.folder / n).is_file()):
            checked(self.folder / absent)
        tables = (n for n in sorted(names) if n.endswith(ROWS) and not n.endswith(ARRAYS))
        self._tables = {n.removesuffix(ROWS): _read(self.folder / n) for n in tables}

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
            if keys and names and path.exists():
                table, place = _packed(path, *checked(path))
                for key, name in ((k, n) for k in keys for n in names if (k, n) in place):
                    (row,) = table.slice(place[key, name], 1).to_pylist()
                    array = np.frombuffer(row["data"], row["dtype"]).reshape(row["shape"])
                    found.setdefault(key, {})[name] = array
        return found

    def classes(self) -> dict[str, Classes]:
        """The classes of the published data sets, by name."""
        path = self.folder / CLASSES
        found = json.loads(path.read_text("utf-8")) if path.exists() and checked(path) else {}
        return {name: Classes(*(tuple(v) if v is not None else v for v in c.values())) for name, c in found.items()}

    def publish_classes(self, known: Mapping[str, Classes]) -> None:
        """Write the classes of these data sets beside those published before."""
        every = {k: asdict(v) for k, v in (self.classes() | dict(known)).items()}
        text = "\n".join(f" {json.dumps(k)}: {json.dumps(v)}," for k, v in sorted(every.items())).rstrip(",")
        self.replace({CLASSES: lambda part: part.write_text(f"{{\n{text}\n}}\n", "utf-8")})

    def replace(self, writers: Mapping[str, Callable[[Path], object]]) -> None:
        """Write these files anew, all or none; whoever is killed meanwhile leaves files that are listed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        parts = {name: self.folder / f"{name}.part" for name in writers}
        for name, write in writers.items():
            write(parts[name])
        listed = _listed(self.folder)
        others = [(digest, name) for digest, name in listed if name not in writers]
        new = [(_digest.__wrapped__(part), name) for name, part in parts.items()]
        self._list({*listed, *new})
        for name, part in parts.items():
            os.replace(part, self.folder / name)
        self._list({*others, *new})

    def _list(self, sums: Iterable[tuple[str, str]]) -> None:
        part = self.folder / f"{SUMS}.part"
        part.write_text("".join(f"{d}  {n}\n" for d, n in sorted(sums, key=lambda s: s[::-1])), "utf-8")
        os.replace(part, self.folder / SUMS)

    def publish(self, chapter: str, records: Sequence[Record], more: Mapping[str, Arrays] | None = None) -> Path:
        """Replace a chapter's results; `more` are arrays of runs that another chapter lists, by key.

        Logits, which are large, stay in the working store.
        """
        rows = pd.DataFrame([r.row for r in records], columns=None if records else ORDER)
        frame = rows.sort_values(ORDER, kind="stable")
        arrays = {r.key: r.arrays for r in records} | dict(more or {})
        keys = [*frame["key"], *sorted(arrays.keys() - set(frame["key"]))]
        kept = {key: {n: a for n, a in arrays[key].items() if not n.startswith("logits")} for key in keys}
        path = self.folder / f"{chapter}{ROWS}"
        packed = {"compression": "zstd", "use_dictionary": ["name", "dtype"]}
        self.replace({
            f"{chapter}{ARRAYS}": lambda part: pq.write_table(_pack(kept), part, **packed),
            path.name: lambda part: _write(frame, part),
        })  # fmt: skip
        self._tables[chapter] = _read(path)
        return path
