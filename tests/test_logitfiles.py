"""Files of logits: what each format gives, and what is refused in which words."""

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

from kdstudy.logitfiles import SAVE, ignored, read
from kdstudy.signals_input import Unusable

SUFFIXES = (".npz", ".safetensors", ".parquet")
NAMES = ["ä", "b", "c", "d", "e"]


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
    stated = f"{path}: found heldout_teacher_logits in {path} too, allowed: held-out examples once"
    with pytest.raises(Unusable, match=says(stated)):
        read(str(path), str(path))


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


def test_what_is_left_out_is_named(tmp_path):
    path = save(tmp_path / "a.npz", **example(), student_logit=np.zeros(3), epoch=np.zeros(1))
    assert ignored(read(str(path))[1]) == ["student_logit (did you mean student_logits?)", "epoch"]


def refused(path: object, message: str, *more: object) -> None:
    with pytest.raises(Unusable, match=says(f"{path}: {message}")):
        read(str(path), *map(str, more))


def test_no_file(tmp_path):
    absent = "found no file that can be read (No such file or directory), allowed: a file of logits; check the path"
    refused(tmp_path / "a.npz", absent)
    (tmp_path / "b.npz").mkdir()
    refused(tmp_path / "b.npz", "found a folder, allowed: a file of logits; name the file itself")
    os.mkfifo(tmp_path / "c.npz")
    refused(tmp_path / "c.npz", "found no ordinary file, allowed: a file of logits; name the file itself")


