"""Images as features or as channels, rows and columns: digits, Fashion-MNIST and Tiny-ImageNet."""

import gzip
import hashlib
import json
import os
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from kdstudy.core.paths import cache_folder
from kdstudy.core.random import generator
from kdstudy.core.spec import require
from kdstudy.data.dataset import DATASETS, Parts
from kdstudy.data.download import SOURCES, DataError, fetch, fetch_any
from kdstudy.data.synthetic import whole

Pair = tuple[Tensor, Tensor]
Pick = tuple[Tensor, Tensor, Tensor]  # all images, which of them, and the labels of these

GROUPS: dict[str, dict[str, str]] = tomllib.loads(Path(__file__).with_name("tiny_imagenet.toml").read_text("utf-8"))
TRAIN, TEST = 500, 50  # published images of a class
CHUNK = 2_000  # images that are in memory as float32 at a time


def _standardised(train: Pair, validation: Pair, test: Pair) -> dict[str, Pair]:
    """The splits with x minus one mean and over one standard deviation, over all features of train."""
    std, mean = (v.item() for v in torch.std_mean(train[0].double(), correction=0))
    splits = {"train": train, "validation": validation, "test": test}
    return {split: ((x.float() - mean) / std, y) for split, (x, y) in splits.items()}


def scaled(train: Pick, validation: Pick, test: Pick) -> dict[str, tuple[Tensor, Tensor]]:
    """The splits with x of shape (n, channels, height, width) in float16, from all images in uint8.

    Each channel minus its mean, over its standard deviation, over all pixels of train.
    """
    x, at, _ = train
    counts = torch.zeros(x.shape[1], 256, dtype=torch.double)
    for some in at.split(CHUNK):
        counts += torch.stack([channel.flatten().bincount(minlength=256) for channel in x[some].unbind(1)])
    share, level = counts / counts.sum(1, keepdim=True), torch.arange(256.0, dtype=torch.double)
    mean = share @ level
    std = (share @ level**2 - mean**2).sqrt()
    splits = {"train": train, "validation": validation, "test": test}
    return {split: (_half(x, at, mean, std), y) for split, (x, at, y) in splits.items()}


def _half(x: UInt8[Tensor, "N c h w"], at: Int[Tensor, " n"], mean: Tensor, std: Tensor) -> Float[Tensor, "n c h w"]:
    out = torch.empty(len(at), *x.shape[1:], dtype=torch.half)
    mean, std = (v.float().view(-1, 1, 1) for v in (mean, std))
    for to, some in zip(out.split(CHUNK), at.split(CHUNK)):
        to.copy_((x[some].float() - mean) / std)
    return out


# ---------------------------------------------------------------- digits and clothes


