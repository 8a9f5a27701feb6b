"""The working store: key -> row (spec, metrics, provenance) and arrays, in one SQLite file.

Write-once and transactional: a process killed at any moment leaves every finished result and
nothing half-written.
"""

import io
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdstudy.core.paths import store_file

SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (key TEXT PRIMARY KEY, row TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS arrays (key TEXT, name TEXT, data BLOB NOT NULL, PRIMARY KEY (key, name));
"""
LIST = "(SELECT value FROM json_each(?))"  # what a parameter holds as JSON

REMEDIES = {  # by how the name of SQLite's error begins
    "SQLITE_FULL": "free some space on its disk and give the same command again: what was finished is kept",
    "SQLITE_IOERR": "look at its disk, which may be full or broken, and give the same command again: what was finished "
    "is kept",
    "SQLITE_BUSY": "another process is writing to it: give the same command again when that one has ended",
    "SQLITE_READONLY": "make it writable, or set KDSTUDY_STORE to a file that is",
    "SQLITE_CANTOPEN": "set KDSTUDY_STORE to a file in a folder that can be written to",
}
ASIDE = "set KDSTUDY_STORE to another file, or move this one aside: runs it held are trained again when asked for"


@dataclass(frozen=True)
class Record:
    """A stored run: one flat row (spec, metrics, provenance) and its arrays."""

    row: dict[str, object]
    arrays: dict[str, np.ndarray]

    @property
    def key(self) -> str:
        """The run's address."""
        return str(self.row["key"])


def _pack(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _row(key: str, text: str) -> dict[str, object]:
    """A stored row; of one that this package did not write what can be read, at least its key."""
    try:
        row = json.loads(text)
    except (ValueError, TypeError):
        row = {}
    return {**(row if isinstance(row, dict) else {}), "key": str(key)}


class Store:
    """The working store. Safe with several processes; each call opens its own connection."""

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = Path(path or store_file())
        with self._open() as db:
            db.executescript(SCHEMA)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=120)) as db, db:
                yield db
        except (sqlite3.Error, OSError) as error:
            name = getattr(error, "sqlite_errorname", "SQLITE_CANTOPEN")
            todo = next((words for start, words in REMEDIES.items() if name.startswith(start)), ASIDE)
            raise OSError(f"the store {self.path} cannot be used ({error}); {todo}") from error

    def put(self, records: Iterable[Record]) -> None:
        """Keep results, all or none; a key already present keeps its first result."""
        with self._open() as db:
            for r in records:
                db.execute("INSERT OR IGNORE INTO runs VALUES (?, ?)", (r.key, json.dumps(r.row)))
                db.executemany(
                    "INSERT OR IGNORE INTO arrays VALUES (?, ?, ?)",
                    [(r.key, name, _pack(a)) for name, a in r.arrays.items()],
                )

    def _select(self, sql: str, *given: Iterable[str]) -> list[tuple]:
        """The rows of a query; each LIST in it takes one of `given`."""
        with self._open() as db:
            return db.execute(sql, [json.dumps([*each]) for each in given]).fetchall()

    def rows(self, keys: Iterable[str] | None = None) -> dict[str, dict[str, object]]:
        """Rows by key: of the keys given, or all."""
        every = "SELECT key, row FROM runs"
        found = self._select(every) if keys is None else self._select(f"{every} WHERE key IN {LIST}", keys)
        return {str(key): _row(key, text) for key, text in found}

    def keys(self) -> set[str]:
        """The keys of all rows."""
        return {str(key) for (key,) in self._select("SELECT key FROM runs")}

    def arrays(self, keys: Iterable[str], names: Sequence[str]) -> dict[str, dict[str, np.ndarray]]:
        """Arrays by key and name, where present."""
        found: dict[str, dict[str, np.ndarray]] = {}
        sql = f"SELECT key, name, data FROM arrays WHERE name IN {LIST} AND key IN {LIST}"
        for key, name, data in self._select(sql, names, keys):
            found.setdefault(key, {})[name] = np.load(io.BytesIO(data), allow_pickle=False)
        return found

    def has(self, keys: Iterable[str], name: str) -> set[str]:
        """Those keys that hold an array of that name."""
        sql = f"SELECT key FROM arrays WHERE name IN {LIST} AND key IN {LIST}"
        return {key for (key,) in self._select(sql, [name], keys)}

    def forget(self, keys: Iterable[str]) -> None:
        """Remove results, so that they are trained anew when asked for."""
        going = [json.dumps([*keys])]
        with self._open() as db:
            for table in ("runs", "arrays"):
                db.execute(f"DELETE FROM {table} WHERE key IN {LIST}", going)
