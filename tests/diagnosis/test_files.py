"""Files of logits: what each format gives, what is refused and how; whatever they hold, no traceback."""

import json
import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import says
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from logit_files import answered, call, example, save
from safetensors.torch import save_file

from kdstudy.diagnosis.files import SAVE, ignored, read
from kdstudy.diagnosis.inputs import Unusable

SUFFIXES = (".npz", ".safetensors", ".parquet")
NAMES = ["ä", "b", "c", "d", "e"]


def refused(path: object, message: str, *more: str) -> None:
    with pytest.raises(Unusable, match=says(f"{path}: found {message}")):
        read(str(path), *more)


def same(found: dict, wanted: dict) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(np.asarray(found[name]), value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_the_same(tmp_path, suffix):
    wanted = example() | {"student_logits": example(seed=1)["teacher_logits"]}
    path = save(tmp_path / f"a{suffix}", **wanted, class_names=NAMES, superclass=[0, 0, 1, 1, 1], tau=4)
    found, names = read(str(path))
    assert ignored(names) == []
    assert (found.pop("class_names"), found.pop("tau"), found.pop("superclass")) == (NAMES, 4.0, [0, 0, 1, 1, 1])
    same(found, wanted)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_second_file_holds_held_out_examples(tmp_path, suffix):
    mine, other = example(), example(50, seed=1) | {"student_logits": example(50, seed=2)["teacher_logits"]}
    paths = save(tmp_path / f"a{suffix}", **mine), save(tmp_path / f"b{suffix}", **other)
    found, _ = read(*map(str, paths))
    held = {"heldout_teacher_logits": other["teacher_logits"], "heldout_labels": other["labels"]}
    same(found, mine | held | {"student_val_logits": other["student_logits"]})


@pytest.mark.parametrize("suffix", SUFFIXES[:2])
def test_held_out_examples_in_the_same_file(tmp_path, suffix):
    held = {f"heldout_{name}": value for name, value in example(50, seed=1).items()}
    path = save(tmp_path / f"a{suffix}", **example(), **held)
    same(read(str(path))[0], example() | held)
    refused(path, f"heldout_teacher_logits in {path} too, allowed: held-out examples once", str(path))


def test_a_split_column_holds_out_rows(tmp_path):
    whole, split = example(), np.array(["train", "test", "train", "val", "train"] * 60)
    path = save(tmp_path / "a.parquet", **whole, student_logits=whole["teacher_logits"] + 1, split=split)
    at = split == "train"
    found, names = read(str(path))
    same(found, {
        "teacher_logits": whole["teacher_logits"][at], "labels": whole["labels"][at],
        "student_logits": whole["teacher_logits"][at] + 1, "heldout_teacher_logits": whole["teacher_logits"][~at],
        "heldout_labels": whole["labels"][~at], "student_val_logits": whole["teacher_logits"][~at] + 1,
    })  # fmt: skip
    assert ignored(names) == []


def test_one_column_a_class_in_the_order_of_numbers(tmp_path):
    whole = example(60, 12)
    columns = {f"teacher_logits_{j}": whole["teacher_logits"][:, j] for j in reversed(range(12))}
    pd.DataFrame(columns | {"labels": whole["labels"]}).to_parquet(tmp_path / "a.parquet")
    same(read(str(tmp_path / "a.parquet"))[0], whole)


def test_lists_of_a_fixed_size_in_several_row_groups_with_numbers_missing(tmp_path):
    whole = example(30)
    whole["teacher_logits"][3, 1] = np.nan
    values = pa.array(whole["teacher_logits"].ravel(), from_pandas=True)
    table = pa.table({"teacher_logits": pa.FixedSizeListArray.from_arrays(values, 5), "labels": whole["labels"]})
    assert values.null_count == 1
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=7)
    same(read(str(tmp_path / "a.parquet"))[0], whole)


def test_safetensors_keep_their_type(tmp_path):
    logits = torch.from_numpy(example()["teacher_logits"]).bfloat16()
    path = save(tmp_path / "a.safetensors", teacher_logits=logits, labels=example()["labels"])
    found = read(str(path))[0]["teacher_logits"]
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, logits)


def test_names_as_bytes_and_super_classes_as_text(tmp_path):
    names = np.array(["é".encode(), b"b", b"c", b"d", b"e"])
    np.savez(tmp_path / "a.npz", **example(), class_names=names, superclass=list("yxxyx"))
    found, _ = read(str(tmp_path / "a.npz"))
    assert found["class_names"] == ["é", "b", "c", "d", "e"]
    assert found["superclass"] == [1, 0, 0, 1, 0]


