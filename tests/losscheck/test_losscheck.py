"""Losses as people write them, right and wrong: each fault is named, nothing right is blamed."""

import functools
import json
import sys
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from conftest import says
from hypothesis import given, settings
from hypothesis import strategies as st
from losses import GRID, RIGHT, WRONG, batchmean, by_hand, errors, kl, soft_cross_entropy
from torch import Tensor, nn
from torch.testing import assert_close

from kdstudy import check_loss
from kdstudy.distill import conditions
from kdstudy.distill.conditions import Context
from kdstudy.losscheck.call import draw_batch
from kdstudy.losscheck.report import finding
from kdstudy.losscheck.variants import METHODS, KDLoss, forms, weightings


def loss(name: str, T: float = 4.0, a: float = 0.9) -> Callable[..., object]:
    """The loss of that name, right or wrong."""
    return (RIGHT.get(name) or WRONG[name][0])(T, a)


@pytest.mark.parametrize(("classes", "tau"), [*GRID, (10, 1.0), (2, 20.0)])
@pytest.mark.parametrize("name", RIGHT)
def test_a_correct_loss_is_correct(name, classes, tau):
    report = check_loss(RIGHT[name](tau, 0.9), classes, tau=tau, alpha=0.9)
    assert report.codes == ("correct",), str(report)


@pytest.mark.parametrize(("name", "classes", "tau"), [(n, *GRID[k % len(GRID)]) for k, n in enumerate(WRONG)])
def test_a_fault_is_named_and_no_other(name, classes, tau):
    make, codes = WRONG[name]
    report = check_loss(make(tau, 0.9), classes, tau=tau, alpha=0.9)
    assert errors(report) == codes and report.ok == (codes <= METHODS), str(report)
    assert not any("or" in f.evidence for f in report.findings), str(report)


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(sorted(RIGHT)), st.floats(0.3, 30), st.floats(0, 1), st.integers(2, 40))
def test_a_correct_loss_is_correct_at_any_temperature_and_weight(name, tau, alpha, classes):
    report = check_loss(RIGHT[name](tau, alpha), classes, tau=tau, alpha=alpha)
    assert report.ok and report.codes[0] == "correct", str(report)


FORMS = [[*forms(number, KDLoss(3, 4.0, 0.9))] for number in range(3)]


@settings(deadline=None, max_examples=8)
@given(st.data(), st.integers(0, 2), st.booleans())
def test_faults_together_are_explained_by_no_more_than_they_are(data, number, squared):
    classes, tau, alpha = (data.draw(s) for s in (st.integers(3, 12), st.floats(1.5, 8), st.floats(0.1, 0.9)))
    right = KDLoss(classes, tau, alpha, squared)
    form, faults = data.draw(st.sampled_from(FORMS[number]))
    known = {w: {fault.code for fault in w.faults} for w in weightings(right)}
    weights = data.draw(st.sampled_from([w for w, codes in known.items() if len(codes) <= 2]))
    report = check_loss(right.variant(form, weights), classes, tau=tau, alpha=alpha, tau_squared=squared)
    found, of_form = errors(report) - {"not_finite"}, {fault.code for fault in faults}
    assert not found & {"unknown", "other_weights"} or of_form & (METHODS | {"teacher_argmax"})
    assert len(found) <= len(of_form | known[weights]), str(report)


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0])
def test_what_is_meant_is_the_one_loss_of_the_study(alpha, squared):
    batch, tau = draw_batch((6,), 5, 2.0), 3.0
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
    assert check_loss(loss(name, 1.0), 10, tau=1.0, alpha=0.9).ok


@pytest.mark.parametrize(
    ("name", "T", "a", "options", "codes"),
    [
        ("tf_kd_without_squared", 1.0, 0.9, {"tau": 1.0}, {"averaged_over_classes"}),  # other faults at temperature 1
        ("swapped_weights", 4.0, 0.5, {"alpha": 0.5}, set()),  # exchanged weights that are equal
        ("soft_only", 4.0, 1.0, {"alpha": 1.0}, set()),  # the soft term alone is what alpha = 1 means
        ("batchmean", 4.0, 0.9, {"alpha": 1.0}, {"other_alpha"}),
        ("distiller", 4.0, 0.9, {"tau_squared": False}, set()),  # the convention without tau^2
        ("batchmean", 4.0, 0.9, {"tau_squared": False}, {"tau_squared_not_wanted"}),
        ("times_tau", 4.0, 0.9, {"tau_squared": False}, {"tau_not_wanted"}),
    ],
)
def test_what_is_stated_says_what_is_a_fault(name, T, a, options, codes):
    report = check_loss(loss(name, T, a), 10, **options)
    assert errors(report) == codes and report.ok == (not codes), str(report)


