"""Published results come back bit for bit, and a chapter's files are replaced whole or not at all."""

import hashlib
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdstudy.store import published
from kdstudy.store.published import Published
from kdstudy.store.working import Record

ROW = {
    "key": "0a", "dataset": "digits", "condition": "kd", "tau": 4.0, "alpha": 0.9, "seed": 3, "hidden": "16",
    "epochs": 30, "lr": 0.1, "dtype": "float32", "options": "{}", "teacher": "0b", "test_nll": 0.1 + 0.2,
    "code": "123456789012", "version": 1, "digest": "1234567890123456", "torch": "2.15.0", "device": "CPU x86_64",
}  # fmt: skip
AWKWARD = ["12345678901234567890", "1e5", "00000000000000000001", "1e400", "0x1f", "1_000", "inf", "nan", "null", "NA",
           "true"]  # fmt: skip
FLOATS = [0.1 + 0.2, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 1e-5, 123456789.123456789, 1e22, 0.1]


def record(key: str, arrays: dict[str, np.ndarray] | None = None, **row: object) -> Record:
    return Record(ROW | {"key": key} | row, arrays or {})


def publish(*records: Record, chapter: str = "universe") -> Published:
    """What a reader finds in the folder afterwards."""
    Published().publish(chapter, records)
    return Published()


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def test_rows_come_back_as_they_were():
    rows = {key: ROW | {"key": key, "test_nll": value} for key, value in zip("abcdefghi", FLOATS)}
    found = publish(*(Record(row, {}) for row in rows.values())).rows()
    assert found == rows
    for key, row in rows.items():
        assert found[key]["test_nll"].hex() == row["test_nll"].hex()  # tells -0.0 from 0.0
        assert {k: type(v) for k, v in found[key].items()} == {k: type(v) for k, v in row.items()}


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_floats_come_back_bit_for_bit(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("floats")
    Published(folder).publish("universe", [record(f"k{i}", test_nll=v) for i, v in enumerate(values)])
    found = Published(folder).rows()
    assert [found[f"k{i}"]["test_nll"].hex() for i in range(len(values))] == [v.hex() for v in values]


def test_keys_and_digests_that_look_like_something_else_stay_text():
    records = [record(k, {"curves": np.full(2, i)}, teacher=k, code=k, digest=k) for i, k in enumerate(AWKWARD)]
    found = publish(*records)
    assert found.rows() == {r.key: r.row for r in records}
    assert found.rows(["1e5"]).keys() == {"1e5"}
    assert [found.arrays([k], ["curves"])[k]["curves"][0] for k in AWKWARD] == list(range(len(AWKWARD)))


def test_fields_that_do_not_apply_are_left_out_and_empty_text_is_not():
    common = {k: v for k, v in ROW.items() if k not in ("tau", "alpha")}
    hard = common | {"key": "h", "teacher": "", "condition": "hard"}
    found = publish(Record(hard, {}), record("k", epsilon=0.25))
    assert found.rows() == {"h": hard, "k": ROW | {"key": "k", "epsilon": 0.25}}


def test_only_what_is_asked_is_returned():
    found = publish(*(record(k, {"curves": np.ones(2), "reliability": np.ones(3)}) for k in "abc"))
    assert found.rows(["a", "c", "absent"]).keys() == {"a", "c"}
    assert found.rows([]) == {} and found.rows().keys() == set("abc")
    assert {k: set(v) for k, v in found.arrays(["b", "absent"], ["curves"]).items()} == {"b": {"curves"}}
    assert publish(record("a"), record("b", {"curves": np.ones(2)})).arrays("ab", ["curves"]).keys() == {"b"}
    assert found.arrays(["a"], []) == found.arrays([], ["curves"]) == found.arrays(["a"], ["absent"]) == {}


def test_arrays_of_any_shape_and_type_come_back_as_they_were():
    one, two = np.random.default_rng(0).normal(size=(2, 30, 3))
    several = [one, two, one[:12], np.zeros((0, 3)), one.astype(np.float32), np.float32([[1 / 3, -0.0, 1e-45]])]
    several += [np.arange(90).reshape(30, 3), np.array(2.5)]
    records = [record(f"k{i}", {"curves": a, "reliability": np.full((3, 15), i / 3)}) for i, a in enumerate(several)]
    back = publish(*records).arrays([r.key for r in records], ["curves", "reliability"])
    for r in records:
        assert back[r.key].keys() == r.arrays.keys()
        assert all(same(back[r.key][n], a) for n, a in r.arrays.items())


def test_logits_are_not_published():
    found = publish(
        record("a", {"logits_test": np.ones((4, 3)), "logits_train": np.ones((4, 3)), "curves": np.ones(2)})
    )
    assert pq.read_table(found.folder / "universe.arrays.parquet")["name"].to_pylist() == ["curves"]


def test_chapters_have_files_of_their_own():
    ours = Published()
    assert ours.publish("universe", [record("a", {"curves": np.zeros(1)})]) == ours.folder / "universe.parquet"
    assert ours.rows().keys() == ours.arrays(["a"], ["curves"]).keys() == {"a"}  # who publishes sees it at once
    found = publish(record("b", {"curves": np.ones(1)}), chapter="domain")
    assert found.rows().keys() == {"a", "b"}
    files = {f"{c}{e}" for c in ("domain", "universe") for e in (published.ROWS, published.ARRAYS)} | {published.SUMS}
    assert {p.name for p in found.folder.iterdir()} == files
    assert {k: a["curves"].tolist() for k, a in found.arrays("ab", ["curves"]).items()} == {"a": [0.0], "b": [1.0]}
    assert publish(record("c"), chapter="domain").rows().keys() == {"a", "c"}


def test_the_same_results_give_the_same_files_in_whatever_order():
    records = [record(k, {"curves": np.full(2, i)}, dataset="xyxy"[i]) for i, k in enumerate("dcba")]
    folder = publish(*records).folder
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    publish(*records[::-1])
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert list(Published().frame("universe")["key"]) == ["b", "d", "a", "c"]


def test_no_folder_no_results(tmp_path):
    assert Published(tmp_path / "absent").rows() == {}
    assert Published(tmp_path / "absent").arrays(["a"], ["curves"]) == {}


@pytest.mark.parametrize("at", ["arrays", "rows", "replace"])
def test_a_failure_half_way_leaves_the_old_results(monkeypatch, at):
    folder = publish(record("a", {"curves": np.zeros(2)})).folder
    write = published.pq.write_table

    def half(table: object, path: object, *args: object, **kw: object) -> None:
        if at == "rows" and str(path).endswith(f"{published.ARRAYS}.part"):
            return write(table, path, *args, **kw)
        if at != "replace":
            path.write_bytes(b"half a file")
        raise OSError("no space left")

    module, name = (published.os, "replace") if at == "replace" else (published.pq, "write_table")
    monkeypatch.setattr(module, name, half)
    with pytest.raises(OSError, match=re.escape("no space left")):
        Published().publish("universe", [record("a", {"curves": np.ones(2)}), record("b")])
    monkeypatch.undo()
    found = Published(folder)
    assert found.rows().keys() == {"a"}
    assert found.arrays(["a"], ["curves"])["a"]["curves"].shape == (2,)


def test_the_sums_are_those_of_sha256sum_and_a_killed_publisher_leaves_files_that_are_listed(monkeypatch):
    folder = publish(record("a", {"curves": np.zeros(2)})).folder
    Published().publish_classes({"digits": published.Classes(("0", "1"))})
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", published.SUMS], cwd=folder, check=True)
    real, done = os.replace, []

    def killed(part: Path, path: Path) -> None:
        if len(done) == moment:
            raise KeyboardInterrupt
        done.append(real(part, path))

    for moment in range(4):  # the sums, the arrays, the rows, the sums again
        done.clear()
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(published.os, "replace", killed)
            Published().publish("universe", [record(f"b{moment}", {"curves": np.ones(2)})])
        assert len(Published().arrays([*Published().rows(), "a", f"b{moment}"], ["curves"])) == 1
        assert Published().classes()["digits"].names == ("0", "1")


def _other(path: Path) -> None:
    """Another accuracy in a table that can be read."""
    frame = pd.read_parquet(path)
    frame.assign(test_nll=0.5).to_parquet(path) if "test_nll" in frame else frame.iloc[:0].to_parquet(path)


SPOILT = {"cut off": lambda path: path.write_bytes(path.read_bytes()[:-9]), "missing": Path.unlink, "edited": _other,
          "empty": lambda path: path.write_bytes(b"")}  # fmt: skip


@pytest.mark.parametrize("name", ["universe.parquet", "universe.arrays.parquet", "classes.json", published.SUMS])
@pytest.mark.parametrize("fault", SPOILT)
def test_what_is_not_as_it_was_published_is_refused_by_name_and_with_what_to_do(name, fault):
    folder = publish(record("a", {"curves": np.zeros(2)})).folder
    Published().publish_classes({"digits": published.Classes(("0", "1"))})
    if fault == "edited" and not name.endswith("parquet"):
        (folder / name).write_text((folder / name).read_text("utf-8").replace("1", "2"), "utf-8")
    else:
        SPOILT[fault](folder / name)
    with pytest.raises(OSError, match=r"parquet|classes.json") as refused:
        (Published().arrays(["a"], ["curves"]), Published().classes())
    assert (name if name != published.SUMS else "universe") in str(refused.value)
    assert "git checkout -- " in str(refused.value) and "sha256sum" in str(refused.value)


def test_a_table_that_nobody_listed_is_refused():
    folder = publish(record("a")).folder
    pd.DataFrame({"key": ["b"]}).to_parquet(folder / "mine.parquet")
    with pytest.raises(OSError, match=r"mine\.parquet: found a file that SHA256SUMS does not list"):
        Published()


def test_a_file_is_hashed_once_for_each_state(monkeypatch):
    folder, hashed, real = publish(record("a")).folder, [], hashlib.file_digest
    published._digest.cache_clear()
    monkeypatch.setattr(published.hashlib, "file_digest", lambda *given: hashed.append(given) or real(*given))
    for _ in range(3):
        Published(folder).arrays(["a"], ["curves"])
    assert len(hashed) == 2
