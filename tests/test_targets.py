"""What every condition teaches, by identities and by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from lessons import ALL, F64, LABEL, SOFT, TEACHER, close, lessons
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div
from torch.testing import assert_close

from kdstudy import targets
from kdstudy.targets import Context, Target, make, target


def taught(name: str, lesson: tuple, **fixed: float) -> Target:
    """The target of a condition, its parameters those of the lesson unless fixed."""
    teacher, label, ctx, values = lesson
    known = targets.parameters(name)
    spec = make(name, **{k: v for k, v in (values | fixed).items() if k in known})
    return target(spec, teacher, label, ctx)


# ---------------------------------------------------------------- identities of conditions


@pytest.mark.parametrize("name", ALL)
@settings(deadline=None, max_examples=30)
@given(lesson=lessons())
def test_every_condition_teaches_a_distribution(name, lesson):
    goal = taught(name, lesson)
    whole = goal.hard + goal.soft
    assert_close(whole.sum(-1), torch.ones(len(whole), dtype=F64), rtol=0, atol=1e-12)
    assert (goal.hard >= 0).all() and (goal.soft >= 0).all()
    assert not goal.rest.any()


@pytest.mark.parametrize("name", ALL)
@settings(deadline=None, max_examples=30)
@given(lesson=lessons())
def test_order_of_examples_carries_no_meaning(name, lesson):
    teacher, label, ctx, values = lesson
    order = torch.randperm(len(label), generator=torch.Generator().manual_seed(0))
    moved = taught(name, (teacher[order], label[order], ctx, values))
    close(moved, taught(name, lesson).map(lambda t: t[order]), atol=1e-14)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_targets_have_the_precision_of_the_run(name, dtype):
    goal = target(make(name), TEACHER.to(torch.float32), LABEL, Context(3, dtype))
    assert {goal.hard.dtype, goal.soft.dtype, goal.rest.dtype} == {dtype}
    assert goal.hard.shape == goal.soft.shape == (2, 3) and goal.rest.shape == (2,)


@pytest.mark.parametrize("name", SOFT)
@settings(deadline=None, max_examples=30)
@given(lesson=lessons())
def test_alpha_zero_is_hard(name, lesson):
    close(taught(name, lesson, alpha=0.0), taught("hard", lesson), atol=0)


@settings(deadline=None, max_examples=30)
@given(lessons())
def test_epsilon_zero_is_hard(lesson):
    close(taught("label_smoothing", lesson, epsilon=0.0), taught("hard", lesson), atol=0)


@settings(deadline=None)
@given(lessons())
def test_matched_smoothing_has_the_mean_mass_of_kd_and_one_mass_for_all(lesson):
    _, label, ctx, _ = lesson
    off = {}
    for name in SOFT:
        rho = taught(name, lesson, alpha=1.0).soft
        off[name] = (rho * (1 - torch.nn.functional.one_hot(label, ctx.classes))).sum(-1)
    matched, kd = (off[name] for name in SOFT)
    assert_close(matched.mean(), kd.mean(), rtol=0, atol=1e-12)
    assert_close(matched, matched[:1].expand_as(matched), rtol=0, atol=1e-15)


@settings(deadline=None, max_examples=30)
@given(lessons())
def test_matched_smoothing_tells_no_class_from_another(lesson):
    goal = taught("label_smoothing_matched", lesson, alpha=1.0)
    others = goal.soft.scatter(-1, lesson[1][:, None], torch.nan)
    for row in others:
        row = row[~row.isnan()]
        assert_close(row, row[:1].expand_as(row), rtol=0, atol=1e-15)


@settings(deadline=None, max_examples=30)
@given(lessons())
def test_kd_is_the_textbook_formula_in_torch(lesson):
    v, label, _, values = lesson
    tau, alpha = values["tau"], values["alpha"]
    z = v.flip(-1)
    ours = targets.loss(z, taught("kd", lesson), label, torch.tensor(tau, dtype=F64))
    p, log_q = (v / tau).softmax(-1), (z / tau).log_softmax(-1)
    entropy = torch.special.entr(p).sum(-1).mean()
    soft = tau**2 * (kl_div(log_q, p, reduction="batchmean") + entropy)
    assert_close(ours, (1 - alpha) * cross_entropy(z, label) + alpha * soft, rtol=1e-10, atol=1e-10)


# ---------------------------------------------------------------- by hand


def rows(*values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=F64)


BY_HAND = [
    ("hard", {}, [[1, 0, 0], [0, 1, 0]], [[0, 0, 0], [0, 0, 0]]),
    ("label_smoothing", {"epsilon": 0.3}, [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]], [[0, 0, 0], [0, 0, 0]]),
    # 1 - p_t is 0.3 and 0.75, its mean 0.525
    (
        "label_smoothing_matched",
        {"tau": 1.0, "alpha": 0.8},
        [[0.2, 0, 0], [0, 0.2, 0]],
        [[0.38, 0.21, 0.21], [0.21, 0.38, 0.21]],
    ),
    ("kd", {"tau": 1.0, "alpha": 0.8}, [[0.2, 0, 0], [0, 0.2, 0]], [[0.56, 0.16, 0.08], [0.4, 0.2, 0.2]]),
]


@pytest.mark.parametrize("name, params, hard, soft", BY_HAND, ids=[c[0] for c in BY_HAND])
def test_targets_by_hand(name, params, hard, soft):
    goal = target(make(name, **params), TEACHER, LABEL, Context(3, F64))
    close(goal, Target(rows(*hard), rows(*soft), torch.zeros(2, dtype=F64)), atol=1e-15)


def test_a_temperature_of_two_takes_square_roots():
    goal = target(make("kd", tau=2.0, alpha=1.0), rows([0.64, 0.32, 0.04]).log(), LABEL[:1], Context(3, F64))
    roots = rows([0.8, 0.32**0.5, 0.2])
    assert_close(goal.soft, roots / roots.sum(), rtol=0, atol=1e-15)


def test_mass_that_leaves_the_label_does_not_cancel():
    teacher = torch.tensor([[50.0, 0.0, 0.0]], dtype=F64)
    assert_close(targets.left(teacher, LABEL[:1], 1.0), rows(2 * math.exp(-50)), rtol=1e-12, atol=0)


def test_spread_shares_the_mass_equally():
    shared = targets.spread(torch.tensor([0.5, 0.0], dtype=F64), LABEL, Context(3, F64))
    assert shared.tolist() == [[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]]


def entropy(*p: float) -> float:
    return -sum(x * math.log(x) for x in p)


@pytest.mark.parametrize(
    "name, params, mass, nats",
    [
        ("hard", {}, 0.0, 0.0),
        ("label_smoothing", {"epsilon": 0.3}, 0.2, entropy(0.8, 0.1, 0.1)),
        ("label_smoothing_matched", {"tau": 1.0, "alpha": 0.8}, 0.525, entropy(0.475, 0.2625, 0.2625)),
        ("kd", {"tau": 1.0, "alpha": 0.8}, 0.525, (entropy(0.7, 0.2, 0.1) + entropy(0.5, 0.25, 0.25)) / 2),
        ("kd", {"tau": 1.0, "alpha": 0.0}, 0.0, 0.0),
    ],
)
def test_summary_by_hand(name, params, mass, nats):
    goal = target(make(name, **params), TEACHER, LABEL, Context(3, F64))
    found = targets.summary(goal, LABEL)
    assert found == {"target_mass": pytest.approx(mass, abs=1e-15), "target_entropy": pytest.approx(nats, abs=1e-15)}


def test_what_is_taught_is_the_soft_part_where_there_is_one():
    hard, soft, none = rows([0.2, 0.0, 0.0]), rows([0.4, 0.2, 0.2]), torch.zeros(1, dtype=F64)
    assert_close(targets.taught(Target(hard, soft, none)), rows([0.5, 0.25, 0.25]))
    assert_close(targets.taught(Target(hard, torch.zeros_like(soft), none)), rows([1.0, 0.0, 0.0]))


def test_stack_and_map():
    goals = [target(make(name), TEACHER, LABEL, Context(3, F64)) for name in ALL]
    together = targets.stack(goals)
    assert together.hard.shape == (len(ALL), 2, 3) and together.rest.shape == (len(ALL), 2)
    for i, goal in enumerate(goals):
        close(together.map(lambda t, i=i: t[i]), goal, atol=0)