def test_another_hard_term_is_stated_or_found():
    smooth = functools.partial(F.cross_entropy, label_smoothing=0.15)

    def mixed(z, v, y, squared=16):
        return 0.3 * smooth(z, y) + 0.7 * squared * kl(z, v.detach(), 4.0)

    assert check_loss(mixed, 10, alpha=0.7, hard=smooth).codes == ("correct",)
    report = check_loss(mixed, 10, alpha=0.7)
    assert report.ok and report.findings[0] == finding("hard_smoothed", measured=0.15, expected=0.0), str(report)
    unsquared = functools.partial(mixed, squared=1)
    assert {*check_loss(unsquared, 10, alpha=0.7).codes} == {"hard_smoothed", "tau_squared_missing"}
    assert errors(check_loss(unsquared, 10, alpha=0.7, hard=smooth)) == {"tau_squared_missing"}


def test_a_small_epsilon_inside_the_logarithm_is_told_not_blamed():
    def clamped(z, v, y):
        q = (z / 4).softmax(-1)
        return 0.1 * F.cross_entropy(z, y) - 0.9 * 16 * ((v.detach() / 4).softmax(-1) * (q + 1e-5).log()).sum(1).mean()

    report = check_loss(clamped, 10)
    assert report.ok and report.codes[0] == "inexact", str(report)


def test_a_value_without_gradient_is_a_warning():
    report = check_loss(lambda z, v, y: by_hand(4.0, 0.9)(z, v, y) + z.detach().pow(2).mean(), 10)
    assert report.ok and report.codes == ("value_without_gradient",), str(report)


def test_the_constant_of_the_value_is_told():
    told = [
        (batchmean(4.0, 0.9), "with KL"),
        (soft_cross_entropy(4.0, 0.9), "with cross-entropy: more by the teacher's entropy, which has no gradient"),
        (lambda z, v, y: batchmean(4.0, 0.9)(z, v, y) + 5, "more by 5, which has no gradient"),
    ]
    assert [check_loss(fn, 10).findings[0].evidence["value"] for fn, _ in told] == [value for _, value in told]


# ---------------------------------------------------------------- what can be either


def test_the_mean_over_classes_is_told_from_a_missing_square_where_both_are_one_sixteenth():
    assert errors(check_loss(loss("tf_kd"), 16)) == {"averaged_over_classes"}
    assert errors(check_loss(loss("distiller"), 16)) == {"tau_squared_missing"}


def test_what_cannot_be_told_apart_is_said():
    """A function for 16 classes only: the same factor has two names."""
    report = check_loss(lambda z, v, y: loss("distiller")(z + torch.zeros(16), v, y), 16)
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
def test_faults_are_named_in_float32(name, classes=10, tau=2.0):
    make, codes = WRONG[name]
    assert errors(check_loss(make(tau, 0.9), classes, tau=tau, dtype=torch.float32)) == codes


def test_underflow_in_float32_and_overflow_in_float16_are_named():
    report = check_loss(lambda z, v, y: by_hand(100.0, 0.9)(z.float().softmax(-1).log(), v.float(), y), 10, tau=100.0)
    assert report.codes == ("not_finite",) and "logits up to" in report.findings[0].evidence["where"], str(report)
    report = check_loss(by_hand(100.0, 0.9), 100, tau=100.0)
    assert report.ok and report.codes == ("correct", "not_finite_in_half"), str(report)


# ---------------------------------------------------------------- whatever it does


def test_an_exception_becomes_a_finding():
    def broken(z, v, y):
        raise KeyError("temperature")

    report = check_loss(broken, 10)
    told = finding("raises", error="KeyError", message="'temperature'", batch=5, classes=10, dtype="float32")
    assert report.findings == (told,) and not report.ok


def test_a_function_for_one_batch_size_is_told_so():
    report = check_loss(lambda z, v, y: batchmean(4.0, 0.9)(z + torch.zeros(5, 1), v, y), 10)
    assert report.codes == ("raises",) and report.findings[0].evidence["batch"] == 8


class Mute(Exception):
    """Has no words."""

    def __str__(self):
        raise RuntimeError("no words")


def mute(z, v, y):
    raise Mute


class Odd(torch.autograd.Function):
    """Raises on its way back."""

    @staticmethod
    def forward(ctx, z):  # noqa: D102
        return z.sum()

    @staticmethod
    def backward(ctx, slope):  # noqa: D102
        raise RuntimeError("no way back")


