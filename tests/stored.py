"""What two studies are compared by: tables without wall time, and store files bit for bit."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pandas as pd


def answers(frame: pd.DataFrame) -> pd.DataFrame:
    """A table without what tells how and when it was computed."""
    return frame.drop(columns=["source", "seconds"])


def contents(path: Path) -> tuple[dict, dict]:
    """Everything a store file holds: rows without wall time, and arrays as bytes; the file must be sound."""
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = {key: json.loads(row) for key, row in db.execute("SELECT key, row FROM runs")}
        arrays = {(key, name): data for key, name, data in db.execute("SELECT key, name, data FROM arrays")}
    return {key: row for key, row in rows.items() if row.pop("seconds") >= 0}, arrays


def same(a: Path, b: Path) -> bool:
    """Whether two stores hold the same results, bit for bit."""
    return contents(a) == contents(b)
