"""Archives of a few pictures in the layouts of Tiny-ImageNet and CIFAR, and a slow reading of the former."""

import hashlib
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_files import publish, put

from kdstudy.data import cifar, download, images

GROUPS = {"beasts": {"n03": "cat", "n11": "dog"}, "things": {"n02": "cup", "n10": "hat"}}
TRAIN, TEST = 20, 3
PART, WHOLE = "tiny-imagenet-100.zip", "tiny-imagenet-200.zip"


def jpeg(rng: np.random.Generator, grey: bool = False) -> bytes:
    shape = (64, 64) if grey else (64, 64, 3)
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


def members(seed: int = 0) -> dict[str, bytes]:
    """The files of an archive by class and number, training images first; the first image of "n02" is grey."""
    rng, files, notes = np.random.default_rng(seed), {}, []
    wnids = sorted(wnid for inside in GROUPS.values() for wnid in inside)
    for wnid in wnids:
        for i in range(TRAIN):
            files[f"train/{wnid}/images/{wnid}_{i}.JPEG"] = jpeg(rng, grey=(wnid, i) == ("n02", 0))
    for i in range(TEST * len(wnids)):
        files[f"val/images/val_{i + 5}.JPEG"] = jpeg(rng)
        notes.append(f"val_{i + 5}.JPEG\t{wnids[i % len(wnids)]}\t0\t0\t63\t63\n")
    return {**files, "val/val_annotations.txt": "".join(notes).encode()}


def with_others(files: dict[str, bytes]) -> dict[str, bytes]:
    """The original archive: one more class, images without labels, and another order."""
    rng, notes = np.random.default_rng(1), files["val/val_annotations.txt"] + b"val_2.JPEG\tn07\t0\t0\t63\t63\n"
    more = {"train/n07/images/n07_0.JPEG": jpeg(rng), "val/images/val_2.JPEG": jpeg(rng)}
    more |= {"test/images/test_0.JPEG": jpeg(rng), "words.txt": b"n07\tspoon\n"}
    return {**more, **dict(reversed(files.items())), "val/val_annotations.txt": notes}


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        for name, data in files.items():
            packed.writestr(f"tiny-imagenet-200/{name}", data)
    return stream.getvalue()


def publish_tiny(monkeypatch: pytest.MonkeyPatch, root: Path, files: dict[str, bytes], archive: str = PART) -> Path:
    """Make the archive of `files` the published one, and put it into `root` as the user's."""
    monkeypatch.setattr(images, "GROUPS", GROUPS)
    monkeypatch.setattr(images, "TRAIN", TRAIN)
    monkeypatch.setattr(images, "TEST", TEST)
    data = {archive: zipped(files)}
    folder = publish(monkeypatch, "tiny_imagenet", {PART: b"", WHOLE: b"", **data})
    monkeypatch.setenv("KDSTUDY_DATA", str(root))
    return put(root / folder, data) / archive


def decoded(files: dict[str, bytes], name: str, size: int) -> np.ndarray:
    """One image as (3, size, size), each value the mean of its square of pixels, halves rounded up."""
    pixels = np.asarray(Image.open(io.BytesIO(files[name])).convert("RGB")).astype(float)
    n = 64 // size
    out = np.empty((3, size, size))
    for channel in range(3):
        for i in range(size):
            for j in range(size):
                square = pixels[i * n : i * n + n, j * n : j * n + n, channel]
                out[channel, i, j] = np.floor(square.mean() + 0.5)
    return out


CIFAR = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}


def cifar_files(name: str) -> dict[str, bytes]:
    """The files of a CIFAR of 4 classes: 40 images for training and 8 for the test."""
    rng = np.random.default_rng(2)

    def batch(n: int, **labels: list[int]) -> bytes:
        return pickle.dumps({"data": rng.integers(0, 256, (n, 3072), np.uint8), **labels})

    if name == "cifar10":
        names = {"batches.meta": pickle.dumps({"label_names": ["car", "cat", "cup", "dog"]})}
        train = {f"data_batch_{i}": batch(8, labels=[0, 1, 2, 3, 3, 2, 1, 0]) for i in range(1, 6)}
        return {**train, "test_batch": batch(8, labels=[0, 1, 2, 3] * 2), **names}
    fine, coarse = [2, 0, 3, 1] * 10, [0, 1, 1, 0] * 10
    names = {"fine_label_names": ["cat", "cup", "car", "dog"], "coarse_label_names": ["things", "beasts"]}
    train = batch(40, fine_labels=fine, coarse_labels=coarse)
    test = batch(8, fine_labels=fine[:8], coarse_labels=coarse[:8])
    return {"train": train, "test": test, "meta": pickle.dumps(names)}


GROUPED = {"things": ["car", "cup"], "beasts": ["cat", "dog"]}


def listed(name: str, files: dict[str, bytes]) -> dict[str, dict[str, list[bytes]]]:
    """The pixels of a small CIFAR by half and class, one after another."""
    key, label = ("fine_labels", "fine_label_names") if name == "cifar100" else ("labels", "label_names")
    batches = {n: pickle.loads(data) for n, data in files.items()}
    names = next(b[label] for b in batches.values() if label in b)
    found = {"train": {}, "test": {}}
    for file in sorted(f for f in files if "meta" not in f):
        batch = batches[file]
        for row, y in zip(batch["data"], batch[key]):
            found["test" if "test" in file else "train"].setdefault(names[y], []).append(row.tobytes())
    return found


def pictured(name: str, files: dict[str, bytes], kind: str = "PNG") -> dict[str, bytes]:
    """The same images as files by half and class, in no order."""
    out = {}
    for half, classes in listed(name, files).items():
        for label, images_ in classes.items():
            for i, pixels in enumerate(images_):
                stream = io.BytesIO()
                square = np.frombuffer(pixels, np.uint8).reshape(3, 32, 32).transpose(1, 2, 0)
                Image.fromarray(square).save(stream, kind, **({"lossless": True} if kind == "WEBP" else {}))
                out[f"{half}/{label}/{hash(pixels) % 10**9}-{i}.{kind.lower()}"] = stream.getvalue()
    return out


def publish_cifar(monkeypatch: pytest.MonkeyPatch, name: str) -> dict[str, bytes]:
    """Make the files of a small CIFAR the published ones, here and in torchvision."""
    from torchvision import datasets

    kind, files = getattr(datasets, name.upper()), cifar_files(name)
    md5 = {file: hashlib.md5(data).hexdigest() for file, data in files.items()}
    for half in ("train_list", "test_list"):
        monkeypatch.setattr(kind, half, [[file, md5[file]] for file, _ in getattr(kind, half)])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5[kind.meta["filename"]]})
    folder, url, _ = download.SOURCES[name]
    monkeypatch.setitem(download.SOURCES, name, (folder, url, {f: f"md5:{digest}" for f, digest in md5.items()}))
    halves = listed(name, files).items()
    known = {half: {c: cifar.digest_of(sorted(some)) for c, some in classes.items()} for half, classes in halves}
    monkeypatch.setitem(cifar.PUBLISHED, name, {**known, "superclasses": GROUPED})
    return files
