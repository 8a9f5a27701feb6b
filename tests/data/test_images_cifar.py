"""CIFAR: images, labels and groups through torchvision, and what is said where files are absent or altered."""

import io
import tarfile
from pathlib import Path

import pytest
import torch
from conftest import says
from tiny_files import SPLITS, load, put, well_formed
from tiny_pictures import CIFAR, publish_cifar
from torch.testing import assert_close
from torchvision import datasets as tv

from kdstudy.core.random import generator
from kdstudy.data import download
from kdstudy.data.download import DataError

pytestmark = pytest.mark.usefixtures("cache")
BOTH = pytest.mark.parametrize("name", CIFAR)


@BOTH
def test_the_md5_sums_are_those_of_torchvision(name):
    kind = getattr(tv, name.upper())
    lists = dict([*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])])
    folder, url, digests = download.SOURCES[name]
    assert digests == {file: f"md5:{md5}" for file, md5 in lists.items()}
    assert folder == f"cifar/{kind.base_folder}" and kind.url == url + kind.filename


@BOTH
def test_images_and_labels_agree_with_torchvision(name, tmp_path, monkeypatch):
    put(tmp_path / "mine" / "cifar" / CIFAR[name], publish_cifar(monkeypatch, name))
    monkeypatch.setenv("KDSTUDY_DATA", str(tmp_path / "mine"))
    data = load(name)
    well_formed(data, torch.half)
    kind, root = getattr(tv, name.upper()), tmp_path / "mine" / "cifar"
    halves = {half: list(kind(root, train=half == "train", transform=pixels)) for half in ("train", "test")}
    order = torch.randperm(40, generator=generator(0, f"{name}:split")).tolist()
    splits = {"train": order[:36], "validation": order[36:], "test": range(8)}
    raw = {s: [halves["test" if s == "test" else "train"][i] for i in at] for s, at in splits.items()}
    std, mean = torch.std_mean(torch.stack([x for x, _ in raw["train"]]), (0, 2, 3), correction=0, keepdim=True)
    for split in SPLITS:
        found = getattr(data, split)
        assert_close(found.x.double(), (torch.stack([x for x, _ in raw[split]]) - mean) / std, rtol=1e-3, atol=1e-3)
        assert found.y.tolist() == [y for _, y in raw[split]]


def pixels(image: object) -> torch.Tensor:
    from torchvision.transforms.functional import pil_to_tensor

    return pil_to_tensor(image).double()


def test_groups_are_the_coarse_labels(tmp_path, monkeypatch):
    put(tmp_path / "mine" / "cifar" / CIFAR["cifar100"], publish_cifar(monkeypatch, "cifar100"))
    monkeypatch.setenv("KDSTUDY_DATA", str(tmp_path / "mine"))
    data = load("cifar100")
    assert data.classes == ("cat", "cup", "car", "dog")
    assert data.superclass.tolist() == [1, 0, 0, 1] and data.superclasses == ("things", "beasts")


@BOTH
def test_an_archive_in_our_own_folder_is_unpacked(name, cache, monkeypatch):
    import hashlib

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
def test_absent_without_a_network_is_one_clear_error(name, cache, tmp_path, monkeypatch):
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("network is unreachable")

    kind = getattr(tv, name.upper())
    monkeypatch.setattr(kind, "download", offline)
    message = (
        f"data set '{name}' is not in {{}}, and could not be downloaded from {kind.url} (OSError: network is "
        "unreachable). Try again with a network, or unpack the file's content into {}"
    )
    own, mine = f"{cache}/cifar/{CIFAR[name]}", f"{tmp_path}/mine/cifar/{CIFAR[name]}"
    with pytest.raises(DataError, match=says(message.format(own, "this folder"))):
        load(name)
    monkeypatch.setenv("KDSTUDY_DATA", str(tmp_path / "mine"))
    with pytest.raises(DataError, match=says(message.format(f"{mine} or {own}", "one of these folders"))):
        load(name)


@BOTH
def test_altered_files_of_the_user_are_refused_and_left_alone(name, tmp_path, monkeypatch):
    files = publish_cifar(monkeypatch, name)
    first, kind = next(iter(files)), getattr(tv, name.upper())
    folder: Path = put(tmp_path / "mine" / "cifar" / CIFAR[name], {**files, first: b"half"})
    monkeypatch.setenv("KDSTUDY_DATA", str(tmp_path / "mine"))
    message = (
        f"data set '{name}': {folder} cannot be read (RuntimeError: Dataset not found or corrupted. You can use "
        "download=True to download it). It lies in KDSTUDY_DATA and is left as it is: unpack "
        f"{kind.url} anew, or remove the folder or unset KDSTUDY_DATA to have it downloaded"
    )
    with pytest.raises(DataError, match=says(message)):
        load(name)
    assert (folder / first).read_bytes() == b"half"
