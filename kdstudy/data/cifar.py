"""CIFAR-10 and CIFAR-100 from any faithful copy: torchvision's archive, or images by class in a folder or a zip file.

    $KDSTUDY_DATA/cifar100/train/<class>/<file>     and test/<class>/<file>, 32 x 32, lossless (PNG, WebP, ...)
    $KDSTUDY_DATA/cifar100.zip                      the same, perhaps in a folder of its own
    $KDSTUDY_DATA/cifar/cifar-100-python            what torchvision unpacks, and downloads where there is no other

Images are put in order by class and, within a class, by their pixels, so that every copy gives the same tensors, the
same digest and the same runs. A copy is known by the SHA-256 of each class's pixels (`cifar.toml`).
"""

import hashlib
import os
import tomllib
import zipfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from jaxtyping import UInt8

from kdstudy.core.paths import cache_folder
from kdstudy.data.dataset import DATASETS, Parts
from kdstudy.data.download import DataError, pictures, places
from kdstudy.data.images import scaled, stratified

PUBLISHED = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))  # by set: digests by half and class
HALVES, DIGITS, SHAPE = ("train", "test"), 16, (3, 32, 32)
SHOWN = 5  # classes that a message names
Images = dict[str, dict[str, list[bytes]]]  # by half and class, each image's pixels as (3, 32, 32) bytes


@DATASETS.register
def cifar10() -> Parts:
    """45 000 / 5 000 / 10 000 colour images of 10 things, 3 x 32 x 32. Krizhevsky 2009.

    Test is the published one; validation is a tenth of each class's published training images, permuted once and for
    all. torchvision downloads what is absent. DataError says what to do where that fails, or a copy is not faithful.
    """
    return _parts("cifar10")


@DATASETS.register(grouped=True)
def cifar100() -> Parts:
    """As `cifar10`, of 100 things in the published 20 super-classes of 5."""
    parts, groups = _parts("cifar100"), PUBLISHED["cifar100"]["superclasses"]
    of = {name: g for g, inside in enumerate(groups.values()) for name in inside}
    return {**parts, "superclass": torch.tensor([of[c] for c in parts["classes"]]), "superclasses": tuple(groups)}


def _parts(name: str) -> Parts:
    """What both sets have."""
    known = PUBLISHED[name]
    digest = hashlib.sha256(str([known[half] for half in HALVES]).encode()).hexdigest()
    x = torch.from_numpy(np.load(_kept(name, digest[:DIGITS]), mmap_mode="c"))  # copy on write: torch warns of others
    classes, each = x.shape[:2]
    place, of = torch.arange(classes * each).view(classes, each), torch.arange(classes).repeat_interleave(each)
    most = each * 5 // 6  # five published training images for each test image, in both sets
    train, validation = stratified(place[:, :most], f"{name}:split")
    picks = ((x.flatten(0, 1), at, of[at]) for at in (train, validation, place[:, most:].flatten()))
    return {"classes": tuple(sorted(known["train"])), "source": (digest,), **scaled(*picks)}


def _kept(name: str, digest: str) -> Path:
    """The file of all images in order, (C, train + test, 3, 32, 32), made once from a copy that was checked."""
    from filelock import FileLock

    kept = cache_folder() / name / f"images-{digest}.npy"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(kept.with_suffix(".lock")):
        if not kept.exists():
            images, part = _checked(name), kept.with_suffix(".part")
            with part.open("wb") as stream:
                np.save(stream, images)
            os.replace(part, kept)
    return kept


