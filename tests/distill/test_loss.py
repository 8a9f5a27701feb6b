"""The one loss against its definition; its gradient in closed form, what it makes of an example's weight, extremes."""

import math

import pytest
import reference
import reference_targets as slow
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lessons import ALL, F64, Lesson, floats, lessons, many, taught, whole
from torch import Tensor
from torch.testing import assert_close

from kdstudy.distill import conditions, loss
from kdstudy.distill.conditions import Target, make
from kdstudy.distill.loss import LossGradient


@st.composite
def stacks(draw: st.DrawFn) -> tuple[Tensor, Target, Tensor, Tensor]:
    """Logits, target with any rest, labels and temperatures of R runs."""
    r, b, c = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(2, 6))
    goal = Target(floats(draw, (r, b, c), 0, 1), floats(draw, (r, b, c), 0, 1), floats(draw, (r, b), -1, 2))
    return floats(draw, (r, b, c), -8, 8), goal, whole(draw, (r, b), c), floats(draw, (r,), 0.5, 8)


@settings(max_examples=100)
@given(stacks())
def test_loss_is_its_definition(case):
    logits, goal, label, tau = case
    ours = conditions.loss(logits, goal, label, tau)
    for r, value in enumerate(ours):
        theirs = [
            reference.loss_of_one(z, h, s, w, int(t), float(tau[r]))
            for z, h, s, w, t in zip(logits[r], goal.hard[r], goal.soft[r], goal.rest[r], label[r])
        ]
        assert_close(value, torch.stack(theirs).mean(), rtol=1e-10, atol=1e-10)


# ---------------------------------------------------------------- the gradient in closed form


def student(lesson: Lesson) -> Tensor:
    """Logits that have nothing to do with the teacher's."""
    return 2 * torch.randn(lesson[0].shape, generator=torch.Generator().manual_seed(lesson[2].seed), dtype=F64)


def asked(name: str, lesson: Lesson) -> tuple[Target, float]:
    """A condition's target and its temperature."""
    tau = lesson[3]["tau"] if "tau" in conditions.parameters(name) else make(name).tau
    return taught(name, lesson), tau


def by_autograd(z: Tensor, goal: Target, label: Tensor, tau: float) -> Tensor:
    """Gradient of each example's own loss: that of the mean, N times."""
    z = z.clone().requires_grad_()
    return len(z) * torch.autograd.grad(conditions.loss(z, goal, label, torch.tensor(tau, dtype=F64)), z)[0]


@settings(max_examples=100)
@given(stacks())
def test_gradient_is_its_loop(case):
    logits, goal, label, tau = case
    weights = loss.stack([LossGradient.of(goal.map(lambda t, r=r: t[r]), float(tau[r])) for r in range(len(tau))])
    ours = loss.gradient(logits, weights, label, tau)
    for r in range(len(logits)):
        parts = (t[r].tolist() for t in (logits, goal.hard, goal.soft, goal.rest, label))
        theirs = [slow.gradient_of_one(*one, float(tau[r])) for one in zip(*parts)]
        assert_close(ours[r], torch.tensor(theirs, dtype=F64), rtol=1e-10, atol=1e-10)


