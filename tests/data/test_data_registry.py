"""Data sets: names and options, the same bits for a seed, splits and features."""

import math
import subprocess
import sys

import pytest
import torch
from conftest import says
from tiny_files import NAMES, SPLITS, load, well_formed

from kdstudy.core.spec import Data
from kdstudy.data import registry

pytestmark = pytest.mark.usefixtures("cache")


# ---------------------------------------------------------------- names and options


def test_names_and_options():
    assert registry.names() == NAMES.split(", ")
    assert registry.options("digits") == {"seed": 0}
    assert registry.options("clinc150") == {"variant": "full", "features": 256}


TREATED = "merge, imbalance, noise, fold, crossfit"


@pytest.mark.parametrize("ask", [registry.load, registry.check])
@pytest.mark.parametrize(
    "data, message",
    [
        (
            Data("fashion_mnis"),
            f"data set 'fashion_mnis' is unknown; there are: {NAMES}, "
            "or a path to your own (a .csv file of texts, a folder of images); did you mean 'fashion_mnist'?",
        ),
        (
            Data("x"),
            f"data set 'x' is unknown; there are: {NAMES}, "
            "or a path to your own (a .csv file of texts, a folder of images)",
        ),
        (
            Data("clinc150", (("varient", "small"),)),
            f"data set 'clinc150' has no option 'varient'; it has: variant, features, {TREATED}; "
            "did you mean 'variant'?",
        ),
        (Data("digits", (("train", 5),)), f"data set 'digits' has no option 'train'; it has: seed, {TREATED}"),
    ],
)
def test_unknown_names_are_refused(ask, data, message):
    with pytest.raises(ValueError, match=says(message)):
        ask(data)


@pytest.mark.parametrize(
    "name, option, value, message",
    [
        ("synthetic", "classes", 1, "classes: found 1, allowed: a whole number of at least 2"),
        ("synthetic", "sines", -1, "sines: found -1, allowed: a whole number of at least 0"),
        ("synthetic", "validation", 0, "validation: found 0, allowed: a whole number of at least 1"),
        ("synthetic", "superclasses", 21, "superclasses: found 21, allowed: at most 20, the number of classes"),
        (
            "synthetic",
            "features",
            24,
            "features: found 24, allowed: at least 25, an orthonormal direction for each of 20 classes "
            "and 5 super-classes",
        ),
        ("synthetic", "similarity", 1.0, "similarity: found 1.0, allowed: 0 <= similarity < 1"),
        ("synthetic", "softness", math.inf, "softness: found inf, allowed: a finite number of at least 0"),
        ("synthetic", "noise", math.nan, "noise: found nan, allowed: 0 <= noise <= 1"),
        ("digits", "seed", -1, "seed: found -1, allowed: a whole number of at least 0"),
        ("clinc150", "variant", "plus", "variant: found 'plus', allowed: 'full', 'small', 'imbalanced'"),
        ("clinc150", "features", 0, "features: found 0, allowed: a whole number of at least 1"),
    ],
)
def test_values_out_of_range_are_refused(name, option, value, message):
    with pytest.raises(ValueError, match=says(message)):
        load(name, **{option: value})


# ---------------------------------------------------------------- what every made set promises


@pytest.mark.parametrize("name", ["synthetic", "digits"])
def test_a_seed_gives_the_same_bits_and_another_seed_others(name):
    first, again, other = load(name, seed=4), load(name, seed=4), load(name, seed=5)
    assert first is not again
    assert first.digest == again.digest != other.digest
    for split in SPLITS:
        a, b, c = (getattr(d, split) for d in (first, again, other))
        assert torch.equal(a.x, b.x) and torch.equal(a.y, b.y)
        assert not torch.equal(a.x, c.x)


def test_load_answers_from_memory():
    assert registry.load(Data("digits")) is registry.load(Data("digits"))


@pytest.mark.parametrize("name", ["synthetic", "digits"])
def test_made_sets_are_well_formed_and_share_no_example(name):
    well_formed(load(name))


# ---------------------------------------------------------------- digits


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


# ---------------------------------------------------------------- imports


def test_made_sets_need_no_download_tools():
    """The experiment code imports, and draws, on a machine without the tools for downloads and notebooks."""
    code = (
        "import sys; sys.modules |= dict.fromkeys(['pooch', 'sklearn', 'torchvision', 'tqdm', 'papermill']); "
        "from kdstudy import Data, load; print(load(Data('synthetic')).digest)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert told.stdout.strip() == load("synthetic").digest, told.stderr


def test_a_folder_called_like_a_data_set_does_not_hide_it(tmp_path, monkeypatch):
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert registry.named("digits") == Data("digits")
    assert registry.load(Data("digits")).name == "digits"
    assert not registry.grouped(Data("digits"))


def test_own_data_are_known_by_their_content(cache, tmp_path):
    path = tmp_path / "mine.csv"
    rows = "".join(
        f"{t} day {i},{c},{g}\n"
        for i in range(9)
        for t, c, g in (("good", "a", "x"), ("no", "b", "y"), ("bad", "c", "x"))
    )
    path.write_text("text,label,superclass\n" + rows, "utf-8")
    first = registry.named(str(path))
    assert (first.label, registry.grouped(first)) == ("mine.csv", True)
    assert registry.named(str(path)) == first and registry.load(first).classes == ("a", "b", "c")
    fold = Data(first.name, (*first.options, ("fold", 2)))
    assert len(registry.load(fold).train.y) < len(registry.load(first).train.y)
    path.write_text(path.read_text("utf-8") + "good night,a,x\n", "utf-8")
    assert registry.named(str(path)) != first
