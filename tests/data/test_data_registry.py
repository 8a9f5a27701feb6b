"""Data sets: names and options, the same bits for a seed, splits and features."""

import math
import subprocess
import sys

import pytest
import torch
from conftest import says
from tiny_files import NAMES, SPLITS, load, well_formed

from kdstudy.core.spec import Data, pairs
from kdstudy.data import registry

pytestmark = pytest.mark.usefixtures("cache")


def test_names_and_options():
    assert registry.names() == NAMES.split(", ")
    assert registry.options("digits") == {"seed": 0}
    assert registry.options("clinc150") == {"variant": "full", "features": 256}


OWN = "or a path to your own (a file of embeddings, numbers or texts, a folder of images)"
TRANSFORMS = ", ".join(registry.TRANSFORMS)


@pytest.mark.parametrize("ask", [registry.load, registry.check, registry.named])
@pytest.mark.parametrize(
    "data, message",
    [
        (Data("digit"), f"data set 'digit' is unknown; there are: {NAMES}, {OWN}; did you mean 'digits'?"),
        (Data("x"), f"data set 'x' is unknown; there are: {NAMES}, {OWN}"),
        (registry.variant("digits", sede=0),
         f"data set 'digits' has no option 'sede'; it has: seed, {TRANSFORMS}; did you mean 'seed'?"),
        (Data("digits", (("x", 5),)), f"data set 'digits' has no option 'x'; it has: seed, {TRANSFORMS}"),
    ],
)  # fmt: skip
def test_unknown_names_are_refused(ask, data, message):
    with pytest.raises(ValueError, match=says(message)):
        ask(data)
    if not data.options:
        with pytest.raises(ValueError, match=says(message)):
            registry.named(data.name)


@pytest.mark.parametrize(
    "name, option, value, allowed",
    [
        ("synthetic", "classes", 1, "a whole number of at least 2"),
        ("synthetic", "sines", -1, "a whole number of at least 0"),
        ("synthetic", "validation", 0, "a whole number of at least 1"),
        ("synthetic", "superclasses", 21, "at most 20, the number of classes"),
        ("synthetic", "features", 24, "at least 25, an orthonormal direction for each of 20 classes "
                                      "and 5 super-classes"),
        ("synthetic", "similarity", 1.0, "0 <= similarity < 1"),
        ("synthetic", "softness", math.inf, "a finite number of at least 0"),
        ("synthetic", "noise", math.nan, "0 <= noise <= 1"),
        ("digits", "seed", -1, "a whole number of at least 0"),
        ("clinc150", "variant", "plus", "'full', 'small', 'imbalanced'"),
        ("clinc150", "features", 0, "a whole number of at least 1"),
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused(name, option, value, allowed):
    with pytest.raises(ValueError, match=says(f"{option}: found {value!r}, allowed: {allowed}")):
        load(name, **{option: value})


def test_a_variant_names_only_what_differs():
    assert registry.variant("synthetic", similarity=0.5) == registry.variant("synthetic") == Data("synthetic")
    assert registry.variant("synthetic", similarity=0.3, seed=0) == Data("synthetic", (("similarity", 0.3),))
    assert registry.variant("digits", seed=0, fold=0) == Data("digits", (("fold", 0),))  # which is no default
    assert registry.variant("synthetic", similarity=0.5, noise=0).options == ()


def test_named_leaves_a_data_set_as_it_is():
    data = Data("digits", pairs({"seed": 3}))
    assert registry.named("digits") == Data("digits")
    assert registry.named(data) is data


def test_grouped_is_whether_there_are_super_classes():
    assert [n for n in registry.names() if registry.grouped(Data(n))] == [
        "synthetic",
        "tiny_imagenet",
        "cifar100",
        "clinc150",
    ]
    for name in ("synthetic", "digits"):
        assert registry.grouped(Data(name)) == (load(name).superclass is not None) == bool(load(name).superclasses)


def test_a_folder_called_like_a_data_set_does_not_hide_it(tmp_path, monkeypatch):
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert registry.named("digits") == Data("digits")
    assert registry.load(Data("digits")).name == "digits"
    assert not registry.grouped(Data("digits"))


@pytest.mark.filterwarnings("ignore:mine.csv")  # short texts may share all features
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


# ---------------------------------------------------------------- imports


def test_made_sets_need_no_download_tools():
    """The experiment code imports, and draws, on a machine without the tools for downloads and notebooks."""
    code = (
        "import sys; sys.modules |= dict.fromkeys(['pooch', 'sklearn', 'torchvision', 'tqdm', 'papermill']); "
        "from kdstudy import Data, load; print(load(Data('synthetic')).digest)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert told.stdout.strip() == load("synthetic").digest, told.stderr