def test_what_is_left_out_is_named_and_not_loaded(tmp_path):
    path = save(tmp_path / "a.npz", **example(), student_logit=np.zeros(3), notes=np.array([{}], dtype=object))
    assert ignored(read(str(path))[1]) == ["student_logit (did you mean student_logits?)", "notes"]


def test_super_classes_and_tau_as_json_or_as_tensors(tmp_path):
    tensors = {k: torch.from_numpy(v) for k, v in example().items()}
    more = {"superclass": torch.tensor([0, 0, 1, 1, 0]), "tau": torch.tensor(2.5, dtype=torch.bfloat16)}
    save_file(tensors, tmp_path / "a.safetensors", metadata={"superclass": json.dumps(list("aabba")), "tau": "2.5"})
    save_file(tensors | more, tmp_path / "b.safetensors")
    for name in "ab":
        found, _ = read(str(tmp_path / f"{name}.safetensors"))
        assert (found["superclass"], found["tau"]) == ([0, 0, 1, 1, 0], 2.5)


# ---------------------------------------------------------------- refused

NO_FILE = "no file that can be read ({}), allowed: a file of logits; check the path"
BROKEN = "a file that is cut off or broken ({}), allowed: a whole one; " + SAVE
CUT_OFF = {
    ".npz": f"no archive of arrays (cut off, or saved by something else), allowed: .npz; {SAVE}",
    ".safetensors": BROKEN.format("Error while deserializing header: incomplete metadata, file not fully covered"),
    ".parquet": BROKEN.format("Parquet magic bytes not found in footer. Either the file is corrupted or this is not a "
                              "parquet file."),
}  # fmt: skip