@given(stacks(), st.integers(0, 2))
def test_a_run_in_a_stack_has_the_gradient_it_has_alone(case, without):
    """Also beside runs that ask for what is left of the label where it does not."""
    logits, goal, label, tau = case
    goal.rest[without % len(tau)] = 0
    gradients = [LossGradient.of(goal.map(lambda t, r=r: t[r]), float(tau[r])) for r in range(len(tau))]
    together = loss.gradient(logits, loss.stack(gradients), label, tau)
    for r, weights in enumerate(gradients):
        alone = loss.gradient(logits[r], weights, label[r], tau[r])
        assert_close(together[r], alone, rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------- how much an example weighs


@pytest.mark.parametrize("name", ALL)
@given(lesson=lessons())
def test_rescaling_is_the_ratio_of_two_gradients(name, lesson):
    (goal, tau), z, label = asked(name, lesson), student(lesson), lesson[1]
    plain = by_autograd(z, taught("hard", lesson), label, 1.0)
    ratio = (by_autograd(z, goal, label, tau) / plain).gather(-1, label[:, None])[:, 0]
    ours = loss.rescaling(z, LossGradient.of(goal, tau), label, torch.tensor(tau, dtype=F64))
    assert_close(ours, ratio, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("margin", [0.0, 5.0, 60.0, 1e4])
def test_rescaling_of_the_labels_alone_is_exactly_one(dtype, margin):
    z, label = torch.tensor([[margin, 0.0, 0.0], [0.3, margin, 0.1]], dtype=dtype), torch.tensor([0, 0])
    goal = conditions.target(make("hard"), None, label, conditions.Context(3, dtype))
    w = loss.rescaling(z, LossGradient.of(goal, 1.0), label, torch.tensor(1.0, dtype=dtype))
    assert w.tolist() == [1.0, 1.0] and w.dtype == F64


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("sure", [60.0, -60.0])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_gradient_and_rescaling_stay_finite_for_students_and_teachers_that_are_sure(name, sure, dtype):
    teacher, label, ctx, values = many(12, 4)
    at = label[:, None]
    z, v = (logits.scatter_add(-1, at, torch.full(at.shape, s, dtype=F64)) for logits, s in
            ((teacher.flip(-1), sure), (teacher, abs(sure))))  # fmt: skip
    ctx = conditions.Context(4, dtype, ctx.superclass, ctx.rows.to(dtype), 0)
    goal, tau = asked(name, (v.to(dtype), label, ctx, values))
    weights, heat = LossGradient.of(goal, tau), torch.tensor(tau, dtype=dtype)
    assert loss.gradient(z.to(dtype), weights, label, heat).isfinite().all()
    assert loss.rescaling(z.to(dtype), weights, label, heat).isfinite().all()


def test_the_weight_falls_with_the_teachers_doubt_and_may_turn_negative():
    """At q_t = 0.9 and alpha = 0.5: p_t = 0.9 halves it, p_t = 0.8 leaves nothing, p_t = 0.5 pushes the label down."""
    label, z = torch.tensor([0, 0, 0]), torch.tensor([[9.0, 1.0]], dtype=F64).log().expand(3, 2)
    v = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.5, 0.5]], dtype=F64).log()
    goal = conditions.target(make("kd", tau=1.0, alpha=0.5), v, label, conditions.Context(2, F64))
    w = loss.rescaling(z, LossGradient.of(goal, 1.0), label, torch.tensor(1.0, dtype=F64))
    assert_close(w, torch.tensor([0.5, 0.0, -1.5], dtype=F64), rtol=0, atol=1e-12)


# ---------------------------------------------------------------- extremes


def test_log_rest_is_finite_where_log1p_is_not():
    logits = torch.tensor([[58.0, 0.0, 0.0], [58.0, 0.0, -2000.0]], dtype=F64, requires_grad=True)
    label = torch.tensor([0, 0])
    assert torch.log1p(-logits.softmax(-1)[:, 0]).tolist() == [-math.inf, -math.inf]
    value = loss.log_off_label(logits, label)
    assert_close(value, torch.tensor([math.log(2) - 58, -58.0], dtype=F64), rtol=1e-15, atol=0)
    assert torch.autograd.grad(value.sum(), logits)[0].isfinite().all()


@given(lessons())
def test_log_rest_is_the_log_of_the_others(lesson):
    logits, label, _, _ = lesson
    others = [sum(q for k, q in enumerate(row.softmax(-1)) if k != t) for row, t in zip(logits, label)]
    assert_close(loss.log_off_label(logits, label), torch.stack(others).log(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_loss_and_gradient_stay_finite_for_huge_logits(dtype):
    logits = torch.tensor([[1e4, 0.0, -1e4]], dtype=dtype, requires_grad=True)
    goal = Target(*(torch.ones(s, dtype=dtype) for s in ((1, 3), (1, 3), (1,))))
    value = conditions.loss(logits, goal, torch.tensor([0]), torch.tensor(2.0, dtype=dtype))
    assert value.isfinite() and value.dtype == dtype
    assert torch.autograd.grad(value, logits)[0].isfinite().all()
