"""Conditions: names, parameters and teachers; what each teaches, by identities and by hand."""

import math

import pytest
import torch
from conftest import says
from hypothesis import given
from lessons import (
    ALL,
    DECOUPLED,
    DISTRIBUTIONS,
    F64,
    LABEL,
    LISTENING,
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
from torch.testing import assert_close

from kdstudy.core.spec import Condition
from kdstudy.distill import conditions, levels, loss
from kdstudy.distill.conditions import Context, Target, make, target


def test_parameters_and_listeners():
    assert conditions.parameters("hard") == {}
    assert conditions.parameters("label_smoothing") == {"epsilon": 0.1}
    assert conditions.parameters("kd") == conditions.parameters("label_smoothing_matched") == {"tau": 2.0, "alpha": 0.9}
    assert conditions.parameters("cwtm") == {"tau": 1.0, "alpha": 0.9}
    assert conditions.parameters("kd_pt") == {"tau": 2.0, "alpha": 0.9, "dose": 1.0}
    assert conditions.parameters("dkd") == {"tau": 2.0, "target": 1.0, "nontarget": 1.0}
    assert [name for name in ALL if not conditions.listens(name)] == ["hard", "label_smoothing"]


def test_every_parameter_has_its_range_and_every_range_a_parameter():
    assert {key for name in ALL for key in conditions.parameters(name)} == conditions.ALLOWED.keys()


@pytest.mark.parametrize("name", ALL)
def test_defaults_are_known_and_allowed(name):
    for key, default in conditions.parameters(name).items():
        ok, _ = conditions.ALLOWED[key]
        assert ok(default)


def test_make_fills_in_defaults_and_makes_floats():
    assert make("kd") == Condition("kd", (("alpha", 0.9), ("tau", 2.0)))
    spec = make("kd", tau=4, alpha=1)
    assert spec == make("kd", alpha=1.0, tau=4.0)
    assert all(type(v) is float for _, v in spec.params)
    assert spec.tau == 4.0 and make("hard").tau == 1.0


def test_make_refuses_what_is_unknown():
    there = f"there are: {', '.join(ALL)}"
    cases = [
        ("hrad", {}, f"condition 'hrad' is unknown; {there}; did you mean 'hard'?"),
        ("xyzzy", {}, f"condition 'xyzzy' is unknown; {there}"),
        ("kd", {"epsilon": 0.1}, "condition 'kd' has no parameter 'epsilon'; it has: tau, alpha"),
        ("hard", {"tau": 2.0}, "condition 'hard' has no parameter 'tau'; it has: none"),
    ]
    for name, params, message in cases:
        with pytest.raises(ValueError, match=says(message)):
            make(name, **params)


@pytest.mark.parametrize(
    "name, key, value, allowed",
    [
        ("kd", "tau", 0.0, "a number above 0"),
        ("kd", "tau", -1.0, "a number above 0"),
        ("kd", "alpha", 1.5, "0 <= alpha <= 1"),
        ("kd", "alpha", math.nan, "0 <= alpha <= 1"),
        ("label_smoothing", "epsilon", -0.1, "0 <= epsilon <= 1"),
        ("kd_pt", "dose", 1.1, "0 <= dose <= 1"),
        ("topk", "k", 0.0, "a whole number of at least 1"),
        ("topk", "k", 2.5, "a whole number of at least 1"),
        ("kd_sim", "power", 0.0, "a number above 0"),
        ("kd_pt_sim", "sharpness", -1.0, "a number above 0"),
        ("dkd", "target", -0.1, "a finite number of at least 0"),
        ("nckd", "nontarget", math.inf, "a finite number of at least 0"),
    ],
)
def test_make_refuses_what_is_out_of_range(name, key, value, allowed):
    with pytest.raises(ValueError, match=says(f"{key} of condition {name!r}: found {value!r}, allowed: {allowed}")):
        make(name, **{key: value})


@pytest.mark.parametrize("name", LISTENING)
def test_a_condition_that_listens_needs_a_teacher(name):
    with pytest.raises(ValueError, match=says(f"condition {name!r} listens to a teacher; none was given")):
        target(make(name), None, LABEL, context())


@pytest.mark.parametrize("name", [n for n in ALL if n not in LISTENING])
def test_the_others_need_none(name):
    lesson = target(make(name), TEACHER, LABEL, context())
    close(target(make(name), None, LABEL, context()), lesson, atol=0)


LACKS = {
    "kd_sim": "condition 'kd_sim' needs the teacher's logit-layer rows; none were given",
    "kd_pt_sim": "condition 'kd_pt_sim' needs the teacher's logit-layer rows; none were given",
    "kd_rel": "condition 'kd_rel' needs super-classes; this data set has none",
}


@pytest.mark.parametrize("name", ALL)
def test_a_condition_says_what_it_lacks(name):
    if name in LACKS:
        with pytest.raises(ValueError, match=says(LACKS[name])):
            target(make(name), TEACHER, LABEL, Context(3))
    else:
        bare, full = (target(make(name), TEACHER, LABEL, ctx) for ctx in (Context(3, F64), context()))
        close(bare, full, atol=0)


# ---------------------------------------------------------------- identities of conditions


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@given(lesson=lessons())
def test_every_condition_teaches_a_distribution(name, lesson):
    goal = taught(name, lesson)
    whole = goal.hard + goal.soft
    assert_close(whole.sum(-1), torch.ones(len(whole), dtype=F64), rtol=0, atol=1e-12)
    assert (goal.hard >= 0).all() and (goal.soft >= 0).all()
    assert not goal.rest.any()


@pytest.mark.parametrize("name", WEIGHTED)
@given(lesson=lessons())
def test_weights_average_one_and_stand_at_the_label_alone(name, lesson):
    goal, plain = taught(name, lesson), taught("hard", lesson)
    assert_close(goal.hard.sum(-1).mean(), torch.ones((), dtype=F64), rtol=0, atol=1e-12)
    assert_close(goal.hard, goal.hard.sum(-1, keepdim=True) * plain.hard, rtol=0, atol=0)
    assert (goal.hard >= 0).all()
    assert not goal.soft.any() and not goal.rest.any()


@pytest.mark.parametrize("name", DECOUPLED)
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
    single = Context(ctx.classes, torch.float32, ctx.superclass, ctx.rows.float(), ctx.seed)
    rough = taught(name, (teacher.float(), label, single, values)).map(Tensor.double)
    close(rough, taught(name, (teacher.float().double(), label, ctx, values)), atol=2e-6)


@pytest.mark.parametrize("name, weight", [*((name, "alpha") for name in SOFT), ("label_smoothing", "epsilon")])
@given(lesson=lessons())
def test_without_weight_it_is_hard(name, weight, lesson):
    close(taught(name, lesson, **{weight: 0.0}), taught("hard", lesson), atol=0)


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
