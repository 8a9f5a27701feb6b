"""Intervals and tests of many hypotheses, against scipy, simulation and by hand."""

import math

import numpy as np
import pytest
from conftest import says
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats as scipy_stats

from kdstudy.stats.paired import Interval, holm, interval

NORMAL = np.random.default_rng(0).normal(0.3, 2.0, 12)


# ---------------------------------------------------------------- intervals


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
@pytest.mark.parametrize("family", [1, 4])
def test_t_interval_is_scipys(level, family):
    i = interval(NORMAL, level, family)
    low, high = scipy_stats.t.interval(1 - (1 - level) / family, 11, NORMAL.mean(), scipy_stats.sem(NORMAL))
    assert_allclose([i.mean, i.low, i.high], [NORMAL.mean(), low, high], rtol=1e-12)
    assert i.p == pytest.approx(min(1, family * scipy_stats.ttest_1samp(NORMAL, 0).pvalue), rel=1e-9)
    assert i.n == 12


def test_interval_by_hand():
    """Mean 2, s = 1, s / sqrt(3) = 0.577350, t quantile of two degrees of freedom 4.302653."""
    i = interval([1.0, 2.0, 3.0])
    assert_allclose([i.mean, i.low, i.high], [2, 2 - 2.484138, 2 + 2.484138], atol=1e-6)
    assert i.p == pytest.approx(0.074180, abs=1e-6)
    assert str(i) == "+2.0000 [-0.4841, +4.4841], n = 3"


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12), st.floats(-10, 10), st.sampled_from([-2.0, 0.5, 3.0]))
def test_interval_moves_and_scales_with_its_values(values, shift, scale):
    one, two = interval(values), interval(np.array(values) * scale + shift)
    ends = sorted((one.low * scale + shift, one.high * scale + shift))
    assert_allclose([two.low, two.high], ends, rtol=1e-7, atol=1e-7)
    assert_allclose(two.mean, one.mean * scale + shift, rtol=1e-9, atol=1e-9)


def test_an_interval_excludes_zero_where_p_is_small():
    for shift in np.linspace(-4, 4, 60):
        for family in (1, 3):
            i = interval(NORMAL + shift, family=family)
            assert (i.low > 0 or i.high < 0) == (i.p < 0.05)


def test_bootstrap_is_near_t_for_normal_values():
    x = np.random.default_rng(1).normal(0.5, 1.0, 60)
    t, b = interval(x), interval(x, method="bootstrap")
    width = t.high - t.low
    assert b != t and (b.mean, b.n, b.p) == (t.mean, t.n, t.p)
    assert_allclose([b.low, b.high], [t.low, t.high], atol=0.06 * width)
    assert interval(x, method="bootstrap") == b
    assert interval(x, family=5, method="bootstrap").low < b.low


def test_one_value_says_nothing_about_its_spread():
    assert interval([0.2]) == Interval(0.2, -math.inf, math.inf, 1, 1.0)


@pytest.mark.parametrize("method", ["t", "bootstrap"])
def test_equal_values_have_an_interval_without_width(method):
    assert interval([0.5] * 4, method=method) == Interval(0.5, 0.5, 0.5, 4, 0.0)
    assert interval([0.0] * 4, method=method) == Interval(0.0, 0.0, 0.0, 4, 1.0)
    i = interval([0.1] * 3, method=method)
    assert i.low == i.high == i.mean == pytest.approx(0.1)
    assert interval([0.0, 5e-324], method=method) == Interval(0.0, 0.0, 0.0, 2, 1.0)  # the variance underflows


@pytest.mark.parametrize("method", ["t", "bootstrap"])
def test_values_equal_but_for_rounding(method):
    """0.1 + 0.2 is not 0.3; no warning, and as narrow as such values are."""
    i = interval([0.3, 0.1 + 0.2, 0.3], method=method)
    assert i.mean == pytest.approx(0.3)
    assert 0 <= i.high - i.low < 1e-15
    assert i.p < 1e-20


@pytest.mark.parametrize(
    "values, found",
    [
        ([], "0 values, 0 finite"),
        ([1.0, math.nan], "2 values, 1 finite"),
        ([math.inf, math.nan, 0], "3 values, 1 finite"),
    ],
)
def test_values_that_are_not_finite_are_refused(values, found):
    with pytest.raises(ValueError, match=says(f"an interval needs finite values, found {found}")):
        interval(values)


@pytest.mark.parametrize("values", [[1.0, 2.0, 4.0], [1.0, 1.0], [1.0]])
def test_an_unknown_method_is_refused(values):
    with pytest.raises(ValueError, match=says("method: found 'z', allowed: 't', 'bootstrap'")):
        interval(values, method="z")


def covered(draws: np.ndarray, family: int) -> int:
    """In how many rows (of intervals for values of mean 0) all intervals hold 0."""
    inside = [[(i := interval(x, family=family)).low <= 0 <= i.high for x in row] for row in draws]
    return int(np.all(inside, axis=1).sum())


@pytest.mark.parametrize("size, family, rate", [(1, 1, 0.95), (4, 4, (1 - 0.05 / 4) ** 4), (4, 1, 0.95**4)])
def test_coverage_is_what_is_stated(size, family, rate):
    """Families of `size` true intervals, 4 000 intervals in all; the last case is why `family` is needed."""
    draws = np.random.default_rng(7).normal(size=(4000 // size, size, 6))
    low, high = scipy_stats.binom.ppf([0.005, 0.995], len(draws), rate)
    found = covered(draws, family)
    assert low <= found <= high
    assert (found < 0.9 * len(draws)) == (family < size)


# ---------------------------------------------------------------- many tests


def test_holm_by_hand():
    """Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, never less than the one before."""
    assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert_allclose(holm([0.4, 0.9, 0.6]), [1, 1, 1])
    assert_allclose(holm([0.02]), [0.02])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.randoms())
def test_holm_lies_between_p_and_bonferroni_and_keeps_the_order(p, random):
    found, order = holm(p), random.sample(range(len(p)), len(p))
    assert (found >= p).all() and (found <= np.minimum(1, np.array(p) * len(p)) + 1e-15).all()
    assert_allclose(holm(np.array(p)[order]), found[order])
    ranks = np.argsort(p, kind="stable")
    assert (np.diff(found[ranks]) >= 0).all()
