"""Pairing by seed, intervals and tests of many hypotheses, settings chosen without the test split, summaries."""

import math

import numpy as np
import pandas as pd
import pytest
from conftest import says
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from pandas.testing import assert_series_equal
from scipy import stats as scipy_stats

from kdstudy.stats import paired
from kdstudy.stats.paired import difference, holm, interval, summary, where


def table(condition: str, values: list[float], measure: str = "test_accuracy", **fixed: object) -> pd.DataFrame:
    """One run for each seed 0, 1, ..., with these values of a measure."""
    seeds = range(len(values))
    return pd.DataFrame({"dataset": "digits", "condition": condition, "seed": seeds, measure: values} | fixed)


# ---------------------------------------------------------------- rows


def test_where_keeps_matching_rows():
    frame = pd.concat([table("hard", [0.1, 0.2]), table("kd", [0.3, 0.4])])
    assert list(where(frame, condition="kd", seed=1)["test_accuracy"]) == [0.4]


@pytest.mark.parametrize(
    "fixed, message",
    [
        ({"condition": "dk"}, "no run with condition = 'dk'; there are: hard, kd"),
        ({"condition": "hard", "tau": 2.0}, "no run with tau = 2.0; there are: none"),
        ({"condition": "kd", "tau": 3.0}, "no run with tau = 3.0; there are: 2.0"),
        ({"colour": 1}, "no run with colour = 1; there are: none"),
    ],
)
def test_where_says_what_there_is(fixed, message):
    frame = pd.concat([table("hard", [0.1]), table("kd", [0.3], tau=2.0)])
    with pytest.raises(ValueError, match=says(message)):
        where(frame, **fixed)


# ---------------------------------------------------------------- paired differences


KD, HARD = {"condition": "kd"}, {"condition": "hard"}
PAIR = pd.concat([table("kd", [0.5, 0.75, 0.25]), table("hard", [0.25, 0.25, 0.5])], ignore_index=True)


def test_difference_is_paired_by_seed_whatever_the_order_of_rows():
    wanted = pd.Series([0.25, 0.5, -0.25], pd.Index([0, 1, 2], name="seed"), name="test_accuracy")
    for seed in range(8):
        shuffled = PAIR.sample(frac=1, random_state=seed)
        assert_series_equal(difference(shuffled, KD, HARD, "test_accuracy"), wanted)
    assert_series_equal(difference(PAIR, HARD, KD, "test_accuracy"), -wanted)


def test_what_seeds_have_in_common_cancels():
    luck = np.random.default_rng(0).normal(0, 10, 3)
    lucky = PAIR.assign(test_accuracy=PAIR["test_accuracy"] + luck[PAIR["seed"]])
    found = difference(lucky, KD, HARD, "test_accuracy")
    assert_allclose(found, difference(PAIR, KD, HARD, "test_accuracy"), atol=1e-14)


def test_a_missing_seed_is_an_error():
    message = "{'condition': 'kd'} and {'condition': 'hard'} are not paired: seeds [2, 7] have one of the two"
    other = PAIR.assign(seed=PAIR["seed"].where(PAIR.index != 5, 7))
    with pytest.raises(ValueError, match=says(message)):
        difference(other, KD, HARD, "test_accuracy")


def test_several_runs_of_a_seed_are_an_error():
    both = pd.concat([PAIR.assign(tau=2.0), table("kd", [0.1, 0.2], tau=4.0)])
    with pytest.raises(ValueError, match=says("{'condition': 'kd'} names 5 runs of 3 seeds: fix its setting too")):
        difference(both, KD, HARD, "test_accuracy")
    assert len(difference(both, KD | {"tau": 2.0}, HARD, "test_accuracy")) == 3


# ---------------------------------------------------------------- over seeds


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12, unique=True))
def test_an_interval_is_scipys(values):
    wanted = scipy_stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = interval(values)
    assert_allclose([found.mean, found.low, found.high], [np.mean(values), *wanted], rtol=1e-6, atol=1e-9)
    assert_allclose(found.p(), scipy_stats.ttest_1samp(values, 0).pvalue, rtol=1e-6, atol=1e-12)


def test_an_interval_prints_as_mean_limits_and_n():
    assert str(interval(pd.Series([0.1, 0.2, 0.3]))) == "+0.2000 [-0.0484, +0.4484], n = 3"


def test_summary_is_one_interval_for_each_combination():
    values = {("kd", 1.0): [0.59, 0.6, 0.61], ("kd", 2.0): [0.79, 0.8, 0.81], ("hard", math.nan): [0.1, 0.2]}
    frame = pd.concat([table(name, x, tau=tau) for (name, tau), x in values.items()])
    found = summary(frame, "test_accuracy", ["condition", "tau"])
    assert list(found.columns) == ["condition", "tau", "mean", "low", "high", "n"]
    assert found["condition"].tolist() == ["kd", "kd", "hard"] and found["n"].tolist() == [3, 3, 2]
    for row, x in zip(found.itertuples(), values.values()):
        i = interval(x)
        assert (row.mean, row.low, row.high) == (i.mean, i.low, i.high)
    assert summary(frame, "test_accuracy", ["condition"])["n"].tolist() == [6, 2]


def test_levels_are_means_over_seeds():
    frame = pd.concat(
        [table("kd", [0.5, 0.7], validation_accuracy=0.7), table("hard", [0.1, 0.2], validation_accuracy=0.5)]
    )
    found = paired.levels(frame, ["validation_accuracy", "test_accuracy"])
    assert found.loc[("digits", "kd")].tolist() == pytest.approx([0.7, 0.6, 2])
    assert found.loc[("digits", "hard")].tolist() == pytest.approx([0.5, 0.15, 2])
    assert paired.levels(frame[:0], ["test_accuracy"]).empty


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
