"""Losses as people write them, right and wrong: each fault is named, nothing right is blamed."""

import functools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from losses import (
    GRID,
    RIGHT,
    WRONG,
    batchmean,
    by_hand,
    distiller,
    errors,
    kl,
    soft_cross_entropy,
    soft_only,
    swapped_weights,
    tf_kd,
    tf_kd_without_squared,
    times_tau,
)
from torch import Tensor
from torch.testing import assert_close

from kdstudy import check_loss
from kdstudy.distill import conditions
from kdstudy.distill.registry import Context
from kdstudy.losscheck.call import draw_batch
from kdstudy.losscheck.report import WORDS, finding
from kdstudy.losscheck.variants import FORM_FAULTS, HARD_TERMS, INPUTS, Form, KDLoss, forms, weightings


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


def test_every_finding_variant_and_fault_there_is_is_shown_by_a_test():
    elsewhere = {"correct", "teacher_not_detached", "hard_smoothed", "inexact", "not_finite_in_half", "raises",
                 "value_without_gradient", "tau_not_wanted", "tau_squared_not_wanted"}  # fmt: skip
    assert {*WORDS} == elsewhere | set().union(*(codes for _, codes in WRONG.values()))
    known = {f.code for squared in (True, False) for w in weightings(KDLoss(3, 4.0, 0.9, squared)) for f in w.faults}
    assert known | {fault.code for fault in FORM_FAULTS} <= {*WORDS}
    used = {value for fault in FORM_FAULTS for value in fault.changes.values()}
    assert {*INPUTS} - {"softened"} <= used and {*HARD_TERMS} - {"right"} <= used
    assert len({form for n in (0, 1) for form, _ in forms(n, Form())}) == 1 + len(FORM_FAULTS)


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(sorted(RIGHT)), st.floats(0.3, 30), st.floats(0, 1), st.integers(2, 40))
def test_a_correct_loss_is_correct_at_any_temperature_and_weight(name, tau, alpha, classes):
    report = check_loss(RIGHT[name](tau, alpha), classes, tau=tau, alpha=alpha)
    assert report.ok and report.codes[0] == "correct", str(report)


FORMS = [[*forms(number, Form())] for number in range(3)]


@settings(deadline=None, max_examples=20)
@given(st.data(), st.integers(0, 2), st.booleans())
def test_faults_together_are_explained_by_no_more_than_they_are(data, number, squared):
    classes, tau, alpha = (data.draw(s) for s in (st.integers(3, 12), st.floats(1.5, 8), st.floats(0.1, 0.9)))
    right = KDLoss(classes, tau, alpha, squared)
    form, faults = data.draw(st.sampled_from(FORMS[number]))
    weights = data.draw(st.sampled_from([w for w in weightings(right) if len(w.codes) <= 2]))
    report = check_loss(right.variant(form, weights), classes, tau=tau, alpha=alpha, tau_squared=squared)
    found, of_form = errors(report) - {"not_finite"}, {fault.code for fault in faults}
    assert not found & {"unknown", "other_weights"} or of_form & {"squared_error", "teacher_argmax"}
    assert len(found) <= len(of_form | weights.codes), str(report)


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0])
def test_what_is_meant_is_the_one_loss_of_the_study(alpha, squared):
    batch, tau = draw_batch(6, 5, 2.0), 3.0
    goal = conditions.target(conditions.make("kd", tau=tau, alpha=alpha), batch.v, batch.y, Context(5, torch.float64))
    if not squared:
        goal = conditions.Target(goal.hard, goal.soft / tau**2, goal.rest)

    def gradient(fn: Callable[[Tensor], Tensor]) -> Tensor:
        z = batch.z.clone().requires_grad_()
        return torch.autograd.grad(fn(z), z)[0]

    ours = gradient(lambda z: KDLoss(5, tau, alpha, squared)(z, batch.v, batch.y))
    theirs = gradient(lambda z: conditions.loss(z, goal, batch.y, torch.tensor(tau, dtype=torch.float64)))
    assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


# ---------------------------------------------------------------- what is no fault


@pytest.mark.parametrize("name", ["distiller", "times_tau", "squared_twice", "squared_around_both", "student_cooled",
                                  "teacher_cooled", "none_cooled", "softened"])  # fmt: skip
def test_at_temperature_one_no_fault_of_the_temperature_is_one(name):
    assert check_loss(WRONG[name][0](1.0, 0.9), 10, tau=1.0, alpha=0.9).ok


@pytest.mark.parametrize(
    ("loss", "options", "codes"),
    [
        (tf_kd_without_squared(1.0, 0.9), {"tau": 1.0}, {"averaged_over_classes"}),  # other faults at temperature 1
        (swapped_weights(4.0, 0.5), {"alpha": 0.5}, set()),  # exchanged weights that are equal
        (soft_only(4.0, 1.0), {"alpha": 1.0}, set()),  # the soft term alone is what alpha = 1 means
        (batchmean(4.0, 0.9), {"alpha": 1.0}, {"other_alpha"}),
        (distiller(4.0, 0.9), {"tau_squared": False}, set()),  # the convention without tau^2
        (batchmean(4.0, 0.9), {"tau_squared": False}, {"tau_squared_not_wanted"}),
        (times_tau(4.0, 0.9), {"tau_squared": False}, {"tau_not_wanted"}),
    ],
)
def test_what_is_stated_says_what_is_a_fault(loss, options, codes):
    report = check_loss(loss, 10, **options)
    assert errors(report) == codes and report.ok == (not codes), str(report)


