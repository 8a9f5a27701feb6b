"""Sets of images: pixels, labels, splits and groups of the published files; what is said where they are altered."""

import gzip
import hashlib
import json
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import says
from tiny_files import NOWHERE, REAL, SPLITS, load, publish, put, real, well_formed
from tiny_pictures import (
    GROUPS,
    PART,
    TEST,
    TRAIN,
    WHOLE,
    decoded,
    members,
    publish_tiny,
    with_others,
    zipped,
)
from torch.testing import assert_close
from torchvision.datasets.mnist import read_image_file, read_label_file

from kdstudy.core.random import generator
from kdstudy.data import download, images
from kdstudy.data.dataset import Dataset, Images
from kdstudy.data.download import DataError

pytestmark = pytest.mark.usefixtures("cache")


def agree(data: Dataset, raw: dict[str, tuple[torch.Tensor, list[int]]], axes: tuple[int, ...] | None) -> None:
    """That pixels are the raw ones, standardised along these axes by those of train, and labels the same."""
    std, mean = torch.std_mean(raw["train"][0].double(), axes, correction=0, keepdim=True)
    for split, (pixels, labels) in raw.items():
        found = getattr(data, split)
        tolerance = {"rtol": 1e-5, "atol": 1e-5} if found.x.dtype == torch.float32 else {"rtol": 1e-3, "atol": 1e-3}
        assert_close(found.x.double(), (pixels - mean) / std, **tolerance)
        assert found.y.tolist() == labels


# ---------------------------------------------------------------- digits and clothes


def test_digits_are_stratified_and_scaled_by_their_training_split():
    data = load("digits")
    assert [len(getattr(data, s).y) for s in SPLITS] == [997, 300, 500]
    whole = sum(getattr(data, s).y.bincount() for s in SPLITS)
    for split in SPLITS:
        y = getattr(data, split).y
        assert ((y.bincount() - whole * len(y) / 1797).abs() < 1.5).all()
    assert data.train.x.mean().abs() < 1e-5
    assert data.train.x.std(correction=0) == pytest.approx(1, abs=1e-5)
    grey = set(data.train.x.unique().tolist())  # 17 levels: one map from grey to x serves all splits
    assert len(grey) == 17
    assert set(data.test.x.unique().tolist()) <= grey


def idx(values: np.ndarray) -> bytes:
    """A gzipped IDX file of unsigned bytes."""
    head = bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    return gzip.compress(head + values.astype(np.uint8).tobytes())


def tiny_fashion() -> dict[str, bytes]:
    """60 + 12 images whose first pixel is their label and whose second is their number."""
    files, rng = {}, np.random.default_rng(0)
    for half, n in (("train", 60), ("t10k", 12)):
        images, labels = rng.integers(0, 256, (n, 28, 28)), np.arange(n) % 10
        images[:, 0, 0], images[:, 0, 1] = labels, np.arange(n) + (100 if half == "t10k" else 0)
        files |= {f"{half}-images-idx3-ubyte.gz": idx(images), f"{half}-labels-idx1-ubyte.gz": idx(labels)}
    return files


@pytest.fixture
def fashion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    files = tiny_fashion()
    put(tmp_path / "mine" / publish(monkeypatch, "fashion_mnist", files), files)
    monkeypatch.setenv("KDSTUDY_DATA", str(tmp_path / "mine"))
    return files


def test_fashion_agrees_with_torchvision(fashion, tmp_path):
    raw = {}
    for file, data in fashion.items():
        (tmp_path / "plain").write_bytes(gzip.decompress(data))
        raw[file] = (read_image_file if "images" in file else read_label_file)(str(tmp_path / "plain"))
    data = load("fashion_mnist", train=50)
    well_formed(data)
    order, test = torch.randperm(60, generator=generator(0, "fashion_mnist:split")), torch.arange(12)
    splits = {"train": ("train", order[:50]), "validation": ("train", order[50:]), "test": ("t10k", test)}
    x, y = (
        {half: raw[f"{half}-{kind}-ubyte.gz"] for half in ("train", "t10k")} for kind in ("images-idx3", "labels-idx1")
    )
    agree(data, {s: (x[half][at].flatten(1), y[half][at].tolist()) for s, (half, at) in splits.items()}, None)


