"""The mass x shape grid: effects against their words, Shapley values by their axioms and their twin."""

from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
import reference_stats
from conftest import says
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from kdstudy.distill import conditions
from kdstudy.stats.factorial import (
    CELLS,
    CONDITIONS,
    EFFECTS,
    IDENTITY,
    LEVELS,
    PLAYERS,
    based_on,
    shapley,
    shares,
)
from kdstudy.study import claims

MASSES, SHAPES = ("constant", "instance"), ("uniform", "class", "instance")
Means = dict[str, float]


def in_words(m: Means) -> Means:
    """Every effect from its description, without the table of weights."""
    y = {cell: m[condition] for cell, condition in CELLS.items()}

    def step(to: str, start: str) -> list[float]:
        return [y[mass, to] - y[mass, start] for mass in MASSES]

    one, two = step("class", "uniform"), step("instance", "class")
    return {
        "universe": m["label_smoothing_matched"] - m["hard"],
        "class shape": np.mean(one),
        "instance shape": np.mean(two),
        "instance mass": np.mean([y["instance", s] - y["constant", s] for s in SHAPES]),
        "mass x class": one[1] - one[0],
        "mass x instance": two[1] - two[0],
        "KD": m["kd"] - m["hard"],
    }


def value(weights: Means, means: Means) -> float:
    return sum(w * means[c] for c, w in weights.items())


# ---------------------------------------------------------------- the grid and its effects


def test_the_grid_is_complete_and_its_conditions_exist():
    assert list(CELLS) == list(product(MASSES, SHAPES))
    assert set(CONDITIONS) <= set(conditions.CONDITIONS) and len(set(CONDITIONS)) == 7


def test_effects_are_contrasts():
    for name, weights in EFFECTS.items():
        assert sum(weights.values()) == pytest.approx(0, abs=1e-15), name
        assert sum(w for w in weights.values() if w > 0) == pytest.approx(2 if " x " in name else 1), name


@settings(max_examples=50)
@given(st.lists(st.floats(-10, 10), min_size=7, max_size=7))
def test_effects_are_what_their_names_say_and_add_up_to_kd(values):
    means = dict(zip(CONDITIONS, values))
    found, wanted = {k: value(w, means) for k, w in EFFECTS.items()}, in_words(means)
    assert list(found) == list(wanted)
    assert_allclose(list(found.values()), list(wanted.values()), atol=1e-12)
    assert value(IDENTITY, found) == pytest.approx(found["KD"], abs=1e-12)


def test_factorial_effects_are_orthogonal_but_for_neighbouring_steps():
    """Mass, shape and their interactions are; two steps along the shapes share the class cell."""
    rows = pd.DataFrame({k: pd.Series(w) for k, w in EFFECTS.items()}).fillna(0)
    dots = rows.T @ rows
    for one, two in [
        ("instance mass", "class shape"),
        ("instance mass", "instance shape"),
        ("instance mass", "mass x class"),
        ("class shape", "mass x class"),
        ("class shape", "mass x instance"),
        ("instance shape", "mass x class"),
    ]:
        assert dots.loc[one, two] == pytest.approx(0, abs=1e-15)
    assert dots.loc["class shape", "instance shape"] == -0.5


def test_another_baseline_takes_the_place_of_hard_labels_alone():
    moved = based_on("pseudo_label", EFFECTS)
    assert moved["KD"] == {"pseudo_label": -1, "kd": 1} and moved["class shape"] == EFFECTS["class shape"]


# ---------------------------------------------------------------- Shapley values


def game(n: int, seed: int, seeds: int = 4) -> dict[frozenset[str], np.ndarray]:
    """Random values, one for each seed, of all coalitions of n players."""
    rng, players = np.random.default_rng(seed), "abcdef"[:n]
    return {frozenset(s): rng.normal(size=seeds) for size in range(n + 1) for s in combinations(players, size)}


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 5), st.integers(0, 999))
def test_shapley_is_its_slow_twin_and_shares_out_everything(n, seed):
    values = game(n, seed)
    found, wanted = shapley(values), reference_stats.shapley(values)
    assert found.keys() == wanted.keys()
    for player in found:
        assert_allclose(found[player], wanted[player], atol=1e-12)
    everyone = frozenset("abcdef"[:n])
    assert_allclose(sum(found.values()), values[everyone] - values[frozenset()], atol=1e-12)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 5), st.integers(0, 999))
def test_shapley_axioms(n, seed):
    """Symmetry: a and b add the same to every coalition. Dummy: z adds 2 to each. Additivity: of two games."""
    one, two = game(n, seed), game(n, seed + 1000)
    even = {s: one[s] + one[frozenset({"a": "b", "b": "a"}.get(p, p) for p in s)] for s in one}
    assert_allclose(shapley(even)["a"], shapley(even)["b"], atol=1e-12)
    dummy = one | {s | {"z"}: v + 2 for s, v in one.items()}
    assert_allclose(shapley(dummy)["z"], 2, atol=1e-12)
    assert_allclose(shapley(dummy)["a"], shapley(one)["a"], atol=1e-12)
    both = {s: one[s] + two[s] for s in one}
    assert_allclose(shapley(both)["a"], shapley(one)["a"] + shapley(two)["a"], atol=1e-12)


def test_shapley_by_hand():
    """Gloves: l owns a left one, r and s right ones; a pair is worth 1. 2/3, 1/6 and 1/6."""
    worth = {frozenset(c): np.array([float("l" in c and len(c) > 1)]) for n in range(4) for c in combinations("lrs", n)}
    assert {p: pytest.approx(float(v[0])) for p, v in shapley(worth).items()} == {"l": 2 / 3, "r": 1 / 6, "s": 1 / 6}
    assert shapley({frozenset(): np.ones(2)}) == {}


def test_a_coalition_without_a_value_is_refused():
    values = {k: v for k, v in game(3, 0).items() if k not in (frozenset(), frozenset("ac"))}
    with pytest.raises(ValueError, match=says("3 players need the values of 8 coalitions; missing: {}, {a, c}")):
        shapley(values)
    with pytest.raises(ValueError, match=says("0 players need the values of 1 coalitions; missing: {}")):
        shapley({})


# ---------------------------------------------------------------- shares


def test_every_coalition_has_its_condition():
    """Without mass that leaves the label nothing else has anything to act on."""
    assert LEVELS.keys() == {frozenset(s) for n in range(4) for s in combinations(PLAYERS, n)}
    assert {s for s, c in LEVELS.items() if c == "hard"} == {s for s in LEVELS if "universe" not in s}


def test_shares_by_hand():
    """hard 0, U 6, UD 12, UI 9, UDI 24.

    domain: (12 - 6) / 6 + (24 - 9) / 3 = 6. instance: (9 - 6) / 6 + (24 - 12) / 3 = 4.5. universe: what is left, 13.5.
    """
    means = dict(zip(("hard", "label_smoothing_matched", "class_matched", "kd_pt", "kd"), (0, 6, 12, 9, 24)))
    found = {level: value(weights, means) for level, weights in shares().items()}
    assert found == pytest.approx({"universe": 13.5, "domain": 6, "instance": 4.5})


def test_shares_are_what_the_claims_ask_of_them():
    asked = {c.id: c.contrast for c in claims.load()}
    for level, weights in shares().items():
        assert weights == pytest.approx(dict(asked[f"A2-{level}"])), level
