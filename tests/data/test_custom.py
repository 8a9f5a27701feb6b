"""A user's own data: what is meant as a path, fingerprints, texts, images, their splits, and what is refused."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from own_examples import cats_and_dogs, made, picture, refused, texts, write
from PIL import Image
from tiny_files import SPLITS, well_formed
from torch.testing import assert_close

from kdstudy.data import texts as clinc150
from kdstudy.data.custom import fingerprint, is_path, parts
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
        refused(path, f"content {found}", sha256="0123456789abcdef")


@pytest.mark.parametrize("ask", [fingerprint, parts])
@pytest.mark.parametrize("name, found", [("no.csv", "no such file"), ("./no", "no such"), ("./a.tsv", "a file of ano")])
def test_paths_are_refused(ask, name, found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.tsv").touch()
    with pytest.raises(DataError, match=f"^{re.escape(name)}: found {found}.+, allowed: a .csv file .+, or a folder"):
        ask(name)


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


@pytest.mark.parametrize(
    "content, found",
    [
        ("a,b\nc,b", "one class, 'b'"),
        ("a,x\nA,x\nb,x\na,y\nb,y\nc,y\nd,w", "1 of 'w', 2 of 'x'"),
        ("a,x,train\nb,y,train\nc,y,train\nc,y,test", "1 of 'x'"),
        ("a,x,train\nb,y,train\nc,x,val" + "".join(f"\nd,{i},test" for i in range(7)),
         "'0', '1', '2', '3', '4' and 2 more in test"),
        ("a,x,train\nb,y,train\nc,z,val\nc,x,test", "'z' in validation"),
        ("ab,x,train\nab,y,train\nb,x,val\nb,x,test", "equal examples throughout train"),
        ("ab,x,train\ncd,y,train\nb,x,val\nb,x,test", "texts of train that share nothing"),
    ],
)  # fmt: skip
def test_texts_that_cannot_be_studied_are_refused(file, content, found):
    columns = "text,label,split" if content.partition("\n")[0].count(",") == 2 else "text,label"
    file.write_text(f"{columns}\n{content}\n")
    refused(file, found, ValueError)


@pytest.mark.parametrize("option", [{"features": 0}, {"size": 0}, {"size": 1025}])
def test_options_out_of_range_are_refused(file, option):
    ((name, value),) = option.items()
    with pytest.raises(ValueError, match=f"^{name}: found {value}, allowed: a whole number "):
        parts(str(file), **option)


@pytest.mark.parametrize(
    "content, found",
    [
        (b"", "an empty file"),
        (b"\n \n", "an empty file"),
        (b"text;label\na;b", "columns 'text;label'"),
        (b"text,label,Text\n", "columns 'text', 'label', 'text'"),
        (b"a,b,c,d,e,f,g\n", "columns 'a', 'b', 'c', 'd', 'e' and 2 more"),
        (b"x" * 99 + b",y", f"columns '{'x' * 59}..., 'y'"),
        (b"text,label\n\n", "no rows"),
        (b'text,label\na,\n"b\nb",x\n c , \n', "an empty label in lines 2, 5"),
        (b"text,label\n" + b" ,x\n" * 7, "an empty text in lines 2, 3, 4, 5, 6 and 2 more"),
        (b"text,label,superclass\na,b,\n", "an empty superclass in line 2"),
        (b"split,text,label\n,a,b\n", "an empty split in line 2"),
        (b"text,label\na,b\nc,d,e\n\nf\n", "more or fewer fields in lines 3, 5"),
        (b'text,label\na,b\n"c,d\n', "a broken row from line 3 on (unexpected end of data)"),
        (b'text,label\n"a"b,c\n', "a broken row from line 2 on (',' expected after '\"')"),
        (
            b"text,label\n" + b"x" * 140_000 + b",c\n",
            "a broken row from line 2 on (field larger than field limit (131072))",
        ),
        (b"text,label\ncaf\xe9,c\n", "byte 0xe9 at offset 14 in line 2"),
        ("text,label\na,b\n".encode("utf-16-le"), "a NUL byte in line 1"),
        (b"text,label,split\na,b,train\nc,d,Tset\ne,f,x\n", "split 'Tset' in lines 3, 4"),
        (b"text,label,split\na,b,train\nc,d,dev\n", "train and validation only"),
        (b"text,label,superclass\na,b,m\nc,d,f\ne,b,f\nf,b,g\n", "class 'b' in 'm' and 'f' (in lines 4, 5)"),
    ],
)
def test_tables_are_refused(file, content, found):
    file.write_bytes(content)
    refused(file, found)


# ---------------------------------------------------------------- images


def test_grey_images_are_standardised_by_train(folder):
    data = made(folder, size=2)
    well_formed(data)
    assert data.classes == ("cat", "dog") and data.superclass is None
    assert [tuple(getattr(data, s).x.shape) for s in SPLITS] == [(14, 4), (2, 4), (2, 4)]
    assert data.train.y.tolist() == [0] * 7 + [1] * 7 and data.validation.y.tolist() == data.test.y.tolist() == [0, 1]
    assert data.train.x.mean().abs() < 1e-6
    assert data.train.x.std(correction=0) == pytest.approx(1, abs=1e-6)
    both = torch.cat([data.train.x, data.validation.x])[:, 0]
    (step,) = (data.test.x[1] - data.test.x[0]).unique() / 100  # one map from grey to x serves all splits
    grey = (both - data.test.x[0, 0]) / step + 80
    assert sorted(grey.round().tolist()) == [*range(0, 80, 10), *range(100, 180, 10)]
    assert parts(str(folder), size=2)["source"] == [data.digest, 2, 1]


def test_one_colour_makes_all_images_rgb(folder):
    rgb = np.arange(12).reshape(2, 2, 3) * 20
    picture(folder / "test/dog/8.png", rgb)
    data = made(folder, size=2)
    assert data.test.x.shape == (2, 12)
    cat, dog = data.test.x  # the cat is 80 everywhere; rows, then columns, then channels
    slope = (dog[-1] - dog[0]) / 220
    assert_close(dog, cat + slope * (torch.from_numpy(rgb).flatten() - 80))


def test_every_format_is_read_resized_and_named_in_any_case(folder):
    noise = np.random.default_rng(0).integers(0, 256, (9, 7))
    for suffix in ("png", "JPG", "jpeg", "bmp", "GIF", "webp", "tif", "TIFF", "ppm", "pgm"):
        shown = np.repeat(noise[..., None], 3, -1) if suffix in ("ppm", "webp") else noise
        picture(folder / f"Val/cat/{suffix}.{suffix}", shown, **({"lossless": True} if suffix == "webp" else {}))
    picture(folder / "val/dog/1.png", noise)
    (folder / "val/dog/link.png").symlink_to(folder / "Val/cat/png.png")
    data = made(folder, size=4)
    assert data.validation.y.tolist() == [0] * 10 + [1] * 2 and len(data.train.y) == 16
    small = np.asarray(Image.fromarray(noise.astype(np.uint8)).resize((4, 4), Image.Resampling.BILINEAR)).flatten()
    slope = (data.test.x[1, 0] - data.test.x[0, 0]) / 100
    expected = data.test.x[0] + slope * (torch.from_numpy(small.astype(np.float32)) - 80)
    lossy = [i for i, name in enumerate(sorted(p.name for p in (folder / "Val/cat").iterdir())) if "j" in name.lower()]
    for i, x in enumerate(data.validation.x):
        assert_close(x, expected, atol=0.5 if i in lossy else 1e-4, rtol=0)
    assert len(lossy) == 2


def test_transparency_is_left_out(folder):
    grey = Image.fromarray(np.full((2, 2), 80, np.uint8))
    grey.convert("RGBA").save(folder / "test/dog/8.png")
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([0, 0, 0, 80, 80, 80])
    palette.save(folder / "test/dog/9.png", transparency=b"\0\1")
    x = made(folder, size=2).test.x
    assert x.shape == (3, 4) and torch.equal(x[0], x[1]) and torch.equal(x[0], x[2])


def test_superclasses_of_a_folder(folder):
    (folder / "superclasses.csv").write_text("class,superclass\ndog,big\ncat,small\nhorse,huge\n")
    data = made(folder, size=2)
    assert data.superclasses == ("big", "small") and data.superclass.tolist() == [1, 0]


def test_equal_images_of_a_class_stay_together(folder):
    for i in range(8):
        (folder / f"train/dog/copy{i}.png").write_bytes((folder / f"train/dog/{i}.png").read_bytes())
    well_formed(made(folder, size=2))


def test_constant_images_are_refused(folder):
    for path in [*folder.rglob("*.png"), *(folder / f"dev/{label}/1.png" for label in ("cat", "dog"))]:
        picture(path, np.full((2, 2), 7))
    refused(folder, "equal examples throughout train", ValueError)


def test_images_of_a_class_that_train_lacks_are_refused(folder):
    picture(folder / "test/cow/1.png", [[1]])
    refused(folder, "'cow' in test", ValueError)


def bare(folder: Path, *files: str) -> None:
    """The folder with these images alone."""
    folder.rename(folder.with_name("before"))
    folder.mkdir()
    for file in files:
        picture(folder / file, [[1]])


def elsewhere(folder: Path) -> None:
    bare(folder)
    (folder / "train/cat").mkdir(parents=True)
    (folder / "train/cat/a.txt").touch()


@pytest.mark.parametrize(
    "change, found",
    [
        (bare, "nothing in it"),
        (elsewhere, "no image, but 'train'"),
        (lambda f: bare(f, *(f"{c}/1.png" for c in "abcdefg")),
         "'a/1.png', 'b/1.png', 'c/1.png', 'd/1.png', 'e/1.png' and 2 more"),
        (lambda f: picture(f / "train/1.png", [[1]]), "'train/1.png'"),
        (lambda f: picture(f / "test/dog/old/1.png", [[1]]), "'test/dog/old/1.png'"),
        (lambda f: (f / "test").rename(f / "Tset"), "'Tset/cat/8.png', 'Tset/dog/8.png'"),
        (lambda f: (f / "test").rename(f / "val"), "train and validation only"),
        (lambda f: (f / "train/cow").mkdir(), "no image in 'train/cow'"),
    ],
)  # fmt: skip
def test_folders_are_refused(folder, change, found):
    change(folder)
    refused(folder, found)


def cut(file: Path) -> None:
    picture(file, np.random.default_rng(0).integers(0, 256, (9, 9)))
    file.write_bytes(file.read_bytes()[:-40])


def dangling(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")


UNKNOWN = "UnidentifiedImageError (cannot identify image file)"


@pytest.mark.parametrize(
    "damage, found",
    [
        (lambda f: f.write_bytes(b""), UNKNOWN),
        (lambda f: f.write_text("text"), UNKNOWN),
        (lambda f: Image.new("L", (2, 2)).save(f, "pcx"), UNKNOWN),
        (cut, "OSError (image file is truncated)"),
        (dangling, "FileNotFoundError (No such file or directory)"),
        (lambda f: Image.fromarray(np.full((2, 2), 999, np.uint16)).save(f), "pixels of mode I;16"),
    ],
)
def test_broken_images_are_refused(folder, damage, found):
    file = folder / "train/cat/1.png"
    damage(file)
    refused(folder, found, at=file)


@pytest.mark.parametrize(
    "content, found",
    [
        ("class\ncat\n", "columns 'class'"),
        ("class,superclass\ncat,pet\n", "no class 'dog'"),
        ("class,superclass\ncat,pet\ncat,tom\ndog,pet\n", "class 'cat' in 'pet' and 'tom' (in line 3)"),
    ],
)
def test_superclasses_of_a_folder_are_refused(folder, content, found):
    file = folder / "superclasses.csv"
    file.write_text(content)
    refused(folder, found, at=file)
