"""What every condition teaches, by identities and by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from lessons import (
    ALL,
    DECOUPLED,
    DISTRIBUTIONS,
    F64,
    LABEL,
    ORDERED,
    SOFT,
    TEACHER,
    WEIGHTED,
    close,
    context,
    lessons,
    many,
    rho,
    taught,
)
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, one_hot
from torch.testing import assert_close

from kdstudy.distill import conditions, levels, loss
from kdstudy.distill.conditions import Target, make, target

# ---------------------------------------------------------------- identities of conditions


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@settings(deadline=None, max_examples=20)
@given(lesson=lessons())
def test_every_condition_teaches_a_distribution(name, lesson):
    goal = taught(name, lesson)
    whole = goal.hard + goal.soft
    assert_close(whole.sum(-1), torch.ones(len(whole), dtype=F64), rtol=0, atol=1e-12)
    assert (goal.hard >= 0).all() and (goal.soft >= 0).all()
    assert not goal.rest.any()


@pytest.mark.parametrize("name", WEIGHTED)
@settings(deadline=None, max_examples=20)
@given(lesson=lessons())
def test_weights_average_one_and_stand_at_the_label_alone(name, lesson):
    goal, plain = taught(name, lesson), taught("hard", lesson)
    assert_close(goal.hard.sum(-1).mean(), torch.ones((), dtype=F64), rtol=0, atol=1e-12)
    assert_close(goal.hard, goal.hard.sum(-1, keepdim=True) * plain.hard, rtol=0, atol=0)
    assert (goal.hard >= 0).all()
    assert not goal.soft.any() and not goal.rest.any()


@pytest.mark.parametrize("name", DECOUPLED)
@settings(deadline=None, max_examples=20)
@given(lesson=lessons())
def test_decoupled_kd_keeps_the_labels_whole_and_its_two_parts_add_up(name, lesson):
    """Its soft part sums to target p_t + nontarget and rest to target (1 - p_t) - nontarget: together to target."""
    goal, values = taught(name, lesson), lesson[3]
    asked = {k: values[k] if k in conditions.parameters(name) else 0.0 for k in ("target", "nontarget")}
    assert_close(goal.hard, taught("hard", lesson).hard, rtol=0, atol=0)
    assert (goal.soft >= 0).all()
    others = levels.without_label(goal.soft, lesson[1]).sum(-1)
    assert_close(others, torch.full_like(others, asked["nontarget"]), rtol=0, atol=1e-12)
    total = goal.soft.sum(-1) + goal.rest
    assert_close(total, torch.full_like(total, asked["target"]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", [n for n in ALL if n not in ORDERED])
@settings(deadline=None, max_examples=20)
@given(lesson=lessons())
def test_order_of_examples_carries_no_meaning(name, lesson):
    teacher, label, ctx, values = lesson
    order = torch.randperm(len(label), generator=torch.Generator().manual_seed(0))
    moved = taught(name, (teacher[order], label[order], ctx, values))
    close(moved, taught(name, lesson).map(lambda t: t[order]), atol=1e-14)


@pytest.mark.parametrize("name", ORDERED)
def test_order_of_examples_says_what_is_drawn_for_each(name):
    """But nothing else: the same values on each example, or the same rows on all of them."""
    teacher, label, ctx, values = lesson = many(40, 5)
    order = torch.randperm(len(label), generator=torch.Generator().manual_seed(0))
    moved = rho(name, (teacher[order], label[order], ctx, values))
    stayed = rho(name, lesson)[order]
    assert (moved - stayed).abs().max() > 0.1
    if name == "example_permuted":
        moved, stayed = moved.sort(-1).values, stayed.sort(-1).values
    else:
        moved, stayed = (t[t[:, 0].argsort()] for t in (moved, stayed))
    assert_close(moved, stayed, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_targets_have_the_precision_of_the_run(name, dtype):
    goal = target(make(name), TEACHER.to(torch.float32), LABEL, context(dtype))
    assert {goal.hard.dtype, goal.soft.dtype, goal.rest.dtype} == {dtype}
    assert goal.hard.shape == goal.soft.shape == (2, 3) and goal.rest.shape == (2,)


@pytest.mark.parametrize("name", ALL)
def test_single_precision_loses_no_more_than_its_digits(name):
    teacher, label, ctx, values = many(60, 6)
    single = conditions.Context(ctx.classes, torch.float32, ctx.superclass, ctx.rows.float(), ctx.seed)
    rough = taught(name, (teacher.float(), label, single, values)).map(Tensor.double)
    close(rough, taught(name, (teacher.float().double(), label, ctx, values)), atol=2e-6)


@pytest.mark.parametrize("name", SOFT)
@settings(deadline=None, max_examples=20)
@given(lesson=lessons())
def test_alpha_zero_is_hard(name, lesson):
    close(taught(name, lesson, alpha=0.0), taught("hard", lesson), atol=0)


@settings(deadline=None, max_examples=20)
@given(lessons())
def test_epsilon_zero_is_hard(lesson):
    close(taught("label_smoothing", lesson, epsilon=0.0), taught("hard", lesson), atol=0)


@settings(deadline=None)
@given(lessons())
def test_matched_smoothing_has_the_mean_mass_of_kd_and_one_mass_for_all(lesson):
    _, label, ctx, _ = lesson
    others = 1 - one_hot(label, ctx.classes)
    matched, kd = ((rho(name, lesson) * others).sum(-1) for name in ("label_smoothing_matched", "kd"))
    assert_close(matched.mean(), kd.mean(), rtol=0, atol=1e-12)
    assert_close(matched, matched[:1].expand_as(matched), rtol=0, atol=1e-15)


@settings(deadline=None, max_examples=20)
@given(lessons())
def test_matched_smoothing_tells_no_class_from_another(lesson):
    goal = taught("label_smoothing_matched", lesson, alpha=1.0)
    others = goal.soft.scatter(-1, lesson[1][:, None], torch.nan)
    for row in others:
        row = row[~row.isnan()]
        assert_close(row, row[:1].expand_as(row), rtol=0, atol=1e-15)


@settings(deadline=None, max_examples=20)
@given(lessons())
def test_kd_is_the_textbook_formula_in_torch(lesson):
    v, label, _, values = lesson
    tau, alpha = values["tau"], values["alpha"]
    z = v.flip(-1)
    ours = conditions.loss(z, taught("kd", lesson), label, torch.tensor(tau, dtype=F64))
    p, log_q = (v / tau).softmax(-1), (z / tau).log_softmax(-1)
    entropy = torch.special.entr(p).sum(-1).mean()
    soft = tau**2 * (kl_div(log_q, p, reduction="batchmean") + entropy)
    assert_close(ours, (1 - alpha) * cross_entropy(z, label) + alpha * soft, rtol=1e-10, atol=1e-10)


# ---------------------------------------------------------------- by hand


def rows(*values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=F64)


MIX, E, NONE = {"tau": 1.0, "alpha": 0.8}, [[1, 0, 0], [0, 1, 0]], [[0, 0, 0], [0, 0, 0]]
FIFTH = [[0.2, 0, 0], [0, 0.2, 0]]
SHAPED = [[0.38, 0.28, 0.14], [0.28, 0.38, 0.14]]  # mass 0.525, two thirds of it to the nearer class
BY_HAND = [  # 1 - p_t is 0.3 and 0.75, its mean 0.525; 0.2 : 0.1 and 0.5 : 0.25 are 2 : 1
    ("hard", {}, E, NONE),
    ("label_smoothing", {"epsilon": 0.3}, [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]], NONE),
    ("label_smoothing_matched", MIX, FIFTH, [[0.38, 0.21, 0.21], [0.21, 0.38, 0.21]]),
    ("class_matched", MIX, FIFTH, SHAPED),
    ("instance_matched", MIX, FIFTH, SHAPED),
    ("kd_rel", MIX, FIFTH, SHAPED),
    ("kd_pt", MIX, FIFTH, [[0.56, 0.12, 0.12], [0.3, 0.2, 0.3]]),
    ("kd_pt", MIX | {"dose": 0.5}, FIFTH, [[0.47, 0.165, 0.165], [0.255, 0.29, 0.255]]),
    ("kd_pt_class", MIX, FIFTH, [[0.56, 0.16, 0.08], [0.4, 0.2, 0.2]]),
    ("kd", MIX, FIFTH, [[0.56, 0.16, 0.08], [0.4, 0.2, 0.2]]),
    ("class_mean", MIX, FIFTH, [[0.56, 0.16, 0.08], [0.4, 0.2, 0.2]]),
    ("topk", MIX | {"k": 1.0}, FIFTH, [[0.56, 0.12, 0.12], [0.4, 0.2, 0.2]]),
    ("cwtm", MIX, [[0.2 + 0.56 / 0.475, 0, 0], [0, 0.2 + 0.2 / 0.475, 0]], NONE),
    ("dkd", {"tau": 1.0, "target": 2.0, "nontarget": 3.0}, E, [[1.4, 2, 1], [2, 0.5, 1]], [-2.4, -1.5]),
    ("tckd", {"tau": 1.0, "target": 2.0}, E, [[1.4, 0, 0], [0, 0.5, 0]], [0.6, 1.5]),
    ("nckd", {"tau": 1.0, "nontarget": 3.0}, E, [[0, 2, 1], [2, 0, 1]], [-3, -3]),
]


@pytest.mark.parametrize("case", BY_HAND, ids=[c[0] for c in BY_HAND])
def test_targets_by_hand(case):
    name, params, hard, soft, *rest = case
    goal = target(make(name, **params), TEACHER, LABEL, context())
    close(goal, Target(rows(*hard), rows(*soft), torch.tensor(*rest or [[0, 0]], dtype=F64)), atol=1e-15)


def test_a_temperature_of_two_takes_square_roots():
    goal = target(make("kd", tau=2.0, alpha=1.0), rows([0.64, 0.32, 0.04]).log(), LABEL[:1], context())
    roots = rows([0.8, 0.32**0.5, 0.2])
    assert_close(goal.soft, roots / roots.sum(), rtol=0, atol=1e-15)


def test_mass_that_leaves_the_label_does_not_cancel():
    teacher = torch.tensor([[50.0, 0.0, 0.0]], dtype=F64)
    assert_close(levels.off_label_mass(teacher, LABEL[:1], 1.0), rows(2 * math.exp(-50)), rtol=1e-12, atol=0)


def test_a_uniform_shape_shares_the_mass_equally():
    shape = levels.uniform_shape(LABEL, 3, F64)
    shared = levels.assemble(torch.tensor([0.5, 0.0], dtype=F64), shape, LABEL)
    assert shared.tolist() == [[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]]


def entropy(*p: float) -> float:
    return -sum(x * math.log(x) for x in p)


@pytest.mark.parametrize(
    "name, params, mass, nats, universe, domain",  # an example alone in its class says nothing of its own
    [
        ("hard", {}, 0.0, 0.0, 0.0, 0.0),
        ("label_smoothing", {"epsilon": 0.3}, 0.2, entropy(0.8, 0.1, 0.1), 0.06, 0.0),
        ("label_smoothing_matched", MIX, 0.525, entropy(0.475, 0.2625, 0.2625), 1.5 * 0.525**2, 0.0),
        ("kd", MIX, 0.525, (entropy(0.7, 0.2, 0.1) + entropy(0.5, 0.25, 0.25)) / 2, 1.5 * 0.525**2,
         (0.14 + 0.875) / 2 - 1.5 * 0.525**2),
        ("kd", {"tau": 1.0, "alpha": 0.0}, 0.0, 0.0, 0.0, 0.0),
    ],
)  # fmt: skip
def test_summary_by_hand(name, params, mass, nats, universe, domain):
    goal = target(make(name, **params), TEACHER, LABEL, context())
    wanted = {"mass": mass, "entropy": nats, "universe": universe, "domain": domain, "instance": 0.0}
    assert levels.target_summary(goal, LABEL) == {f"target_{k}": pytest.approx(v, abs=1e-15) for k, v in wanted.items()}


def test_what_is_taught_is_the_soft_part_where_there_is_one():
    hard, soft, none = rows([0.2, 0.0, 0.0]), rows([0.4, 0.2, 0.2]), torch.zeros(1, dtype=F64)
    assert_close(levels.taught_distribution(Target(hard, soft, none)), rows([0.5, 0.25, 0.25]))
    assert_close(levels.taught_distribution(Target(hard, torch.zeros_like(soft), none)), rows([1.0, 0.0, 0.0]))


def test_stack_and_map():
    each = [loss.LossGradient.of(target(make(name), TEACHER, LABEL, context()), make(name).tau) for name in ALL]
    together = loss.stack(each)
    assert together.target.shape == (len(ALL), 2, 3)
    for i, one in enumerate(each):
        again = together.map(lambda t, i=i: t[i])
        for name, values in vars(one).items():
            assert_close(getattr(again, name), values, rtol=0, atol=0)
