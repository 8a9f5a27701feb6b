"""What a teacher's targets say, split by level; the similarity of classes and the shapes that come of it."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lessons import DECOUPLED, F64, LABEL, TAUGHT, TEACHER, context, lessons, many, rho, taught
from torch import Tensor
from torch.nn.functional import cosine_similarity, one_hot
from torch.testing import assert_close

from kdstudy.distill import levels

LEVELS = ["universe", "domain", "instance"]
ZERO = 1e-28  # the square of rounding


def far(p: Tensor, label: Tensor) -> float:
    """E|rho - e_t|^2 by loops."""
    rows = zip(p.tolist(), label.tolist())
    return sum(sum((v - (k == t)) ** 2 for k, v in enumerate(row)) for row, t in rows) / len(p)


# ---------------------------------------------------------------- the law of total variance


@pytest.mark.parametrize("name", TAUGHT)
@given(lesson=lessons())
def test_the_three_levels_add_up(name, lesson):
    p, label = rho(name, lesson), lesson[1]
    found = levels.level_split(p, label)
    assert list(found) == LEVELS and all(v >= 0 for v in found.values())
    assert sum(found.values()) == pytest.approx(far(p, label), abs=1e-12)


@given(lessons())
def test_they_add_up_for_any_distribution_labels_of_no_matter(lesson):
    """Also where most of the mass is off the label, or all of it on one class."""
    teacher, label, ctx, _ = lesson
    for p in ((5 * teacher).softmax(-1), one_hot(teacher.argmax(-1), ctx.classes).double()):
        assert sum(levels.level_split(p, label).values()) == pytest.approx(far(p, label), abs=1e-12)


def test_parts_by_hand():
    """Two examples of a class and one of another: masses 0.2, 0.4 and 0.3, their mean 0.3."""
    p = torch.tensor([[0.8, 0.2, 0.0], [0.6, 0.0, 0.4], [0.1, 0.7, 0.2]], dtype=F64)
    found = levels.level_split(p, torch.tensor([0, 0, 1]))
    universe = 0.3**2 + 2 * 0.15**2
    domain = 2 * 0.05**2  # class means (.7 .1 .2) and (.1 .7 .2) against (.7 .15 .15) and (.15 .7 .15)
    instance = 2 * (0.1**2 + 0.1**2 + 0.2**2) / 3
    assert found == pytest.approx({"universe": universe, "domain": domain, "instance": instance}, abs=1e-15)


NOTHING = {  # levels of which a condition says nothing, whatever the teacher
    "label_smoothing_matched": ["domain", "instance"],
    "class_matched": ["instance"],
    "class_mean": ["instance"],
    "kd_sim": ["instance"],
    "kd_rel": ["instance"],
    "class_permuted": ["instance"],
}


@pytest.mark.parametrize("name", TAUGHT)
def test_a_level_is_zero_where_it_must_be_and_nowhere_else(name):
    lesson = many(60, 6)
    found = levels.level_split(rho(name, lesson), lesson[1])
    assert [level for level in LEVELS if found[level] < ZERO] == NOTHING.get(name, [])
    assert all(v < ZERO or v > 1e-5 for v in found.values())


@given(lessons())
def test_levels_that_a_condition_lacks_are_zero_for_every_teacher(lesson):
    for name, silent in NOTHING.items():
        found = levels.level_split(rho(name, lesson), lesson[1])
        assert all(found[level] < ZERO for level in silent), name


def test_a_uniform_teacher_says_only_what_smoothing_does():
    teacher, label, ctx, values = many(30, 5)
    found = levels.level_split(rho("kd", (torch.zeros_like(teacher), label, ctx, values)), label)
    assert found["universe"] == pytest.approx(0.8**2 + 4 * 0.2**2, abs=1e-12)
    assert found["domain"] < ZERO and found["instance"] < ZERO


def test_a_teacher_of_labels_says_nothing():
    label = torch.arange(30) % 5
    assert levels.level_split(one_hot(label, 5).double(), label) == dict.fromkeys(LEVELS, 0.0)


def test_levels_of_the_grid_nest():
    """The universe part is that of the mean mass alone; class conditions share the domain part of class means."""
    lesson = many(60, 6)
    found = {name: levels.level_split(rho(name, lesson), lesson[1]) for name in TAUGHT}
    for name in ("class_matched", "instance_matched", "kd_pt", "kd_pt_class", "class_mean", "class_permuted"):
        assert found[name]["universe"] == pytest.approx(found["kd"]["universe"], abs=1e-12)
    assert found["class_mean"]["domain"] == pytest.approx(found["kd"]["domain"], abs=1e-12)
    assert found["class_permuted"]["domain"] == pytest.approx(found["class_matched"]["domain"], abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_what_a_student_makes_of_it_is_measured_alike(dtype):
    logits, label, _, _ = many(60, 6)
    found = levels.student_summary(logits.to(dtype), label, 2.0)
    q = (logits / 2).softmax(-1)
    wanted = levels.level_split(q, label) | {"mass": float(levels.without_label(q, label).sum(-1).mean())}
    assert found == {f"student_{k}": pytest.approx(v, rel=1e-5) for k, v in wanted.items()}
    assert list(found) == [f"student_{k}" for k in ("mass", *LEVELS)]


@pytest.mark.parametrize("name", DECOUPLED)
def test_what_decoupled_kd_teaches_is_its_soft_part_as_a_distribution(name):
    lesson = many(60, 6)
    goal = taught(name, lesson, target=2.0, nontarget=3.0)
    p = levels.taught_distribution(goal)
    assert_close(p.sum(-1), torch.ones(60, dtype=F64), rtol=0, atol=1e-12)
    assert_close(p * goal.soft.sum(-1, keepdim=True), goal.soft, rtol=0, atol=1e-12)


# ---------------------------------------------------------------- similarity of classes


def table(seed: int, classes: int = 6) -> Tensor:
    return torch.randn(classes, 4, generator=torch.Generator().manual_seed(seed), dtype=F64)


@given(st.integers(0, 10**6), st.floats(-50, 50))
def test_similarity_is_a_cosine_that_one_vector_for_all_does_not_change(seed, shift):
    rows = table(seed)
    found = levels.class_similarity(rows)
    centred = rows - rows.mean(0)
    assert_close(found, cosine_similarity(centred[:, None], centred[None], dim=-1), rtol=0, atol=1e-12)
    assert_close(found, found.T, rtol=0, atol=1e-15)
    assert_close(found.diagonal(), torch.ones(6, dtype=F64), rtol=0, atol=1e-15)
    assert found.abs().max() <= 1
    vector = shift * table(seed + 1)[:1]
    assert_close(levels.class_similarity(rows + vector), found, rtol=0, atol=1e-11)
    assert_close(levels.class_similarity(3 * rows), found, rtol=0, atol=1e-12)


def test_a_class_without_a_row_is_like_no_other():
    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
    assert levels.class_similarity(rows).tolist() == [[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]


def test_shape_of_similarity_by_hand():
    """Cosines 0.25 and -0.04: roots 0.5 and -0.2, so at heat 0.1 the logits differ by 7."""
    cosine = torch.tensor([[1.0, 0.25, -0.04], [0.25, 1.0, 0.0], [-0.04, 0.0, 1.0]], dtype=F64)
    found = levels.similarity_shape(cosine, torch.tensor([0]), 0.5, 0.1)
    near = 1 / (1 + math.exp(-7))
    assert_close(found, torch.tensor([[0, near, 1 - near]], dtype=F64), rtol=0, atol=1e-15)
    assert cosine.diagonal().tolist() == [1, 1, 1]


def test_siblings_by_hand():
    """Of mean masses 0.35 on siblings and 0.175 on the rest; a class without siblings has uniform others."""
    found = levels.superclass_shape(TEACHER, LABEL, 1.0, context().superclass)
    assert_close(found, torch.tensor([[0, 2 / 3, 1 / 3], [2 / 3, 0, 1 / 3]], dtype=F64))
    alone = levels.superclass_shape(TEACHER, torch.tensor([0, 2]), 1.0, context().superclass)
    assert_close(alone[1], torch.tensor([0.5, 0.5, 0.0], dtype=F64))


@given(lessons())
def test_every_shape_is_a_distribution_over_the_others(lesson):
    teacher, label, ctx, values = lesson
    tau, cosine = values["tau"], levels.class_similarity(ctx.rows)
    for shape in (
        levels.uniform_shape(label, ctx.classes, F64),
        levels.class_shape(teacher, label, tau),
        levels.per_example_shape(teacher, label, tau),
        levels.similarity_shape(cosine, label, values["power"], values["sharpness"]),
        levels.superclass_shape(teacher, label, tau, ctx.superclass),
    ):
        assert (shape >= 0).all() and not shape.gather(-1, label[:, None]).any()
        assert_close(shape.sum(-1), torch.ones(len(label), dtype=F64), rtol=0, atol=1e-12)


def test_a_class_to_which_the_teacher_leaves_nothing_has_a_uniform_shape():
    teacher = torch.tensor([[1e4, 0.0, 0.0], [1.0, 0.0, 0.0]], dtype=F64)
    shape = levels.class_shape(teacher, torch.tensor([0, 1]), 1.0)
    assert shape[0].tolist() == [0.0, 0.5, 0.5]
    assert_close(shape[1], torch.tensor([1 / (1 + 1 / torch.e), 0, 1 / (1 + torch.e)], dtype=F64))
