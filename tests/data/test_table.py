"""Embeddings, numbers and texts of a user's own: every kind of file is one data set, and what is refused."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from own_examples import cats_and_dogs, texts
from sklearn.datasets import load_wine
from tiny_files import SPLITS, well_formed
from torch.testing import assert_close

from kdstudy import dataset, load
from kdstudy.core.spec import Data
from kdstudy.data import registry, table
from kdstudy.data import texts as clinc150
from kdstudy.data.dataset import Dataset
from kdstudy.data.download import DataError

pytestmark = pytest.mark.usefixtures("cache")
X, Y = load_wine(return_X_y=True)
SPLIT = np.array(["train", "val", "test", "train"])[np.arange(len(X)) % 4]


def read(path: Path) -> Dataset:
    return load(registry.named(str(path)))


def saved(folder: Path, frame: pd.DataFrame, split: str = "") -> None:
    """As `datasets.save_to_disk` does: the stream format, the names of classes in the schema's metadata."""
    (folder / split).mkdir(parents=True)
    features = {"label": {"names": ["a", "b", "c"], "_type": "ClassLabel"}}
    whole = pa.Table.from_pandas(frame[["label", *frame.columns.drop("label")]], preserve_index=False)
    whole = whole.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    (folder / "dataset_dict.json").write_text('{"splits": []}')
    with pa.ipc.new_stream(folder / split / ARROW, whole.schema) as out:
        out.write_table(whole, 50)


def beside(path: Path, *names: str) -> None:
    for name, value in zip(names, (X, Y, SPLIT)):
        np.save(path.with_name(name), value)


WAYS = {
    "a.csv": lambda f, path: f.to_csv(path),  # with pandas' column of row numbers
    "a.tsv": lambda f, path: f.to_csv(path, sep="\t", index=False),
    "a.jsonl": lambda f, path: f.to_json(path, orient="records", lines=True),
    "a.parquet": lambda f, path: f.to_parquet(path),
    "lists.parquet": lambda f, path: lists(f).to_parquet(path),
    "lists.jsonl": lambda f, path: lists(f).to_json(path, orient="records", lines=True),
    "a.npz": lambda f, path: np.savez(path, X=X, target=Y, split=SPLIT),
    "parts.npz": lambda f, path: np.savez(
        path, **{f"{n}_{s}": v[s == SPLIT] for n, v in (("x", X), ("y", Y)) for s in ("train", "val", "test")}
    ),
    "x.npy": lambda f, path: beside(path, "x.npy", "y.npy", "split.npy"),
    "e.npy": lambda f, path: beside(path, "e.npy", "e_y.npy", "e_split.npy"),
    "folder": lambda f, path: [saved(path, part, s) for s, part in by_split(f)],
    "hub": lambda f, path: [hub(path, part, s) for s, part in by_split(f)],
    "converted": lambda f, path: [put(part, path / f"default/{s}/0000.parquet") for s, part in by_split(f)],
    "cached": lambda f, path: [(saved(path, part, s), (path / s / ARROW).rename(path / f"wine-{s}.arrow"))
                               for s, part in by_split(f)],
    "plain": lambda f, path: [put(part, path / f"{s}.csv") for s, part in by_split(f)],
}  # fmt: skip
ARROW = "data-00000-of-00001.arrow"


def by_split(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(s, part.drop(columns="split")) for s, part in frame.groupby("split")]


def put(frame: pd.DataFrame, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return path


def hub(path: Path, frame: pd.DataFrame, split: str) -> None:
    """As its client caches a repository: links to blobs, a split in two parts, a file of some other split."""
    for i, part in enumerate((frame[:9], frame[9:])):
        blob = put(part, path / f"blobs/{split}{i}.parquet")
        link = path / f"snapshots/1f0c/data/{split}-0000{i}-of-00002-5a3c.parquet"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob.rename(blob.with_suffix("")))
    put(frame, path / "snapshots/1f0c/data/unsupervised-00000-of-00001.parquet")