def test_smaller_fashion_training_splits_are_nested_and_leave_the_rest_alone(fashion):
    large, small = load("fashion_mnist", train=50), load("fashion_mnist", train=20)
    assert torch.equal(small.train.y, large.train.y[:20])
    assert torch.equal(small.validation.y, large.validation.y)
    assert small.digest != large.digest


@pytest.mark.parametrize("train", [0, 51])
def test_fashion_names_the_sizes_there_are(fashion, train):
    message = f"train: found {train!r}, allowed: a whole number from 1 to 50"
    with pytest.raises(ValueError, match=says(message)):
        load("fashion_mnist", train=train)


def test_fashion_images_are_the_same_images(fashion):
    flat, data = load("fashion_mnist", train=40), load("fashion_images", train=40)
    well_formed(data, torch.half)
    assert data.classes == flat.classes and data.digest != flat.digest
    for split in SPLITS:
        mine, other = getattr(data, split), getattr(flat, split)
        assert mine.x.shape == (len(other.y), 1, 28, 28)
        assert_close(mine.x.flatten(1).float(), other.x, rtol=1e-3, atol=1e-3)
        assert torch.equal(mine.y, other.y)


@real("FashionMNIST/raw/train-images-idx3-ubyte.gz")
def test_real_fashion(monkeypatch):
    monkeypatch.setenv("KDSTUDY_DATA", REAL)
    data = load("fashion_mnist")
    well_formed(data)
    assert data.digest == "a9b8aff0d5433bcd"  # stored results carry it
    assert [tuple(getattr(data, s).x.shape) for s in SPLITS] == [(50_000, 784), (10_000, 784), (10_000, 784)]
    assert data.test.y.bincount().tolist() == [1000] * 10
    assert (data.train.y.bincount() + data.validation.y.bincount()).tolist() == [6000] * 10


# ---------------------------------------------------------------- Tiny-ImageNet


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return publish_tiny(monkeypatch, tmp_path / "mine", members())


