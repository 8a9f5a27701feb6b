"""What can be done to any data set: labels drawn anew, classes thinned or merged, a fold left out."""

import jaxtyping
import pytest
import torch
from conftest import SMALL, says
from tiny_files import load, well_formed

from kdstudy.data import registry, transforms
from kdstudy.data.dataset import Dataset

LABEL = torch.arange(6000) % 6
FOLDS = range(transforms.FOLDS)
FEW = "labels of each class, a whole number of at least 1, and a draw of at least 0"


@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.6, 1.0])
def test_a_fraction_of_the_labels_is_drawn_from_all_classes(fraction):
    found = transforms.noisy_labels(LABEL, 6, fraction)
    assert torch.equal(found, transforms.noisy_labels(LABEL, 6, fraction))
    assert float((found != LABEL).double().mean()) == pytest.approx(fraction * 5 / 6, abs=0.02)
    changed = found[found != LABEL].bincount(minlength=6) / max(1, int((found != LABEL).sum()))
    assert not fraction or (changed - 1 / 6).abs().max() < 0.03


def test_more_noise_keeps_what_less_noise_changed():
    less, more = (transforms.noisy_labels(LABEL, 6, f) for f in (0.2, 0.6))
    assert torch.equal(more[less != LABEL], less[less != LABEL])


def thinned_one_by_one(label, classes, ratio):
    """How many of each class are left, smallest first."""
    counts = [int((label == c).sum()) for c in range(classes)]
    place = torch.randperm(classes, generator=transforms.generator(0, "imbalance")).tolist()
    return [max(1, round(n * ratio ** (-r / (classes - 1)))) for n, r in zip(counts, place)]


@pytest.mark.parametrize("ratio", [1, 3.0, 10, 1e6])
def test_classes_are_thinned_along_a_geometric_sequence(ratio):
    kept = transforms.imbalanced(LABEL, 6, ratio)
    assert torch.equal(kept, kept.unique())  # sorted, none twice
    assert LABEL[kept].bincount(minlength=6).tolist() == thinned_one_by_one(LABEL, 6, ratio)
    if ratio == 1:
        assert torch.equal(kept, torch.arange(6000))


def test_a_class_without_examples_stays_without():
    assert transforms.imbalanced(torch.tensor([0, 0, 2, 2]), 3, 2.0).numel() > 0


def test_neighbours_are_merged_evenly_within_their_super_classes():
    superclass = torch.tensor([1, 0, 1, 0, 2, 2])
    assert transforms.merged_classes(6, 3, superclass).tolist() == [1, 0, 1, 0, 2, 2]
    assert transforms.merged_classes(6, 6, superclass).tolist() == [2, 0, 3, 1, 4, 5]
    assert transforms.merged_classes(6, 2, None).tolist() == [0, 0, 0, 1, 1, 1]
    sizes = transforms.merged_classes(7, 3, None).bincount()
    assert sizes.sum() == 7 and sizes.max() - sizes.min() <= 1


def test_what_is_above_merged_classes():
    superclass, above = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]), transforms.superclass_of_merged
    assert above(transforms.merged_classes(8, 4, superclass), superclass).tolist() == [0, 0, 1, 1]
    for left in (2, 3):  # the super-classes themselves; mixtures of them
        assert above(transforms.merged_classes(8, left, superclass), superclass) is None
    assert above(torch.tensor([0, 1]), None) is None


@pytest.mark.parametrize("names, name", [(["a"], "a"), (["a", "b"], "a + 1"), (["a", "b", "c"], "a + 2")])
def test_merged_classes_have_names(names, name):
    assert transforms.merged_name(names) == name


