"""Pairing by seed, intervals and tests of many hypotheses, settings chosen without the test split, summaries."""

import math

import numpy as np
import pandas as pd
import pytest
from conftest import says
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal, assert_series_equal
from scipy import stats as scipy_stats

from kdstudy.engine import ask
from kdstudy.stats import paired
from kdstudy.stats.paired import Interval, difference, holm, interval, summary, tuned, where


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


# ---------------------------------------------------------------- settings chosen on validation


def searched(tau: float, validation: float, test: float, alpha: float = 0.9) -> pd.DataFrame:
    """Three seeds of KD at a setting, their mean accuracies as given."""
    spread = np.array([-0.01, 0, 0.01])
    return table("kd", list(test + spread), tau=tau, alpha=alpha, validation_accuracy=validation + spread)


def plain(weight_decay: float, validation: float) -> pd.DataFrame:
    """Three seeds of hard labels at a weight decay."""
    return table("hard", [0.5] * 3, weight_decay=weight_decay, validation_accuracy=validation)


def test_the_setting_best_on_validation_wins_however_good_another_is_on_test():
    frame = pd.concat([searched(1.0, 0.70, 0.99), searched(2.0, 0.80, 0.50), searched(4.0, 0.75, 0.98)])
    assert_frame_equal(tuned(frame), frame[frame["tau"] == 2.0])
    assert set(tuned(frame, by="test_accuracy")["tau"]) == {1.0}


def test_the_mean_over_seeds_decides_not_the_best_seed():
    lucky = searched(1.0, 0.70, 0.5).assign(validation_accuracy=[0.99, 0.5, 0.5])
    assert set(tuned(pd.concat([lucky, searched(2.0, 0.80, 0.5)]))["tau"]) == {2.0}


def test_the_smallest_of_equal_settings_wins_in_any_order():
    settings = [searched(tau, 0.8, 0.5) for tau in (4.0, 1.0, 2.0)]
    assert set(tuned(pd.concat(settings))["tau"]) == set(tuned(pd.concat(settings[::-1]))["tau"]) == {1.0}


def test_settings_are_combinations_and_some_do_not_apply():
    """Hard labels have neither temperature nor weight: theirs is NaN, in a table with KD's."""
    kd = [searched(tau, v, 0.5, alpha) for tau, alpha, v in ((1.0, 0.5, 0.7), (1.0, 0.9, 0.8), (2.0, 0.5, 0.75))]
    hard = [plain(w, v) for w, v in ((0.0, 0.6), (0.1, 0.7), (0.2, 0.5))]
    frame = pd.concat([*(k.assign(weight_decay=0.0) for k in kd), *hard], ignore_index=True)
    best = tuned(frame)
    chosen = best[["condition", "tau", "alpha", "weight_decay"]].drop_duplicates().to_numpy().tolist()
    assert [" ".join(map(str, row)) for row in chosen] == ["kd 1.0 0.9 0.0", "hard nan nan 0.1"]
    assert len(best) == 6 and set(best["seed"]) == {0, 1, 2}


def test_a_search_is_told_with_its_values_so_that_an_edge_shows():
    kd = [searched(tau, v, 0.5) for tau, v in ((4.0, 0.7), (2.0, 0.8))]
    frame = pd.concat([*kd, plain(0.0, 0.6), plain(5e-4, 0.7)], ignore_index=True)
    found = paired.search(frame)
    assert found.loc[("digits", "kd")].to_dict() == {"tau": "2 of 2, 4", "alpha": "0.9 of 0.9", "weight_decay": ""}
    assert found.loc[("digits", "hard")].to_dict() == {"tau": "", "alpha": "", "weight_decay": "0.0005 of 0, 0.0005"}


def test_each_data_set_and_condition_has_its_own_setting():
    matched = "label_smoothing_matched"
    accuracies = {("digits", "kd"): (0.8, 0.7), ("clinc150", "kd"): (0.7, 0.8), ("digits", matched): (0.1, 0.2)}
    frame = pd.concat(
        searched(tau, accuracy, 0.5).assign(dataset=dataset, condition=condition)
        for (dataset, condition), both in accuracies.items()
        for tau, accuracy in zip((1.0, 2.0), both)
    )
    best = tuned(frame).groupby(["dataset", "condition"])["tau"].unique().map(list).to_dict()
    assert best == {("digits", "kd"): [1.0], ("clinc150", "kd"): [2.0], ("digits", matched): [2.0]}


# ---------------------------------------------------------------- summaries


def test_summary_is_one_interval_for_each_combination():
    frame = pd.concat([searched(1.0, 0.7, 0.6), searched(2.0, 0.7, 0.8), table("hard", [0.1, 0.2])])
    found = summary(frame, "test_accuracy", ["condition", "tau"])
    assert list(found.columns) == ["condition", "tau", "mean", "low", "high", "n"]
    assert found["condition"].tolist() == ["kd", "kd", "hard"] and found["n"].tolist() == [3, 3, 2]
    for row, x in zip(found.itertuples(), ([0.59, 0.6, 0.61], [0.79, 0.8, 0.81], [0.1, 0.2])):
        i = interval(x)
        assert_allclose([row.mean, row.low, row.high], [i.mean, i.low, i.high])
    narrow = summary(frame, "test_accuracy", ["tau"], level=0.5)
    assert narrow["tau"].tolist()[:2] == [1.0, 2.0] and narrow["low"][0] > found["low"][0]


def test_levels_are_means_over_seeds():
    frame = pd.concat([searched(1.0, 0.7, 0.6), table("hard", [0.1, 0.2], validation_accuracy=0.5)])
    found = paired.levels(frame, ["validation_accuracy", "test_accuracy"])
    assert found.loc[("digits", "kd")].tolist() == pytest.approx([0.7, 0.6, 3])
    assert found.loc[("digits", "hard")].tolist() == pytest.approx([0.5, 0.15, 2])


def test_coverage_counts_runs_seeds_and_settings():
    frame = pd.concat([searched(1.0, 0.7, 0.6), searched(2.0, 0.7, 0.8), plain(0.1, 0.5)], ignore_index=True)
    frame = frame.assign(key=frame.index.astype(str), stale=frame["tau"] == 1.0, source="store")
    found = paired.coverage(frame).reset_index()
    assert found[["condition", "runs", "seeds", "settings", "stale"]].to_numpy().tolist() == [
        ["kd", 6, 3, 2, 3],
        ["hard", 3, 3, 1, 0],
    ]


def test_no_runs_make_empty_tables():
    """As of a chapter that is asked for no images."""
    nothing = ask.ask([])
    assert paired.search(nothing).empty and paired.levels(paired.tuned(nothing), ["test_nll"]).empty


# ---------------------------------------------------------------- intervals

NORMAL = np.random.default_rng(0).normal(0.3, 2.0, 12)


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


@pytest.mark.parametrize("values, found", [([], "0 values, 0 finite"), ([math.inf, math.nan, 0], "3 values, 1 finite")])
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