def lists(frame: pd.DataFrame) -> pd.DataFrame:
    kept = frame[["label", "split"]].assign(embedding=frame.drop(columns=["label", "split"]).to_numpy().tolist())
    return kept.assign(id=[f"row {i}" for i in range(len(frame))])


@pytest.mark.parametrize("name", WAYS)
def test_every_kind_of_file_is_the_same_data_set(name, tmp_path):
    frame = pd.DataFrame(X, columns=[f"f{i}" for i in range(X.shape[1])]).assign(label=Y, split=SPLIT)
    WAYS[name](frame, tmp_path / name)
    data = read(tmp_path / name)
    well_formed(data)
    mean, std = X[SPLIT == "train"].mean(0), X[SPLIT == "train"].std(0)
    for split, theirs in zip(SPLITS, ("train", "val", "test")):
        rows = np.flatnonzero(SPLIT == theirs)
        assert_close(getattr(data, split).x, torch.from_numpy((X[rows] - mean) / std).float(), atol=1e-4, rtol=1e-4)
        assert getattr(data, split).y.tolist() == Y[rows].tolist()
        assert name == "parts.npz" or "." not in name or data.extra[split]["row"].tolist() == rows.tolist()
    assert data.classes == (("a", "b", "c") if name in ("folder", "cached") else ("0", "1", "2"))


def test_arrays_and_bunches_are_data_sets_known_by_their_content():
    given = dataset(X, Y, split=SPLIT, superclass=["big", "small", "big"], name="wine")
    assert given == dataset(X, Y, split=SPLIT, superclass=["big", "small", "big"], name="wine")
    assert (given.label, registry.grouped(given)) == ("wine.npz", True)
    assert load(given).superclass.tolist() == [0, 1, 0]
    assert given != dataset(X + 1, Y, split=SPLIT, superclass=["big", "small", "big"], name="wine")
    assert load(dataset(load_wine())).classes == ("class_0", "class_1", "class_2")
    assert load(dataset(X.reshape(-1, 13, 1, 1), Y)).train.x.shape[1:] == (13, 1, 1)


def test_a_file_that_changed_since_it_was_asked_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=X, y=Y)
    asked = registry.named(str(tmp_path / "a.npz"))
    np.savez(tmp_path / "a.npz", x=X + 1, y=Y)
    registry.load.cache_clear()
    with pytest.raises(DataError, match="content .*, allowed: content .* ask again"):
        load(asked)
    assert registry.named(str(tmp_path / "a.npz")) != asked


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_texts_read_in_parts_have_the_features_of_texts_read_at_once(suffix, tmp_path, monkeypatch, capsys):
    """The slow twin: `texts.features` of all texts in memory."""
    monkeypatch.setattr(table, "LARGE", 10)
    monkeypatch.setattr(table, "SAID", 20)
    monkeypatch.delenv("KDSTUDY_PROGRESS")
    frame = pd.DataFrame(texts(40, "a", "b"), columns=["text", "label"])
    write = {"csv": frame.to_csv, "parquet": frame.to_parquet}.get(suffix)
    path = tmp_path / f"a.{suffix}"
    if suffix == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        write(path, index=False) if write else frame.to_csv(path, sep="\t", index=False)
    data = read(path)
    assert "a." in capsys.readouterr().err
    at = {s: data.extra[s]["row"].tolist() for s in SPLITS}
    expected = clinc150.features({s: [frame["text"][i] for i in at[s]] for s in SPLITS}, 56)
    for split in SPLITS:
        ours = getattr(data, split).x
        assert_close(ours @ ours.T, torch.from_numpy(expected[split] @ expected[split].T), atol=1e-2, rtol=1e-3)
        assert getattr(data, split).y.tolist() == [int(frame["label"][i] == "b") for i in at[split]]


def test_examples_of_test_that_are_in_train_are_said(tmp_path):
    x = X.copy()
    x[2], x[6] = x[0], x[0]  # two of test
    x[1] = x[3]  # one of validation
    np.savez(tmp_path / "copies.npz", x=x, y=Y, split=SPLIT)
    with pytest.warns(
        UserWarning, match="copies.npz: 1 of 45 examples of validation and 2 of 44 examples of test have the feat"
    ):
        registry.named(str(tmp_path / "copies.npz"))


