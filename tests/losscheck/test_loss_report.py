"""Whatever a loss does, there is a report, the same each time; and the report in words."""

import json

import pytest
import torch
import torch.nn.functional as F
from conftest import says
from losses import WRONG, batchmean, by_hand, errors, tf_kd
from torch import nn

from kdstudy import check_loss
from kdstudy.losscheck.report import finding
from kdstudy.losscheck.variants import KDLoss

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
    lambda z, v, y: z.sum(1, keepdim=True), nn.KLDivLoss(), nn.CrossEntropyLoss(), dict,
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_whatever_it_does_there_is_a_report(odd):
    report = check_loss(odd, 3)
    assert not report.ok and str(report) and report._repr_markdown_() and report._repr_html_()
    assert json.loads(report.as_json())["findings"][0]["code"] == report.codes[0]


def test_random_numbers_threads_and_modes_stay_as_they_were():
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    with torch.no_grad():
        assert errors(check_loss(WRONG["with_dropout"][0](4.0, 0.9), 10)) == {"not_deterministic"}
        assert check_loss(batchmean(4.0, 0.9), 10).ok and not torch.is_grad_enabled()
    assert torch.equal(before, torch.random.get_rng_state()) and torch.get_num_threads() == threads


def test_reports_are_equal_from_call_to_call():
    one, two = (str(check_loss(WRONG["something_else"][0](4.0, 0.9), 10)) for _ in range(2))
    assert one == two


# ---------------------------------------------------------------- words


FORMULA = "(1 - alpha) CE(z, y) + alpha tau^2 KL(p^tau || q^tau), mean over the batch"


def test_the_report_as_text_and_as_json():
    report, stated = check_loss(tf_kd(4.0, 0.9), 100), f"{FORMULA}; tau = 4, alpha = 0.9, C = 100, float64"
    assert str(report).splitlines()[:2] == [
        f"FAULTY, against {stated}",
        "error averaged_over_classes: the soft part is averaged over classes too, so it is divided by C "
        "[part soft, measured 0.01, expected 1, factor 1 / C = 0.01]. To do: KLDivLoss's default 'mean' divides by "
        "B * C: use reduction='batchmean', or sum over classes first.",
    ]
    assert str(check_loss(by_hand(4.0, 0.9), 100)).startswith(
        f"ok, against {stated}\ninfo correct: value and gradient are those of the loss as stated [difference "
    )
    loss = {"formula": FORMULA, "classes": 100, "tau": 4.0, "alpha": 0.9, "tau_squared": True, "hard": None}
    assert (told := report.as_dict())["loss"] == loss and told["dtype"] == "float64" and not told["ok"]
    assert [f["code"] for f in told["findings"]] == [*report.codes]


def test_the_report_in_a_notebook():
    text = check_loss(lambda z, v, y: [][0], 100)._repr_markdown_()
    assert text.startswith(f"FAULTY, against {FORMULA}") and text.endswith(
        "| error | `raises` | it raises IndexError: list index out of range | error IndexError, message list index out "
        "of range, batch 5, classes 100, dtype float32 | fn is called as fn(student_logits, teacher_logits, labels) "
        "with (B, C), (B, C) and (B,) |"
    )
    assert "KL(q^tau \\|\\| p^tau)" in check_loss(WRONG["reversed"][0](4.0, 0.9), 10)._repr_markdown_()


def test_what_is_stated_without_squares_and_with_another_hard_term():
    meant = KDLoss(10, 2.0, 0.5, False, F.cross_entropy)
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