def test_another_hard_term_is_stated_or_found():
    smooth = functools.partial(F.cross_entropy, label_smoothing=0.15)

    def loss(z, v, y, squared=16):
        return 0.3 * smooth(z, y) + 0.7 * squared * kl(z, v.detach(), 4.0)

    assert check_loss(loss, 10, alpha=0.7, hard=smooth).codes == ("correct",)
    report = check_loss(loss, 10, alpha=0.7)
    assert report.ok and report.findings[0] == finding("hard_smoothed", measured=0.15, expected=0.0), str(report)
    unsquared = functools.partial(loss, squared=1)
    assert {*check_loss(unsquared, 10, alpha=0.7).codes} == {"hard_smoothed", "tau_squared_missing"}
    assert errors(check_loss(unsquared, 10, alpha=0.7, hard=smooth)) == {"tau_squared_missing"}


def test_a_small_epsilon_inside_the_logarithm_is_told_not_blamed():
    def loss(z, v, y):
        q = (z / 4).softmax(-1)
        return 0.1 * F.cross_entropy(z, y) - 0.9 * 16 * ((v.detach() / 4).softmax(-1) * (q + 1e-5).log()).sum(1).mean()

    report = check_loss(loss, 10)
    assert report.ok and report.codes[0] == "inexact", str(report)


def test_a_teacher_that_is_not_detached_and_a_value_without_gradient_are_warnings():
    assert check_loss(batchmean(4.0, 0.9), 10).codes == ("correct", "teacher_not_detached")
    assert check_loss(by_hand(4.0, 0.9), 10).codes == ("correct",)
    report = check_loss(lambda z, v, y: by_hand(4.0, 0.9)(z, v, y) + z.detach().pow(2).mean(), 10)
    assert report.ok and report.codes == ("value_without_gradient",), str(report)


@pytest.mark.parametrize(
    ("fn", "value"),
    [
        (batchmean(4.0, 0.9), "with KL"),
        (soft_cross_entropy(4.0, 0.9), "with cross-entropy: more by the teacher's entropy, which has no gradient"),
        (lambda z, v, y: batchmean(4.0, 0.9)(z, v, y) + 5, "more by 5, which has no gradient"),
    ],
)
def test_the_constant_of_the_value_is_told(fn, value):
    assert check_loss(fn, 10).findings[0].evidence["value"] == value


# ---------------------------------------------------------------- what can be either


def test_the_mean_over_classes_is_told_from_a_missing_square_where_both_are_one_sixteenth():
    assert errors(check_loss(tf_kd(4.0, 0.9), 16)) == {"averaged_over_classes"}
    assert errors(check_loss(distiller(4.0, 0.9), 16)) == {"tau_squared_missing"}


def test_what_cannot_be_told_apart_is_said():
    """A function for 16 classes only: the same factor has two names."""
    report = check_loss(lambda z, v, y: distiller(4.0, 0.9)(z + torch.zeros(16), v, y), 16)
    (fault,) = (f for f in report.findings if f.severity == "error")
    assert {fault.code, fault.evidence["or"]} == {"averaged_over_classes", "tau_squared_missing"}
    assert fault.evidence["measured"] == pytest.approx(1 / 16)


# ---------------------------------------------------------------- precision


@pytest.mark.parametrize("name", ["batchmean", "soft_cross_entropy", "by_hand", "log_target"])
@pytest.mark.parametrize(("classes", "tau"), GRID)
def test_float32_is_enough(name, classes, tau):
    def only(z, v, y):
        assert z.dtype == torch.float32, "float32 only"
        return RIGHT[name](tau, 0.9)(z, v, y)

    report = check_loss(only, classes, tau=tau)
    assert report.ok and report.codes[0] == "correct" and report.dtype == "float32", str(report)
    cast = check_loss(lambda z, v, y: RIGHT[name](tau, 0.9)(z.float(), v.float(), y), classes, tau=tau)
    assert cast.ok and cast.codes[0] == "correct" and cast.dtype == "float64", str(cast)


@pytest.mark.parametrize("name", ["tf_kd", "distiller", "reversed", "gnosis", "cached_probabilities", "summed"])
@pytest.mark.parametrize(("classes", "tau"), GRID)
def test_faults_are_named_in_float32(name, classes, tau):
    make, codes = WRONG[name]
    assert errors(check_loss(make(tau, 0.9), classes, tau=tau, dtype=torch.float32)) == codes


def test_underflow_in_float32_and_overflow_in_float16_are_named():
    report = check_loss(lambda z, v, y: by_hand(100.0, 0.9)(z.float().softmax(-1).log(), v.float(), y), 10, tau=100.0)
    assert report.codes == ("not_finite",) and "logits up to" in report.findings[0].evidence["where"], str(report)
    report = check_loss(by_hand(100.0, 0.9), 100, tau=100.0)
    assert report.ok and report.codes == ("correct", "not_finite_in_half"), str(report)
