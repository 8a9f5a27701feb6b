"""The grid of mass x shape: every cell against its loop, and the conditions that are cells, rows or mixtures of it."""

import math
from dataclasses import replace

import pytest
import reference_targets as slow
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lessons import F64, close, lessons, many, rho, taught
from torch import Tensor
from torch.nn.functional import one_hot
from torch.testing import assert_close

from kdstudy.distill import conditions, levels
from kdstudy.study import plans

MEAN_MASS = ["label_smoothing_matched", "class_matched", "instance_matched", "kd_sim", "kd_rel", "class_permuted"]
OWN_MASS = ["kd_pt", "kd_pt_class", "kd_pt_sim", "example_permuted"]
SEEDS = st.integers(0, 10**6)


def same(a: Tensor, b: Tensor, atol: float = 1e-12) -> None:
    assert_close(a, b, rtol=0, atol=atol)


def mass(p: Tensor, label: Tensor) -> Tensor:
    return (p * (1 - one_hot(label, p.shape[-1]))).sum(-1)


def random_rows(lesson: tuple, seed: int) -> tuple:
    """The lesson with a teacher whose rows are in general position: no cosine is 0 but for rounding."""
    teacher, label, ctx, values = lesson
    g = torch.Generator().manual_seed(seed)
    return teacher, label, replace(ctx, rows=torch.randn(ctx.classes, 4, generator=g, dtype=F64)), values


# ---------------------------------------------------------------- cells and masses


def test_the_twins_cover_the_grid_of_the_plans():
    assert tuple(slow.GRID) == plans.GRID


@pytest.mark.parametrize("name", slow.GRID)
@settings(deadline=None, max_examples=40)
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


@pytest.mark.parametrize("name", MEAN_MASS)
@settings(deadline=None, max_examples=30)
@given(lesson=lessons())
def test_matched_conditions_have_one_mass_the_mean_of_kd(name, lesson):
    label = lesson[1]
    found = mass(rho(name, lesson), label)
    same(found, mass(rho("kd", lesson), label).mean().expand_as(found))
    same(found, found[:1].expand_as(found), atol=1e-14)


@pytest.mark.parametrize("name", OWN_MASS)
@settings(deadline=None, max_examples=30)
@given(lesson=lessons())
def test_conditions_of_instance_mass_have_that_of_kd_on_each_example(name, lesson):
    found, kd = rho(name, lesson, dose=1.0), rho("kd", lesson)
    same(mass(found, lesson[1]), mass(kd, lesson[1]))
    same(*(p.gather(-1, lesson[1][:, None]) for p in (found, kd)))


# ---------------------------------------------------------------- named members


@settings(deadline=None, max_examples=50)
@given(lessons())
def test_matched_smoothing_at_temperature_one_is_label_smoothing(lesson):
    teacher, label, ctx, values = lesson
    m, c = mass(teacher.softmax(-1), label).mean(), ctx.classes
    smoothed = conditions.label_smoothing(label, ctx, epsilon=float(values["alpha"] * m * c / (c - 1)))
    goal = taught("label_smoothing_matched", lesson, tau=1.0)
    same(goal.hard + goal.soft, smoothed.hard)


@settings(deadline=None, max_examples=50)
@given(lessons())
def test_kd_pt_keeps_what_the_teacher_gives_the_label_and_shares_the_rest_evenly(lesson):
    teacher, label, ctx, values = lesson
    p = (teacher / values["tau"]).softmax(-1).gather(-1, label[:, None])
    even = (1 - p) / (ctx.classes - 1)
    same(rho("kd_pt", lesson, dose=1.0), even.expand_as(teacher).scatter(-1, label[:, None], p))


@settings(deadline=None, max_examples=50)
@given(lessons())
def test_a_dose_leads_from_matched_smoothing_to_kd_pt_in_a_straight_line(lesson):
    dose = lesson[3]["dose"]
    none, whole = rho("label_smoothing_matched", lesson), rho("kd_pt", lesson, dose=1.0)
    same(rho("kd_pt", lesson, dose=0.0), none, atol=0)
    same(rho("kd_pt", lesson), (1 - dose) * none + dose * whole)


@settings(deadline=None, max_examples=50)
@given(lessons())
def test_kd_is_its_mass_and_its_shape(lesson):
    teacher, label, _, values = lesson
    own, left = (fn(teacher, label, values["tau"]) for fn in (levels.per_example_shape, levels.off_label_mass))
    same(levels.assemble(left, own, label), rho("kd", lesson))


