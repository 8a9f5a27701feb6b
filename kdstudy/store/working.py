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


def _unpack(data: bytes) -> np.ndarray:
    return np.load(io.BytesIO(data), allow_pickle=False)


def _chunks(keys: Iterable[str], size: int = 500) -> Iterator[list[str]]:
    keys = list(dict.fromkeys(keys))
    yield from (keys[i : i + size] for i in range(0, len(keys), size))


class Store:
    """The working store. Safe with several processes; each call opens its own connection."""

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = Path(path or store_file())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as db:
            db.executescript(SCHEMA)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=120)) as db, db:
                yield db
        except sqlite3.DatabaseError as error:
            raise OSError(
                f"the store {self.path} cannot be used ({error}); set KDSTUDY_STORE to another file, "
                "or move this one aside: runs it held are trained again when asked for"
            ) from error

    def put(self, records: Iterable[Record]) -> None:
        """Keep results, all or none; a key already present keeps its first result."""
        with self._open() as db:
            for r in records:
                db.execute("INSERT OR IGNORE INTO runs VALUES (?, ?)", (r.key, json.dumps(r.row)))
                db.executemany(
                    "INSERT OR IGNORE INTO arrays VALUES (?, ?, ?)",
                    [(r.key, name, _pack(a)) for name, a in r.arrays.items()],
                )

    def _select(self, sql: str, keys: Iterable[str]) -> list[tuple]:
        with self._open() as db:
            return [row for chunk in _chunks(keys) for row in db.execute(sql.format(",".join("?" * len(chunk))), chunk)]

    def rows(self, keys: Iterable[str] | None = None) -> dict[str, dict[str, object]]:
        """Rows by key: of the keys given, or all."""
        if keys is None:
            with self._open() as db:
                found = db.execute("SELECT key, row FROM runs").fetchall()
        else:
            found = self._select("SELECT key, row FROM runs WHERE key IN ({})", keys)
        return {key: json.loads(row) for key, row in found}

    def arrays(self, keys: Iterable[str], names: Sequence[str]) -> dict[str, dict[str, np.ndarray]]:
        """Arrays by key and name, where present."""
        found: dict[str, dict[str, np.ndarray]] = {}
        wanted = ",".join(f"'{n}'" for n in names if n.isidentifier())
        sql = f"SELECT key, name, data FROM arrays WHERE name IN ({wanted}) AND key IN ({{}})"
        for key, name, data in self._select(sql, keys):
            found.setdefault(key, {})[name] = _unpack(data)
        return found

    def has(self, keys: Iterable[str], name: str) -> set[str]:
        """Those keys that hold an array of that name."""
        sql = f"SELECT key FROM arrays WHERE name = '{name}' AND key IN ({{}})"
        return {key for (key,) in self._select(sql, keys)}

    def forget(self, keys: Iterable[str]) -> None:
        """Remove results, so that they are trained anew when asked for."""
        with self._open() as db:
            for key in keys:
                db.execute("DELETE FROM runs WHERE key = ?", (key,))
                db.execute("DELETE FROM arrays WHERE key = ?", (key,))
