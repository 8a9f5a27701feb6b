"""Estimates against simulation: intervals hold the truth, and effects are found, as often as is said."""

from itertools import combinations

import numpy as np
import pytest

from kdstudy.stats import headline
from kdstudy.stats.headline import Estimate
from kdstudy.study import search
from kdstudy.study.claims import CONTRADICTED, NONE, SUPPORTED, UNDECIDED, Claim, verdict


def holding(estimates: list[Estimate], truth: float) -> float:
    """The part of the intervals that hold the truth."""
    return float(np.mean([e.low <= truth <= e.high for e in estimates]))


# ---------------------------------------------------------------- seeds, and test examples


@pytest.mark.parametrize("seeds", [2, 5, 20])
def test_intervals_over_seeds_hold_the_mean_as_often_as_they_say(seeds):
    drawn = np.random.default_rng(seeds).normal(0.3, 2.0, (1000, seeds))
    assert holding([headline.over_seeds(x) for x in drawn], 0.3) == pytest.approx(0.95, abs=0.017)


def two_way(rng: np.random.Generator, seeds: int, examples: int, spread: tuple[float, float, float]) -> np.ndarray:
    """An effect of 0.1 on every seed and example, with what seeds, examples and both together add."""
    a, b, c = (rng.normal(0, s, shape) for s, shape in zip(spread, ((seeds, 1), (1, examples), (seeds, examples))))
    return 0.1 + a + b + c


@pytest.mark.parametrize("spread", [(0.3, 1.0, 1.0), (0.05, 1.0, 0.5), (0.3, 0.2, 1.0)])
def test_intervals_over_seeds_and_examples_hold_the_mean_where_both_are_drawn_anew(spread):
    rng = np.random.default_rng(0)
    tables = [two_way(rng, 10, 100, spread) for _ in range(800)]
    found = [headline.over_seeds_and_examples(x) for x in tables]
    assert 0.93 <= holding(found, 0.1) <= 0.985
    (a, b, c), sizes = np.square(spread), (10, 100, 1000)
    assert np.mean([e.error**2 for e in found]) == pytest.approx(a / sizes[0] + b / sizes[1] + c / sizes[2], rel=0.1)
    if spread[0] < spread[1] / 10:  # what varies is which examples there are
        assert holding([headline.over_seeds(x.mean(1)) for x in tables], 0.1) < 0.6


def test_the_closed_form_is_its_loops():
    x = two_way(np.random.default_rng(1), 4, 7, (1.0, 1.0, 1.0))
    rows, columns, mean = [sum(r) / 7 for r in x], [sum(c) / 4 for c in x.T], x.mean()
    parts = sum((r - mean) ** 2 for r in rows) / 3 / 4, sum((c - mean) ** 2 for c in columns) / 6 / 7
    rest = [(x[s, n] - rows[s] - columns[n] + mean) ** 2 for s in range(4) for n in range(7)]
    wanted = max(sum(parts) - sum(rest) / (3 * 6) / (4 * 7), *parts)
    found = headline.over_seeds_and_examples(x)
    assert (found.mean, found.n) == (pytest.approx(mean), 4) and found.error**2 == pytest.approx(wanted)


# ---------------------------------------------------------------- the search


def protocol(rng: np.random.Generator, truth: np.ndarray, tuning: int = 3, seeds: int = 20):
    """One study of two sides, truth (2, settings) the accuracy of each setting, a seed's deviation 1: the estimate at
    the choices, and with the search.
    """
    tuned = truth[..., None] + rng.normal(0, 1, (*truth.shape, tuning))
    shown = truth[..., None] + rng.normal(0, 1, (*truth.shape, seeds))

    def effect(counts: tuple[int, ...]) -> np.ndarray:
        first, second = (tuned @ np.array(counts)).argmax(1)
        return shown[0, first] - shown[1, second]

    ways, best = search.resamples(tuning), effect((1,) * tuning)
    bare, few = headline.over_seeds(best), seeds // 2
    return bare, headline.with_search(bare, {w: (effect(w) - best)[:few] for w in ways}, ways)


def expected(rng: np.random.Generator, truth: np.ndarray, tuning: int = 3) -> float:
    """The effect that the protocol finds, whichever tuning seeds it has."""
    first, second = (truth + rng.normal(0, tuning**-0.5, (20_000, *truth.shape))).argmax(-1).T
    return float((truth[0, first] - truth[1, second]).mean())


@pytest.mark.parametrize("slope, bare_most", [(0.0, 1.0), (0.5, 0.9), (3.0, 0.87)])
def test_intervals_hold_the_effect_of_the_protocol_though_its_choices_might_have_been_others(slope, bare_most):
    """Settings whose accuracy falls with their distance from the best."""
    rng, bare, found = np.random.default_rng(2), [], []
    for _ in range(5):
        truth = -slope * rng.uniform(-1, 1, (2, 24, 2)).__pow__(2).sum(-1)
        wanted = expected(rng, truth)
        for _ in range(150):
            held = [e.low <= wanted <= e.high for e in protocol(rng, truth)]
            bare.append(held[0])
            found.append(held[1])
    assert np.mean(bare) <= bare_most
    assert 0.935 <= np.mean(found) <= 0.985


