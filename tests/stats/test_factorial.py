"""The mass x shape grid: effects against their words, planted effects found, and intervals that hold."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from conftest import says
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats as scipy_stats

from kdstudy.distill import conditions
from kdstudy.stats import paired
from kdstudy.stats.factorial import CELLS, CONDITIONS, EFFECTS, IDENTITY, cells, contrast, effects, ladder

MASSES, SHAPES = ("constant", "instance"), ("uniform", "class", "instance")
Means = dict[str, float]

# ---------------------------------------------------------------- simulated tables


def grid(means: Means, seeds: int, sd: float, rng: np.random.Generator, dataset: str = "digits") -> pd.DataFrame:
    """Runs whose values are their condition's mean, the seed's own luck, ten times as large, and noise."""
    luck = rng.normal(0, 10 * sd, seeds)
    y = np.array(list(means.values()))[:, None] + luck + rng.normal(0, sd, (len(means), seeds))
    where = {"condition": np.repeat(list(means), seeds), "seed": np.tile(range(seeds), len(means))}
    return pd.DataFrame({"dataset": dataset} | where | {"score": y.ravel()})


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


PLANTED = dict(zip(CONDITIONS, [0.70, 0.71, 0.73, 0.735, 0.72, 0.76, 0.80]))
TABLE = grid(PLANTED, 5, 0.001, np.random.default_rng(0))

# ---------------------------------------------------------------- the grid and its effects


def test_the_grid_is_complete_and_its_conditions_exist():
    assert list(CELLS) == list(product(MASSES, SHAPES))
    assert set(CONDITIONS) <= set(conditions.CONDITIONS) and len(set(CONDITIONS)) == 7


def test_effects_are_contrasts():
    for name, weights in EFFECTS.items():
        assert sum(weights.values()) == pytest.approx(0, abs=1e-15), name
        assert sum(w for w in weights.values() if w > 0) == pytest.approx(2 if " x " in name else 1), name


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-10, 10), min_size=7, max_size=7))
def test_effects_are_what_their_names_say_and_add_up_to_kd(values):
    means = dict(zip(CONDITIONS, values))
    found = {k: float(contrast(pd.DataFrame(means, [0]), w)[0]) for k, w in EFFECTS.items()}
    wanted = in_words(means)
    assert list(found) == list(wanted)
    assert_allclose(list(found.values()), list(wanted.values()), atol=1e-12)
    assert sum(w * found[name] for name, w in IDENTITY.items()) == pytest.approx(found["KD"], abs=1e-12)


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


def test_planted_effects_lie_in_their_intervals():
    found = effects(TABLE, "score").set_index("effect")
    assert list(found.columns) == ["dataset", "mean", "low", "high", "n", "p"] and set(found["n"]) == {5}
    for name, true in in_words(PLANTED).items():
        assert found.loc[name, "low"] < true < found.loc[name, "high"], name
        assert found.loc[name, "high"] - found.loc[name, "low"] < 0.02, name  # the seeds' luck cancels
    assert found.loc[["universe", "class shape", "instance mass", "KD"], "p"].max() < 0.05


def test_all_effects_of_a_data_set_hold_together():
    found = effects(TABLE, "score", level=0.9)
    table = cells(TABLE, "score")
    for row in found.itertuples():
        i = paired.interval(contrast(table, EFFECTS[row.effect]), 0.9, family=7)
        assert (row.mean, row.low, row.high, row.n, row.p) == (i.mean, i.low, i.high, i.n, i.p)


def test_each_data_set_has_its_effects_in_the_order_of_the_table():
    other = grid(PLANTED, 3, 0.1, np.random.default_rng(1), "clinc150")
    found = effects(pd.concat([TABLE, other]), "score")
    assert found["dataset"].tolist() == ["digits"] * 7 + ["clinc150"] * 7
    assert found["effect"].tolist() == list(EFFECTS) * 2
    pd.testing.assert_frame_equal(found[7:].reset_index(drop=True), effects(other, "score"))


def test_cells_that_are_equal_differ_by_nothing():
    """Thirds of 0.9 do not add up to nothing by themselves, and would be significant."""
    found = effects(TABLE.assign(score=0.9), "score")
    assert (found[["mean", "low", "high"]] == 0).all(axis=None) and (found["p"] == 1).all()


def test_intervals_hold_as_often_as_they_say():
    """400 tables of 6 seeds. At level 1 - 7 x 0.05 each interval of a family of 7 is one of 95 %."""
    rng, true = np.random.default_rng(11), in_words(PLANTED)
    frame = pd.concat([grid(PLANTED, 6, 0.03, rng, f"set {i}") for i in range(400)])
    low, high = scipy_stats.binom.ppf([0.001, 0.999], 400, 0.95)

    def inside(level: float) -> pd.DataFrame:
        found = effects(frame, "score", level)
        wanted = found["effect"].map(true)
        return found.assign(inside=(found["low"] <= wanted) & (wanted <= found["high"]))

    alone, together = inside(0.65), inside(0.95)
    counts = alone.groupby("effect")["inside"].sum()
    assert counts.between(low, high).all(), counts
    assert together.groupby("dataset")["inside"].all().sum() >= low
    assert alone.groupby("dataset")["inside"].all().sum() < low  # why they are made to hold together


# ---------------------------------------------------------------- rungs


def test_the_ladder_is_the_paired_gain_of_each_condition():
    found = ladder(TABLE, "score")
    assert list(found.columns) == ["dataset", "condition", "mean", "low", "high", "n"]
    assert found["condition"].tolist() == list(CONDITIONS)
    assert found.loc[0, ["mean", "low", "high"]].tolist() == [0, 0, 0]
    for row in found[1:].itertuples():
        d = paired.difference(TABLE, {"condition": row.condition}, {"condition": "hard"}, "score")
        i = paired.interval(d, family=6)
        assert (row.mean, row.low, row.high, row.n) == (i.mean, i.low, i.high, i.n)
        assert row.low < PLANTED[row.condition] - PLANTED["hard"] < row.high


# ---------------------------------------------------------------- cells


def test_cells_are_seeds_by_conditions_whatever_the_order_of_rows():
    found = cells(TABLE.sample(frac=1, random_state=0), "score")
    assert list(found.columns) == list(CONDITIONS) and list(found.index) == [0, 1, 2, 3, 4]
    assert found.index.name == "seed"
    for c in CONDITIONS:
        assert found[c].tolist() == TABLE.loc[TABLE["condition"] == c, "score"].tolist()
    other = TABLE.assign(condition="dkd", seed=9)
    pd.testing.assert_frame_equal(cells(pd.concat([TABLE, other]), "score"), found)


KD = TABLE["condition"] == "kd"
REFUSED = [
    (
        TABLE[~TABLE["condition"].isin(["kd", "kd_pt"])],
        "no run of kd_pt, kd; there are: class_matched, hard, instance_matched, kd_pt_class, label_smoothing_matched",
    ),
    (pd.concat([TABLE, TABLE[KD][:2]]), "kd names 7 runs of 5 seeds: fix the setting too"),
    (TABLE[~(KD & (TABLE["seed"] == 3))], "the conditions are not paired: kd lacks seeds [3]"),
    (
        TABLE.assign(seed=TABLE["seed"].mask(KD & (TABLE["seed"] == 0), 8))[lambda t: ~(KD & (t["seed"] == 2))],
        "the conditions are not paired: "
        + "".join(f"{c} lacks seeds [8], " for c in CONDITIONS[:-1])
        + "kd lacks seeds [0, 2]",
    ),
]


@pytest.mark.parametrize("frame, message", REFUSED)
def test_a_table_that_is_no_grid_is_refused(frame, message):
    for ask in (cells, effects, ladder):
        with pytest.raises(ValueError, match=says(message)):
            ask(frame, "score")


def test_cells_are_of_one_data_set():
    two = pd.concat([TABLE, TABLE.assign(dataset="clinc150")])
    with pytest.raises(ValueError, match=says("cells are of one data set, found clinc150, digits: choose one")):
        cells(two, "score")


def test_no_runs_are_refused():
    with pytest.raises(ValueError, match=says("a table without runs has no effects: ask for the runs first")):
        effects(TABLE[:0], "score")
