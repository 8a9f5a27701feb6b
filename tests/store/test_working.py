"""The working store: bit-exact, write-once, many keys, several processes, unusable files."""

import os
import re
import resource
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from kdstudy.store.working import REMEDIES, Record, Store

REMEDY = "set KDSTUDY_STORE to another file, or move this one aside: runs it held are trained again when asked for"
ARRAYS = {
    "curves": np.random.default_rng(0).normal(size=(3, 4)),
    "logits_test": np.float32([[1 / 3, -0.0], [np.pi, 1e-45]]),
    "reliability": np.zeros((3, 0)),
    "whole": np.arange(6, dtype=np.int64).reshape(2, 3),
}


def record(key: str = "a", **row: object) -> Record:
    return Record({"key": key} | row, ARRAYS)


def test_what_was_put_comes_back_bit_for_bit():
    row = {"dataset": "digits", "seed": 3, "test_nll": 0.1 + 0.2, "tiny": 5e-324, "teacher": "", "hidden": "12"}
    Store().put([record(**row)])
    again = Store()  # another object, hence another connection
    assert again.rows() == {"a": {"key": "a"} | row}
    back = again.arrays(["a"], list(ARRAYS))["a"]
    assert back.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert (back[name].dtype, back[name].shape) == (array.dtype, array.shape)
        assert back[name].tobytes() == array.tobytes()


def test_only_what_is_asked_is_returned():
    store = Store()
    store.put([record("a"), Record({"key": "b"}, {})])
    assert store.rows(["b", "absent"]) == {"b": {"key": "b"}}
    assert store.rows([]) == {}
    assert set(store.arrays(["a", "b", "absent"], ["curves"])) == {"a"}
    assert set(store.arrays(["a"], ["curves", "absent"])["a"]) == {"curves"}
    assert store.arrays(["a"], []) == {}
    assert store.has(["a", "b", "absent"], "curves") == {"a"}
    assert store.has(["a", "b"], "absent") == set()


def test_the_first_result_of_a_key_stays():
    store = Store()
    store.put([record(value=1)])
    store.put([Record({"key": "a", "value": 2}, {"curves": np.ones(9), "late": np.ones(2)})])
    assert store.rows()["a"]["value"] == 1
    arrays = store.arrays(["a"], ["curves", "late"])["a"]
    assert arrays["curves"].tobytes() == ARRAYS["curves"].tobytes()
    assert arrays["late"].tolist() == [1, 1]  # a run that becomes a teacher gains its logits


def test_put_keeps_all_or_none():
    store = Store()

    def interrupted():
        yield record("a")
        raise KeyboardInterrupt

    with pytest.raises(TypeError, match="^Object of type object is not JSON serializable$"):
        store.put([record("a"), record("b", value=object())])
    with pytest.raises(ValueError, match="^Object arrays cannot be saved when allow_pickle=False$"):
        store.put([record("a"), Record({"key": "b"}, {"pickled": np.array([{}])})])
    with pytest.raises(KeyboardInterrupt):
        store.put(interrupted())
    assert store.rows() == {} and store.has(["a", "b"], "curves") == set()


def test_forget_removes_rows_and_arrays_of_these_keys_only():
    store = Store()
    store.put([record("a"), record("b")])
    store.forget(["a", "absent"])
    assert set(store.rows()) == {"b"}
    assert store.has(["a", "b"], "curves") == {"b"}
    store.put([record("a", value=2)])
    assert store.rows()["a"]["value"] == 2


def test_more_keys_than_one_query_may_name():
    store, keys = Store(), [f"k{i}" for i in range(1234)]
    store.put(Record({"key": k, "i": i}, {"x": np.array([i])}) for i, k in enumerate(keys))
    assert {k: row["i"] for k, row in store.rows(keys + keys[:600]).items()} == {k: i for i, k in enumerate(keys)}
    assert all(a["x"][0] == int(k[1:]) for k, a in store.arrays(keys, ["x"]).items())
    assert store.has([*keys, "absent"], "x") == set(keys)


def test_what_is_no_store_is_an_error_with_a_remedy(tmp_path):
    def refused(call, path: Path, why: str, remedy: str = REMEDY) -> None:
        with pytest.raises(OSError, match="^" + re.escape(f"the store {path} cannot be used ({why}); {remedy}") + "$"):
            call()

    diary, damaged = tmp_path / "notes.sqlite", Store()
    diary.write_text("a diary, not a database\n" * 100)
    refused(lambda: Store(diary), diary, "file is not a database")
    assert diary.read_text().startswith("a diary")
    refused(lambda: Store(tmp_path), tmp_path, "unable to open database file", REMEDIES["SQLITE_CANTOPEN"])
    with pytest.raises(OSError, match="set KDSTUDY_STORE to a file in a folder that can be written to$"):
        Store(diary / "runs.sqlite")
    damaged.put(record(f"k{i}") for i in range(50))
    damaged.path.write_bytes(b"\0" * damaged.path.stat().st_size)
    refused(damaged.rows, damaged.path, "file is not a database")


def test_a_full_disk_never_advises_to_move_the_store_aside_and_loses_nothing():
    store, (_, most) = Store(), resource.getrlimit(resource.RLIMIT_FSIZE)
    store.put([record("kept")])
    resource.setrlimit(resource.RLIMIT_FSIZE, (store.path.stat().st_size + 4096, most))  # a file grows no further
    try:
        with pytest.raises(OSError, match="give the same command again: what was finished is kept$") as refused:
            store.put(Record({"key": f"k{i}"}, {"large": np.ones(9999)}) for i in range(9))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert "aside" not in str(refused.value)
    assert set(store.rows()) == {"kept"} and set(Store().arrays(["kept"], [*ARRAYS])["kept"]) == {*ARRAYS}
    assert "aside" not in REMEDIES["SQLITE_FULL"]


def test_rows_of_a_foreign_store_are_read_as_far_as_they_can_be():
    store = Store()
    with closing(sqlite3.connect(store.path)) as db, db:
        db.executemany("INSERT INTO runs VALUES (?, ?)", [("a", "{"), ("b", "[1]"), ("c", '{"key": 3, "seed": "x"}')])
    assert store.rows() == {"a": {"key": "a"}, "b": {"key": "b"}, "c": {"key": "c", "seed": "x"}}


def test_the_environment_names_the_file_whose_folder_is_made(tmp_path, monkeypatch):
    path = tmp_path / "new/deep/runs.sqlite"
    monkeypatch.setenv("KDSTUDY_STORE", str(path))
    assert Store().path == path and path.exists()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_two_processes_put_at_once(tmp_path):
    """200 puts each into a file neither has made yet, half of the keys the same: no error, no loss, no mixture."""
    path, children = tmp_path / "shared.sqlite", []
    for mine in (0, 1):
        if not (pid := os.fork()):
            try:
                store = Store(path)
                for i in range(0, 200, 5):
                    store.put(
                        Record({"key": f"k{j + mine * (j % 2) * 1000}", "by": mine}, {"by": np.array([mine])})
                        for j in range(i, i + 5)
                    )
                os._exit(0)
            finally:
                os._exit(1)
        children.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0]
    rows = Store(path).rows()
    assert set(rows) == {f"k{j}" for j in range(200)} | {f"k{j + 1000}" for j in range(1, 200, 2)}
    arrays = Store(path).arrays(rows, ["by"])
    assert all(arrays[k]["by"][0] == row["by"] for k, row in rows.items())
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
