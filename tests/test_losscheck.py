"""Losses as people write them, right and wrong: each fault is named, nothing right is blamed, nothing raises."""

import functools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from conftest import says
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from kdstudy import check_loss, lossfit, targets
from kdstudy.lossfaults import LABELS, STEPS, VIEWS, Form, Setting, forms, weighings
from kdstudy.lossreport import WORDS, LossReport, finding
from kdstudy.registry import Context

GRID = [(2, 4.0), (10, 2.0), (100, 20.0), (1000, 4.0)]  # classes and temperature
Made = Callable[[float, float], Callable]
RIGHT: dict[str, Made] = {}
WRONG: dict[str, tuple[Made, set[str]]] = {}


def errors(report: LossReport) -> set[str]:
    return {f.code for f in report.findings if f.severity == "error"}


def right(make: Made) -> Made:
    RIGHT[make.__name__] = make
    return make


def wrong(*codes: str) -> Callable[[Made], Made]:
    def register(make: Made) -> Made:
        WRONG[make.__name__] = make, set(codes)
        return make

    return register


def mixed(soft: Callable[[Tensor, Tensor, float], Tensor]) -> Made:
    """A maker of (1 - a) CE + a T^2 soft, for faults of the soft part alone."""

    def make(T: float, a: float) -> Callable:
        return lambda z, v, y: (1 - a) * F.cross_entropy(z, y) + a * T * T * soft(z, v.detach(), T)

    return make