def test_what_is_no_file_of_logits(tmp_path, monkeypatch):
    (tmp_path / "b.npz").mkdir()
    os.mkfifo(tmp_path / "c.npz")
    (tmp_path / "d.txt").write_bytes(b"")
    refused(tmp_path / "a.npz", NO_FILE.format("No such file or directory"))
    refused(
        tmp_path / "b.npz", "a folder without .npy, .arrow or .parquet, allowed: a file of logits; name the file itself"
    )
    refused(tmp_path / "c.npz", "no ordinary file, allowed: a file of logits; name the file itself")
    kinds = ".npz, .npy, .safetensors, .pt, .h5, .parquet, .arrow, .jsonl, .json"
    refused(tmp_path / "d.txt", f"the suffix '.txt', allowed: {kinds}; {SAVE}")

    def denied(path: str, *_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = save(tmp_path / "e.npz", **example())
    monkeypatch.setattr("builtins.open", denied)
    refused(path, NO_FILE.format("Permission denied"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_cut_off(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", **example())
    path.write_bytes(path.read_bytes()[:-7])
    refused(path, CUT_OFF[suffix])


def test_a_damaged_member_and_one_that_is_no_array(tmp_path):
    path = save(tmp_path / "a.npz", **example())
    raw = bytearray(path.read_bytes())
    raw[900] ^= 255
    path.write_bytes(raw)
    refused(path, BROKEN.format("Bad CRC-32 for file 'teacher_logits.npy'"))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("labels.npy", b"no array")
    refused(path, f"bytes that are no array in labels, allowed: .npy inside .npz; {SAVE}")


ROWS, TEXT = np.array([[1.0], [2.0, 3.0]], dtype=object), "allowed: numbers or text; save"
OBJECTS, TODO = "Python objects (pickled) in", "number the classes 0, 1, ... and give their names as class_names"
VALUES = [
    ("teacher_logits", ROWS, f"{OBJECTS} teacher_logits, {TEXT} np.asarray(rows, dtype=np.float32)"),
    ("class_names", ROWS, f"{OBJECTS} class_names, {TEXT} np.array(names, dtype=str)"),
    ("labels", ["cat"] * 300, f"str96 in labels, such as 'cat', allowed: numbers; {TODO}"),
    ("tau", [1, 2], "2 values in tau, allowed: one temperature"),
    ("class_names", [b"\xff"] * 5, r"a class name that is not UTF-8 (b'\xff'), allowed: UTF-8"),
]


@pytest.mark.parametrize(("name", "value", "message"), VALUES)
def test_values_that_are_no_numbers(tmp_path, name, value, message):
    np.savez(tmp_path / "a.npz", **example() | {name: np.array(value)})
    refused(tmp_path / "a.npz", message)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_arrays(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", teacher_logit=example()["teacher_logits"], labls=example()["labels"])
    there = ", ".join(["labls", "teacher_logit"] if suffix == ".safetensors" else ["teacher_logit", "labls"])
    missing = "but no teacher_logits and no labels, allowed: both under these names"
    meant = "; rename teacher_logit if it is the teacher_logits; rename labls if it is the labels"
    refused(path, f"arrays {there}, {missing}{meant}")
    np.savez(tmp_path / "b.npz")
    refused(tmp_path / "b.npz", f"no arrays, {missing}")


ONE = {"teacher_logits": [[1.0, 2.0]], "labels": [0]}
ROW, HELD = "allowed: C numbers in each row", "rows with split = heldout, or --heldout FILE"
SPLITS = "train, heldout, held-out, held_out, validation, val, valid, dev, test"
TABLES = [
    ({"teacher_logits": [[1.0, 2.0], [1.0]]}, f"lists of different lengths in teacher_logits (1, 2), {ROW}"),
    ({"teacher_logits": [[1.0, 2.0], None]}, f"lists of different lengths in teacher_logits (2, none), {ROW}"),
    ({"teacher_logits": [[[1.0]], [[2.0, 3.0]]]}, f"lists of different lengths in teacher_logits (1, 2), {ROW}"),
    ({"labels_0": [1, 2], "labels_2": [1, 2]}, "columns labels_... without number 1, allowed: 0, 1, ... without a gap"),
    ({"labels_0": [[1], [2]]}, "lists in labels_0, allowed: numbers in labels_0, or lists in one column"),
    (ONE | {"split": ["new"]}, f"split 'new', allowed: {SPLITS}"),
    (ONE | {"class_names": ["a"]}, "class_names as a column, allowed in .parquet: JSON in the file's metadata"),
    (ONE | {"heldout_labels": [0]}, f"heldout_labels as a column, allowed in .parquet: {HELD}"),
    (ONE | {"tau": "four"}, "metadata tau that is no JSON, allowed: a list, or a number for tau"),
]


@pytest.mark.parametrize(("columns", "message"), TABLES)
def test_columns_that_do_not_fit(tmp_path, columns, message):
    metadata = {k: v for k, v in columns.items() if k == "tau"}
    table = pa.table({k: v for k, v in columns.items() if k != "tau"})
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "a.parquet")
    refused(tmp_path / "a.parquet", message)


# ---------------------------------------------------------------- whatever a file holds

LOGITS = ("student_logits", "heldout_teacher_logits", "student_val_logits")
TYPES = st.sampled_from(["f2", "f4", "f8", "i1", "i8", "u1", "u8", "?", "c8", "U3", "S3", "M8[s]", "O"])
HUGE = st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, 1e-320, 65504.0, 3e38, -1.7e308])
fuzz = lambda n: settings(deadline=None, max_examples=n, suppress_health_check=list(HealthCheck))  # noqa: E731


def drawn(draw: st.DrawFn, shape: tuple[int, ...]) -> np.ndarray:
    """An array of any type; of floats often with what is not finite."""
    dtype = np.dtype(draw(TYPES))
    if dtype.kind == "O":
        return np.full(shape, None)
    if dtype.kind == "f" and draw(st.booleans()):
        with np.errstate(over="ignore", under="ignore"):
            return draw(npst.arrays(np.float64, shape, elements=HUGE)).astype(dtype)
    return draw(npst.arrays(dtype, shape))


def labels(draw: st.DrawFn, rows: int, classes: int) -> np.ndarray:
    """Labels that fit, or anything."""
    if draw(st.integers(0, 3)):
        dtype = draw(st.sampled_from(["i8", "u1", "f4", "f8"]))
        return draw(npst.arrays(dtype, rows, elements=st.integers(0, max(0, classes - 1))))
    return drawn(draw, draw(st.sampled_from([(rows,), (rows + 1,), (rows, 1), (rows, classes), ()])))


@st.composite
def contents(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """Arrays under the names that are known, many of them wrong."""
    rows, classes = draw(st.integers(0, 9)), draw(st.integers(0, 5))
    usual = draw(st.integers(0, 2))
    odd = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    shape = (rows + 1, classes + 2) if usual else draw(odd)
    element = st.floats(-30, 30, width=32) | HUGE
    logits = (lambda: draw(npst.arrays("f8", shape, elements=element))) if usual == 1 else (lambda: drawn(draw, shape))
    rows, classes = (*shape, 0, 0)[:2]
    found = {"teacher_logits": logits(), "labels": labels(draw, rows, classes)}
    found |= {name: logits() for name in draw(st.sets(st.sampled_from(LOGITS)))}
    others = {"heldout_labels": labels(draw, rows, classes), "tau": drawn(draw, ()), "more": np.zeros(1)}
    others |= {name: drawn(draw, (classes,)) for name in ("class_names", "superclass")}
    found |= {name: value for name, value in others.items() if draw(st.booleans())}
    return {k: v for k, v in found.items() if k not in draw(st.sets(st.sampled_from(["labels", "more"])))}


def tried(suffix: str, write: object, *words: str) -> str:
    """What comes of the file that `write` makes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file{suffix}"
        write(path)
        return answered(call(path, "--json", *words))


@fuzz(260)
@given(contents())
def test_any_arrays(arrays):
    tried(".npz", lambda path: np.savez(path, **arrays))


@fuzz(80)
@given(contents(), st.sampled_from([None, torch.bfloat16, torch.float8_e5m2, torch.complex64]))
def test_any_tensors(arrays, dtype):
    tensors = {k: torch.from_numpy(v.copy()) for k, v in arrays.items() if v.dtype.kind in "fiub"}
    if dtype and "teacher_logits" in tensors:
        tensors["teacher_logits"] = tensors["teacher_logits"].to(dtype)
    tried(".safetensors", lambda path: save_file(tensors, path))


CELLS = st.none() | st.floats(width=32) | st.lists(st.none() | st.floats(width=32), max_size=3)
COLUMNS = ["teacher_logits", "labels", "student_logits", "teacher_logits_0", "teacher_logits_1", "heldout_labels", "x"]


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Columns of lists, of numbers, of text, with values missing."""
    rows, width = draw(st.integers(0, 6)), draw(st.integers(0, 4))
    number = st.floats(-9, 9) | st.sampled_from([None, np.nan, np.inf])
    kinds = [st.lists(number, min_size=width, max_size=width), number, st.integers(0, 3), st.text(max_size=2),
             st.lists(number, max_size=3), st.none(), st.booleans(), st.binary(max_size=2), st.dates()]  # fmt: skip
    usual = {"labels": kinds[2], "teacher_logits": kinds[0]}
    names = ["teacher_logits", "labels"] + draw(st.lists(st.sampled_from(COLUMNS), unique=True, max_size=3))
    columns = {}
    for name in dict.fromkeys(names):
        kind = usual[name] if name in usual and draw(st.integers(0, 3)) else draw(st.sampled_from(kinds))
        columns[name] = draw(st.lists(kind, min_size=rows, max_size=rows))
    if draw(st.booleans()):
        columns["split"] = draw(st.lists(st.sampled_from(["train", "test", "x", None]), min_size=rows, max_size=rows))
    metadata = {name: draw(st.text(max_size=4) | st.just("[0, 1]")) for name in draw(st.sets(st.just("class_names")))}
    return pa.table(columns).replace_schema_metadata(metadata)


@fuzz(120)
@given(tables())
def test_any_table(table):
    tried(".parquet", lambda path: pq.write_table(table, path))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    """A file in each format that is in order."""
    folder = tmp_path_factory.mktemp("whole")
    return {s: save(folder / f"a{s}", **example(12, 3)).read_bytes() for s in SUFFIXES}


@pytest.mark.parametrize("suffix", SUFFIXES)
@fuzz(60)
@given(where=st.floats(0, 0.999), junk=st.none() | st.binary(min_size=1, max_size=4))
def test_damaged_files(whole, suffix, where, junk):
    raw = whole[suffix]
    at = int(where * len(raw))
    damaged = raw[:at] if junk is None else raw[:at] + junk + raw[at + len(junk) :]
    done = tried(suffix, lambda path: path.write_bytes(damaged))
    assert done == "refused" or junk is not None, f"cut off at {at} of {len(raw)} bytes"


@pytest.mark.parametrize("suffix", SUFFIXES)
@fuzz(30)
@given(raw=st.binary(max_size=64), start=st.sampled_from([b"", b"PK\x03\x04", b"PAR1", b"\x10" + bytes(7) + b"{"]))
def test_random_bytes(suffix, raw, start):
    assert tried(suffix, lambda path: path.write_bytes(start + raw)) == "refused"
