"""The grid of mass x shape: each cell against its loop, its rows and mixtures; what every control keeps."""

import math
from dataclasses import replace

import pytest
import reference_targets as slow
import torch
from hypothesis import given
from hypothesis import strategies as st
from lessons import F64, Lesson, close, lessons, many, rho, taught
from torch import Tensor
from torch.testing import assert_close

from kdstudy.distill import conditions, levels
from kdstudy.study.plans import levels as levels_plan

SEEDS = st.integers(0, 10**6)


def same(a: Tensor, b: Tensor, atol: float = 1e-12) -> None:
    assert_close(a, b, rtol=0, atol=atol)


def random_rows(lesson: tuple, seed: int) -> tuple:
    """The lesson with a teacher whose rows are in general position: no cosine is 0 but for rounding."""
    teacher, label, ctx, values = lesson
    g = torch.Generator().manual_seed(seed)
    return teacher, label, replace(ctx, rows=torch.randn(ctx.classes, 4, generator=g, dtype=F64)), values


# ---------------------------------------------------------------- cells and masses


def test_the_twins_cover_the_grid_of_the_plans():
    assert tuple(slow.GRID) == levels_plan.GRID


@pytest.mark.parametrize("name", slow.GRID)
@given(lesson=lessons())
def test_a_cell_is_its_mass_and_its_shape(name, lesson):
    teacher, label, _, values = lesson
    same(rho(name, lesson, dose=1.0), slow.cell(name, teacher, label, values["tau"]))


@pytest.mark.parametrize("name", slow.GRID)
def test_cells_of_many_examples(name):
    teacher, label, _, values = lesson = many(60, 7)
    same(rho(name, lesson), slow.cell(name, teacher, label, values["tau"]))
    others = [rho(n, lesson) for n in slow.GRID if n != name]
    assert min((rho(name, lesson) - o).abs().max() for o in others) > 0.01  # no two cells are one


# ---------------------------------------------------------------- named members


@given(lessons())
def test_a_dose_leads_from_matched_smoothing_to_kd_pt_in_a_straight_line(lesson):
    dose = lesson[3]["dose"]
    none, whole = rho("label_smoothing_matched", lesson), rho("kd_pt", lesson, dose=1.0)
    same(rho("kd_pt", lesson, dose=0.0), none, atol=0)
    same(rho("kd_pt", lesson), (1 - dose) * none + dose * whole)


@given(lessons())
def test_class_mean_keeps_the_means_of_kd_and_nothing_within_a_class(lesson):
    label = lesson[1]
    mean, kd = rho("class_mean", lesson), rho("kd", lesson)
    for t in label.unique():
        mine = mean[label == t]
        same(mine, kd[label == t].mean(0).expand_as(mine))
        same(mine, mine[:1].expand_as(mine), atol=0)


# ---------------------------------------------------------------- similarity and siblings


@pytest.mark.parametrize("name, masses", [("kd_sim", slow.constant_mass), ("kd_pt_sim", slow.instance_mass)])
@given(lesson=lessons(), seed=SEEDS)
def test_similarity_is_its_loop(name, masses, lesson, seed):
    teacher, label, ctx, values = lesson = random_rows(lesson, seed)
    shape = slow.similar_shape(ctx.rows, label, values["power"], values["sharpness"] * values["tau"])
    same(rho(name, lesson), slow.assembled(masses(teacher, label, values["tau"]), shape, label), atol=1e-10)


@given(lessons())
def test_siblings_and_the_rest_are_their_loop(lesson):
    teacher, label, ctx, values = lesson
    shape = slow.sibling_shape(teacher, label, values["tau"], ctx.superclass)
    same(rho("kd_rel", lesson), slow.assembled(slow.constant_mass(teacher, label, values["tau"]), shape, label))


# ---------------------------------------------------------------- top k


@given(lessons())
def test_top_k_keeps_the_k_largest_and_shares_out_the_rest(lesson):
    k, c, found = int(lesson[3]["k"]), lesson[2].classes, rho("topk", lesson)
    p = rho("kd", lesson)
    for row, old in zip(found.tolist(), p.tolist()):
        ranked = sorted(old, reverse=True)
        even = sum(ranked[k:]) / max(c - k, 1)
        assert sorted(row) == pytest.approx(sorted(ranked[:k] + [even] * (c - k)), abs=1e-14)  # whoever wins a tie
        assert all(new == o for new, o in zip(row, old) if k >= c or o > ranked[k])
        assert all(new == pytest.approx(even, abs=1e-14) for new, o in zip(row, old) if o < ranked[min(k, c) - 1])
    same(found.sum(-1), p.sum(-1))


# ---------------------------------------------------------------- decoupled KD


@given(lessons())
def test_decoupled_kd_is_the_labels_and_two_weighted_parts(lesson):
    v, label, _, values = lesson
    z, tau = v.flip(-1), values["tau"]
    ours = conditions.loss(z, taught("dkd", lesson), label, torch.tensor(tau, dtype=F64))
    total = 0.0
    for a, b, t in zip(v.tolist(), z.tolist(), label.tolist()):
        parts = values["target"] * slow.target_part(a, b, t, tau)
        parts += values["nontarget"] * slow.nontarget_part(a, b, t, tau)
        total += (tau**2 * parts - math.log(slow.softmax(b)[t])) / len(label)
    assert float(ours) == pytest.approx(total, rel=1e-10, abs=1e-10)


@given(lessons())
def test_parts_without_weight(lesson):
    close(taught("dkd", lesson, target=0.0, nontarget=0.0), taught("hard", lesson), atol=0)
    close(taught("dkd", lesson, nontarget=0.0), taught("tckd", lesson), atol=0)
    close(taught("dkd", lesson, target=0.0), taught("nckd", lesson), atol=0)


# ---------------------------------------------------------------- controls


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


# ---------------------------------------------------------------- controls: permuted by class


@given(lessons())
def test_permuted_by_class_the_examples_of_a_class_still_agree(lesson):
    label, found = lesson[1], rho("class_permuted", lesson)
    for t in label.unique():
        mine = found[label == t]
        same(mine, mine[:1].expand_as(mine), atol=1e-15)


def test_permuted_by_class_similarity_is_gone():
    """Over many draws every other class gets the same: what is left is matched smoothing."""
    lesson = many(16, 4)
    draws = torch.stack([rho("class_permuted", reseeded(lesson, s)) for s in range(800)]).mean(0)
    assert (rho("class_matched", lesson) - rho("label_smoothing_matched", lesson)).abs().max() > 0.05
    same(draws, rho("label_smoothing_matched", lesson), atol=0.02)


# ---------------------------------------------------------------- controls: permuted by example


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


@given(lessons())
def test_a_random_teacher_is_listened_to_as_any(lesson):
    close(taught("random_teacher", lesson), taught("kd", lesson), atol=0)
