"""Teachers that are no single network."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TINY, tiny_run

from kdstudy.core.spec import Condition, Data, Run, pairs
from kdstudy.data import registry, transforms
from kdstudy.distill import conditions
from kdstudy.engine import ask
from kdstudy.engine import teachers as composed
from kdstudy.store.working import Store
from kdstudy.train import metrics

pytestmark = pytest.mark.usefixtures("on_cpu")
STUDENT = tiny_run("kd", 0)
TEACHER = STUDENT.teacher


def logits(run: Run, split: str) -> torch.Tensor:
    return torch.from_numpy(Store().arrays([run.key], [f"logits_{split}"])[run.key][f"logits_{split}"])


def taught(name: str) -> Run:
    return replace(STUDENT, teacher=composed.of(TEACHER, name))


def test_each_example_is_taught_by_the_network_that_never_saw_it():
    student = taught("crossfitted")
    frame = ask.ask([student])
    members, fold = composed.members(student.teacher), transforms.fold_of(96)
    assert [dict(m.data.options)["crossfit"] for m in members] == list(range(transforms.FOLDS))
    assert {(m.recipe, m.condition, m.seed) for m in members} == {(TEACHER.recipe, TEACHER.condition, TEACHER.seed)}
    own, whole = logits(student.teacher, "train"), registry.load(TINY)
    for k, member in enumerate(members):
        assert torch.equal(own[fold == k], logits(member, "validation")[: int((fold == k).sum())])
        seen = registry.load(member.data)
        assert torch.equal(seen.validation.x[: int((fold == k).sum())], whole.train.x[fold == k])
    for split in ("validation", "test"):
        each = [logits(m, split)[-len(getattr(whole, split).y) :] for m in members]
        torch.testing.assert_close(logits(student.teacher, split), sum(each) / len(each))
    assert frame["train_teacher_kl"].iloc[0] > 0


def test_a_composed_teacher_is_measured_like_any_other_once_and_kept(trained):
    student = taught("crossfitted")
    ask.ask([student])
    row, data = Store().rows([student.teacher.key])[student.teacher.key], registry.load(TINY)
    expected = metrics.accuracy(logits(student.teacher, "train"), data.train.y)
    assert row["train_accuracy"] == pytest.approx(float(expected))
    assert row["digest"] == data.digest and row["dataset"] == "synthetic"
    trained.clear()
    frame = ask.ask([replace(student, condition=Condition("kd", (("alpha", 0.5), ("tau", 3.0))))])
    assert [r.seed for stack in trained for r in stack] == [0] and list(frame["source"]) == ["trained"]


def test_the_exact_teacher_tells_the_law():
    noisy = Data(TINY.name, (*TINY.options, ("noise", 0.3)))
    student = replace(taught("exact"), data=noisy, teacher=composed.of(replace(TEACHER, data=noisy), "exact"))
    ask.ask([student])
    posterior = registry.load(noisy).extra["train"]["posterior"]
    np.testing.assert_allclose(logits(student.teacher, "train").softmax(-1), posterior, atol=1e-6)
    assert composed.members(student.teacher) == []


def test_what_cannot_be_composed_is_refused():
    digits = replace(STUDENT, data=Data("digits"))
    lawless = replace(digits, teacher=composed.of(replace(TEACHER, data=Data("digits")), "exact"))
    without_rows = replace(taught("crossfitted"), condition=conditions.make("kd_sim"))
    for student, message in (
        (lawless, "an exact teacher of 'digits': found no posterior, allowed: a data set that knows P.y . x.$"),
        (without_rows, "needs the teacher's logit-layer rows; none were given"),
    ):
        with pytest.raises(ValueError, match=message):
            ask.ask([student])
    with pytest.raises(ValueError, match="^composed teacher 'averaged' is unknown; there are: informed, "):
        composed.of(TEACHER, "averaged")


@pytest.mark.parametrize(
    "seen", [{"labels": (3, 1)}, {"transfer": (3, 1)}, {"columns": 4}, {"columns": 4, "labels": (2, 0)}]
)
def test_an_informed_teacher_saw_all_and_answers_for_what_its_student_sees(seen):
    part = Data(TINY.name, pairs({**dict(TINY.options), **seen}))
    student = replace(STUDENT, data=part, teacher=composed.of(replace(TEACHER, data=part), "informed"))
    ask.ask([student])
    assert composed.members(student.teacher) == [TEACHER]
    whole, mine = registry.load(TINY), registry.load(part)
    place = [int((whole.train.x[:, : mine.train.x.shape[1]] == x).all(1).nonzero()) for x in mine.train.x]
    assert torch.equal(logits(student.teacher, "train"), logits(TEACHER, "train")[place])
    assert len(place) == (96 if "labels" not in seen else 6 * seen["labels"][0])
    for split in ("validation", "test"):
        assert torch.equal(logits(student.teacher, split), logits(TEACHER, split))
    right = np.unpackbits(Store().arrays([student.teacher.key], ["right"])[student.teacher.key]["right"])
    assert right[:64].tolist() == (logits(TEACHER, "test").argmax(-1) == whole.test.y).int().tolist()


@pytest.mark.parametrize("name", ["crossfitted", "exact", "ensemble"])
def test_other_teachers_are_composed_before_what_is_seen_is_restricted(name):
    part = Data(TINY.name, pairs({**dict(TINY.options), "labels": (3, 1)}))
    few = replace(STUDENT, data=part, teacher=composed.of(replace(TEACHER, data=part), name))
    ask.ask([few, taught(name)])
    kept = transforms.drawn(registry.load(TINY).train.y, 3, 1)
    assert torch.equal(logits(few.teacher, "train"), logits(taught(name).teacher, "train")[kept])
    assert composed.members(few.teacher) == composed.members(taught(name).teacher)


def test_an_assistant_is_a_student_that_teaches():
    between = replace(TEACHER, condition=conditions.make("kd"), teacher=TEACHER)
    frame = ask.ask([replace(STUDENT, teacher=between)])
    assert Store().has([between.key, TEACHER.key], "rows") == {between.key, TEACHER.key}
    assert frame["teacher"].iloc[0] == between.key


def test_a_finer_teacher_adds_the_probabilities_of_the_classes_that_were_merged():
    merged = Data(TINY.name, (*TINY.options, ("merge", 3)))
    student = replace(STUDENT, data=merged, teacher=composed.of(replace(TEACHER, data=merged), "finer"))
    ask.ask([student])
    assert composed.members(student.teacher) == [TEACHER]
    fine, found = logits(TEACHER, "test").softmax(-1), logits(student.teacher, "test").softmax(-1)
    for g in range(3):  # neighbours, two by two
        torch.testing.assert_close(found[:, g], fine[:, 2 * g] + fine[:, 2 * g + 1])
