"""Beds of images: networks by name, teachers that seeds share, and the protocol where runs are dear."""

from dataclasses import replace

import pytest
import torch
from conftest import says

from kdstudy.data.dataset import DATASETS
from kdstudy.distill import conditions
from kdstudy.engine import teachers
from kdstudy.study import beds, experiment, plans, search
from kdstudy.study.beds import TEACHER_SEED, bed
from kdstudy.study.experiment import Design, sides
from kdstudy.study.search import Protocol

ROLES = ("same_labels", "few_labels", "transfer_set")


@pytest.fixture(autouse=True)
def photos(monkeypatch):
    """A data set of 3 x 8 x 8 images of three classes, which differ in their colour."""

    def tinted() -> dict[str, object]:
        g, splits = torch.Generator().manual_seed(0), {}
        for split, each in {"train": 20, "validation": 5, "test": 10}.items():
            y = torch.arange(3).repeat_interleave(each)
            x = 0.3 * torch.randn(len(y), 3, 8, 8, generator=g) + torch.eye(3)[y][:, :, None, None]
            splits[split] = (x.half(), y)
        return {"classes": ("red", "green", "blue"), **splits}

    monkeypatch.setitem(DATASETS, "photos", tinted)
    monkeypatch.setitem(beds.NETWORKS, "photos", ("cnn4", "cnn2"))
    monkeypatch.setattr(beds, "PHOTOGRAPHS_STEPS", {"teacher": 4, "student": 2})


@pytest.mark.parametrize("regime", ROLES)
def test_networks_are_the_data_sets_own_trained_as_photographs_are(regime):
    made = bed("photos", regime, 5)
    assert (made.teacher.net, made.student.net, made.student.hidden) == ("cnn4", "cnn2", ())
    assert made.student.augment and made.student.dtype == "bfloat16"
    assert made.student.epochs == beds.PHOTOGRAPHS_STEPS["student"]  # one batch an epoch
    assert made.teacher.epochs == beds.PHOTOGRAPHS_STEPS["student" if regime == "same_labels" else "teacher"]
    other = bed("photos", regime, 5, net="cnn3", teacher="resnet8")
    assert (other.teacher.net, other.student.net) == ("resnet8", "cnn3")


def test_seeds_share_two_teachers_that_are_not_searched():
    made = bed("photos", "few_labels", 5)
    taught = [made.run(conditions.make("kd"), s).teacher for s in range(1000, 1006)]
    assert {teachers.kind(t) for t in taught} == {beds.SHARED} and len({*taught}) == 6
    networks = [teachers.members(t) for t in taught]
    assert networks[0::2] == [networks[0]] * 3 and networks[1::2] == [networks[1]] * 3
    assert {n.seed for (n,) in networks} == {TEACHER_SEED, TEACHER_SEED + 1} and not {n.data for (n,) in networks} - {
        made.data
    }
    assert (made.teacher.lr, made.teacher.weight_decay) == (0.1, 5e-4)
    alike = bed("photos", "same_labels", 5)
    assert not teachers.kind(alike.run(conditions.make("kd"), 0).teacher)  # who saw the student's labels, by its seed


def test_what_images_cannot_have_is_refused():
    with pytest.raises(
        ValueError, match=says("hidden: found 8, allowed: none: photos has networks for images, see `net`")
    ):
        bed("photos", "few_labels", 5, hidden=8)
    with pytest.raises(
        ValueError, match="^regime: found 'privileged', allowed: few_labels, same_labels or transfer_set"
    ):
        bed("photos", "privileged")
    with pytest.raises(ValueError, match="^teacher: found 'cnn4', allowed: perceptrons, whose width is a number"):
        plans.PLANS["too_good_teacher"](dataset="photos", regime="few_labels", labels=5)


def test_of_images_the_defaults_are_cheaper_and_what_is_asked_is_done():
    assert search.of_network(search.DEFAULT, "resnet8") == search.IMAGES
    assert search.of_network(search.DEFAULT, "mlp") == search.of_network(search.DEFAULT, "own:f") == search.DEFAULT
    asked = Protocol(settings=3, tuning=1)
    assert search.of_network(asked, "cnn2") == replace(search.IMAGES, settings=3, tuning=1)


def test_a_tiny_study_of_images():
    made = bed("photos", "few_labels", 5)
    done = experiment.perform(Design(made, sides(made, ("hard", "kd"))), Protocol(2, 1, 2, 2))
    assert "teacher_tuning" not in done.tables and done.tables["practical"].groupby("condition").size().to_list() == [
        2,
        2,
    ]
    assert done.tables["teachers"]["test_accuracy"].between(0, 1).all() and len(done.tables["teachers"]) == 2
