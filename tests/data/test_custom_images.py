"""A user's own images: pixels, formats, splits of a folder, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import says
from own_examples import GROUP, HEAD, TWO_SPLITS, cats_and_dogs, made, picture, refused
from PIL import Image
from tiny_files import SPLITS, well_formed
from torch.testing import assert_close

from kdstudy.data.custom.dataset import parts

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return cats_and_dogs(tmp_path)


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
    for path in folder.rglob("*.png"):
        picture(path, np.full((2, 2), 7))
    for label in ("cat", "dog"):  # validation, which would else be drawn from train
        picture(folder / f"dev/{label}/1.png", np.full((2, 2), 7))
    message = f"{folder}: found equal examples throughout train, allowed: some that differ. Check the files"
    with pytest.raises(ValueError, match=says(message)):
        parts(str(folder), size=2)


def test_images_of_a_class_that_train_lacks_are_refused(folder):
    picture(folder / "test/cow/1.png", [[1]])
    message = (
        f"{folder}: found 'cow' in test, allowed: classes of train. Add examples of these classes to train, "
        "or remove them"
    )
    with pytest.raises(ValueError, match=says(message)):
        parts(str(folder), size=2)


# ---------------------------------------------------------------- refused


LAYOUT = "allowed: images as split/class/image, with splits train, test and, if wanted, validation"
ENDINGS = "ending in .png, .jpg, .jpeg, .bmp, .gif, .webp, .tif, .tiff, .ppm, .pgm"
ARRANGE = "Arrange the images so, with these names of splits"


def bare(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


def elsewhere(folder: Path) -> None:
    bare(folder)
    (folder / "train/cat").mkdir(parents=True)
    (folder / "train/cat/a.txt").touch()


def without_splits(folder: Path) -> None:
    bare(folder)
    for name in "abcdefg":
        picture(folder / f"{name}/1.png", [[1]])


@pytest.mark.parametrize(
    "change, message",
    [
        (bare, f"nothing in it, {LAYOUT}, {ENDINGS}. {ARRANGE}"),
        (elsewhere, f"no image, but 'train', {LAYOUT}, {ENDINGS}. {ARRANGE}"),
        (
            without_splits,
            f"'a/1.png', 'b/1.png', 'c/1.png', 'd/1.png', 'e/1.png' and 2 more, {LAYOUT}. {ARRANGE}",
        ),
        (lambda f: picture(f / "train/1.png", [[1]]), f"'train/1.png', {LAYOUT}. {ARRANGE}"),
        (lambda f: picture(f / "test/dog/old/1.png", [[1]]), f"'test/dog/old/1.png', {LAYOUT}. {ARRANGE}"),
        (lambda f: (f / "test").rename(f / "Tset"), f"'Tset/cat/8.png', 'Tset/dog/8.png', {LAYOUT}. {ARRANGE}"),
        (lambda f: (f / "test").rename(f / "val"), TWO_SPLITS),
        (
            lambda f: (f / "train/cow").mkdir(),
            "no image in 'train/cow', allowed: at least one in each class of train. Add images, or remove the folder",
        ),
    ],
)
def test_folders_are_refused(folder, change, message):
    change(folder)
    refused(folder, f"{folder}: found {message}")


def cut(file: Path) -> None:
    picture(file, np.random.default_rng(0).integers(0, 256, (9, 9)))
    file.write_bytes(file.read_bytes()[:-40])


def dangling(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")


READABLE = "allowed: an image that can be read. Save it anew, or remove it"


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda f: f.write_bytes(b""), f"UnidentifiedImageError (cannot identify image file), {READABLE}"),
        (lambda f: f.write_text("text"), f"UnidentifiedImageError (cannot identify image file), {READABLE}"),
        (
            lambda f: Image.new("L", (2, 2)).save(f, "pcx"),
            f"UnidentifiedImageError (cannot identify image file), {READABLE}",
        ),
        (cut, f"OSError (image file is truncated), {READABLE}"),
        (
            dangling,
            "FileNotFoundError (No such file or directory), allowed: a file that can be read. "
            "Check the file and its permissions, or remove it",
        ),
        (
            lambda f: Image.fromarray(np.full((2, 2), 999, np.uint16)).save(f),
            "pixels of mode I;16, allowed: 8 bits for each channel. Convert it to 8 bits",
        ),
    ],
)
def test_images_are_refused(folder, damage, message):
    file = folder / "train/cat/1.png"
    damage(file)
    refused(folder, f"{file}: found {message}")


@pytest.mark.parametrize(
    "content, message",
    [
        ("class\ncat\n", f"columns 'class', allowed: columns class, superclass. {HEAD}"),
        ("class,superclass\ncat,pet\n", "no class 'dog', allowed: a row for each class. Add these classes"),
        (
            "class,superclass\ncat,pet\ncat,tom\ndog,pet\n",
            f"class 'cat' in 'pet' and 'tom' (in line 3), {GROUP}",
        ),
    ],
)
def test_superclasses_of_a_folder_are_refused(folder, content, message):
    file = folder / "superclasses.csv"
    file.write_text(content)
    refused(folder, f"{file}: found {message}")
