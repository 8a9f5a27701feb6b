"""The designs of few classes, noise and silent bugs: what teachers and students of each side see."""

import pytest
import torch
from conftest import SMALL, TINY, says

from kdstudy.core.spec import Data, pairs
from kdstudy.data import registry
from kdstudy.distill import faults
from kdstudy.engine import teachers
from kdstudy.study import plans, search
from kdstudy.study.experiment import Side

PLENTY = Data("synthetic", pairs(SMALL | {"train": 600}))


def sides(chapter: str, dataset: str | Data = PLENTY, **given: object) -> dict[str, Side]:
    """The sides of a chapter on one bed of few labels."""
    (design,) = plans.PLANS[chapter](dataset=dataset, **{"regime": "few_labels", "labels": 4} | given)
    return design.sides


def run(side: Side, seed: int = 0):
    """A student at the first setting."""
    return side.run(search.at(side.condition, search.points(1)[0]), seed)


def seen(side: Side, seed: int = 0):
    """What a student sees."""
    return registry.load(run(side, seed).data)


def test_as_many_examples_are_labelled_however_few_classes_are_left():
    found = sides("few_classes", classes=(2, 3))
    for name, side in found.items():
        left = int(name.split()[0]) if "classes" in name else 6
        y = seen(side).train.y
        assert y.bincount().tolist() == [24 // left] * left
    assert "2 classes:class_matched" not in found and "3 classes:class_matched" in found


def test_a_teacher_of_all_classes_saw_all_and_is_tuned_on_all():
    found = sides("few_classes", classes=3)
    finer, own = found["3 classes finer:kd"], found["3 classes:kd"]
    (member,) = teachers.members(run(finer).teacher)
    assert member.data == PLENTY and finer.bed.school() == found["kd"].bed.school()
    assert own.bed.school().data != PLENTY and run(own).data == run(finer).data


@pytest.mark.parametrize("classes", [6, 7])
def test_classes_that_are_not_fewer_are_refused(classes):
    with pytest.raises(ValueError, match=f"classes: found {classes}, allowed: fewer than the 6 of synthetic"):
        sides("few_classes", classes=classes)


def test_labels_are_noisy_before_those_of_students_are_drawn():
    found = sides("noise", noise=0.4)
    whole, few = registry.load(found["noisy:kd"].bed.data).train, seen(found["noisy:kd"]).train
    clean = registry.load(PLENTY).train.y
    place = torch.cdist(few.x, whole.x).argmin(1)
    assert torch.equal(few.y, whole.y[place]) and few.y.bincount().tolist() == [4] * 6
    assert float((whole.y != clean).double().mean()) == pytest.approx(0.4 * 5 / 6, abs=0.06)


def test_noisy_validation_changes_the_validation_labels_alone():
    found = sides("noise", noise=0.5)
    noisy, chosen = (seen(found[f"{n}:kd"]) for n in ("noisy", "noisy validation"))
    assert torch.equal(noisy.train.y, chosen.train.y) and torch.equal(noisy.test.y, chosen.test.y)
    changed = float((noisy.validation.y != chosen.validation.y).double().mean())
    assert 0.25 < changed < 0.6 and torch.equal(noisy.validation.x, chosen.validation.x)
    assert dict(found["noisy validation:kd"].bed.school().data.options)["noisy_validation"] == 0.5
    with pytest.raises(ValueError, match=says("noise: found 2, allowed: 0 <= noise <= 1")):
        registry.load(Data("digits", (("noisy_validation", 2),)))


def test_shared_labels_are_all_there_are_and_composed_teachers_are_tuned_as_their_members():
    found = sides("noise", ratio=4.0)
    assert {len(seen(s).train.y) for n, s in found.items() if n.startswith("same labels")} == {600}
    schools = {n: s.bed.school() for n, s in found.items()}
    assert schools["noisy:kd"] == schools["crossfitted:kd"] == schools["same labels crossfitted:kd"]
    counts = seen(found["imbalanced:kd"]).train.y.bincount(minlength=6)
    assert counts.max() / counts.min() == pytest.approx(4, rel=0.3)


def test_only_a_known_law_has_an_exact_teacher_and_shared_labels_are_asked_once():
    assert "exact:kd" in sides("noise") and "exact:kd" not in sides("noise", "digits")
    alone = sides("noise", regime="same_labels", labels=None)
    assert not any(n.startswith("same labels") for n in alone) and "noisy:kd" in alone


def test_every_fault_is_taught_beside_kd():
    assert list(sides("silent_bugs", TINY)) == ["hard", "kd", *faults.FAULTS]
    assert list(sides("silent_bugs", TINY, conditions="fault_no_tau2")) == ["hard", "kd", "fault_no_tau2"]
