"""The one loss against its definition; what every condition teaches, by identities and by hand."""

import math

import numpy as np
import pytest
import reference
import torch
from conftest import says
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div
from torch.testing import assert_close

from kdstudy import targets
from kdstudy.spec import Condition
from kdstudy.targets import Context, Target, make, target

F64 = torch.float64
TEACHER = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.25, 0.25]], dtype=F64).log()
LABEL = torch.tensor([0, 1])
ALL = list(targets.CONDITIONS)
SOFT = ["label_smoothing_matched", "kd"]  # those that mix with the labels by alpha


def floats(draw: st.DrawFn, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    return torch.from_numpy(draw(arrays(np.float64, shape, elements=st.floats(low, high))))


def whole(draw: st.DrawFn, shape: tuple[int, ...], below: int) -> Tensor:
    return torch.from_numpy(draw(arrays(np.int64, shape, elements=st.integers(0, below - 1))))


@st.composite
def stacks(draw: st.DrawFn) -> tuple[Tensor, Target, Tensor, Tensor]:
    """Logits, target with any rest, labels and temperatures of R runs."""
    r, b, c = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(2, 6))
    goal = Target(floats(draw, (r, b, c), 0, 1), floats(draw, (r, b, c), 0, 1), floats(draw, (r, b), -1, 2))
    return floats(draw, (r, b, c), -8, 8), goal, whole(draw, (r, b), c), floats(draw, (r,), 0.5, 8)


@st.composite
def lessons(draw: st.DrawFn) -> tuple[Tensor, Tensor, Context, dict[str, float]]:
    """Teacher logits, labels, their context, and a value for every parameter there is."""
    n, c = draw(st.integers(1, 6)), draw(st.integers(2, 6))
    values = {"tau": draw(st.floats(0.5, 8)), "alpha": draw(st.floats(0, 1)), "epsilon": draw(st.floats(0, 1))}
    return floats(draw, (n, c), -8, 8), whole(draw, (n,), c), Context(c, F64), values


def taught(name: str, lesson: tuple, **fixed: float) -> Target:
    """The target of a condition, its parameters those of the lesson unless fixed."""
    teacher, label, ctx, values = lesson
    known = targets.parameters(name)
    spec = make(name, **{k: v for k, v in (values | fixed).items() if k in known})
    return target(spec, teacher, label, ctx)


def close(a: Target, b: Target, atol: float) -> None:
    for part in ("hard", "soft", "rest"):
        assert_close(getattr(a, part), getattr(b, part), rtol=0, atol=atol)


# ---------------------------------------------------------------- the loss


@settings(deadline=None)
@given(stacks())
def test_loss_is_its_definition(case):
    logits, goal, label, tau = case
    ours = targets.loss(logits, goal, label, tau)
    for r, value in enumerate(ours):
        theirs = [
            reference.loss_of_one(z, h, s, w, int(t), float(tau[r]))
            for z, h, s, w, t in zip(logits[r], goal.hard[r], goal.soft[r], goal.rest[r], label[r])
        ]
        assert_close(value, torch.stack(theirs).mean(), rtol=1e-10, atol=1e-10)


@settings(deadline=None, max_examples=30)
@given(stacks())
def test_a_run_in_a_stack_has_the_loss_it_has_alone(case):
    logits, goal, label, tau = case
    together = targets.loss(logits, goal, label, tau)
    for r, value in enumerate(together):
        alone = targets.loss(logits[r], goal.map(lambda t, r=r: t[r]), label[r], tau[r])
        assert_close(value, alone, rtol=1e-12, atol=1e-12)


def test_gradient_of_the_loss():
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 5, generator=g, dtype=F64, requires_grad=True)
    goal = Target(*(torch.rand(*s, generator=g, dtype=F64) for s in ((2, 3, 5), (2, 3, 5), (2, 3))))
    label, tau = torch.randint(5, (2, 3), generator=g), torch.tensor([0.7, 4.0], dtype=F64)
    assert torch.autograd.gradcheck(lambda z: targets.loss(z, goal, label, tau), [logits])


def test_log_rest_is_finite_where_log1p_is_not():
    logits = torch.tensor([[58.0, 0.0, 0.0], [58.0, 0.0, -2000.0]], dtype=F64, requires_grad=True)
    label = torch.tensor([0, 0])
    assert torch.log1p(-logits.softmax(-1)[:, 0]).tolist() == [-math.inf, -math.inf]
    value = targets.log_rest(logits, label)
    assert_close(value, torch.tensor([math.log(2) - 58, -58.0], dtype=F64), rtol=1e-15, atol=0)
    assert torch.autograd.grad(value.sum(), logits)[0].isfinite().all()


@settings(deadline=None, max_examples=30)
@given(lessons())
def test_log_rest_is_the_log_of_the_others(lesson):
    logits, label, _, _ = lesson
    others = [sum(q for k, q in enumerate(row.softmax(-1)) if k != t) for row, t in zip(logits, label)]
    assert_close(targets.log_rest(logits, label), torch.stack(others).log(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_loss_and_gradient_stay_finite_for_huge_logits(dtype):
    logits = torch.tensor([[1e4, 0.0, -1e4]], dtype=dtype, requires_grad=True)
    goal = Target(*(torch.ones(s, dtype=dtype) for s in ((1, 3), (1, 3), (1,))))
    value = targets.loss(logits, goal, torch.tensor([0]), torch.tensor(2.0, dtype=dtype))
    assert value.isfinite() and value.dtype == dtype
    assert torch.autograd.grad(value, logits)[0].isfinite().all()


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


# ---------------------------------------------------------------- names and parameters


def test_parameters_and_listeners():
    assert targets.parameters("hard") == {}
    assert targets.parameters("label_smoothing") == {"epsilon": 0.1}
    assert targets.parameters("kd") == targets.parameters("label_smoothing_matched") == {"tau": 2.0, "alpha": 0.9}
    assert [name for name in ALL if targets.listens(name)] == SOFT


@pytest.mark.parametrize("name", ALL)
def test_defaults_are_known_and_allowed(name):
    for key, default in targets.parameters(name).items():
        ok, _ = targets.ALLOWED[key]
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
    ],
)
def test_make_refuses_what_is_out_of_range(name, key, value, allowed):
    with pytest.raises(ValueError, match=says(f"{key} of condition {name!r}: found {value!r}, allowed: {allowed}")):
        make(name, **{key: value})


@pytest.mark.parametrize("name", SOFT)
def test_a_condition_that_listens_needs_a_teacher(name):
    with pytest.raises(ValueError, match=says(f"condition {name!r} listens to a teacher; none was given")):
        target(make(name), None, LABEL, Context(3))


@pytest.mark.parametrize("name", [n for n in ALL if n not in SOFT])
def test_the_others_need_none(name):
    lesson = target(make(name), TEACHER, LABEL, Context(3))
    close(target(make(name), None, LABEL, Context(3)), lesson, atol=0)