def test_another_suffix(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"")
    refused(tmp_path / "a.pt", f"found the suffix '.pt', allowed: .npz, .safetensors, .parquet; {SAVE}")


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    def denied(path: str, *_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = save(tmp_path / "a.npz", **example())
    monkeypatch.setattr("builtins.open", denied)
    refused(path, "found no file that can be read (Permission denied), allowed: a file of logits; check the path")


@pytest.mark.parametrize(
    ("suffix", "why"),
    [
        (".npz", "found no archive of arrays (cut off, or saved by something else), allowed: .npz"),
        (".safetensors", "found a file that is cut off or broken (Error while deserializing header: incomplete "
                         "metadata, file not fully covered), allowed: a whole one"),
        (".parquet", "found a file that is cut off or broken (Parquet magic bytes not found in footer. Either the file "
                     "is corrupted or this is not a parquet file.), allowed: a whole one"),
    ],
)  # fmt: skip
def test_a_file_that_is_cut_off(tmp_path, suffix, why):
    path = save(tmp_path / f"a{suffix}", **example())
    path.write_bytes(path.read_bytes()[:-7])
    refused(path, f"{why}; {SAVE}")


def test_a_damaged_member(tmp_path):
    path = save(tmp_path / "a.npz", **example())
    raw = bytearray(path.read_bytes())
    raw[900] ^= 255
    path.write_bytes(raw)
    why = "Bad CRC-32 for file 'teacher_logits.npy'"
    refused(path, f"found a file that is cut off or broken ({why}), allowed: a whole one; {SAVE}")


def test_python_objects_are_not_loaded(tmp_path):
    rows = np.array([[1.0], [2.0, 3.0]], dtype=object)
    todo = "allowed: numbers or text; save np.asarray(rows, dtype=np.float32)"
    path = save(tmp_path / "a.npz", teacher_logits=rows, labels=[0, 1])
    refused(path, f"found Python objects (pickled) in teacher_logits, {todo}")
    path = save(tmp_path / "b.npz", **example(), class_names=np.array(NAMES, dtype=object))
    todo = "allowed: numbers or text; save np.array(names, dtype=str)"
    refused(path, f"found Python objects (pickled) in class_names, {todo}")
    path = save(tmp_path / "c.npz", **example(), notes=np.array([{}], dtype=object))
    assert read(str(path))[1] == ["notes"]


def test_bytes_among_arrays(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("labels.npy", b"no array")
    refused(tmp_path / "a.npz", f"found bytes that are no array in labels, allowed: .npy inside .npz; {SAVE}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_arrays(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", logits=example()["teacher_logits"], label=example()["labels"])
    there = ", ".join(["label", "logits"] if suffix == ".safetensors" else ["logits", "label"])
    todo = (
        "allowed: both under these names; rename logits if it is the teacher_logits; rename label if it is the labels"
    )
    refused(path, f"found arrays {there}, but no teacher_logits and no labels, {todo}")


def test_an_empty_archive(tmp_path):
    np.savez(tmp_path / "a.npz")
    refused(tmp_path / "a.npz", "found no arrays, but no teacher_logits and no labels, allowed: both under these names")


def test_values_that_are_no_numbers(tmp_path):
    path = save(tmp_path / "a.npz", **example() | {"labels": np.array(["cat"] * 300)})
    todo = "number the classes 0, 1, ... and give their names as class_names"
    refused(path, f"found str96 in labels, such as 'cat', allowed: numbers; {todo}")
    path = save(tmp_path / "b.npz", **example(), tau=[1, 2])
    refused(path, "found 2 values in tau, allowed: one temperature")
    np.savez(tmp_path / "c.npz", **example(), class_names=np.array([b"\xff"] * 5))
    refused(tmp_path / "c.npz", r"found a class name that is not UTF-8 (b'\xff'), allowed: UTF-8")


def columns(path: object, metadata: dict | None = None, **columns: object) -> object:
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    return path


def test_columns_that_do_not_fit(tmp_path):
    path, labels = tmp_path / "a.parquet", [0, 1]
    columns(path, teacher_logits=[[1.0, 2.0], [1.0]], labels=labels)
    refused(path, "found lists of different lengths in teacher_logits (1, 2), allowed: C numbers in each row")
    columns(path, teacher_logits=[[1.0, 2.0], None], labels=labels)
    refused(path, "found lists of different lengths in teacher_logits (2, none), allowed: C numbers in each row")
    columns(path, teacher_logits=[[[1.0]], [[2.0]]], labels=labels)
    refused(path, "found lists of lists in teacher_logits, allowed: C numbers in each row")
    columns(path, teacher_logits_0=[1.0, 2.0], teacher_logits_2=[1.0, 2.0], labels=labels)
    refused(path, "found columns teacher_logits_... without number 1, allowed: 0, 1, ... without a gap")
    columns(path, teacher_logits_0=[[1.0], [2.0]], labels=labels)
    refused(path, "found lists in teacher_logits_0, allowed: numbers in teacher_logits_0, or lists in one column")


def test_what_parquet_keeps_elsewhere(tmp_path):
    path, rows = tmp_path / "a.parquet", {"teacher_logits": [[1.0, 2.0]], "labels": [0]}
    columns(path, **rows, split=["new"])
    known = "train, heldout, held-out, held_out, validation, val, valid, dev, test"
    refused(path, f"found split 'new', allowed: {known}")
    columns(path, **rows, class_names=["a"])
    refused(path, "found class_names as a column, allowed in .parquet: JSON in the file's metadata")
    columns(path, **rows, heldout_labels=[0])
    where = "rows with split = heldout, or --heldout FILE"
    refused(path, f"found heldout_labels as a column, allowed in .parquet: {where}")
    columns(path, {"tau": "four"}, **rows)
    refused(path, "found metadata tau that is no JSON, allowed: a list, or a number for tau")


def test_super_classes_and_tau_as_json_or_as_tensors(tmp_path):
    tensors = {k: torch.from_numpy(v) for k, v in example().items()}
    save_file(tensors, tmp_path / "a.safetensors", metadata={"superclass": json.dumps(list("aabba")), "tau": "2.5"})
    found, _ = read(str(tmp_path / "a.safetensors"))
    assert (found["superclass"], found["tau"]) == ([0, 0, 1, 1, 0], 2.5)
    tensors |= {"superclass": torch.tensor([0, 0, 1, 1, 0]), "tau": torch.tensor(2.5, dtype=torch.bfloat16)}
    save_file(tensors, tmp_path / "b.safetensors")
    found, _ = read(str(tmp_path / "b.safetensors"))
    assert (found["superclass"], found["tau"]) == ([0, 0, 1, 1, 0], 2.5)
