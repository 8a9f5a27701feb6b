"""Where a fault is none, where two faults look alike, and what single precision still tells."""

import functools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from losses import GRID, RIGHT, batchmean, by_hand, errors, kl, soft_cross_entropy
from losses_weights import distiller, soft_only, swapped_weights, tf_kd, tf_kd_without_squared, times_tau
from losses_wrong import WRONG

from kdstudy import check_loss
from kdstudy.lossreport import finding

# ---------------------------------------------------------------- what is no fault


@pytest.mark.parametrize("name", ["distiller", "times_tau", "squared_twice", "squared_around_both", "student_cooled",
                                  "teacher_cooled", "none_cooled", "softened"])  # fmt: skip
def test_at_temperature_one_no_fault_of_the_temperature_is_one(name):
    assert check_loss(WRONG[name][0](1.0, 0.9), 10, tau=1.0, alpha=0.9).ok


def test_at_temperature_one_other_faults_are_still_named():
    assert errors(check_loss(tf_kd_without_squared(1.0, 0.9), 10, tau=1.0)) == {"averaged_over_classes"}


def test_with_equal_weights_exchanged_ones_are_no_fault():
    assert check_loss(swapped_weights(4.0, 0.5), 10, alpha=0.5).ok


def test_the_soft_term_alone_is_what_alpha_one_means():
    assert check_loss(soft_only(4.0, 1.0), 10, alpha=1.0).ok
    assert errors(check_loss(batchmean(4.0, 0.9), 10, alpha=1.0)) == {"other_alpha"}


def test_the_convention_without_squared_temperature():
    assert check_loss(distiller(4.0, 0.9), 10, tau_squared=False).ok
    assert errors(check_loss(batchmean(4.0, 0.9), 10, tau_squared=False)) == {"tau_squared_not_wanted"}
    assert errors(check_loss(times_tau(4.0, 0.9), 10, tau_squared=False)) == {"tau_not_wanted"}


def test_another_hard_term_is_stated_or_found():
    smooth = functools.partial(F.cross_entropy, label_smoothing=0.15)

    def loss(z, v, y):
        return 0.3 * smooth(z, y) + 0.7 * 16 * kl(z, v.detach(), 4.0)

    assert check_loss(loss, 10, alpha=0.7, hard=smooth).codes == ("correct",)
    report = check_loss(loss, 10, alpha=0.7)
    assert report.ok and report.findings[0] == finding("hard_smoothed", measured=0.15, expected=0.0), str(report)

    def unsquared(z, v, y):
        return 0.3 * smooth(z, y) + 0.7 * kl(z, v.detach(), 4.0)

    assert {*check_loss(unsquared, 10, alpha=0.7).codes} == {"hard_smoothed", "tau_squared_missing"}
    assert errors(check_loss(unsquared, 10, alpha=0.7, hard=smooth)) == {"tau_squared_missing"}


def test_a_small_epsilon_inside_the_logarithm_is_told_not_blamed():
    def loss(z, v, y):
        q = (z / 4).softmax(-1)
        return 0.1 * F.cross_entropy(z, y) - 0.9 * 16 * ((v.detach() / 4).softmax(-1) * (q + 1e-5).log()).sum(1).mean()

    report = check_loss(loss, 10)
    assert report.ok and report.codes[0] == "inexact", str(report)


def test_a_teacher_that_is_not_detached_is_a_warning():
    assert check_loss(batchmean(4.0, 0.9), 10).codes == ("correct", "teacher_not_detached")
    assert check_loss(by_hand(4.0, 0.9), 10).codes == ("correct",)


def test_a_part_of_the_value_without_gradient_is_a_warning():
    report = check_loss(lambda z, v, y: by_hand(4.0, 0.9)(z, v, y) + z.detach().pow(2).mean(), 10)
    assert report.ok and report.codes == ("value_without_gradient",), str(report)


def test_the_constant_of_the_value_is_told():
    def told(fn: Callable) -> object:
        return check_loss(fn, 10).findings[0].evidence["value"]

    assert told(batchmean(4.0, 0.9)) == "with KL"
    entropy = "with cross-entropy: more by the teacher's entropy, which has no gradient"
    assert told(soft_cross_entropy(4.0, 0.9)) == entropy
    assert told(lambda z, v, y: batchmean(4.0, 0.9)(z, v, y) + 5) == "more by 5, which has no gradient"


# ---------------------------------------------------------------- what can be either


def test_the_mean_over_classes_is_told_from_a_missing_square_where_both_are_one_sixteenth():
    assert errors(check_loss(tf_kd(4.0, 0.9), 16)) == {"averaged_over_classes"}
    assert errors(check_loss(distiller(4.0, 0.9), 16)) == {"tau_squared_missing"}


def test_what_cannot_be_told_apart_is_said():
    """A function for 16 classes only: the same factor has two names."""

    def loss(z, v, y):
        return distiller(4.0, 0.9)(z + torch.zeros(16), v, y)

    report = check_loss(loss, 16)
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


def test_underflow_in_float32_is_named():
    report = check_loss(lambda z, v, y: by_hand(100.0, 0.9)(z.float().softmax(-1).log(), v.float(), y), 10, tau=100.0)
    assert report.codes == ("not_finite",) and "logits up to" in report.findings[0].evidence["where"], str(report)


def test_overflow_in_half_precision_is_a_warning():
    report = check_loss(by_hand(100.0, 0.9), 100, tau=100.0)
    assert report.ok and report.codes == ("correct", "not_finite_in_half"), str(report)