def test_a_search_that_cannot_be_judged_adds_nothing():
    bare = Estimate(1.0, 0.1, 20)
    ways = search.resamples(2)
    moved = {w: np.full(5, float(w[0])) for w in ways}
    wide = headline.with_search(bare, moved, ways)
    assert wide.error**2 == pytest.approx(0.01 + 2 * 0.5)  # a bootstrap of two seeds finds half the variance
    assert 2 < wide.freedom < 3 and wide.half > 4 * bare.half
    for few in ({}, {w: m[:1] for w, m in moved.items()}, {(1,): np.ones(5)}, {w: np.ones(5) for w in ways}):
        assert headline.with_search(bare, few, {**ways, (1,): 1.0}) == bare


@pytest.mark.parametrize("seed", range(3))
def test_the_best_of_a_budget_is_the_mean_over_all_subsets_of_that_size(seed):
    by, shown = np.random.default_rng(seed).normal(size=(2, 7))
    wanted = [np.mean([shown[max(s, key=by.__getitem__)] for s in combinations(range(7), b)]) for b in range(1, 8)]
    np.testing.assert_allclose(headline.expected_best(by, shown), wanted)


# ---------------------------------------------------------------- power, and verdicts


@pytest.mark.parametrize("seeds", [5, 20])
def test_the_detectable_effect_is_found_in_four_of_five_studies(seeds):
    true = Estimate(0.0, seeds**-0.5, seeds).detectable
    drawn = np.random.default_rng(3).normal(true, 1, (1000, seeds))
    assert np.mean([headline.over_seeds(x).low > 0 for x in drawn]) == pytest.approx(0.8, abs=0.05)


def verdicts(true: float, noise: float, **claim: object) -> dict[str, float]:
    """How often each verdict is given to an effect seen on 20 seeds of that noise."""
    asked = Claim("x", "universe", "universe", "practical", "it gains", "here", **claim)
    drawn = np.random.default_rng(4).normal(true, noise, (400, 20))
    given = [verdict(asked, headline.over_seeds(x)) for x in drawn]
    return {v: given.count(v) / len(given) for v in set(given)}


def test_planted_effects_and_planted_nulls_are_told_apart():
    small = {SUPPORTED, CONTRADICTED}
    assert verdicts(0.02, 0.01)[SUPPORTED] > 0.99
    assert verdicts(-0.02, 0.01)[CONTRADICTED] > 0.99
    assert verdicts(0.0, 0.003)[NONE] > 0.99
    assert verdicts(0.002, 0.002)[NONE] > 0.99  # smaller than what counts
    unseen = verdicts(0.0, 0.05)  # noise too great to tell
    assert unseen[UNDECIDED] > 0.9 and sum(unseen.get(v, 0) for v in small) < 0.08
    assert verdicts(0.0, 0.003, rule="equivalence")[SUPPORTED] > 0.99
    assert verdicts(-0.02, 0.01, rule="equivalence")[CONTRADICTED] > 0.99
    assert verdicts(0.005, 0.01, rule="equivalence").get(CONTRADICTED, 0) < 0.05


def test_p_is_below_five_per_cent_if_and_only_if_the_interval_decides():
    rng = np.random.default_rng(5)
    for mean, error, n, freedom in zip(*rng.normal(0, 1, (2, 300)), rng.integers(2, 30, 300), [None, 2.5] * 150):
        e = Estimate(mean, abs(error), int(n), freedom)
        assert (e.p() < 0.05) == (not e.low <= 0 <= e.high)
        assert (e.p(0.3) < 0.05) == (not e.low <= 0.3 <= e.high)
        assert (e.p_within(1.5) < 0.05) == (-1.5 < e.low and e.high < 1.5)


# ---------------------------------------------------------------- what cannot be estimated


def test_one_seed_decides_nothing_and_equal_seeds_are_exact():
    one, equal = headline.over_seeds(np.array([0.2])), headline.over_seeds(np.full(4, 0.2))
    assert (one.low, one.high, one.detectable, one.p()) == (-np.inf, np.inf, np.inf, 1.0)
    assert headline.over_seeds_and_examples(np.ones((1, 9))) == Estimate(1.0, 0.0, 1)
    assert (equal.low, equal.high, equal.p(), equal.p(0.2), equal.p_within(0.3)) == (0.2, 0.2, 0.0, 1.0, 0.0)


@pytest.mark.parametrize("values, found", [([], "0, of which 0"), ([1.0, np.nan], "2, of which 1")])
def test_values_that_are_not_finite_are_refused(values, found):
    with pytest.raises(ValueError, match=f"^an estimate needs finite values, found {found} finite$"):
        headline.over_seeds(np.array(values))
