"""Ways to spoil logits do what they say, and nothing else."""

import numpy as np
import pytest
import torch

from kdstudy.calibration_plan import SPOILT
from kdstudy.measures import accuracy

RNG = np.random.default_rng(0)
Y = RNG.integers(5, size=200)
V = (RNG.standard_normal((200, 5)) + 5 * (Y[:, None] == np.arange(5))).astype(np.float32)


def spoilt(kind: str) -> np.ndarray:
    before = V.copy()
    out = SPOILT[kind](V, Y, np.random.default_rng(1))
    np.testing.assert_array_equal(V, before)
    return out


@pytest.mark.parametrize("kind", ["shuffled", "shifted", "backwards", "renamed"])
def test_pairing_is_lost_and_values_are_kept(kind):
    np.testing.assert_array_equal(np.sort(spoilt(kind), axis=None), np.sort(V, axis=None))
    assert (spoilt(kind).argmax(1) == Y).mean() < 0.4 < accuracy(*map(torch.tensor, (V, Y)))


def test_structureless_keeps_the_label_and_each_row_s_others():
    out = spoilt("structureless")
    at = np.arange(200), Y
    np.testing.assert_array_equal(out[at], V[at])
    np.testing.assert_array_equal(np.sort(out, 1), np.sort(V, 1))
    assert (out != V).any(1).mean() > 0.9


def test_probabilities_sum_to_one_and_their_logarithms_are_the_others():
    np.testing.assert_allclose(spoilt("probabilities").sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(np.exp(spoilt("log_probabilities")), spoilt("probabilities"), rtol=1e-5)


def test_a_tenth_overflows_and_a_tenth_is_not_filled():
    assert spoilt("overflow").dtype == np.float16
    assert np.isinf(spoilt("overflow")).any(1).mean() == pytest.approx(0.1, abs=0.02)
    assert (spoilt("unfilled") == 0).all(1).sum() == 20


def test_gaussian_has_the_shape_and_nothing_else_of_the_teacher():
    assert spoilt("gaussian").shape == V.shape
    assert abs(np.corrcoef(spoilt("gaussian").ravel(), V.ravel())[0, 1]) < 0.1
