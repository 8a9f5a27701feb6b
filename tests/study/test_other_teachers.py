"""Designs of other teachers and temperatures: what differs from the bed's own; teachers of teachers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TINY

from kdstudy.core.spec import Recipe
from kdstudy.data import registry, transforms
from kdstudy.distill import conditions
from kdstudy.engine import ask, teachers
from kdstudy.store.working import Store
from kdstudy.study import beds, claims, experiment, plans, search
from kdstudy.study.beds import TEACHER_SEED, Bed
from kdstudy.study.experiment import Side
from kdstudy.study.plans import other_teachers
from kdstudy.study.search import Choice, Protocol, Setting

pytestmark = pytest.mark.usefixtures("on_cpu")
BED = Bed(TINY, "few_labels", 4, Recipe((16,), 3, 32), Recipe((4,), 3, 24))
KD = conditions.make("kd")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(beds, "bed", lambda *given, **more: BED)


def design(chapter: str, **given: object) -> experiment.Design:
    (found,) = plans.PLANS[chapter](dataset=[TINY], **given)
    return found


def test_smoothed_teachers_differ_in_their_lesson_and_share_the_school_of_the_plain_one():
    sides = design("smoothed_teacher", doses=[0.4]).sides
    epsilon = {n: dict(s.bed.lesson.params).get("epsilon", 0) for n, s in sides.items()}
    assert {e: [n for n in sides if epsilon[n] == e] for e in (0.1, 0.4)} == {
        0.1: [*(f"smoothed:{c}" for c in other_teachers.LEVELS), "τ 1 smoothed:kd", "τ 8 smoothed:kd"],
        0.4: ["ε 0.4:kd"],
    }
    assert {s.bed.school() for s in sides.values()} == {BED.school()}
    assert {n: dict(s.fixed) for n, s in sides.items() if s.fixed} == {
        "τ 1:kd": {"tau": 1}, "τ 1 smoothed:kd": {"tau": 1}, "τ 8:kd": {"tau": 8}, "τ 8 smoothed:kd": {"tau": 8},
    }  # fmt: skip


def test_other_teachers_differ_in_width_length_or_composition():
    sides = design("too_good_teacher", size=[0.25, 0.01]).sides
    shape = {n: (s.bed.teacher.hidden, s.bed.teacher.epochs, s.bed.composed) for n, s in sides.items()}
    assert shape == {
        "hard": ((16,), 3, ""), "kd": ((16,), 3, ""), "size 0.25:kd": ((4,), 3, ""), "size 0.01:kd": ((1,), 3, ""),
        "length 0.1:kd": ((16,), 1, ""), "length 0.3:kd": ((16,), 1, ""), "largest:kd": ((32,), 6, ""),
        "assistant:kd": ((8,), 3, ""), "ensemble:kd": ((16,), 3, "ensemble"),
        "crossfitted:kd": ((16,), 3, "crossfitted"),
    }  # fmt: skip
    assert sides["assistant:kd"].bed.above == BED.teacher


def test_temperatures_and_weights_are_fixed_in_students_of_every_width():
    sides = design("temperature", tau=[2.0, 16.0], alpha=0.5, width=8).sides
    assert {n: (s.bed.student.hidden, dict(s.fixed)) for n, s in sides.items() if s.condition == "kd"} == {
        "kd": ((4,), {}), "τ 2:kd": ((4,), {"tau": 2}), "τ 16:kd": ((4,), {"tau": 16}),
        "8 units:kd": ((8,), {}), "8 units τ 2:kd": ((8,), {"tau": 2}), "8 units τ 16:kd": ((8,), {"tau": 16}),
        "α 0.5:kd": ((4,), {"alpha": 0.5}),
    }  # fmt: skip


def test_what_is_fixed_stays_where_all_else_is_as_kd_chose_it():
    def choice(tau, alpha, lr):
        return Choice(Setting(conditions.make("kd", tau=tau, alpha=alpha), lr, 0.0), (), {})

    sides = {"kd": Side(BED, "kd"), "τ 16:kd": Side(BED, "kd", (("tau", 16.0),)), "other": Side(BED, "kd")}
    choices = {"kd": choice(2.0, 0.5, 0.1), "τ 16:kd": choice(16.0, 0.9, 0.3), "other": choice(8.0, 0.9, 0.2)}
    found = experiment.alike(choices, "kd", sides)
    assert {n: s.values for n, s in found.items()} == {
        n: {"lr": 0.1, "weight_decay": 0.0, "alpha": 0.5, "tau": 16.0 if n == "τ 16:kd" else 2.0} for n in sides
    }


def logits(run, split):
    return torch.from_numpy(Store().arrays([run.key], [f"logits_{split}"])[run.key][f"logits_{split}"])


@pytest.mark.parametrize("name", ["ensemble", "crossfitted", "exact"])
def test_teachers_are_composed_on_all_data_and_restricted_to_what_students_see(name):
    student = replace(BED, composed=name).run(KD, 1)
    whole = teachers.of(replace(student.teacher, data=TINY), name)
    ask.ask([student, replace(student, data=TINY, teacher=whole)])
    kept = transforms.drawn(registry.load(TINY).train.y, 4, 1)
    assert torch.equal(logits(student.teacher, "train"), logits(whole, "train")[kept])
    assert torch.equal(logits(student.teacher, "test"), logits(whole, "test"))
    assert teachers.members(student.teacher) == teachers.members(whole)
    assert len(registry.load(student.data).train.y) == len(kept)


def test_an_ensemble_is_the_mean_probability_of_networks_of_other_seeds():
    student = replace(BED, composed="ensemble").run(KD, 0)
    ask.ask([student])
    members = teachers.members(student.teacher)
    assert members[0] == BED.school().run(conditions.make("hard"), TEACHER_SEED) and len({m.seed for m in members}) == 4
    mean = sum(logits(m, "test").softmax(-1) for m in members) / len(members)
    torch.testing.assert_close(logits(student.teacher, "test").softmax(-1), mean)


def test_an_assistant_is_a_student_of_the_tuned_teacher_and_tuned_as_all_are(monkeypatch):
    monkeypatch.setattr(search, "_edges", lambda *_: [])  # three settings, and none beyond them
    every = design("too_good_teacher")
    some = {n: every.sides[n] for n in ("hard", "kd", "assistant:kd")}
    found = experiment.perform(replace(every, sides=some, mechanism=False), Protocol(3, 2, 2, 1))
    practical = found.tables["practical"].set_index("condition")["run"]
    (own, *_), (helped, *_) = ([r.teacher for r in practical[[n]]] for n in ("kd", "assistant:kd"))
    (plain,), (between,) = teachers.members(own), teachers.members(helped)
    assert between.teacher == plain and between.condition.name == "kd" and between.recipe.hidden == (8,)
    tuning = found.tables["teacher_tuning"]
    tried = tuning[tuning["condition"] == "assistant 0"]
    best = tried.groupby(["lr", "weight_decay", "tau", "alpha"])["validation_accuracy"].mean().idxmax()
    assert (between.recipe.lr, between.recipe.weight_decay) == best[:2] and tried["tau"].nunique() == 3
    assert set(tuning["condition"]) == {"teacher 0", "assistant 0"}


def test_a_teacher_of_few_labels_cannot_be_composed():
    same = replace(BED, regime="same_labels", composed="ensemble")
    with pytest.raises(ValueError, match="^same_labels, ensemble: found 4, allowed: a teacher of all labels"):
        same.informant("kd", 0)
    whole = replace(BED.run(KD, 0).teacher, data=TINY)
    assert replace(same, amount=0).informant("kd", 0) == teachers.of(whole, "ensemble")


def test_a_claim_of_another_part_reads_its_rows_there_and_adds_no_search(monkeypatch):
    monkeypatch.setattr(search, "_edges", lambda *_: [])
    compared = {"hard": Side(BED, "hard"), "kd": Side(BED, "kd")}
    compared["largest:kd"] = Side(other_teachers.scaled(BED, 2.0, 1.0), "kd")
    tiny = experiment.Design(BED, compared, mechanism=False)
    study = experiment.Study([experiment.perform(tiny, Protocol(2, 2, 2, 1))])
    claim = next(c for c in claims.load() if c.id == "F3-teacher")
    (row,) = claims.judge(claim, study, []).to_dict("records")
    means = study.tables["teachers"].groupby("condition")["test_accuracy"].mean()
    assert row["effect"] == pytest.approx(means["largest:kd"] - means["kd"]) and row["at"] == claims.OWN
    assert not row["search"] and not row["edge"] and np.isfinite(row["low"])
