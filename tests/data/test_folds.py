"""Data sets with one fold of the training split left out; data sets named with some of their options."""

import jaxtyping
import pytest
import torch
from conftest import SMALL, says
from tiny_files import NAMES, load, well_formed

from kdstudy.core.spec import Data, pairs
from kdstudy.data import registry, transforms

FOLDS = range(transforms.FOLDS)


def folded(fold: object) -> registry.Dataset:
    return load("synthetic", **SMALL, fold=fold)


# ---------------------------------------------------------------- which examples


@pytest.mark.parametrize("examples", [1, 5, 96, 997, 4003])
def test_folds_are_equal_to_one_and_the_same_every_time(examples):
    found = transforms.fold_of(examples)
    torch.manual_seed(examples)
    assert torch.equal(transforms.fold_of(examples), found)
    sizes = found.bincount(minlength=transforms.FOLDS)
    assert len(sizes) == transforms.FOLDS == 5 and sizes.sum() == examples
    assert sizes.max() - sizes.min() <= 1


def test_folds_do_not_follow_the_order_of_examples():
    assert not torch.equal(transforms.fold_of(100), torch.arange(100) % transforms.FOLDS)
    early = transforms.fold_of(4000)[:400].bincount(minlength=5)
    assert ((early - 80).abs() < 40).all()


def test_every_training_example_is_left_out_exactly_once():
    whole, parts = load("synthetic", **SMALL), [folded(f) for f in FOLDS]
    order = transforms.fold_of(96).argsort(stable=True)
    assert torch.equal(torch.cat([d.validation.x for d in parts]), whole.train.x[order])
    assert torch.equal(torch.cat([d.validation.y for d in parts]), whole.train.y[order])


@pytest.mark.parametrize("fold", FOLDS)
def test_what_is_left_and_what_is_left_out_make_up_the_training_split(fold):
    whole, part = load("synthetic", **SMALL), folded(fold)
    out = transforms.fold_of(96) == fold
    for split, at in (("train", ~out), ("validation", out)):
        found, inside = getattr(part, split), part.extra[split]
        assert torch.equal(found.x, whole.train.x[at]) and torch.equal(found.y, whole.train.y[at])
        assert inside.keys() == {"margin", "posterior"}
        assert all(torch.equal(inside[k], whole.extra["train"][k][at]) for k in inside)
    assert len(part.train.y) + len(part.validation.y) == 96
    assert torch.equal(part.test.x, whole.test.x) and torch.equal(part.test.y, whole.test.y)
    for kept in ("test", "law"):
        assert all(torch.equal(part.extra[kept][k], v) for k, v in whole.extra[kept].items())
    assert (part.name, part.classes, part.superclasses) == (whole.name, whole.classes, whole.superclasses)
    assert torch.equal(part.superclass, whole.superclass)
    well_formed(part)


def test_a_data_set_without_more_to_say_of_its_examples_has_folds_too():
    part = load("digits", fold=4)
    assert [len(getattr(part, s).y) for s in ("train", "validation", "test")] == [798, 199, 500]
    assert not any(part.extra.values())
    well_formed(part)


def test_every_fold_has_a_digest_of_its_own():
    digests = [load("synthetic", **SMALL).digest, *(folded(f).digest for f in FOLDS)]
    assert len(set(digests)) == len(digests)
    assert folded(3).digest == digests[4]
    assert load("synthetic", **SMALL | {"seed": 1}, fold=3).digest not in digests


@pytest.mark.parametrize("fold", [-1, 5, 1.0, "2", (0,)])
def test_a_fold_that_is_none_is_refused(fold, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # types unchecked, as for a user
    with pytest.raises(ValueError, match=says(f"fold: found {fold!r}, allowed: a whole number from 0 to 4")):
        folded(fold)


# ---------------------------------------------------------------- names and options


def test_a_variant_names_only_what_differs():
    assert registry.variant("synthetic", similarity=0.5) == registry.variant("synthetic") == Data("synthetic")
    assert registry.variant("synthetic", similarity=0.3, seed=0) == Data("synthetic", (("similarity", 0.3),))
    assert registry.variant("digits", seed=0, fold=0) == Data("digits", (("fold", 0),))  # which is no default
    assert registry.variant("synthetic", similarity=0.5, noise=0).options == ()


def test_a_variant_keeps_unknown_options_for_the_check_to_refuse():
    treated = "merge, imbalance, noise, fold, crossfit"
    message = f"data set 'digits' has no option 'sede'; it has: seed, {treated}; did you mean 'seed'?"
    with pytest.raises(ValueError, match=says(message)):
        registry.check(registry.variant("digits", sede=0))


def test_named_takes_a_name_or_a_data_set_and_checks_it():
    data = Data("digits", pairs({"seed": 3}))
    assert registry.named("digits") == Data("digits")
    assert registry.named(data) is data
    message = (
        f"data set 'digit' is unknown; there are: {NAMES}, or a path to your own "
        "(a .csv file of texts, a folder of images); did you mean 'digits'?"
    )
    for wrong in ("digit", Data("digit")):
        with pytest.raises(ValueError, match=says(message)):
            registry.named(wrong)


def test_grouped_is_whether_there_are_super_classes():
    assert [n for n in registry.names() if registry.grouped(Data(n))] == [
        "synthetic",
        "tiny_imagenet",
        "cifar100",
        "clinc150",
    ]
    for name in ("synthetic", "digits"):
        assert registry.grouped(Data(name)) == (load(name).superclass is not None) == bool(load(name).superclasses)
