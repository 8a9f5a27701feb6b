"""A user's own data: what is meant as a path, fingerprints, texts and their splits."""

import re
from pathlib import Path

import pytest
import torch
from conftest import says
from own_examples import cats_and_dogs, made, picture, texts, write
from tiny_files import SPLITS, well_formed
from torch.testing import assert_close

from kdstudy.data import texts as clinc150
from kdstudy.data.custom.dataset import fingerprint, is_path, parts
from kdstudy.data.download import DataError

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.csv"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return cats_and_dogs(tmp_path)


# ---------------------------------------------------------------- paths and fingerprints


def test_what_is_meant_as_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    assert all(map(is_path, ("a.csv", "A.CSV", "./photos", "no/such", "/", "photos", "~")))
    assert not any(map(is_path, ("digits", "a.tsv", "csv", "", "photo", "\0")))


def test_the_fingerprint_of_a_file_is_its_content(file, tmp_path):
    first = fingerprint(str(write(file, ("a", "b"))))
    assert re.fullmatch("[0-9a-f]{16}", first)
    assert fingerprint(str(write(tmp_path / "other.CSV", ("a", "b")))) == first
    assert fingerprint(str(write(file, ("a", "c")))) != first


def test_the_fingerprint_of_a_folder_is_names_and_content_of_what_is_read(folder):
    seen = [fingerprint(str(folder))]
    (folder / "train/cat/notes.txt").write_text("not read")
    (folder / "train/cat/.hidden.png").write_text("not read")
    (folder / "train/cat/x.png").mkdir()
    (folder / ".git/a").mkdir(parents=True)
    (folder / ".git/a/b.png").write_text("not read")
    assert fingerprint(str(folder)) == seen[0]
    for change in (
        lambda: (folder / "train/cat/1.png").rename(folder / "train/cat/10.png"),  # as before in order
        lambda: picture(folder / "train/cat/10.png", [[5]]),
        lambda: (folder / "superclasses.csv").write_text("class,superclass\n"),
        lambda: (folder / "train/cat/10.png").unlink(),
    ):
        change()
        seen.append(fingerprint(str(folder)))
    assert len(set(seen)) == 5


def test_data_that_changed_since_they_were_asked_are_refused(file, folder):
    for path in (write(file, *texts(4, "a", "b")), folder):
        found = fingerprint(str(path))
        parts(str(path), sha256=found, size=2, features=2)
        message = (
            f"{path}: found content {found}, allowed: content 0123456789abcdef. The data have changed since the "
            "question was asked: ask again, or restore them"
        )
        with pytest.raises(DataError, match=says(message)):
            parts(str(path), sha256="0123456789abcdef")


# ---------------------------------------------------------------- texts


def test_texts_without_splits_are_divided_by_class_and_the_same_way_each_time(file):
    write(file, *texts(20, "pay", "order"), *texts(3, "rare"))
    data, again = made(file, features=4), made(file, features=4)
    well_formed(data)
    assert data.classes == ("order", "pay", "rare") and data.superclass is None and data.superclasses == ()
    assert {s: getattr(data, s).y.bincount().tolist() for s in SPLITS} == {
        "train": [14, 14, 1],
        "validation": [3, 3, 1],
        "test": [3, 3, 1],
    }
    for split in SPLITS:
        assert torch.equal(getattr(data, split).x, getattr(again, split).x)
    assert parts(str(file), features=4)["source"] == [data.digest, 4, 1, clinc150.VERSION]
    assert (data.train.y.diff() != 0).sum() > 5  # rows stay in the file's order, where classes alternate


@pytest.mark.parametrize("n, sizes", [(3, (1, 1, 1)), (4, (2, 1, 1)), (10, (7, 1, 2)), (100, (70, 15, 15))])
def test_shares_are_rounded_and_no_split_lacks_a_class(file, n, sizes):
    data = made(write(file, *texts(n, "a", "b")), features=2)
    assert [getattr(data, s).y.bincount().tolist() for s in SPLITS] == [[size] * 2 for size in sizes]


def test_equal_texts_of_a_class_stay_together(file):
    rows = texts(6, "a", "b")
    write(file, *rows, *((f"  {text.upper().replace(' ', '  ')}", label) for text, label in rows), *rows)
    well_formed(made(file, features=3))


def test_features_are_those_of_clinc150_fitted_on_train(file, monkeypatch):
    rows = {
        "train": ["pay a bill", "pay, please", 'a "big"\nbill', "order a coffee", "order tea", "coffee, tea"],
        "dev": ["pay tea", "order a bill"],
        " TEST": ["~~~", "pay the coffee"],
    }
    given = [(split, str(i % 2), text) for split, texts in rows.items() for i, text in enumerate(texts)]
    write(file, *given, columns="Split, LABEL ,text")
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    data, fewer = made(file, features=3), made(file, features=2)
    assert fewer.train.x.shape == (6, 2)
    for split, x in clinc150.features(dict(zip(SPLITS, rows.values())), 3).items():
        assert_close(getattr(data, split).x, torch.from_numpy(x))
        assert getattr(data, split).y.tolist() == [i % 2 for i in range(len(x))]
    assert data.test.x[0].abs().max() == 0  # no n-gram that train knows
    monkeypatch.setattr(clinc150, "features", lambda *a: pytest.fail("computed again"))
    assert torch.equal(made(file, features=3).train.x, data.train.x)


