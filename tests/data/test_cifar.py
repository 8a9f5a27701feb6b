"""CIFAR from any copy: torchvision's files, a folder, a zip file; what is said of copies that are none."""

import hashlib
import io
import re
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import says
from tiny_files import SPLITS, load, put, well_formed
from tiny_pictures import CIFAR, GROUPED, cifar_files, pictured, publish_cifar
from torchvision import datasets as tv

from kdstudy.data import cifar, download
from kdstudy.data.download import DataError

pytestmark = pytest.mark.usefixtures("cache")
BOTH = pytest.mark.parametrize("name", CIFAR)


def user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The user's own folder of data."""
    monkeypatch.setenv("KDSTUDY_DATA", str(tmp_path / "mine"))
    return tmp_path / "mine"


def laid_out(root: Path, files: dict[str, bytes]) -> Path:
    for file, data in files.items():
        put((root / file).parent, {Path(file).name: data})
    return root


def of_torchvision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, **changed: bytes) -> Path:
    """The user's own folder with the published files, some changed."""
    files = publish_cifar(monkeypatch, name)
    return put(user(monkeypatch, tmp_path) / "cifar" / CIFAR[name], files | changed)


@BOTH
def test_the_md5_sums_are_those_of_torchvision(name):
    kind = getattr(tv, name.upper())
    lists = dict([*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])])
    folder, url, digests = download.SOURCES[name]
    assert digests == {file: f"md5:{md5}" for file, md5 in lists.items()}
    assert folder == f"cifar/{kind.base_folder}" and kind.url == url + kind.filename


@BOTH
def test_classes_and_super_classes_are_the_published_ones(name):
    known = cifar.PUBLISHED[name]
    assert known["train"].keys() == known["test"].keys() and len(known["train"]) == int(name.removeprefix("cifar"))
    digests = [*known["train"].values(), *known["test"].values()]
    assert len({*digests}) == len(digests) and all(re.fullmatch("[0-9a-f]{16}", d) for d in digests)
    if name == "cifar100":
        inside = [c for some in known["superclasses"].values() for c in some]
        assert sorted(inside) == sorted(known["train"]) and {*map(len, known["superclasses"].values())} == {5}


@BOTH
def test_every_image_of_torchvision_is_there_once_standardised_by_train(name, tmp_path, monkeypatch):
    folder = of_torchvision(monkeypatch, tmp_path, name)
    data = load(name)
    well_formed(data, torch.half)
    halves = [getattr(tv, name.upper())(folder.parent, train) for train in (True, False)]
    pixels = torch.from_numpy(np.concatenate([h.data for h in halves])).permute(0, 3, 1, 2).double()
    labels = [h.classes[y] for h in halves for y in h.targets]
    order = {}  # where each of the standardised images comes from
    std, mean = _train_statistics(data, pixels, order)
    for split, rows in order.items():
        found = getattr(data, split)
        torch.testing.assert_close(found.x.double(), (pixels[rows] - mean) / std, rtol=2e-3, atol=2e-3)
        assert [data.classes[y] for y in found.y] == [labels[i] for i in rows]
    assert sorted(i for rows in order.values() for i in rows) == list(range(len(pixels)))
    assert sorted(order["test"]) == list(range(40, 48))
    assert data.validation.y.bincount().tolist() == [1] * 4 and data.train.y.bincount().tolist() == [9] * 4


def _train_statistics(data, pixels, order):
    """Mean and deviation of train's pixels by channel; fills `order` by the nearest image of each row."""
    flat = pixels.flatten(1)
    flat = (flat - flat.mean(1, keepdim=True)) / flat.std(1, keepdim=True)
    for split in SPLITS:
        x = getattr(data, split).x.double().flatten(1)
        x = (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)
        order[split] = (x @ flat.T).argmax(1).tolist()
    return torch.std_mean(pixels[order["train"]], (0, 2, 3), correction=0, keepdim=True)


@BOTH
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("packed", [False, True])
def test_every_copy_gives_the_same_tensors(name, kind, packed, tmp_path, monkeypatch):
    of_torchvision(monkeypatch, tmp_path, name)
    first = load(name)
    monkeypatch.setenv("KDSTUDY_CACHE", str(tmp_path / "other cache"))
    monkeypatch.setattr(cifar, "cache_folder", lambda: tmp_path / "other cache")
    monkeypatch.setenv("KDSTUDY_DATA", str(tmp_path / "pictures"))
    files = {
        "README.md": b"a text",
        ".DS_Store": b"",
        "train/notes.txt": b"x",
        **pictured(name, cifar_files(name), kind),
    }
    if packed:
        (tmp_path / "pictures").mkdir()
        with zipfile.ZipFile(tmp_path / "pictures" / f"{name}.zip", "w") as archive:
            for file, data in files.items():
                archive.writestr(f"{name}-main/{file}", data)
    else:
        laid_out(tmp_path / "pictures" / name, files)
    again = load(name)
    assert download.at_hand(name) and again.digest == first.digest and again.classes == first.classes
    for split in SPLITS:
        assert torch.equal(getattr(again, split).x, getattr(first, split).x)
        assert torch.equal(getattr(again, split).y, getattr(first, split).y)


