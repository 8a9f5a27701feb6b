"""The one loss against its definition; its gradient, and both where numbers are extreme."""

import math

import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lessons import F64, floats, lessons, whole
from torch import Tensor
from torch.testing import assert_close

from kdstudy import objective, targets
from kdstudy.targets import Target


@st.composite
def stacks(draw: st.DrawFn) -> tuple[Tensor, Target, Tensor, Tensor]:
    """Logits, target with any rest, labels and temperatures of R runs."""
    r, b, c = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(2, 6))
    goal = Target(floats(draw, (r, b, c), 0, 1), floats(draw, (r, b, c), 0, 1), floats(draw, (r, b), -1, 2))
    return floats(draw, (r, b, c), -8, 8), goal, whole(draw, (r, b), c), floats(draw, (r,), 0.5, 8)


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
    value = objective.log_rest(logits, label)
    assert_close(value, torch.tensor([math.log(2) - 58, -58.0], dtype=F64), rtol=1e-15, atol=0)
    assert torch.autograd.grad(value.sum(), logits)[0].isfinite().all()


@settings(deadline=None, max_examples=30)
@given(lessons())
def test_log_rest_is_the_log_of_the_others(lesson):
    logits, label, _, _ = lesson
    others = [sum(q for k, q in enumerate(row.softmax(-1)) if k != t) for row, t in zip(logits, label)]
    assert_close(objective.log_rest(logits, label), torch.stack(others).log(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_loss_and_gradient_stay_finite_for_huge_logits(dtype):
    logits = torch.tensor([[1e4, 0.0, -1e4]], dtype=dtype, requires_grad=True)
    goal = Target(*(torch.ones(s, dtype=dtype) for s in ((1, 3), (1, 3), (1,))))
    value = targets.loss(logits, goal, torch.tensor([0]), torch.tensor(2.0, dtype=dtype))
    assert value.isfinite() and value.dtype == dtype
    assert torch.autograd.grad(value, logits)[0].isfinite().all()
