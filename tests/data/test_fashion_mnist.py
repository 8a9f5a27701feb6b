"""Fashion-MNIST: labels, order and scale of the published files, and its smaller training splits."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import says
from tiny_files import REAL, SPLITS, load, publish, put, real, well_formed
from torch.testing import assert_close

from kdstudy.core.random import generator

pytestmark = pytest.mark.usefixtures("cache")


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
    from torchvision.datasets.mnist import read_image_file, read_label_file

    raw = {}
    for file, data in fashion.items():
        (tmp_path / "plain").write_bytes(gzip.decompress(data))
        raw[file] = (read_image_file if "images" in file else read_label_file)(str(tmp_path / "plain"))
    data = load("fashion_mnist", train=50)
    well_formed(data)
    pixels = raw["train-images-idx3-ubyte.gz"].view(60, 784).double()
    order = torch.randperm(60, generator=generator(0, "fashion_mnist:split"))
    std, mean = torch.std_mean(pixels[order[:50]], correction=0)
    for split, at in (("train", order[:50]), ("validation", order[50:])):
        assert_close(getattr(data, split).x.double(), (pixels[at] - mean) / std, rtol=1e-5, atol=1e-5)
        assert torch.equal(getattr(data, split).y, raw["train-labels-idx1-ubyte.gz"][at])
    test = raw["t10k-images-idx3-ubyte.gz"].view(12, 784).double()
    assert_close(data.test.x.double(), (test - mean) / std, rtol=1e-5, atol=1e-5)
    assert torch.equal(data.test.y, raw["t10k-labels-idx1-ubyte.gz"])


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