ODD = [
    lambda: None, lambda z: z, lambda z, v, y: None, lambda z, v, y: "loss", lambda z, v, y: 0.0, lambda z, v, y: z,
    lambda z, v, y: z[:0], lambda z, v, y: y, lambda z, v, y: y == 0, lambda z, v, y: z.to(torch.complex128).sum(),
    lambda z, v, y: z.sum() * float("nan"), lambda z, v, y: z.sum() * float("inf"), lambda z, v, y: z.sum() * 0,
    lambda z, v, y: torch.zeros(()), lambda z, v, y: z.half().sum(), lambda z, v, y: F.cross_entropy(z, v, y),
    lambda z, v, y: [][len(y)], lambda z, v, y: Odd.apply(z), lambda z, v, y: z.numpy(), lambda z, v, y: z.to_sparse(),
    lambda z, v, y: z.sum(1, keepdim=True), nn.KLDivLoss(), nn.CrossEntropyLoss(), dict, mute,
    lambda z, v, y: sys.exit(3),
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_whatever_it_does_there_is_a_report(odd):
    report = check_loss(odd, 3)
    assert not report.ok and str(report) and report._repr_markdown_() and report._repr_html_()
    assert json.loads(report.as_json())["findings"][0]["code"] == report.codes[0]


def test_random_numbers_threads_and_modes_stay_as_they_were_and_reports_are_equal():
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    with torch.no_grad():
        assert errors(check_loss(loss("with_dropout"), 10)) == {"not_deterministic"}
        assert check_loss(batchmean(4.0, 0.9), 10).ok and not torch.is_grad_enabled()
    assert torch.equal(before, torch.random.get_rng_state()) and torch.get_num_threads() == threads
    one, two = (str(check_loss(loss("something_else"), 10)) for _ in range(2))
    assert one == two


# ---------------------------------------------------------------- words


FORMULA = "(1 - alpha) CE(z, y) + alpha tau^2 KL(p^tau || q^tau), mean over the batch"


def test_the_report_as_text_and_as_json():
    report, stated = check_loss(loss("tf_kd"), 100), f"{FORMULA}; tau = 4, alpha = 0.9, C = 100, float64"
    assert str(report).splitlines()[:2] == [
        f"FAULTY, against {stated}",
        "error averaged_over_classes: the soft part is averaged over classes too, so it is divided by C "
        "[part soft, measured 0.01, expected 1, factor 1 / C = 0.01]. To do: KLDivLoss's default 'mean' divides by "
        "B * C: use reduction='batchmean', or sum over classes first.",
    ]
    assert str(check_loss(by_hand(4.0, 0.9), 100)).startswith(
        f"ok, against {stated}\ninfo correct: value and gradient are those of the loss as stated [difference "
    )
    meant = {
        "formula": FORMULA,
        "classes": 100,
        "tau": 4.0,
        "alpha": 0.9,
        "tau_squared": True,
        "hard": None,
    } | dict.fromkeys(("custom", "pair", "ignore_index"))
    meant |= {"tokens": False}
    assert (told := report.as_dict())["loss"] == meant and told["dtype"] == "float64" and not told["ok"]
    assert [f["code"] for f in told["findings"]] == [*report.codes]


def test_the_report_in_a_notebook():
    text = check_loss(lambda z, v, y: [][0], 100)._repr_markdown_()
    assert text.startswith(f"FAULTY, against {FORMULA}") and text.endswith(
        "| error | `raises` | it raises IndexError: list index out of range | error IndexError, message list index out "
        "of range, batch 5, classes 100, dtype float32 | fn is called as fn(student_logits, teacher_logits, labels) "
        "with (B, C), (B, C) and (B,) |"
    )
    assert "KL(q^tau \\|\\| p^tau)" in check_loss(loss("reversed"), 10)._repr_markdown_()
    meant = KDLoss(10, 2.0, 0.5, False, F.cross_entropy)
    assert str(meant) == "(1 - alpha) hard(z, y) + alpha KL(p^tau || q^tau), mean over the batch"


BAD = [
    ("fn", 3, "a function of (student_logits, teacher_logits, labels)"),
    ("num_classes", 1, "a whole number of at least 2"),
    *(("tau", tau, "a finite number above 0, 1e-6 to 1e6") for tau in (0.0, 1e-300, float("inf"), float("nan"))),
    ("alpha", 1.5, "0 <= alpha <= 1"),
    ("hard", "CE", "None, or a function of (student_logits, labels)"),
    ("dtype", torch.float16, "torch.float64, torch.float32"),
]


@pytest.mark.parametrize(("name", "wrong", "allowed"), BAD)
def test_arguments_are_checked(name, wrong, allowed):
    with pytest.raises(ValueError, match=says(f"{name}: found {wrong!r}, allowed: {allowed}")):
        check_loss(**{"fn": batchmean(4.0, 0.9), "num_classes": 10} | {name: wrong})
