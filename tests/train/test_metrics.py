"""Measures against other people's code, against loops, and by their identities."""

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from torch import Tensor
from torch.testing import assert_close
from torchmetrics.functional import classification as tm

from kdstudy.train import metrics

F64 = torch.float64
N, C = 200, 7


def draw(seed: int, scale: float = 2.0, n: int = N, dtype: torch.dtype = F64) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, labels that follow them half of the time, and teacher logits."""
    g = torch.Generator().manual_seed(seed)
    z, v = scale * torch.randn(2, n, C, generator=g, dtype=dtype)
    y = torch.where(torch.rand(n, generator=g) < 0.5, z.argmax(-1), torch.randint(C, (n,), generator=g))
    return z, y, v


OTHERS = {
    "accuracy": lambda z, y: tm.multiclass_accuracy(z, y, C, average="micro"),
    "nll": lambda z, y: torch.nn.functional.cross_entropy(z, y),
    "ece": lambda z, y: tm.multiclass_calibration_error(z.softmax(-1), y, C, n_bins=15, norm="l1"),
    "confidence": lambda z, y: z.softmax(-1).numpy().max(-1).mean(),
    "entropy": lambda z, y: scipy_stats.entropy(z.softmax(-1).numpy(), axis=-1).mean(),
}


def test_every_measure_is_compared():
    assert metrics.MEASURES.keys() == OTHERS.keys()
    assert list(metrics.WITH_TEACHER) == ["agreement", "teacher_kl"]


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_measure_agrees_with_other_code(name, scale):
    z, y, _ = draw(1, scale)
    ours = metrics.MEASURES[name](z, y)
    assert ours.shape == ()
    assert float(ours) == pytest.approx(float(OTHERS[name](z, y)), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("name", OTHERS)
def test_a_constant_added_to_an_examples_logits_changes_nothing(name):
    z, y, _ = draw(3)
    shift = torch.linspace(-50, 50, N, dtype=F64)[:, None]
    assert_close(metrics.MEASURES[name](z + shift, y), metrics.MEASURES[name](z, y), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", OTHERS)
def test_certainty_is_finite_at_any_scale(name):
    z, y, _ = draw(4, scale=1e4, dtype=torch.float32)
    assert metrics.MEASURES[name](z, y).isfinite()


# ---------------------------------------------------------------- negative log likelihood


@pytest.mark.parametrize("name", ["accuracy", "nll", "confidence", "entropy"])
def test_order_and_halves_of_a_batch_carry_no_meaning(name):
    z, y, _ = draw(6)
    order, fn = torch.randperm(N, generator=torch.Generator().manual_seed(0)), metrics.MEASURES[name]
    halves = (fn(z[: N // 2], y[: N // 2]) + fn(z[N // 2 :], y[N // 2 :])) / 2
    assert_close(fn(z[order], y[order]), fn(z, y), rtol=1e-12, atol=1e-12)
    assert_close(halves, fn(z, y), rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------- calibration


SCALES = st.just(0.0) | st.floats(0.1, 10)


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 60), scale=SCALES)
def test_ece_is_its_definition(seed, n, scale):
    z, y, _ = draw(seed, scale, n)
    theirs = reference.expected_calibration_error(z.softmax(-1), y)
    assert float(metrics.ece(z, y)) == pytest.approx(theirs, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("ties", [1, 3, 5, 15])
@pytest.mark.parametrize("right", [True, False])
def test_ece_of_confidences_on_an_edge(ties, right):
    """`ties` equal logits: the confidence is exactly 1/ties, an edge of the bins."""
    z = torch.full((6, 20), -1000.0, dtype=F64)
    z[:, :ties] = 0
    y = torch.full((6,), 0 if right else 19)
    assert float(metrics.ece(z, y)) == pytest.approx(abs(right - 1 / ties), abs=1e-15)
    assert float(metrics.ece(z, y)) == pytest.approx(reference.expected_calibration_error(z.softmax(-1), y), abs=1e-15)
    assert metrics.reliability(z, y)[0].nonzero().tolist() == [[15 // ties - 1]]


def with_confidence(p: float, dtype: torch.dtype) -> Tensor:
    """Logits of one example whose confidence is the floating-point number nearest p, by search."""
    others = 1 + 0.1 * torch.rand(4000, 14, generator=torch.Generator().manual_seed(0), dtype=F64)
    others = (1 - p) * others / others.sum(-1, keepdim=True)
    logits = torch.cat([torch.full((4000, 1), p, dtype=F64), others], -1).log().to(dtype)
    return logits[logits.softmax(-1).amax(-1) == torch.tensor(p, dtype=dtype)][:1]


@pytest.mark.parametrize("dtype", [torch.float32, F64], ids=str)
@pytest.mark.parametrize("b", range(2, 15))
def test_a_confidence_on_an_edge_counts_below_it(b, dtype):
    z = with_confidence(b / 15, dtype)
    assert len(z) == 1, "the search has found none"
    assert metrics.reliability(z, torch.tensor([0]))[0].nonzero().tolist() == [[b - 1]]


def test_a_tie_of_rounded_probabilities_does_not_change_the_guess():
    z = torch.tensor([[0.0, 1e-20, 0.0]], dtype=F64)
    assert z.softmax(-1).argmax(-1).item() == 0
    assert metrics.reliability(z, torch.tensor([1])).sum(-1)[2] == 1 == metrics.accuracy(z, torch.tensor([1]))


@given(seed=st.integers(0, 2**32 - 1), scale=SCALES)
def test_reliability_sums_to_count_confidence_and_accuracy(seed, scale):
    z, y, _ = draw(seed, scale)
    bins = metrics.reliability(z, y)
    assert bins.shape == (3, 15) and bins.dtype == F64
    count, sure, right = bins
    assert count.sum() == N
    assert_close(sure.sum() / N, metrics.confidence(z, y), rtol=1e-12, atol=0)
    assert_close(right.sum() / N, metrics.accuracy(z, y), rtol=1e-12, atol=0)
    edges = torch.arange(16) / 15
    held = count > 0
    assert (sure[held] > (count * edges[:-1])[held] - 1e-6).all()
    assert (sure <= count * edges[1:] + 1e-6).all() and (right <= count).all()
    assert_close((right - sure).abs().sum() / N, metrics.ece(z, y))


# ---------------------------------------------------------------- student and teacher, and all together


def test_agreement():
    z = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0], [0.0, 3.0, 1.0], [5.0, 0.0, 0.0]])
    v = torch.tensor([[9.0, 1.0, 0.0], [0.0, 2.0, 1.0], [0.0, 0.1, 0.0], [0.0, 0.0, 5.0]])
    y = torch.tensor([0, 1, 2, 0])
    assert float(metrics.agreement(z, y, v)) == 0.5 == float(metrics.agreement(v, y, z))
    assert float(metrics.agreement(z, y, z)) == 1 == float(metrics.agreement(z, y, 0.1 * z - 3))


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_divergence_from_the_teacher_agrees_with_torch(scale):
    z, y, v = draw(7, scale)
    theirs = torch.nn.functional.kl_div(z.log_softmax(-1), v.log_softmax(-1), reduction="batchmean", log_target=True)
    assert_close(metrics.teacher_kl(z, y, v), theirs, rtol=1e-12, atol=0)
    by_scipy = scipy_stats.entropy(v.softmax(-1).numpy(), z.softmax(-1).numpy(), axis=-1).mean()
    assert float(metrics.teacher_kl(z, y, v)) == pytest.approx(by_scipy, rel=1e-9)


def test_divergence_from_the_teacher_has_a_direction_and_a_zero():
    z, y, v = draw(8)
    assert abs(metrics.teacher_kl(z, y, v) - metrics.teacher_kl(v, y, z)) > 0.1
    assert_close(metrics.teacher_kl(z + 3, y, z), torch.zeros((), dtype=F64), rtol=0, atol=1e-12)
    one = torch.zeros(1, 2, dtype=F64), torch.tensor([0]), torch.tensor([[0.25, 0.75]], dtype=F64).log()
    assert float(metrics.teacher_kl(*one)) == pytest.approx(0.25 * np.log(0.5) + 0.75 * np.log(1.5), rel=1e-12)


def test_evaluate_gives_every_measure_on_every_split():
    draws = {split: draw(seed) for seed, split in enumerate(metrics.SPLITS)}
    logits, labels, teacher = ({s: d[i] for s, d in draws.items()} for i in range(3))
    scores, arrays = metrics.evaluate(logits, labels, teacher)
    assert scores.keys() == {f"{s}_{m}" for s in metrics.SPLITS for m in (*OTHERS, "agreement", "teacher_kl")}
    assert all(type(v) is float for v in scores.values())
    assert scores["validation_nll"] == float(metrics.nll(*draws["validation"][:2]))
    assert scores["train_agreement"] == float(metrics.agreement(*draws["train"]))
    assert arrays.keys() == {"reliability"}
    assert np.array_equal(arrays["reliability"], metrics.reliability(*draws["test"][:2]))
    alone, _ = metrics.evaluate(logits, labels, None)
    assert alone == {k: v for k, v in scores.items() if not k.endswith(("agreement", "teacher_kl"))}
