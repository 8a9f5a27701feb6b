"""CLINC150: labels, domains, features fitted on its training split, and their cache."""

from pathlib import Path

import pytest
import torch
from tiny_files import REAL, SPLITS, load, publish, put, real, tiny_clinc, well_formed
from torch.testing import assert_close

from kdstudy.data import texts

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def clinc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Publishes a tiny CLINC150 in the user's own folder; called again, it replaces it."""

    def make(**changes: object) -> dict[str, bytes]:
        files = tiny_clinc(**changes)
        put(tmp_path / "mine" / publish(monkeypatch, "clinc150", files), files)
        monkeypatch.setenv("KDSTUDY_DATA", str(tmp_path / "mine"))
        return files

    make()
    return make


def test_clinc_labels_domains_and_scale(clinc):
    data = load("clinc150", features=4)
    well_formed(data)
    assert data.classes == ("balance", "order", "pay", "recipe")
    assert data.superclasses == ("food", "money")
    assert data.superclass.tolist() == [1, 0, 1, 0]
    assert [len(getattr(data, s).y) for s in SPLITS] == [32, 2, 3]
    assert data.train.y.tolist() == [3] * 8 + [2] * 8 + [1] * 8 + [0] * 8
    assert data.test.y.tolist() == [1, 0, 2]
    assert_close(data.train.x.square().mean(-1), torch.ones(32))
    assert data.test.x[2].abs().max() == 0  # no n-gram that train knows


def test_clinc_features_are_fitted_on_train_alone(clinc):
    before = load("clinc150", features=4)
    clinc(test=[["please recipe the pasta", "recipe"], ["a wholly different sentence", "pay"]])
    after = load("clinc150", features=4)
    assert torch.equal(before.train.x, after.train.x)
    assert torch.equal(before.validation.x, after.validation.x)
    assert before.digest != after.digest
    assert_close(after.test.x[0], after.train.x[2])  # the same sentence


def test_clinc_digest_and_cache_follow_the_options(clinc):
    three, four = load("clinc150", features=3), load("clinc150", features=4)
    assert three.digest != four.digest
    assert (three.train.x.shape[1], four.train.x.shape[1]) == (3, 4)


def test_clinc_features_are_computed_once(clinc, cache, tmp_path, monkeypatch):
    first = load("clinc150", features=4)
    monkeypatch.setattr(texts, "features", lambda *a: pytest.fail("computed again"))
    again = load("clinc150", features=4)
    assert torch.equal(first.train.x, again.train.x)
    assert [p.suffix for p in cache.rglob("*") if p.is_file()] == [".npz"]
    assert sorted(p.name for p in (tmp_path / "mine" / "clinc150").iterdir()) == ["data_full.json", "domains.json"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b"",
        lambda b: b"not a zip file",
        lambda b: b[: len(b) // 2],
        lambda b: b[:300] + bytes([b[300] ^ 255]) + b[301:],
    ],
    ids=["empty", "text", "cut", "one byte flipped"],
)
def test_a_broken_feature_cache_is_rebuilt(clinc, cache, damage):
    first = load("clinc150", features=4)
    (file,) = cache.rglob("*.npz")
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    again = load("clinc150", features=4)
    assert torch.equal(first.train.x, again.train.x) and torch.equal(first.test.x, again.test.x)
    assert texts.cached(file, lambda: pytest.fail("still broken"))["train"].shape == (32, 4)


def test_a_failed_computation_leaves_no_feature_cache(clinc, cache):
    with pytest.raises(ValueError, match="n_components"):
        load("clinc150", features=10_000)
    assert not list(cache.rglob("*.npz"))


@real("clinc150/data_full.json", "clinc150/domains.json")
def test_real_clinc(monkeypatch):
    monkeypatch.setenv("KDSTUDY_DATA", REAL)
    data = load("clinc150")
    assert [tuple(getattr(data, s).x.shape) for s in SPLITS] == [(15_000, 256), (3_000, 256), (4_500, 256)]
    assert data.train.y.bincount().tolist() == [100] * 150
    assert data.superclass.bincount().tolist() == [15] * 10
    centre = torch.stack([data.train.x[data.train.y == c].mean(0) for c in range(150)])
    near = (data.test.x @ torch.nn.functional.normalize(centre).T).argmax(-1)
    assert (near == data.test.y).double().mean() > 0.8  # the nearest class mean; rows follow their labels