def plant(name: str, codes: str | tuple[str, ...], soft: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """A loss with a wrong soft part."""
    WRONG[name] = mixed(soft), {codes} if isinstance(codes, str) else set(codes)


def plant_hard(name: str, code: str, hard: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """A loss with a wrong hard part."""
    WRONG[name] = lambda T, a: lambda z, v, y: (1 - a) * hard(z, y, T) + a * T * T * kl(z, v.detach(), T), {code}


def kl(z: Tensor, v: Tensor, T: float) -> Tensor:
    return F.kl_div(F.log_softmax(z / T, dim=1), F.softmax(v / T, dim=1), reduction="batchmean")


# ---------------------------------------------------------------- right


@right
def batchmean(T, a):
    criterion = nn.KLDivLoss(reduction="batchmean")

    def loss_fn_kd(outputs, teacher_outputs, labels):
        soft = criterion(F.log_softmax(outputs / T, dim=1), F.softmax(teacher_outputs / T, dim=1))
        return soft * (a * T * T) + F.cross_entropy(outputs, labels) * (1.0 - a)

    return loss_fn_kd


@right
def soft_cross_entropy(T, a):
    return lambda z, v, y: (1 - a) * F.cross_entropy(z, y) + a * T**2 * F.cross_entropy(z / T, (v / T).softmax(-1))


@right
def by_hand(T, a):
    def loss(z, v, y):
        log_q = z - z.logsumexp(-1, keepdim=True)
        soft = (z / T).log_softmax(-1) * (v.detach() / T).softmax(-1)
        return -(1 - a) * log_q[torch.arange(len(y)), y].sum() / len(y) - a * T * T * soft.sum() / z.shape[0]

    return loss


@right
def log_target(T, a):
    criterion = nn.KLDivLoss(reduction="batchmean", log_target=True)

    def loss(z, v, y):
        with torch.no_grad():
            teacher = F.log_softmax(v / T, dim=-1)
        return (1 - a) * nn.NLLLoss()(F.log_softmax(z, dim=-1), y) + a * T * T * criterion(
            F.log_softmax(z / T, dim=-1), teacher
        )

    return loss


@right
def one_hot_labels_and_a_mean_over_rows(T, a):
    def loss(z, v, y):
        target = F.one_hot(y, z.shape[1]).to(z)
        p = torch.softmax(v / T, 1)
        hard = -(target * z.log_softmax(1)).sum(1)
        soft = F.kl_div((z / T).log_softmax(1), p, reduction="none").sum(1)
        return (hard * (1 - a) + soft * a * T**2).mean()

    return loss


@right
def a_module(T, a):
    class Distiller(nn.Module):
        def forward(self, student, teacher, labels):
            return (1 - a) * F.cross_entropy(student, labels) + a * T * T * kl(student, teacher.detach(), T)

    return Distiller()


@right
def a_mean_over_everything_times_the_classes(T, a):
    def soft(z, v):
        return nn.KLDivLoss(reduction="mean")((z / T).log_softmax(1), (v / T).softmax(1)) * z.shape[1]

    return lambda z, v, y: (1 - a) * F.cross_entropy(z, y) + a * T * T * soft(z, v)


@right
def log_softmax_of_log_softmax(T, a):  # idempotent: superfluous, but right
    return lambda z, v, y: (
        (1 - a) * F.cross_entropy(z.log_softmax(-1), y) + a * T * T * kl(z.log_softmax(-1), v.log_softmax(-1), T)
    )


# ---------------------------------------------------------------- wrong weights


@wrong("averaged_over_classes")
def tf_kd(T, a):
    def loss_kd(outputs, teacher_outputs, labels):
        D_KL = nn.KLDivLoss()(F.log_softmax(outputs / T, dim=1), F.softmax(teacher_outputs / T, dim=1)) * (T * T)
        return (1.0 - a) * F.cross_entropy(outputs, labels) + a * D_KL

    return loss_kd


@wrong("averaged_over_classes", "tau_squared_missing")
def tf_kd_without_squared(T, a):
    return lambda z, v, y: (
        (1 - a) * F.cross_entropy(z, y) + a * nn.KLDivLoss()(F.log_softmax(z / T, 1), F.softmax(v / T, 1))
    )


@wrong("tau_squared_missing")
def distiller(T, a):
    return lambda z, v, y: a * kl(z, v, T) + (1 - a) * nn.CrossEntropyLoss()(z, y)


@wrong("tau_not_squared")
def times_tau(T, a):
    return lambda z, v, y: a * T * kl(z, v, T) + (1 - a) * F.cross_entropy(z, y)


@wrong("tau_squared_twice")
def squared_twice(T, a):
    return lambda z, v, y: a * T**2 * (kl(z, v, T) * T**2) + (1 - a) * F.cross_entropy(z, y)


@wrong("tau_squared_on_hard")
def squared_around_both(T, a):
    return lambda z, v, y: (a * kl(z, v, T) + (1 - a) * F.cross_entropy(z, y)) * T * T


@wrong("summed_over_batch")
def summed(T, a):
    kld = nn.KLDivLoss(reduction="sum")
    return lambda z, v, y: (
        a * T * T * kld(F.log_softmax(z / T, 1), F.softmax(v / T, 1)) + (1 - a) * F.cross_entropy(z, y)
    )


@wrong("summed_over_batch")
def both_summed(T, a):
    def loss(z, v, y):
        soft = -((v / T).softmax(1) * (z / T).log_softmax(1)).sum()
        return a * T * T * soft + (1 - a) * F.cross_entropy(z, y, reduction="sum")

    return loss


@wrong("averaged_twice")
def averaged_again(T, a):
    return lambda z, v, y: a * T * T * kl(z, v, T) / len(z) + (1 - a) * F.cross_entropy(z, y)


@wrong("alpha_swapped")
def swapped_weights(T, a):
    return lambda z, v, y: (1 - a) * T * T * kl(z, v, T) + a * F.cross_entropy(z, y)


@wrong("alpha_swapped", "tau_squared_missing")
def swapped_weights_without_squared(T, a):
    return lambda z, v, y: (1 - a) * kl(z, v, T) + a * F.cross_entropy(z, y)


@wrong("alpha_missing")
def hard_unweighted(T, a):
    return lambda z, v, y: a * T * T * kl(z, v, T) + F.cross_entropy(z, y)


@wrong("alpha_missing")
def unweighted(T, a):
    return lambda z, v, y: T * T * kl(z, v, T) + F.cross_entropy(z, y)


@wrong("hard_term_missing")
def soft_only(T, a):
    return lambda z, v, y: T * T * kl(z, v, T)


@wrong("soft_term_missing")
def hard_only(T, a):
    return lambda z, v, y: F.cross_entropy(z, y) * (1 - a)


@wrong("other_weights")
def some_weights(T, a):
    return lambda z, v, y: 0.37 * F.cross_entropy(z, y) + 2.9 * kl(z, v, T)


@wrong("other_alpha")
def another_alpha(T, a):
    return batchmean(T, 0.35)


@wrong("other_temperature")
def another_temperature(T, a):
    return batchmean(3.0, a)


@wrong("other_temperature", "averaged_over_classes")
def another_temperature_averaged(T, a):
    return tf_kd(2.5, a)


# ---------------------------------------------------------------- wrong forms


def kl_(log_q: Tensor, p: Tensor, **options: object) -> Tensor:
    return F.kl_div(log_q, p, reduction="batchmean", **options)


def cool(z: Tensor, T: float) -> Tensor:
    return torch.softmax(z / T, -1)


def log_cool(z: Tensor, T: float) -> Tensor:
    return torch.log_softmax(z / T, -1)


plant("student_cooled", "tau_on_student_only", lambda z, v, T: kl_(log_cool(z, T), F.softmax(v, -1)))
plant("teacher_cooled", "tau_on_teacher_only", lambda z, v, T: kl_(F.log_softmax(z, -1), cool(v, T)))
plant("none_cooled", "tau_not_applied", lambda z, v, T: kl_(F.log_softmax(z, -1), F.softmax(v, -1)))
plant("cached_probabilities", "softmax_twice", lambda z, v, T: kl_(log_cool(z, T), cool(v.softmax(-1), T)))  # Tf-KD_reg
plant("model_ends_in_softmax", "softmax_twice", lambda z, v, T: kl_(log_cool(z.softmax(-1), T), cool(v, T)))
plant("both_end_in_softmax", "softmax_twice", lambda z, v, T: kl(z.softmax(-1), v.softmax(-1), T))
plant("log_softmax_of_softmax", "softmax_twice", lambda z, v, T: kl_(F.log_softmax(cool(z, T), -1), cool(v, T)))
plant("entropy_of_softmax", "softmax_twice", lambda z, v, T: F.cross_entropy(cool(z, T), cool(v, T)))
plant("over_the_batch", "softmax_over_batch", lambda z, v, T: kl_((z / T).log_softmax(0), (v / T).softmax(0)))
plant("student_over_the_batch", "softmax_over_batch", lambda z, v, T: kl_((z / T).log_softmax(0), cool(v, T)))
plant("teacher_over_the_batch", "softmax_over_batch", lambda z, v, T: kl_(log_cool(z, T), (v / T).softmax(0)))
plant("reversed", "reversed_kl", lambda z, v, T: kl_(log_cool(v, T), cool(z, T)))  # labml, keras-io
plant("reversed_by_hand", "reversed_kl", lambda z, v, T: (cool(z, T) * (log_cool(z, T) - log_cool(v, T))).sum(1).mean())
plant("no_log", "log_missing", lambda z, v, T: kl_(cool(z, T), cool(v, T)))
plant("logs_of_the_teacher", "log_target_mismatch", lambda z, v, T: kl_(log_cool(z, T), log_cool(v, T)))
plant("log_target_set", "log_target_mismatch", lambda z, v, T: kl_(log_cool(z, T), cool(v, T), log_target=True))
plant("mse_of_logits", "squared_error", lambda z, v, T: nn.MSELoss()(z, v))
plant("mse_of_probabilities", "squared_error", lambda z, v, T: nn.MSELoss()(cool(z, T), cool(v, T)))
plant("mse_of_raw_probabilities", "squared_error", lambda z, v, T: F.mse_loss(z.softmax(1), v.softmax(1)))
plant("argmax", "teacher_argmax", lambda z, v, T: F.cross_entropy(z, v.argmax(1)))
plant("soft_detached", "student_detached", lambda z, v, T: kl(z.detach(), v, T))
plant("reversed_mean", ("reversed_kl", "averaged_over_classes"),
      lambda z, v, T: nn.KLDivLoss()(log_cool(v, T), cool(z, T)))  # fmt: skip
plant("one_sided_without_squared", ("tau_on_student_only", "tau_squared_missing"),
      lambda z, v, T: kl_(log_cool(z, T), F.softmax(v, -1)) / T**2)  # fmt: skip
plant("no_log_summed", ("log_missing", "summed_over_batch"),
      lambda z, v, T: F.kl_div(cool(z, T), cool(v, T), reduction="sum"))  # fmt: skip

plant_hard("softened", "hard_softened", lambda z, y, T: F.cross_entropy(z / T, y))
plant_hard("entropy_of_probabilities", "softmax_twice", lambda z, y, T: F.cross_entropy(z.softmax(-1), y))
plant_hard("softened_probabilities", "softmax_twice", lambda z, y, T: F.cross_entropy(cool(z, T), y))
plant_hard("nll_of_probabilities", "log_missing", lambda z, y, T: F.nll_loss(z.softmax(-1), y))
plant_hard("gnosis", "hard_all_pairs", lambda z, y, T: -F.log_softmax(z, -1)[..., y].mean())
plant_hard("hard_summed", "summed_over_batch", lambda z, y, T: F.cross_entropy(z, y, reduction="sum"))
plant_hard("hard_detached", "student_detached", lambda z, y, T: F.cross_entropy(z.detach(), y))


@wrong("hard_softened", "softmax_twice")
def softened_and_twice(T, a):
    return lambda z, v, y: (1 - a) * F.cross_entropy(z / T, y) + a * T * T * kl_(log_cool(z, T), cool(v.softmax(-1), T))


@wrong("hard_all_pairs", "reversed_kl")
def gnosis_reversed(T, a):
    return lambda z, v, y: -(1 - a) * z.log_softmax(-1)[..., y].mean() + a * T * T * kl_(log_cool(v, T), cool(z, T))


# ---------------------------------------------------------------- wrong gradients and behaviour


@wrong("arguments_swapped")
def called_the_other_way_round(T, a):
    return lambda z, v, y: batchmean(T, a)(v, z, y)


@wrong("arguments_swapped")
def the_other_way_round_and_detached(T, a):
    return lambda z, v, y: by_hand(T, a)(v, z, y)


@wrong("arguments_swapped")
def the_student_as_a_fixed_target(T, a):
    return lambda z, v, y: (1 - a) * F.cross_entropy(z, y) + a * T * T * kl_(log_cool(v, T), cool(z.detach(), T))


@wrong("arguments_swapped", "averaged_over_classes")
def the_other_way_round_and_averaged(T, a):
    return lambda z, v, y: tf_kd(T, a)(v, z.detach(), y)


@wrong("student_detached")
def detached(T, a):
    return lambda z, v, y: batchmean(T, a)(z.detach(), v, y)


@wrong("student_detached")
def made_anew(T, a):
    return lambda z, v, y: torch.tensor(batchmean(T, a)(z, v, y).item())


@wrong("not_a_tensor")
def a_number(T, a):
    return lambda z, v, y: batchmean(T, a)(z, v, y).item()


@wrong("not_a_tensor")
def a_pair(T, a):
    return lambda z, v, y: (F.cross_entropy(z, y), kl(z, v, T))


@wrong("per_example")
def unreduced(T, a):
    def loss(z, v, y):
        soft = nn.KLDivLoss(reduction="none")(log_cool(z, T), cool(v, T)).sum(1)
        return (1 - a) * F.cross_entropy(z, y, reduction="none") + a * T * T * soft

    return loss


@wrong("per_example", "tau_squared_missing")
def unreduced_without_squared(T, a):
    def loss(z, v, y):
        soft = nn.KLDivLoss(reduction="none")(log_cool(z, T), cool(v, T)).sum(1)
        return (1 - a) * F.cross_entropy(z, y, reduction="none") + a * soft

    return loss


@wrong("depends_on_order")
def cached_in_another_order(T, a):  # haitongli
    return lambda z, v, y: batchmean(T, a)(z, v.flip(0), y)


@wrong("depends_on_other_rows")
def normalised_over_the_batch(T, a):
    return lambda z, v, y: batchmean(T, a)(z - z.mean(0), v, y)


@wrong("not_deterministic")
def with_dropout(T, a):
    return lambda z, v, y: batchmean(T, a)(F.dropout(z, 0.5), v, y)


@wrong("modifies_its_input", "hard_softened")
def in_place(T, a):
    def loss(z, v, y):
        z /= T
        return (1 - a) * F.cross_entropy(z, y) + a * T * T * kl(z, v.detach() / T, 1.0)

    return loss


@wrong("modifies_its_input")
def cleared_after_use(T, a):
    def loss(z, v, y):
        value = batchmean(T, a)(z, v.detach(), y)
        v.detach().zero_()
        return value

    return loss


@wrong("not_finite")
def log_of_softmax(T, a):
    def loss(z, v, y):
        return (1 - a) * F.cross_entropy(z, y) - a * T * T * (cool(v, T) * cool(z, T).log()).sum(1).mean()

    return loss


@wrong("not_finite")
def entropy_by_hand(T, a):
    def loss(z, v, y):
        p = cool(v, T)
        return (1 - a) * F.cross_entropy(z, y) + a * T * T * (p * (p.log() - log_cool(z, T))).sum(1).mean()

    return loss


@wrong("not_finite")
def softmax_by_hand(T, a):
    def loss(z, v, y):
        p = (v / T).exp() / (v / T).exp().sum(1, keepdim=True)
        return (1 - a) * F.cross_entropy(z, y) + a * T * T * F.kl_div(log_cool(z, T), p, reduction="batchmean")

    return loss


@wrong("unknown")
def something_else(T, a):
    return lambda z, v, y: F.cross_entropy(z, y) + (z - v.detach()).abs().pow(1.5).mean()


# ---------------------------------------------------------------- tests


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
    form, steps = data.draw(st.sampled_from([*forms(faults, Form())]))
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


# ---------------------------------------------------------------- what raises


def test_an_exception_becomes_a_finding():
    def broken(z, v, y):
        raise KeyError("temperature")

    report = check_loss(broken, 10)
    assert report.findings == (
        finding("raises", error="KeyError", message="'temperature'", batch=5, classes=10, dtype="float32"),
    )
    assert not report.ok


def test_a_function_for_one_batch_size_is_told_so():
    report = check_loss(lambda z, v, y: batchmean(4.0, 0.9)(z + torch.zeros(5, 1), v, y), 10)
    assert report.codes == ("raises",) and report.findings[0].evidence["batch"] == 8


class Odd(torch.autograd.Function):
    """Raises on its way back."""

    @staticmethod
    def forward(ctx, z):  # noqa: D102
        return z.sum()

    @staticmethod
    def backward(ctx, slope):  # noqa: D102
        raise RuntimeError("no way back")


@pytest.mark.parametrize(
    "odd",
    [
        lambda: None,
        lambda z: z,
        lambda z, v, y: None,
        lambda z, v, y: "loss",
        lambda z, v, y: 0.0,
        lambda z, v, y: z,
        lambda z, v, y: z[:0],
        lambda z, v, y: y,
        lambda z, v, y: y == 0,
        lambda z, v, y: z.to(torch.complex128).sum(),
        lambda z, v, y: z.sum() * float("nan"),
        lambda z, v, y: z.sum() * float("inf"),
        lambda z, v, y: z.sum() * 0,
        lambda z, v, y: torch.zeros(()),
        lambda z, v, y: z.half().sum(),
        lambda z, v, y: F.cross_entropy(z, v, y),
        lambda z, v, y: [][len(y)],
        lambda z, v, y: Odd.apply(z),
        lambda z, v, y: z.numpy(),
        lambda z, v, y: z.to_sparse(),
        lambda z, v, y: z.sum(1, keepdim=True),
        nn.KLDivLoss(),
        nn.CrossEntropyLoss(),
        dict,
    ],
)
def test_whatever_it_does_there_is_a_report(odd):
    report = check_loss(odd, 3)
    assert not report.ok and str(report) and report._repr_markdown_()


def test_random_numbers_threads_and_modes_stay_as_they_were():
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    with torch.no_grad():
        assert errors(check_loss(with_dropout(4.0, 0.9), 10)) == {"not_deterministic"}
        assert check_loss(batchmean(4.0, 0.9), 10).ok and not torch.is_grad_enabled()
    assert torch.equal(before, torch.random.get_rng_state()) and torch.get_num_threads() == threads


def test_reports_are_equal_from_call_to_call():
    one, two = (str(check_loss(something_else(4.0, 0.9), 10)) for _ in range(2))
    assert one == two


# ---------------------------------------------------------------- words


STATED = (
    "(1 - alpha) CE(z, y) + alpha tau^2 KL(p^tau || q^tau), mean over the batch; tau = 4, alpha = 0.9, C = 100, float64"
)


def test_the_report_as_text():
    assert str(check_loss(tf_kd(4.0, 0.9), 100)).splitlines()[:2] == [
        f"FAULTY, against {STATED}",
        "error averaged_over_classes: the soft part is averaged over classes too, so it is divided by C "
        "[part soft, measured 0.01, expected 1, factor 1 / C = 0.01]. To do: KLDivLoss's default 'mean' divides by "
        "B * C: use reduction='batchmean', or sum over classes first.",
    ]
    assert str(check_loss(by_hand(4.0, 0.9), 100)).startswith(
        f"ok, against {STATED}\ninfo correct: value and gradient are those of the loss as stated [difference "
    )


def test_the_report_in_a_notebook():
    text = check_loss(lambda z, v, y: [][0], 100)._repr_markdown_()
    assert text == (
        f"**Faulty**, against `{STATED.replace('float64', 'float32')}`\n\n"
        "|  | finding | what | evidence | to do |\n| --- | --- | --- | --- | --- |\n"
        "| error | `raises` | it raises IndexError: list index out of range | error IndexError, message list index out "
        "of range, batch 5, classes 100, dtype float32 | fn is called as fn(student_logits, teacher_logits, labels) "
        "with (B, C), (B, C) and (B,) |"
    )
    assert "KL(q^tau \\|\\| p^tau)" in check_loss(WRONG["reversed"][0](4.0, 0.9), 10)._repr_markdown_()


def test_what_is_stated_without_squares_and_with_another_hard_term():
    meant = Setting(10, 2.0, 0.5, False, F.cross_entropy)
    assert str(meant) == "(1 - alpha) hard(z, y) + alpha KL(p^tau || q^tau), mean over the batch"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"fn": 3}, "fn: found 3, allowed: a function of (student_logits, teacher_logits, labels)"),
        ({"num_classes": 1}, "num_classes: found 1, allowed: a whole number of at least 2"),
        ({"tau": 0.0}, "tau: found 0.0, allowed: a finite number above 0"),
        ({"tau": float("inf")}, "tau: found inf, allowed: a finite number above 0"),
        ({"tau": float("nan")}, "tau: found nan, allowed: a finite number above 0"),
        ({"alpha": 1.5}, "alpha: found 1.5, allowed: 0 <= alpha <= 1"),
        ({"hard": "CE"}, "hard: found 'CE', allowed: None, or a function of (student_logits, labels)"),
        ({"dtype": torch.float16}, "dtype: found torch.float16, allowed: torch.float64, torch.float32"),
    ],
)
def test_arguments_are_checked(wrong, message):
    with pytest.raises(ValueError, match=says(message)):
        check_loss(**{"fn": batchmean(4.0, 0.9), "num_classes": 10} | wrong)


def test_every_view_and_label_of_the_catalogue_is_used():
    used = {value for step in STEPS for _, value in step.changes}
    assert {*VIEWS} - {"cooled"} <= used and {*LABELS} - {"own"} <= used
    assert len({form for n in (0, 1) for form, _ in forms(n, Form())}) == 1 + len(STEPS)