FRAME = pd.DataFrame({"f": [0.5, 1.5, 2.5, 3.5] * 3, "label": list("abab") * 3})


@pytest.mark.parametrize(
    "name, write, found",
    [
        ("no.npz", lambda p: None, "none that can be read (No such file or directory)"),
        ("a.npz", lambda p: np.savez(p, x=X), "arrays 'x', allowed: x and y"),
        ("a.npz", lambda p: np.savez(p, x=X, y=Y[:-1]), "178 examples, {'label': 177}"),
        ("a.npz", lambda p: np.savez(p, x=X, y=Y, classes=["a", "b"]), "label '2', allowed: names of classes, or"),
        ("a.npz", lambda p: np.savez(p, x=X, y=Y - 1, classes=["a", "b", "c"]), "label '-1', allowed: names of"),
        ("a.npz", lambda p: np.savez(p, x=X[:, 0], y=Y), "x of shape (178,), float64"),
        ("a.npz", lambda p: np.savez(p, x=X, y=Y + 0.5), "label of shape (178,), float64"),
        ("a.npz", lambda p: np.savez(p, x=np.where(X > 1000, np.nan, X), y=Y), "no numbers in rows "),
        ("a.npz", lambda p: np.savez(p, x=np.array([{}]), y=Y), "ValueError (Object arrays cannot be loaded"),
        ("a.npz", lambda p: np.savez(p, x=X, y=Y, split=np.full(178, "tset")), "split 'tset', allowed: train"),
        ("a.npz", lambda p: p.write_bytes(b"no"), "ValueError ("),
        ("a.npy", lambda p: np.save(p, X), "arrays 'x', allowed: x and y"),
        ("a.csv", lambda p: FRAME.rename(columns={"label": "z"}).to_csv(p), "columns 'f', 'z', allowed: labels"),
        ("a.csv", lambda p: FRAME.assign(f="w").to_csv(p), "ArrowInvalid (In CSV column"),
        ("a.csv", lambda p: FRAME[["f"]].to_csv(p), "columns 'f', allowed: labels in a column"),
        ("a.csv", lambda p: FRAME.assign(y=1).to_csv(p), "columns 'f', 'label', 'label', allowed"),
        ("a.csv", lambda p: FRAME.assign(label=None).to_csv(p), "no label in rows 0, 1, 2, 3, 4 and 7 more"),
        ("a.csv", lambda p: p.write_text("\n"), "ArrowInvalid ("),
        ("a.jsonl", lambda p: p.write_text("{"), "ArrowInvalid ("),
        ("a.parquet", lambda p: p.write_text("{"), "ArrowInvalid ("),
        ("a.parquet", lambda p: FRAME.assign(w="word").to_parquet(p), "no numbers (could not convert"),
        ("a.parquet", lambda p: FRAME.assign(x=[[1.0], [1.0, 2.0]] * 6).to_parquet(p), "no numbers (setting an arr"),
    ],
)  # fmt: skip
def test_files_are_refused_in_one_sentence(name, write, found, tmp_path):
    write(tmp_path / name)
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / name}: found {found}")) as error:
        read(tmp_path / name)
    assert ", allowed: " in str(error.value) and "\n" not in str(error.value)


def test_an_unknown_name_is_told_what_a_path_may_be():
    with pytest.raises(ValueError, match="or a path to your own .a file of embeddings"):
        load(Data("nothing"))


def test_folders_of_several_data_sets_are_refused_and_images_stay_images(tmp_path):
    for name in ("a", "b"):
        put(FRAME, tmp_path / f"both/{name}/train-00000-of-00001.parquet")
    with pytest.raises(DataError, match="both: found train in 'a', 'b', allowed: each split in one folder. Give the"):
        read(tmp_path / "both")
    put(FRAME, cats_and_dogs(tmp_path) / "train.csv")
    assert not table.is_table(str(tmp_path / "own")) and read(tmp_path / "own").classes == ("cat", "dog")
