"""Outlines say of a data set what the data set itself says, and need no file of it."""

import numpy as np
import pytest
import torch
from tiny_files import REAL, real

from kdstudy.core.spec import Data
from kdstudy.data import registry
from kdstudy.engine import outline as outlines
from kdstudy.engine.outline import outline
from kdstudy.store.published import Classes, Published
from kdstudy.study import beds, difficulty

DIGITS = Data("digits")
SEEN = [(), (("labels", (5, 1000)),), (("transfer", (5, 3)),), (("columns", 7),), (("merge", 5),), (("noise", 0.4),),
        (("imbalance", 4.0), ("noise", 0.4)), (("labels", (10, 2)), ("noisy_validation", 0.4))]  # fmt: skip


@pytest.fixture
def published():
    """The outline of the digits, as if they were a data set that needs files."""
    there, data = Published(), registry.load(DIGITS)
    there.publish_classes({"digits": Classes.of(data)})
    outlines.publish({"digits": difficulty.computed(data)}, there)


@pytest.mark.parametrize("options", SEEN, ids=str)
def test_an_outline_says_what_the_data_say(published, options):
    data = Data("digits", options)
    held, whole = outline(data), registry.load(data)
    assert held.train.x.is_meta and held.train.x.shape == whole.train.x.shape
    assert torch.equal(held.train.y, whole.train.y) and held.classes == whole.classes
    kept = [held.extra.get("train", {}).get("labelled"), whole.extra.get("train", {}).get("labelled")]
    assert kept[0] is kept[1] is None or torch.equal(*kept)


def test_without_an_outline_or_with_options_of_its_own_the_data_are_loaded(published):
    assert not outline(Data("digits", (("seed", 3),))).train.x.is_meta
    assert not outline(Data("synthetic")).train.x.is_meta


def test_beds_and_difficulty_are_the_same_without_features(published, monkeypatch):
    named = [beds.bed("digits", r) for r in ("few_labels", "transfer_set", "privileged", "same_labels")]
    hard = difficulty.of_data.__wrapped__(DIGITS)
    np.testing.assert_allclose(hard, difficulty.computed(registry.load(DIGITS)), rtol=1e-6)
    monkeypatch.setattr(outlines, "FILE", "absent.npz")
    assert named == [beds.bed("digits", r) for r in ("few_labels", "transfer_set", "privileged", "same_labels")]


def test_difficulty_of_altered_labels_is_their_own(published):
    noisy = Data("digits", (("noise", 0.4),))
    np.testing.assert_array_equal(difficulty.of_data(noisy), difficulty.computed(registry.load(noisy)))


@real("clinc150/data_full.json", "FashionMNIST/raw/train-images-idx3-ubyte.gz")
@pytest.mark.parametrize("name", ["clinc150", "fashion_mnist"])
def test_committed_outlines_are_those_of_the_data(name, monkeypatch):
    monkeypatch.setenv("KDSTUDY_DATA", REAL)
    monkeypatch.delenv("KDSTUDY_RESULTS")
    held, whole = outline(Data(name)), registry.load(Data(name))
    assert held.train.x.is_meta and torch.equal(held.train.y, whole.train.y)
    assert held.classes == whole.classes and held.superclasses == whole.superclasses
    assert held.train.x.shape == whole.train.x.shape
    hard = difficulty.of_data.__wrapped__(Data(name))
    np.testing.assert_allclose(hard, difficulty.computed(whole), rtol=1e-4, atol=1e-6)