@pytest.mark.parametrize(
    "name, value, allowed",
    [
        *(("noise", value, "0 <= noise <= 1") for value in (1.5, -0.1)),
        *(("imbalance", value, "a finite number of at least 1") for value in (0.5, float("inf"))),
        *(("merge", value, "a whole number from 2 to 10, the number of classes") for value in (1, 11, 2.0)),
        *(("fold", value, "a whole number from 0 to 4") for value in (-1, 5, 1.0, "2", (0,))),
        *(("columns", value, "a whole number from 1 to 64, of features") for value in (0, 65, 2.0)),
        *(
            (n, value, FEW)
            for n in ("labels", "transfer")
            for value in (0, 2.0, (0, 0), (1, -1), (1, 2, 3), "5", (5, 0.5))
        ),
    ],
)
def test_a_value_out_of_range_is_refused(name, value, allowed, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # types unchecked, as for a user
    for option in (name, "crossfit") if name == "fold" else (name,):
        with pytest.raises(ValueError, match=says(f"{name}: found {value!r}, allowed: {allowed}")):
            load("digits", **{option: value})


# ---------------------------------------------------------------- as options of a data set


@pytest.mark.parametrize("given", [{"noise": 0.4}, {"imbalance": 4.0}, {"merge": 3}, {"merge": 4, "fold": 1}])
def test_every_data_set_has_these_options(given):
    whole, part = load("digits"), load("digits", **given)
    well_formed(part)
    assert part.digest != whole.digest and part.name == whole.name
    assert torch.equal(part.test.x, whole.test.x)
    assert load("digits", **given).digest == part.digest


def test_noise_is_in_the_training_labels_alone():
    whole, part = load("digits"), load("digits", noise=0.5)
    assert torch.equal(part.train.x, whole.train.x)
    assert float((part.train.y != whole.train.y).double().mean()) == pytest.approx(0.45, abs=0.05)
    assert torch.equal(part.validation.y, whole.validation.y) and torch.equal(part.test.y, whole.test.y)


def test_the_synthetic_task_has_a_noise_of_its_own():
    part = load("synthetic", **SMALL, noise=0.5)
    posterior = part.extra["train"]["posterior"]
    assert float(posterior.min()) == pytest.approx(0.5 / 6)


def test_what_is_known_of_an_example_goes_with_it():
    whole, part = load("synthetic", **SMALL), load("synthetic", **SMALL, imbalance=5.0)
    kept = transforms.imbalanced(whole.train.y, 6, 5.0)
    assert len(kept) < 96 and torch.equal(part.train.y, whole.train.y[kept])
    assert torch.equal(part.extra["train"]["margin"], whole.extra["train"]["margin"][kept])


def test_merging_goes_before_thinning_and_drawing():
    part = load("digits", merge=2, noise=1.0, imbalance=2.0)
    counts = load("digits", merge=2, imbalance=2.0).train.y.bincount()
    assert part.train.y.max() == 1 and counts.max() == pytest.approx(2 * counts.min(), abs=30)
    names = ["merge", "imbalance", "noise", "noisy_validation", "fold", "crossfit", "columns", "labels", "transfer"]
    assert [*registry.TRANSFORMS] == names
    assert [getattr(f, "restricts", False) for f in registry.TRANSFORMS.values()] == [False] * 6 + [True] * 3


def test_merged_labels_are_the_groups_of_the_old_ones():
    whole, part = load("synthetic", **SMALL), load("synthetic", **SMALL, merge=2)
    assert torch.equal(part.train.y, whole.superclass[whole.train.y])
    assert part.superclass is None and part.superclasses == () and not part.extra
    assert part.classes == ("c0 + 2", "c3 + 2")
    assert load("synthetic", **SMALL, merge=4).superclass.tolist() == [0, 0, 1, 1]
    assert not registry.grouped(registry.variant("synthetic", merge=5))
    assert registry.grouped(registry.variant("synthetic", merge=10))


def test_a_crossfit_validates_on_the_fold_and_then_on_its_own_split():
    whole, fold, part = load("digits"), load("digits", fold=2), load("digits", crossfit=2)
    assert torch.equal(part.train.x, fold.train.x)
    assert torch.equal(part.validation.y, torch.cat([fold.validation.y, whole.validation.y]))
    assert torch.equal(part.validation.x, torch.cat([fold.validation.x, whole.validation.x]))
    assert part.digest not in (fold.digest, whole.digest)


# ---------------------------------------------------------------- what students see


def drawn_one_by_one(label: list[int], each: int, draw: int) -> list[int]:
    """The first `each` examples of every class in an order drawn at random."""
    kept, order = [], torch.randperm(len(label), generator=transforms.generator(draw, "labels")).tolist()
    for i in order:
        if sum(label[j] == label[i] for j in kept) < each:
            kept.append(i)
    return sorted(kept)


@pytest.mark.parametrize("each, draw", [(1, 0), (3, 7), (40, 1)])
def test_as_many_examples_of_each_class_are_drawn_as_are_asked_or_there_are(each, draw):
    label = torch.tensor([0, 2, 2, 5] * 9 + [7])
    assert transforms.drawn(label, each, draw).tolist() == drawn_one_by_one(label.tolist(), each, draw)


def test_another_draw_has_other_examples_and_more_labels_keep_those_of_fewer():
    few, more, other = (set(transforms.drawn(LABEL, *how).tolist()) for how in ((10, 0), (30, 0), (10, 1)))
    assert few < more and len(few) == len(other) == 60
    assert len(few & other) < 5  # 0.6 by chance


def test_few_labels_leave_those_examples_and_what_is_known_of_them():
    whole, part = load("synthetic", **SMALL), load("synthetic", **SMALL, labels=(3, 4))
    kept = transforms.drawn(whole.train.y, 3, 4)
    assert torch.equal(part.train.x, whole.train.x[kept]) and torch.equal(part.train.y, whole.train.y[kept])
    assert part.train.y.bincount().tolist() == [3] * 6
    assert all(torch.equal(part.extra["train"][k], v[kept]) for k, v in whole.extra["train"].items())
    assert torch.equal(part.validation.x, whole.validation.x) and torch.equal(part.test.x, whole.test.x)
    digests = {load("synthetic", **SMALL, labels=few).digest for few in (3, (3, 0), (3, 1), (4, 0))}
    assert len(digests) == 3 and not digests & {whole.digest, part.digest}
    well_formed(part)


def test_a_transfer_set_keeps_all_examples_and_says_which_have_labels():
    whole, part = load("synthetic", **SMALL), load("synthetic", **SMALL, transfer=(3, 4))
    assert torch.equal(part.train.x, whole.train.x)
    known = part.extra["train"]["labelled"]
    assert known.nonzero().flatten().tolist() == transforms.drawn(whole.train.y, 3, 4).tolist()
    assert part.extra["train"].keys() == whole.extra["train"].keys() | {"labelled"}
    others = (
        whole.digest,
        load("synthetic", **SMALL, transfer=(3, 5)).digest,
        load("synthetic", **SMALL, labels=(3, 4)).digest,
    )
    assert part.digest not in others
    well_formed(part)


def test_the_first_columns_are_left_of_every_split():
    whole, part = load("synthetic", **SMALL), load("synthetic", **SMALL, columns=5)
    for split in ("train", "validation", "test"):
        assert torch.equal(getattr(part, split).x, getattr(whole, split).x[:, :5])
        assert torch.equal(getattr(part, split).y, getattr(whole, split).y)
    assert len({part.digest, whole.digest, load("synthetic", **SMALL, columns=4).digest}) == 3
    well_formed(part)


# ---------------------------------------------------------------- folds


def folded(fold: object) -> Dataset:
    return load("synthetic", **SMALL, fold=fold)


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