def test_pixels_and_labels_are_those_of_the_archive(archive):
    data, files = load("tiny_imagenet"), members()
    well_formed(data, torch.half)
    wnids = ["n03", "n11", "n02", "n10"]
    train = [(f"train/{w}/images/{w}_{i}.JPEG", y) for y, w in enumerate(wnids) for i in range(TRAIN)]
    held = {y: [] for y in range(4)}
    order = torch.randperm(len(train), generator=generator(0, "tiny_imagenet:split")).tolist()
    for i in order:
        held[train[i][1]].append(i)
    held = {i for those in held.values() for i in those[: TRAIN // 10]}
    splits = {
        "train": [train[i] for i in order if i not in held],
        "validation": [train[i] for i in order if i in held],
        "test": [
            (f"val/images/val_{4 * i + sorted(wnids).index(w) + 5}.JPEG", y)
            for y, w in enumerate(wnids)
            for i in range(TEST)
        ],
    }
    shown = {s: torch.stack([torch.from_numpy(decoded(files, name, 32)) for name, _ in splits[s]]) for s in SPLITS}
    agree(data, {s: (shown[s], [y for _, y in splits[s]]) for s in SPLITS}, (0, 2, 3))


def test_64_is_as_published_and_32_the_mean_of_squares(archive):
    large, small, files = load("tiny_imagenet", size=64), load("tiny_imagenet"), members()
    assert large.train.x.shape == (72, 3, 64, 64) and small.train.x.shape == (72, 3, 32, 32)
    assert large.digest != small.digest and torch.equal(large.train.y, small.train.y)
    raw = torch.from_numpy(decoded(files, "val/images/val_6.JPEG", 64)).flatten()  # the first of n03
    line = torch.stack([large.test.x[0].double().flatten(), torch.ones(raw.numel())], 1).view(3, -1, 2)
    fit = torch.linalg.lstsq(line, raw.view(3, -1, 1)).solution
    assert_close(line @ fit, raw.view(3, -1, 1), rtol=0, atol=0.2)


def test_classes_are_grouped(archive):
    data = load("tiny_imagenet")
    assert data.classes == ("cat", "dog", "cup", "hat")
    assert data.superclass.tolist() == [0, 0, 1, 1] and data.superclasses == ("beasts", "things")


def test_the_original_archive_gives_the_same(archive, tmp_path, monkeypatch):
    part = load("tiny_imagenet")
    publish_tiny(monkeypatch, tmp_path / "other", with_others(members()), WHOLE)
    whole = load("tiny_imagenet")
    assert whole.digest == part.digest
    assert all(torch.equal(getattr(whole, s).x, getattr(part, s).x) for s in SPLITS)


def test_other_pixels_have_another_digest(archive, tmp_path, monkeypatch):
    first = load("tiny_imagenet")
    publish_tiny(monkeypatch, tmp_path / "other", members(seed=5))
    assert load("tiny_imagenet").digest != first.digest


def test_it_is_decoded_once_and_anew_for_other_classes(archive, monkeypatch):
    first, decode, asked = load("tiny_imagenet"), images._images, []
    monkeypatch.setattr(images, "_images", lambda *given: asked.append(given[1]) or decode(*given))
    assert torch.equal(load("tiny_imagenet").train.x, first.train.x) and not asked
    monkeypatch.setattr(images, "GROUPS", dict(reversed(GROUPS.items())))
    other = load("tiny_imagenet")
    assert asked == [["n02", "n10", "n03", "n11"]] and other.classes == ("cup", "hat", "cat", "dog")
    assert other.digest != first.digest


def test_what_was_cut_short_is_decoded_anew(archive, cache, monkeypatch):
    def cut(stream, array):
        stream.write(b"\x93NUMPY")
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(images.np, "save", cut)
        with pytest.raises(OSError, match="no space left"):
            load("tiny_imagenet")
    assert not list((cache / "tiny_imagenet").glob("*.npy"))
    well_formed(load("tiny_imagenet"), torch.half)


OTHER = """
import json, sys
from pathlib import Path
from kdstudy.data import registry as datasets; from kdstudy.data import images; from kdstudy.core import spec
from kdstudy.data.download import SOURCES

images.GROUPS, images.TRAIN, images.TEST, digests = map(json.loads, sys.argv[2:])
SOURCES["tiny_imagenet"] = (*SOURCES["tiny_imagenet"][:2], digests)
decode, folder = images._images, images.cache_folder
images._images = lambda *given: print("decoded") or decode(*given)
images.cache_folder = lambda: Path(sys.argv[1]).touch() or folder()  # at the door
print(datasets.load(spec.Data("tiny_imagenet")).digest)
"""


def test_of_two_processes_at_once_one_decodes(archive, tmp_path, monkeypatch):
    here, decode = tmp_path / "here", images._images
    values = [json.dumps(v) for v in (GROUPS, TRAIN, TEST, dict(download.SOURCES["tiny_imagenet"][-1]))]
    command = [sys.executable, "-c", OTHER, here, *values]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:

        def slow(*given):
            while not here.exists() and other.poll() is None:
                time.sleep(0.01)
            return decode(*given)

        monkeypatch.setattr(images, "_images", slow)
        digest = load("tiny_imagenet").digest
        assert other.communicate()[0].split() == [digest]


@pytest.mark.parametrize("size", [48, 128, True])
def test_other_sizes_are_refused(size):
    with pytest.raises(ValueError, match=says(f"size: found {size!r}, allowed: 32 or 64")):
        load("tiny_imagenet", size=size)


def test_an_archive_with_too_few_images_is_refused(tmp_path, monkeypatch):
    files = members()
    del files["train/n11/images/n11_7.JPEG"]
    archive = publish_tiny(monkeypatch, tmp_path / "mine", files)
    message = f"{archive}: images of n11: found 19 for training and 3 for validation, allowed: 20 and 3"
    with pytest.raises(DataError, match=says(message)):
        load("tiny_imagenet")


def test_an_altered_part_is_to_be_replaced_by_the_whole(archive):
    right = download.SOURCES["tiny_imagenet"][-1][PART]
    archive.write_bytes(b"half")
    wrong = f"has sha256 {hashlib.sha256(b'half').hexdigest()}, expected {right}"
    message = (
        f"{archive} {wrong}. It lies in KDSTUDY_DATA and is left as it is: replace it by {NOWHERE}{WHOLE}, or remove "
        "it or unset KDSTUDY_DATA to have it downloaded"
    )
    with pytest.raises(DataError, match=says(message)):
        load("tiny_imagenet")


def test_an_altered_part_of_our_own_gives_way_to_the_whole(archive, cache, monkeypatch):
    monkeypatch.delenv("KDSTUDY_DATA")
    whole = zipped(with_others(members()))
    folder, _, digests = download.SOURCES["tiny_imagenet"]
    put(cache / folder, {PART: b"half", WHOLE: whole})
    digests[WHOLE] = f"md5:{hashlib.md5(whole).hexdigest()}"
    with pytest.warns(UserWarning, match="kept aside as tiny-imagenet-100.zip.bad"):
        data = load("tiny_imagenet")
    well_formed(data, torch.half)
    assert load("tiny_imagenet").digest == data.digest
    digests[WHOLE] = f"md5:{'0' * 32}"
    with (
        pytest.warns(UserWarning, match=f"{WHOLE} has md5 {hashlib.md5(whole).hexdigest()}, expected {'0' * 32}"),
        pytest.raises(DataError, match=f"{WHOLE} is not in .+ and could not be downloaded from {NOWHERE}{WHOLE} "),
    ):
        load("tiny_imagenet")


def test_any_of_the_archives_is_enough(archive, monkeypatch):
    assert download.at_hand("tiny_imagenet")
    archive.unlink()
    assert not download.at_hand("tiny_imagenet")
    archive.with_name(WHOLE).touch()
    assert download.at_hand("tiny_imagenet")


TREATED = {"merge": 2, "noise": 0.5, "imbalance": 4.0, "fold": 1, "crossfit": 1, "labels": (1, 0), "transfer": (1, 0)}


@pytest.mark.parametrize("treatment", TREATED)
def test_treatments_leave_images_images(archive, treatment):
    whole, data = load("tiny_imagenet"), load("tiny_imagenet", **{treatment: TREATED[treatment]})
    there = {x.numpy().tobytes() for s in ("train", "validation") for x in getattr(whole, s).x}
    for split in SPLITS:
        found = getattr(data, split)
        assert isinstance(found, Images) and len(found.x) == len(found.y)
    assert {x.numpy().tobytes() for x in data.train.x} <= there
    assert data.digest != whole.digest


def test_images_have_no_columns(archive):
    with pytest.raises(ValueError, match="^columns: found 2, allowed: a whole number from 1 to 3, of features$"):
        load("tiny_imagenet", columns=2)


def test_100_classes_are_in_20_groups_of_5():
    written = tomllib.loads(Path(images.__file__).with_name("tiny_imagenet.toml").read_text("utf-8"))
    assert [len(inside) for inside in written.values()] == [5] * 20
    assert len({wnid for inside in written.values() for wnid in inside}) == 100
    assert len({name for inside in written.values() for name in inside.values()}) == 100
    assert all(list(inside) == sorted(inside) for inside in written.values()) and list(written) == sorted(written)


@real("tiny-imagenet/tiny-imagenet-100.zip")
def test_real_tiny_imagenet(monkeypatch):
    monkeypatch.setenv("KDSTUDY_DATA", REAL)
    data = load("tiny_imagenet")
    assert [len(getattr(data, s).y.bincount().unique()) for s in SPLITS] == [1, 1, 1]
    assert [tuple(getattr(data, s).x.shape) for s in SPLITS] == [(n, 3, 32, 32) for n in (45_000, 5_000, 5_000)]
    x = data.train.x.float()
    assert_close(x.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-4)
    assert_close(x.std((0, 2, 3)), torch.ones(3), rtol=0, atol=1e-3)
    seen = [{image.numpy().tobytes() for image in getattr(data, s).x} for s in SPLITS]
    shared = [
        sum(i.numpy().tobytes() in seen[b] for i in getattr(data, SPLITS[a]).x) for a, b in ((1, 0), (2, 0), (2, 1))
    ]
    assert shared == [4, 1, 1]  # as data/README.md says