def test_there_are_no_more_features_than_ngrams_or_training_texts(file):
    rows = [("ab", str(i % 2), split) for split in ("train", "val", "test") for i in range(8)]
    few_ngrams = made(write(file, *rows, ("cd", "1", "train"), columns="text,label,split"))
    assert few_ngrams.train.x.shape == (9, 6)  # " a", "ab", "b ", " ab", "ab ", " ab "
    few_texts = made(write(file, *texts(10, "a", "b")))
    assert few_texts.train.x.shape == (14, 14)
    assert_close(few_texts.train.x.square().mean(-1), torch.ones(14))


@pytest.mark.parametrize("n", [2, 4, 5, 8])
def test_texts_that_differ_in_no_ngram_are_all_alike(file, n):
    letters = "bcdefghijk"[:n]
    rows = [("aa" + letter, str(i % 2), "train") for i, letter in enumerate(letters)]
    same = [(word, str(i), split) for split in ("validation", "test") for i, word in enumerate(("aax", "aay"))]
    data = made(write(file, *rows, *same, columns="text,label,split"))
    assert_close(data.train.x, data.train.x[:1].expand(n, -1))


def test_validation_is_drawn_from_train_where_it_is_absent(file):
    train = [(*row, "Train") for row in texts(20, "a", "b")]
    write(file, *train, ("what is a", "a", "test"), ("what is b", "b", "test"), columns="text,label,split")
    data = made(file, features=4)
    well_formed(data)
    assert [getattr(data, s).y.bincount().tolist() for s in SPLITS] == [[17, 17], [3, 3], [1, 1]]
    assert data.test.y.tolist() == [0, 1]


def test_superclasses_and_classes_are_in_order(file):
    groups = {"10": "money", "2": "food", "-1": "money"}
    write(file, *((t, c, groups[c]) for t, c in texts(3, *groups)), columns="text,label,superclass")
    data = made(file, features=2)
    assert data.classes == ("-1", "2", "10")
    assert data.superclasses == ("food", "money") and data.superclass.tolist() == [1, 0, 1]
    assert made(write(file, *texts(3, "10", "2", "x")), features=2).classes == ("10", "2", "x")


FEW = "Add examples, remove these classes, or name all splits"


@pytest.mark.parametrize(
    "content, message",
    [
        ("text,label\na,b\nc,b\n", "one class, 'b', allowed: at least two. Add examples of another class"),
        (
            "text,label\na,x\nA,x\nb,x\na,y\nb,y\nc,y\nd,w\n",
            "1 of 'w', 2 of 'x', allowed: at least 3 different examples of each class to draw test and validation "
            f"from. {FEW}",
        ),
        (
            "text,label,split\na,x,train\nb,y,train\nc,y,train\nc,y,test\n",
            f"1 of 'x', allowed: at least 2 different examples of each class to draw validation from. {FEW}",
        ),
        (
            "text,label,split\na,x,train\nb,y,train\nc,x,val\n" + "".join(f"d,{i},test\n" for i in range(7)),
            "'0', '1', '2', '3', '4' and 2 more in test, allowed: classes of train. "
            "Add examples of these classes to train, or remove them",
        ),
        (
            "text,label,split\na,x,train\nb,y,train\nc,z,val\nc,x,test\n",
            "'z' in validation, allowed: classes of train. Add examples of these classes to train, or remove them",
        ),
        (
            "text,label,split\nab,x,train\nab,y,train\nb,x,val\nb,x,test\n",
            "equal examples throughout train, allowed: some that differ. Check the files",
        ),
        (
            "text,label,split\nab,x,train\ncd,y,train\nb,x,val\nb,x,test\n",
            "texts of train that share nothing, allowed: some n-grams, of 2 to 4 characters, in two texts or more. "
            "Add texts to train",
        ),
    ],
)
def test_texts_that_cannot_be_studied_are_refused(file, content, message):
    file.write_text(content)
    with pytest.raises(ValueError, match=says(f"{file}: found {message}")):
        parts(str(file))


@pytest.mark.parametrize(
    "name, value, allowed",
    [
        ("features", 0, "a whole number of at least 1"),
        ("size", 0, "a whole number from 1 to 1024"),
        ("size", 1025, "a whole number from 1 to 1024"),
    ],
)
def test_options_are_refused(file, name, value, allowed):
    with pytest.raises(ValueError, match=says(f"{name}: found {value}, allowed: {allowed}")):
        parts(str(file), **{name: value})
