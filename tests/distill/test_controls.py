"""Every control keeps exactly what it says and destroys what it names."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lessons import Lesson, close, lessons, many, rho, taught
from torch import Tensor
from torch.testing import assert_close

from kdstudy.distill import levels

SEEDS = st.integers(0, 10**6)


def same(a: Tensor, b: Tensor, atol: float = 1e-12) -> None:
    assert_close(a, b, rtol=0, atol=atol)


def reseeded(lesson: Lesson, seed: int) -> Lesson:
    teacher, label, ctx, values = lesson
    return teacher, label, replace(ctx, seed=seed), values


def entropy(p: Tensor) -> Tensor:
    return torch.special.entr(p).sum(-1)


def right(p: Tensor, label: Tensor) -> Tensor:
    """Whether no other class has more than the label, and by how much the largest of them falls short."""
    return p.gather(-1, label[:, None])[:, 0] - levels.without_label(p, label).amax(-1)


def of_class(p: Tensor, label: Tensor) -> Tensor:
    """Mean of each class, by a loop."""
    return torch.stack([p[label == t].mean(0) for t in range(p.shape[-1])])


KEPT = [("class_permuted", "class_matched"), ("example_permuted", "kd")]  # and what it is permuted from


@pytest.mark.parametrize("name, origin", KEPT)
@settings(deadline=None, max_examples=40)
@given(lesson=lessons())
def test_a_permutation_keeps_label_entropy_and_top_class_and_moves_the_rest(name, origin, lesson):
    label = lesson[1]
    found, before = rho(name, lesson), rho(origin, lesson)
    same(found.gather(-1, label[:, None]), before.gather(-1, label[:, None]))
    same(levels.without_label(found, label).sort(-1).values, levels.without_label(before, label).sort(-1).values)
    same(entropy(found), entropy(before))
    same(right(found, label), right(before, label))
    same(taught(name, lesson).hard, taught(origin, lesson).hard, atol=0)


@pytest.mark.parametrize("name, origin", KEPT)
@settings(deadline=None, max_examples=30)
@given(seed=SEEDS)
def test_a_permutation_is_drawn_once_for_a_teacher_and_anew_for_another(name, origin, seed):
    lesson = many(30, 6)
    first, again, other = (rho(name, reseeded(lesson, s)) for s in (seed, seed, seed + 1))
    same(first, again, atol=0)
    assert (first - other).abs().max() > 1e-3
    assert (first - rho(origin, lesson)).abs().max() > 1e-3


def test_a_class_has_its_own_permutation_whatever_the_temperature():
    teacher, label, ctx, values = many(30, 6)
    order = levels.random_orders(6, 6, ctx.seed, "class_permuted")
    assert len(order.unique(dim=0)) > 1
    for tau in (1.0, 8.0):
        lesson = teacher, label, ctx, values | {"tau": tau}
        same(rho("class_permuted", lesson), levels.permute_others(rho("class_matched", lesson), label, order[label]))


# ---------------------------------------------------------------- by class


@settings(deadline=None, max_examples=30)
@given(lessons())
def test_permuted_by_class_the_examples_of_a_class_still_agree(lesson):
    label, found = lesson[1], rho("class_permuted", lesson)
    for t in label.unique():
        mine = found[label == t]
        same(mine, mine[:1].expand_as(mine), atol=1e-15)


@pytest.mark.parametrize("classes", [4, 5, 10])
def test_permuted_by_class_the_mean_of_a_class_is_another(classes):
    changed = total = 0
    for seed in range(30):
        lesson = reseeded(many(4 * classes, classes), seed)
        before, found = (of_class(rho(n, lesson), lesson[1]) for n in ("class_matched", "class_permuted"))
        moved = (found - before).abs().amax(-1) > 1e-6
        changed, total = changed + int(moved.sum()), total + classes
    stay = {4: 1 / 6, 5: 1 / 24, 10: 0}[classes]  # the chance that a permutation of C - 1 things moves none
    assert abs(1 - changed / total - stay) < 0.1
    assert changed > 0.7 * total


def test_permuted_by_class_similarity_is_gone():
    """Over many draws every other class gets the same: what is left is matched smoothing."""
    lesson = many(16, 4)
    draws = torch.stack([rho("class_permuted", reseeded(lesson, s)) for s in range(800)]).mean(0)
    assert (rho("class_matched", lesson) - rho("label_smoothing_matched", lesson)).abs().max() > 0.05
    same(draws, rho("label_smoothing_matched", lesson), atol=0.02)


# ---------------------------------------------------------------- by example


def test_permuted_by_example_a_class_has_no_mean_of_its_own():
    """At the label and by how much; the others share what is left, evenly to the precision of the mean."""
    lesson = many(5000, 5)
    label = lesson[1]
    before, found, even = (of_class(rho(n, lesson), label) for n in ("kd", "example_permuted", "class_mean"))
    same(before, even)
    left = 1 - before.diagonal()
    flat = (left[:, None] / 4).expand(5, 5).clone()
    flat.diagonal().copy_(before.diagonal())
    assert (before - flat).abs().max() > 0.05
    same(found, flat, atol=0.015)


def test_permuted_by_example_neighbours_of_a_class_do_not_agree():
    teacher, label, ctx, values = many(40, 4)
    lesson = teacher[:1].expand(40, -1), label[:1].expand(40), ctx, values
    assert len({tuple(p) for p in rho("example_permuted", lesson).tolist()}) == 6  # all orders of three classes


@settings(deadline=None, max_examples=30)
@given(lessons())
def test_permuted_by_nothing_it_is_kd(lesson):
    label, classes, p = lesson[1], lesson[2].classes, rho("kd", lesson)
    same(levels.permute_others(p, label, torch.arange(classes - 1).expand(len(label), -1)), p, atol=0)


def test_permuted_by_hand():
    p = torch.tensor([[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]])
    found = levels.permute_others(p, torch.tensor([0, 2]), torch.tensor([[2, 0, 1], [1, 2, 0]]))
    assert_close(found, torch.tensor([[0.4, 0.1, 0.3, 0.2], [0.2, 0.4, 0.3, 0.1]]), rtol=0, atol=0)


def test_orders_are_permutations_all_equally_often():
    drawn = levels.random_orders(6000, 4, 0, "test")
    assert drawn.shape == (6000, 3) and drawn.dtype == torch.int64
    kinds, counts = drawn.unique(dim=0, return_counts=True)
    assert len(kinds) == 6 and ((counts - 1000).abs() < 120).all()
    assert not torch.equal(drawn, levels.random_orders(6000, 4, 0, "another purpose"))


# ---------------------------------------------------------------- weights, and other teachers


@settings(deadline=None, max_examples=40)
@given(lessons())
def test_weights_follow_the_teachers_confidence_and_say_nothing_else(lesson):
    teacher, label, ctx, values = lesson
    kept = (teacher / values["tau"]).softmax(-1).gather(-1, label[:, None])[:, 0]
    goal = taught("cwtm", lesson, alpha=1.0)
    weight = goal.hard.gather(-1, label[:, None])[:, 0]
    assert_close(weight * kept.mean(), kept, rtol=1e-12, atol=1e-12)  # proportional, and averaging one
    same(goal.hard.sum(-1), weight, atol=0)
    other = taught("cwtm", (swapped(teacher, label), label, ctx, values), alpha=1.0)
    close(other, goal, atol=4e-15 / float(kept.mean()))  # a confidence is 1 - m, and all are divided by their mean
    mixed = taught("cwtm", lesson).hard
    same(mixed, (1 - values["alpha"]) * taught("hard", lesson).hard + values["alpha"] * goal.hard)


def swapped(teacher: Tensor, label: Tensor) -> Tensor:
    """The teacher with the other classes of each example in reversed order."""
    order = torch.arange(teacher.shape[-1] - 1).flip(0).expand(len(label), -1)
    return levels.permute_others(teacher, label, order)


def test_shuffled_a_teacher_says_the_same_to_other_examples():
    lesson = many(50, 4)
    found, kd = rho("shuffled_teacher", lesson), rho("kd", lesson)
    same(found[found[:, 0].argsort()], kd[kd[:, 0].argsort()], atol=0)
    moved = (found != kd).any(-1)
    assert moved.sum() >= 45
    agree = [(p.argmax(-1) == lesson[1]).double().mean() for p in (kd, found)]
    assert agree[0] > 0.6 and agree[1] < 0.45  # a quarter by chance
    same(rho("shuffled_teacher", lesson), found, atol=0)
    assert not torch.equal(rho("shuffled_teacher", reseeded(lesson, 1)), found)


@settings(deadline=None, max_examples=30)
@given(lessons())
def test_a_random_teacher_is_listened_to_as_any(lesson):
    close(taught("random_teacher", lesson), taught("kd", lesson), atol=0)