def _checked(name: str) -> UInt8[np.ndarray, "C n 3 32 32"]:
    """All images of the copy at hand in order. DataError names the classes that differ from the published ones."""
    where = pictures(name)
    found = _listed(where) if where else _of_archive(name)
    found = {half: {c: sorted(images) for c, images in found[half].items()} for half in HALVES}
    known, wrong = PUBLISHED[name], []
    for half in HALVES:
        for c in sorted(known[half].keys() | found[half].keys()):
            images = found[half].get(c, [])
            if digest_of(images) != known[half].get(c):
                wrong.append(f"{half}/{c} ({len(images)} images)")
    if wrong:
        number = " and ".join(f"{sum(map(len, found[h].values()))} images in {h}" for h in HALVES)
        more = f" and {len(wrong) - SHOWN} more" * (len(wrong) > SHOWN)
        raise DataError(
            f"data set {name!r}: {where or places(name)[-1]}: found {number}, whose pixels differ from the published "
            f"ones in {', '.join(wrong[:SHOWN])}{more}; allowed: a lossless copy of all of them. Replace it, or use "
            f"its folder{' (a zip file unpacked)' * bool(where and where.is_file())} as data of your own: "
            "-p dataset FOLDER"
        )
    rows = [[*found["train"][c], *found["test"][c]] for c in sorted(known["train"])]
    return np.frombuffer(b"".join(image for row in rows for image in row), np.uint8).reshape(len(rows), -1, *SHAPE)


def digest_of(images: Iterable[bytes]) -> str:
    """The first digits of the SHA-256 of a class's images in order."""
    return hashlib.sha256(b"".join(images)).hexdigest()[:DIGITS]


def _listed(where: Path) -> Images:
    """The images of a folder or a zip file; what else lies there is none."""
    if where.is_dir():
        return _named((str(p.relative_to(where)), p) for p in sorted(where.rglob("*")) if p.is_file())
    try:
        with zipfile.ZipFile(where) as packed:
            return _named((n, BytesIO(packed.read(n))) for n in packed.namelist() if not n.endswith("/"))
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{where}: found no zip file ({error}), allowed: train/<class>/<file> and test/...") from error


def _named(files: Iterable[tuple[str, Path | BytesIO]]) -> Images:
    """Images by the last parts of their names, half/class/file."""
    from PIL import Image, UnidentifiedImageError

    found: Images = {half: {} for half in HALVES}
    for name, file in files:
        half, label, _ = ("", "", "", *PurePosixPath(Path(name).as_posix()).parts)[-3:]
        if half not in HALVES:
            continue
        try:
            with Image.open(file) as image:
                pixels = np.asarray(image.convert("RGB"))
        except (OSError, UnidentifiedImageError):
            continue
        found[half].setdefault(label, []).append(pixels.transpose(2, 0, 1).tobytes())
    return found


# ---------------------------------------------------------------- torchvision's archive


def _of_archive(name: str) -> Images:
    """The images as torchvision reads them, from the user's folder if it is there, else from our own."""
    found: Images = {}
    for half, data in zip(HALVES, _halves(name)):
        pixels = data.data.transpose(0, 3, 1, 2)
        found[half] = {c: [pixels[i].tobytes() for i in np.flatnonzero(np.array(data.targets) == k)]
                       for k, c in enumerate(data.classes)}  # fmt: skip
    return found


def _halves(name: str) -> list:
    """The training and the test half, checked by torchvision."""
    from filelock import FileLock
    from torchvision import datasets

    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    *_, own = folders = places(name)
    folder = next((f for f in folders if f.exists()), own)
    own.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(own.with_suffix(".lock")):
            return [kind(folder.parent, train, download=folder == own) for train in (True, False)]
    except (OSError, RuntimeError) as error:
        what, why = f"data set {name!r}", f"{type(error).__name__}: {error}"
        if folder != own:
            raise DataError(
                f"{what}: {folder} cannot be read ({why}). It lies in KDSTUDY_DATA and is left as it is: unpack "
                f"{kind.url} anew, or remove the folder or unset KDSTUDY_DATA to have it downloaded"
            ) from error
        here = "this folder" if len(folders) == 1 else "one of these folders"
        raise DataError(
            f"{what} is not in {' or '.join(map(str, folders))}, and could not be downloaded from {kind.url} ({why}). "
            f"Try again with a network, or unpack the file's content into {here}, or put images as "
            f"train/<class>/<file> and test/<class>/<file> into {folders[0].parents[1] / name}"
        ) from error