def test_super_classes_are_the_coarse_labels(tmp_path, monkeypatch):
    of_torchvision(monkeypatch, tmp_path, "cifar100")
    data = load("cifar100")
    assert data.classes == ("car", "cat", "cup", "dog") and data.superclasses == tuple(GROUPED)
    assert data.superclass.tolist() == [0, 1, 0, 1]


@BOTH
def test_lossy_or_incomplete_copies_are_refused_and_serve_as_ones_own_data(name, tmp_path, monkeypatch):
    root = laid_out(user(monkeypatch, tmp_path) / name, pictured(name, publish_cifar(monkeypatch, name)))
    next((root / "train" / "cat").iterdir()).unlink()
    file = next((root / "test" / "dog").iterdir())
    from PIL import Image

    Image.open(file).save(file.with_suffix(".jpeg"))
    file.unlink()
    message = (
        f"data set '{name}': {root}: found 39 images in train and 8 images in test, whose pixels differ from the "
        f"published ones in train/cat (9 images), test/dog (2 images); allowed: a lossless copy of all of them. "
        f"Replace it, or use its folder as data of your own: -p dataset FOLDER"
    )
    with pytest.raises(DataError, match=says(message)):
        load(name)
    own = load(str(root))
    assert own.classes == ("car", "cat", "cup", "dog") and len(own.test.y) == 8


def test_a_file_that_is_no_archive_is_one_clear_error(tmp_path, monkeypatch):
    put(user(monkeypatch, tmp_path), {"cifar10.zip": b"no archive"})
    with pytest.raises(DataError, match=r"cifar10\.zip: found no zip file \(.+\), allowed: train/<class>/<file>"):
        load("cifar10")


@BOTH
def test_an_archive_in_our_own_folder_is_unpacked(name, cache, monkeypatch):
    files, kind, packed = publish_cifar(monkeypatch, name), getattr(tv, name.upper()), io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for file, data in files.items():
            info = tarfile.TarInfo(f"{CIFAR[name]}/{file}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    monkeypatch.setattr(kind, "tgz_md5", hashlib.md5(packed.getvalue()).hexdigest())
    put(cache / "cifar", {kind.filename: packed.getvalue()})
    assert not download.at_hand(name)
    first = load(name)
    assert download.at_hand(name)
    (cache / "cifar" / kind.filename).unlink()
    assert load(name).digest == first.digest


@BOTH
@pytest.mark.parametrize("folders", [1, 2])
def test_absent_without_a_network_is_one_clear_error(name, folders, cache, tmp_path, monkeypatch):
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("network is unreachable")

    kind = getattr(tv, name.upper())
    monkeypatch.setattr(kind, "download", offline)
    where, here = f"{cache}/cifar/{CIFAR[name]}", "this folder"
    if folders == 2:
        monkeypatch.setenv("KDSTUDY_DATA", str(tmp_path / "mine"))
        where, here = f"{tmp_path}/mine/cifar/{CIFAR[name]} or {where}", "one of these folders"
    message = (
        f"data set '{name}' is not in {where}, and could not be downloaded from {kind.url} (OSError: network is "
        f"unreachable). Try again with a network, or unpack the file's content into {here}, or put images as "
        f"train/<class>/<file> and test/<class>/<file> into {tmp_path / 'mine' if folders == 2 else cache}/{name}"
    )
    with pytest.raises(DataError, match=says(message)):
        load(name)


@BOTH
def test_altered_files_of_the_user_are_refused_and_left_alone(name, tmp_path, monkeypatch):
    first = {"cifar10": "data_batch_1", "cifar100": "train"}[name]
    folder = of_torchvision(monkeypatch, tmp_path, name, **{first: b"half"})
    why = rf"^data set '{name}': {re.escape(str(folder))} cannot be read \(RuntimeError: .+\)\. "
    todo = f"It lies in KDSTUDY_DATA and is left as it is: unpack {getattr(tv, name.upper()).url} anew, or remove"
    with pytest.raises(DataError, match=why + todo):
        load(name)
    assert (folder / first).read_bytes() == b"half"