@settings(deadline=None, max_examples=50)
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
@settings(deadline=None, max_examples=40)
@given(lesson=lessons(), seed=SEEDS)
def test_similarity_is_its_loop(name, masses, lesson, seed):
    teacher, label, ctx, values = lesson = random_rows(lesson, seed)
    shape = slow.similar_shape(ctx.rows, label, values["power"], values["sharpness"] * values["tau"])
    same(rho(name, lesson), slow.assembled(masses(teacher, label, values["tau"]), shape, label), atol=1e-10)


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.floats(0.2, 2), st.floats(0.3, 2))
def test_the_order_of_classes_is_that_of_their_similarity(seed, power, sharpness):
    _, label, ctx, _ = lesson = random_rows(many(24, 6), seed)
    found, cosines = rho("kd_sim", lesson, power=power, sharpness=sharpness), slow.cosines(ctx.rows)
    for p, t in zip(found.tolist(), label.tolist()):
        ordered = [v for _, v in sorted(zip(slow.others(cosines[t], t), slow.others(p, t)))]
        assert all(a < b for a, b in zip(ordered, ordered[1:]))


@settings(deadline=None, max_examples=50)
@given(lessons())
def test_siblings_and_the_rest_are_their_loop(lesson):
    teacher, label, ctx, values = lesson
    shape = slow.sibling_shape(teacher, label, values["tau"], ctx.superclass)
    same(rho("kd_rel", lesson), slow.assembled(slow.constant_mass(teacher, label, values["tau"]), shape, label))


@pytest.mark.parametrize("seed", range(5))
def test_siblings_share_one_mass_and_the_rest_another_in_the_teachers_mean_ratio(seed):
    _, label, ctx, _ = lesson = many(24, 6, seed)
    found, kd = rho("kd_rel", lesson), rho("kd", lesson)
    kin = ctx.superclass[label][:, None] == ctx.superclass
    inside, outside = kin & ~one_hot(label, 6).bool(), ~kin
    near, far = ((kd * m).sum(-1).mean() for m in (inside, outside))
    assert abs(near / far - 1 / 4) > 1e-3  # one sibling, four strangers: not the uniform shape by chance
    for p, n, f in zip(found, inside, outside):
        same(p[n], p[n][:1].expand_as(p[n]), atol=1e-15)
        same(p[f], p[f][:1].expand_as(p[f]), atol=1e-15)
        same(p[n].sum() / p[f].sum(), near / far)


# ---------------------------------------------------------------- top k


@settings(deadline=None, max_examples=50)
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


@settings(deadline=None, max_examples=30)
@given(lessons(), st.integers(0, 3))
def test_top_k_of_all_classes_or_more_is_kd(lesson, more):
    close(taught("topk", lesson, k=float(lesson[2].classes + more)), taught("kd", lesson), atol=0)


# ---------------------------------------------------------------- decoupled KD


@settings(deadline=None, max_examples=50)
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


@settings(deadline=None, max_examples=50)
@given(lessons())
def test_the_soft_term_of_kd_is_its_target_part_and_its_nontarget_part_by_the_mass(lesson):
    """Which is decoupled KD with target = 1, nontarget = 1 - p_t, example by example."""
    v, label, ctx, values = lesson
    tau = values["tau"]
    for a, t in zip(v, label):
        b, one = a.flip(-1).tolist(), (a[None], t[None], ctx, values)
        m = slow.instance_mass(*one[:2], tau)[0]
        parts = slow.target_part(a.tolist(), b, int(t), tau) + m * slow.nontarget_part(a.tolist(), b, int(t), tau)
        assert slow.soft_term(a.tolist(), b, tau) == pytest.approx(parts, rel=1e-12)
        goal = taught("dkd", one, target=1.0, nontarget=m)
        same(goal.soft, rho("kd", one))
        same(goal.rest, torch.zeros(1, dtype=F64))


@settings(deadline=None, max_examples=30)
@given(lessons())
def test_parts_without_weight(lesson):
    close(taught("dkd", lesson, target=0.0, nontarget=0.0), taught("hard", lesson), atol=0)
    close(taught("dkd", lesson, nontarget=0.0), taught("tckd", lesson), atol=0)
    close(taught("dkd", lesson, target=0.0), taught("nckd", lesson), atol=0)
