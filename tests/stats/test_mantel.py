"""The Mantel test against its slow twin, at its stated level, and what must not change a rank correlation."""

import numpy as np
import pytest
import reference_stats
from conftest import says
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy import stats as scipy_stats

from kdstudy.stats import mantel as module
from kdstudy.stats.mantel import Mantel, blocks, comparable, mantel, square, upper

SUPER = np.repeat(np.arange(4), 3)


def similarity(classes: int, seed: int, ties: bool = False) -> np.ndarray:
    """A random symmetric matrix; with ties, of four different entries."""
    rng, pairs = np.random.default_rng(seed), classes * (classes - 1) // 2
    return square(rng.integers(4, size=pairs) / 4 if ties else rng.normal(size=pairs))


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's correlation as the test has it."""
    return mantel(a, b, permutations=1).correlation


def permuted(matrix: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Rows and columns in this order."""
    return matrix[np.ix_(order, order)]


# ---------------------------------------------------------------- matrices


def test_upper_and_square_by_hand():
    matrix = np.array([[1.0, 2, 3], [2, 1, 4], [3, 4, 1]])
    assert_array_equal(upper(matrix), [2, 3, 4])
    assert_array_equal(square(np.array([2.0, 3, 4])), matrix)
    assert_array_equal(square(np.zeros(0)), [[1]])


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(0, 99), st.sampled_from([np.float32, np.float64]))
def test_square_is_the_inverse_of_upper(classes, seed, dtype):
    values = np.random.default_rng(seed).normal(size=classes * (classes - 1) // 2).astype(dtype)
    matrix = square(values)
    assert matrix.dtype == dtype and (matrix == matrix.T).all() and (matrix.diagonal() == 1).all()
    assert_array_equal(upper(matrix), values)
    assert_array_equal(upper(matrix), reference_stats.pairs(matrix))


def test_blocks_are_the_pairs_that_share_a_superclass():
    assert_array_equal(blocks(np.array([3, 0, 3])), [[1, 0, 1], [0, 1, 0], [1, 0, 1]])


# ---------------------------------------------------------------- rank correlation


def test_rank_correlation_by_hand():
    """Ranks 1, 2, 3 against 1, 3, 2: 1 - 6 x 2 / (3 x 8) = 0.5."""
    a, b = square(np.array([0.1, 0.2, 0.9])), square(np.array([5.0, 7, 6]))
    assert rank_correlation(a, b) == pytest.approx(0.5, abs=1e-15)


@settings(deadline=None, max_examples=40)
@given(st.integers(4, 9), st.integers(0, 999), st.booleans())
def test_rank_correlation_is_scipys(classes, seed, ties):
    a, b = similarity(classes, seed, ties), similarity(classes, seed + 1000, ties)
    if comparable(a, b):
        wanted = scipy_stats.spearmanr(reference_stats.pairs(a), reference_stats.pairs(b)).statistic
        assert rank_correlation(a, b) == pytest.approx(wanted, abs=1e-12)
        assert rank_correlation(b, a) == pytest.approx(wanted, abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(st.integers(4, 9), st.integers(0, 999), st.sampled_from([np.exp, np.arctan, lambda x: 3 * x - 7]))
def test_only_the_order_of_entries_matters(classes, seed, rising):
    a, b = similarity(classes, seed), similarity(classes, seed + 1000)
    one = mantel(a, b, 19)
    assert mantel(rising(a), b, 19) == one and mantel(a, rising(b), 19) == one
    assert rank_correlation(-a, b) == pytest.approx(-one.correlation, abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(st.integers(4, 9), st.integers(0, 999), st.booleans(), st.randoms())
def test_the_order_of_classes_does_not_matter(classes, seed, ties, random):
    a, b = similarity(classes, seed, ties), similarity(classes, seed + 1000, ties)
    order = np.array(random.sample(range(classes), classes))
    if comparable(a, b):
        assert rank_correlation(permuted(a, order), permuted(b, order)) == pytest.approx(rank_correlation(a, b))
    if comparable(a, a):
        assert rank_correlation(a, a) == pytest.approx(1, abs=1e-12) and rank_correlation(a, a) <= 1


def test_diagonals_do_not_count():
    a, b = similarity(5, 0), similarity(5, 1)
    assert rank_correlation(a + 9 * np.eye(5), b) == rank_correlation(a, b)


def skew(classes: int) -> np.ndarray:
    """A similarity but for one entry."""
    matrix = similarity(classes, 0)
    matrix[2, 1] += 0.5
    return matrix


SIX = similarity(6, 0)
REFUSED = [
    (SIX, similarity(5, 0), "similarities of the same classes are compared: found 6 and 5 classes"),
    (similarity(2, 0), similarity(2, 1), "a rank correlation of similarities: found 2 classes, allowed: 3 or more"),
    (SIX, square(np.full(15, np.nan)), "the second similarity has 30 entries that are not finite"),
    (skew(6), SIX, "the first similarity is not symmetric: entries differ by 0.5; compare (s + s.T) / 2"),
    (SIX, np.eye(6), "the second similarity has all entries equal to 0: there is nothing to rank"),
    (
        square(0.3 + 1e-17 * np.arange(15)),
        SIX,
        "the first similarity has all entries equal to 0.3: there is nothing to rank",
    ),
]


@pytest.mark.parametrize("a, b, message", REFUSED)
def test_what_cannot_be_compared_is_refused(a, b, message):
    assert not comparable(a, b)
    with pytest.raises(ValueError, match=says(message)):
        mantel(a, b)


def test_what_is_symmetric_but_for_rounding_can_be_compared():
    a = SIX.astype(np.float32)
    a[1, 2] = np.nextafter(a[1, 2], np.float32(9))
    assert comparable(a, SIX) and rank_correlation(a, SIX) == pytest.approx(1)


# ---------------------------------------------------------------- permutation test


@pytest.mark.parametrize("classes", [3, 4, 7, 12])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("chunk", [1, 100, 1_000_000])
def test_mantel_is_its_slow_twin(classes, ties, chunk, monkeypatch):
    """Exactly, p too, in chunks of any size; b shares something with a, so that p is neither 0 nor 1."""
    monkeypatch.setattr(module, "CHUNK", chunk)
    a = similarity(classes, 1, ties)
    b = np.round(0.4 * a + similarity(classes, 2, ties), 1 if ties else 9)
    found, (r, p) = mantel(a, b, 99, seed=3), reference_stats.mantel(a, b, 99, seed=3)
    assert found == Mantel(found.correlation, p, classes, 99)
    assert found.correlation == pytest.approx(r, abs=1e-12)


def test_ties_count_against_the_hypothesis():
    """Four pairs of classes: one labelling in 105 gives the same blocks, and every such is counted."""
    same = blocks(np.repeat(np.arange(4), 2))
    found = mantel(same, same, 999, seed=0)
    hits = round(found.p * 1000) - 1
    low, high = scipy_stats.binom.ppf([0.005, 0.995], 999, 1 / 105)
    assert found.correlation == pytest.approx(1) and low <= hits <= high


def test_p_is_uniform_where_classes_are_labelled_at_random():
    """1 000 pairs of independent matrices whose pairs of a class go together; a uniform step makes p continuous.

    The usual p of a rank correlation takes pairs of classes for independent, and is small far too often.
    """
    rng, ps, usual = np.random.default_rng(5), [], []
    for seed in range(1000):
        a, b = (similarity(9, s) + np.add.outer(x, x) for s, x in zip((seed, seed + 1000), rng.normal(size=(2, 9))))
        ps.append(mantel(a, b, 199, seed).p - rng.random() / 200)
        usual.append(scipy_stats.spearmanr(upper(a), upper(b), alternative="greater").pvalue)
    assert scipy_stats.kstest(ps, "uniform").pvalue > 0.05
    low, high = scipy_stats.binom.ppf([0.005, 0.995], 1000, 0.05)
    assert low <= np.less(ps, 0.05).sum() <= high < np.less(usual, 0.05).sum()


def test_planted_blocks_are_found():
    noisy = blocks(SUPER) + similarity(12, 4) / 2
    found = mantel(noisy, blocks(SUPER))
    assert found.p == 0.001 and found.correlation > 0.3 and (found.n_classes, found.permutations) == (12, 999)
    assert mantel(-noisy, blocks(SUPER)).p > 0.99  # one-sided
    assert mantel(noisy, blocks(np.roll(SUPER, 1) % 2)).p > 0.05


def test_p_does_not_depend_on_anything_but_the_seed():
    a, b = similarity(9, 0), similarity(9, 1)
    assert mantel(a, b, seed=4) == mantel(a, b, seed=4) != mantel(a, b, seed=5)


def test_a_mantel_test_in_words():
    assert str(Mantel(0.51234, 0.001, 12, 999)) == "+0.512, p = 0.001, 12 classes"


@pytest.mark.parametrize("permutations", [0, -1])
def test_no_permutation_is_refused(permutations):
    with pytest.raises(ValueError, match=says(f"permutations: found {permutations}, allowed: 1 or more")):
        mantel(SIX, SIX, permutations)