@DATASETS.register
def digits(*, seed: int = 0) -> Parts:
    """8x8 grey digits of `sklearn.datasets.load_digits`: 997 / 300 / 500, stratified by class.

    Alpaydin and Kaynak 1998, UCI repository, CC BY 4.0; the copy that scikit-learn ships.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    whole("seed", seed, 0)
    x, y = map(torch.from_numpy, load_digits(return_X_y=True))
    rest, test = train_test_split(torch.arange(len(y)), test_size=500, stratify=y, random_state=seed)
    train, validation = train_test_split(rest, test_size=300, stratify=y[rest], random_state=seed)
    return {"classes": tuple("0123456789"), **_standardised(*((x[i], y[i]) for i in (train, validation, test)))}


def _idx(file: str, header: int) -> Tensor:
    data = gzip.decompress(fetch("fashion_mnist", file).read_bytes())
    return torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=header)


def _fashion(train: int) -> tuple[dict[str, tuple[Tensor, Tensor, Tensor]], Parts]:
    """All pixels, the places and the labels of each split; and what else the data set is."""
    halves = ("train", "t10k")
    x, test_x = (_idx(f"{half}-images-idx3-ubyte.gz", 16).view(-1, 784) for half in halves)
    y, test_y = (_idx(f"{half}-labels-idx1-ubyte.gz", 8).long() for half in halves)
    most, order = len(y) * 5 // 6, torch.randperm(len(y), generator=generator(0, "fashion_mnist:split"))
    require(isinstance(train, int) and 0 < train <= most, "train", train, f"a whole number from 1 to {most}")
    clothes = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
    picks = {"train": (x, order[:train], y[order[:train]]), "validation": (x, order[most:], y[order[most:]])}
    rest = {"classes": tuple(clothes.split(",")), "source": (SOURCES["fashion_mnist"][-1], train)}
    return {**picks, "test": (test_x, torch.arange(len(test_y)), test_y)}, rest


@DATASETS.register
def fashion_mnist(*, train: int = 50_000) -> Parts:
    """`train` / 10 000 / 10 000 grey 28x28 images of clothes. Xiao et al. 2017, MIT.

    The published training set, permuted once and for all: its last sixth is the validation split, its
    first `train` images the training split, so that smaller training splits are nested in larger ones.
    """
    picks, rest = _fashion(train)
    return {**rest, **_standardised(**{split: (x[at], y) for split, (x, at, y) in picks.items()})}


@DATASETS.register
def fashion_images(*, train: int = 50_000) -> Parts:
    """`fashion_mnist` as images for convolutions: x of shape (N, 1, 28, 28), in float16."""
    picks, rest = _fashion(train)
    images = {split: (x.view(-1, 1, 28, 28), at, y) for split, (x, at, y) in picks.items()}
    return {**rest, "source": (*rest["source"], "images"), **scaled(**images)}


# ---------------------------------------------------------------- Tiny-ImageNet


@DATASETS.register(grouped=True)
def tiny_imagenet(*, size: int = 32) -> Parts:
    """45 000 / 5 000 / 5 000 colour images of 100 things, 3 x `size` x `size`. Stanford CS231n 2015, after ImageNet.

    Half of the 200 classes of Tiny-ImageNet, in 20 super-classes of 5 (`tiny_imagenet.toml`, by hand). Test is the
    published validation split; of each class's 500 published training images, permuted once and for all, 50 are
    validation. `size` 64 is as published, 32 the mean of 2x2 pixels. Decoded once and kept in the cache folder.
    ValueError for another size, DataError for an archive that is absent or altered.
    """
    require(isinstance(size, int) and size in (32, 64), "size", size, "32 or 64")
    x = _decoded(fetch_any("tiny_imagenet"), size)
    digest = hashlib.sha256(x.numpy()).hexdigest()
    classes = len(x)
    place = torch.arange(x[:, :, 0, 0, 0].numel()).view(classes, -1)
    of = torch.arange(classes).repeat_interleave(place.shape[1])
    train, validation = stratified(place[:, :TRAIN], "tiny_imagenet:split")
    test = place[:, TRAIN:].flatten()
    groups = [g for g, inside in enumerate(GROUPS.values()) for _ in inside]
    return {
        "classes": tuple(name for inside in GROUPS.values() for name in inside.values()),
        "superclass": torch.tensor(groups),
        "superclasses": tuple(GROUPS),
        "source": (digest, size),
        **scaled(*((x.flatten(0, 1), at, of[at]) for at in (train, validation, test))),
    }


def stratified(place: Int[Tensor, "C n"], purpose: str) -> tuple[Int[Tensor, " train"], Int[Tensor, " validation"]]:
    """The places of C classes' examples in one random order, a tenth of each class apart as validation."""
    order = place.flatten()[torch.randperm(place.numel(), generator=generator(0, purpose))]
    row = torch.empty(int(place.max()) + 1, dtype=torch.long)
    row[place] = torch.arange(len(place))[:, None].expand_as(place)
    by_class = row[order].argsort(stable=True).view(len(place), -1)
    held = torch.zeros(len(order), dtype=torch.bool)
    held[by_class[:, : place.shape[1] // 10]] = True
    return order[~held], order[held]


def _decoded(archive: Path, size: int) -> UInt8[Tensor, "C n 3 size size"]:
    """The images of each class, TRAIN published for training and then TEST for validation, from the cache."""
    from filelock import FileLock

    wnids = [wnid for inside in GROUPS.values() for wnid in inside]
    made_from = [SOURCES["tiny_imagenet"][-1][archive.name], wnids, TRAIN, TEST, size]
    key = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:16]
    folder = cache_folder() / "tiny_imagenet"
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"images-{size}-{key}.npy"
    with FileLock(kept.with_suffix(".lock")):
        if not kept.exists():
            part = kept.with_suffix(".part")
            with part.open("wb") as stream:
                np.save(stream, _images(archive, wnids, size))
            os.replace(part, kept)
    return torch.from_numpy(np.load(kept, mmap_mode="c"))  # copy on write: torch warns of arrays that are read-only


def _images(archive: Path, wnids: list[str], size: int) -> UInt8[np.ndarray, "C n 3 size size"]:
    with zipfile.ZipFile(archive) as packed:
        files = _files(packed, wnids)
        out = np.empty((len(wnids), TRAIN + TEST, 3, size, size), np.uint8)
        for row, names in zip(out, files):
            for image, name in zip(row, names):
                image[:] = _pixels(packed, name, size)
    return out


def _files(packed: zipfile.ZipFile, wnids: list[str]) -> list[list[str]]:
    """The files of each class by number: for training, then for validation."""
    root, found = "tiny-imagenet-200", {wnid: ([], []) for wnid in wnids}
    notes = packed.read(f"{root}/val/val_annotations.txt").decode().splitlines()
    where = {f"{root}/val/images/{file}": wnid for file, wnid, *_ in (line.split("\t") for line in notes)}
    for name in packed.namelist():
        if name.endswith(".JPEG"):
            wnid = where.get(name, name.split("/")[2])
            if wnid in found:
                found[wnid][name in where].append(name)
    for wnid, (train, test) in found.items():
        if (len(train), len(test)) != (TRAIN, TEST):
            there = f"{len(train)} for training and {len(test)} for validation"
            raise DataError(f"{packed.filename}: images of {wnid}: found {there}, allowed: {TRAIN} and {TEST}")
    return [sorted(train, key=_number) + sorted(test, key=_number) for train, test in found.values()]


def _number(name: str) -> int:
    return int(Path(name).stem.rpartition("_")[-1])


def _pixels(packed: zipfile.ZipFile, name: str, size: int) -> UInt8[np.ndarray, "3 size size"]:
    from PIL import Image

    with packed.open(name) as stream, Image.open(stream, formats=["JPEG"]) as image:
        rgb = image.convert("RGB")  # a few are grey
    return np.asarray(rgb.reduce(64 // size)).transpose(2, 0, 1)
