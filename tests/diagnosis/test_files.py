"""Files of logits: what each format gives, what is refused and how."""

import json
import os
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import says
from logit_files import example, save
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
    assert found["superclass"] == list("yxxyx")


def test_what_is_left_out_is_named_and_not_loaded(tmp_path):
    path = save(tmp_path / "a.npz", **example(), student_logit=np.zeros(3), notes=np.array([{}], dtype=object))
    assert ignored(read(str(path))[1]) == ["student_logit (did you mean student_logits?)", "notes"]


def test_super_classes_and_tau_as_json_or_as_tensors(tmp_path):
    tensors = {k: torch.from_numpy(v) for k, v in example().items()}
    more = {"superclass": torch.tensor([0, 0, 1, 1, 0]), "tau": torch.tensor(2.5, dtype=torch.bfloat16)}
    save_file(tensors, tmp_path / "a.safetensors", metadata={"superclass": json.dumps(list("aabba")), "tau": "2.5"})
    save_file(tensors | more, tmp_path / "b.safetensors")
    for name, groups in (("a", list("aabba")), ("b", [0, 0, 1, 1, 0])):
        found, _ = read(str(tmp_path / f"{name}.safetensors"))
        assert (found["superclass"], found["tau"]) == (groups, 2.5)


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
    magic = r"the magic string is not correct; expected b'\x93NUMPY', got b'no arr'"
    refused(path, BROKEN.format(magic))


ROWS, TEXT = np.array([[1.0], [2.0, 3.0]], dtype=object), "allowed: numbers or text; save"
OBJECTS = "Python objects (pickled) in"
VALUES = [
    ("teacher_logits", ROWS, f"{OBJECTS} teacher_logits, {TEXT} np.asarray(rows, dtype=np.float32)"),
    ("class_names", ROWS, f"{OBJECTS} class_names, {TEXT} np.array(names, dtype=str)"),
    ("tau", [1, 2], "2 values in tau, allowed: one number"),
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
    ({"labels_0": [[1], [2]]}, "lists in labels_0, ..., allowed: a number in each, or lists in one column"),
    (ONE | {"split": ["new"]}, f"split 'new', allowed: {SPLITS}"),
    (ONE | {"class_names": ["a"]}, "class_names as a column, allowed: in a table: JSON in the file's metadata"),
    (ONE | {"heldout_labels": [0]}, f"heldout_labels as a column, allowed: in a table: {HELD}"),
    (ONE | {"tau": "four"}, "metadata tau that is no JSON, allowed: a list, or a number for tau"),
]


@pytest.mark.parametrize(("columns", "message"), TABLES)
def test_columns_that_do_not_fit(tmp_path, columns, message):
    metadata = {k: v for k, v in columns.items() if k == "tau"}
    table = pa.table({k: v for k, v in columns.items() if k != "tau"})
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "a.parquet")
    refused(tmp_path / "a.parquet", message)
