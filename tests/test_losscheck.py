"""Losses as people write them, right and wrong: each fault is named, nothing right is blamed."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from losses import GRID, RIGHT, errors
from losses_wrong import WRONG
from torch import Tensor
from torch.testing import assert_close

from kdstudy import check_loss, lossfit, targets
from kdstudy.lossfaults import LABELS, STEPS, VIEWS, Form, Setting, forms, weighings
from kdstudy.lossreport import WORDS
from kdstudy.registry import Context


@pytest.mark.parametrize(("classes", "tau"), [*GRID, (10, 1.0), (2, 20.0)])
@pytest.mark.parametrize("name", RIGHT)
def test_a_correct_loss_is_correct(name, classes, tau):
    report = check_loss(RIGHT[name](tau, 0.9), classes, tau=tau, alpha=0.9)
    assert report.ok and report.codes[0] == "correct" and {*report.codes[1:]} <= {"teacher_not_detached"}, str(report)


@pytest.mark.parametrize(("classes", "tau"), GRID)
@pytest.mark.parametrize("name", WRONG)
def test_a_fault_is_named_and_no_other(name, classes, tau):
    make, codes = WRONG[name]
    report = check_loss(make(tau, 0.9), classes, tau=tau, alpha=0.9)
    assert errors(report) == codes and not report.ok, str(report)
    assert not any("or" in f.evidence for f in report.findings), str(report)


def test_every_finding_there_is_is_shown_by_a_test():
    elsewhere = {"correct", "teacher_not_detached", "hard_smoothed", "inexact", "not_finite_in_half", "raises",
                 "value_without_gradient", "tau_not_wanted", "tau_squared_not_wanted"}  # fmt: skip
    assert {*WORDS} == elsewhere | set().union(*(codes for _, codes in WRONG.values()))
    known = {f.code for squared in (True, False) for w in weighings(Setting(3, 4.0, 0.9, squared)) for f in w.factors}
    assert known | {step.code for step in STEPS} <= {*WORDS}


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(sorted(RIGHT)), st.floats(0.3, 30), st.floats(0, 1), st.integers(2, 40))
def test_a_correct_loss_is_correct_at_any_temperature_and_weight(name, tau, alpha, classes):
    report = check_loss(RIGHT[name](tau, alpha), classes, tau=tau, alpha=alpha)
    assert report.ok and report.codes[0] == "correct", str(report)


FORMS = [[*forms(faults, Form())] for faults in range(3)]


@settings(deadline=None, max_examples=20)
@given(st.data(), st.integers(0, 2), st.booleans())
def test_faults_together_are_explained_by_no_more_than_they_are(data, faults, squared):
    meant = Setting(
        data.draw(st.integers(3, 12)), data.draw(st.floats(1.5, 8)), data.draw(st.floats(0.1, 0.9)), squared
    )
    form, steps = data.draw(st.sampled_from(FORMS[faults]))
    weighing = data.draw(st.sampled_from([w for w in weighings(meant) if len(w.codes) <= 2]))

    def loss(z, v, y):
        parts = lossfit.values(form, z, lossfit.Probe(z, v, y, z), meant)
        return weighing.hard(*z.shape) * parts[0] + weighing.soft(*z.shape) * parts[1]

    report = check_loss(loss, meant.classes, tau=meant.tau, alpha=meant.alpha, tau_squared=squared)
    found = errors(report) - {"not_finite"}
    assert not found & {"unknown", "other_weights"} or {s.code for s in steps} & {"squared_error", "teacher_argmax"}
    assert len(found) <= len({s.code for s in steps} | weighing.codes), str(report)


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0])
def test_what_is_meant_is_the_one_loss_of_the_study(alpha, squared):
    at, tau = lossfit.probe(6, 5, 2.0), 3.0
    goal = targets.target(targets.make("kd", tau=tau, alpha=alpha), at.v, at.y, Context(5, torch.float64))
    if not squared:
        goal = targets.Target(goal.hard, goal.soft / tau**2, goal.rest)

    def slope(fn: Callable[[Tensor], Tensor]) -> Tensor:
        z = at.z.clone().requires_grad_()
        return torch.autograd.grad(fn(z), z)[0]

    ours = slope(lambda z: Setting(5, tau, alpha, squared)(z, at.v, at.y))
    theirs = slope(lambda z: targets.loss(z, goal, at.y, torch.tensor(tau, dtype=torch.float64)))
    assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_every_view_and_label_of_the_catalogue_is_used():
    used = {value for step in STEPS for _, value in step.changes}
    assert {*VIEWS} - {"cooled"} <= used and {*LABELS} - {"own"} <= used
    assert len({form for n in (0, 1) for form, _ in forms(n, Form())}) == 1 + len(STEPS)
