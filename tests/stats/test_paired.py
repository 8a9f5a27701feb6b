"""Pairing by seed, settings chosen without the test split, and summaries."""

import numpy as np
import pandas as pd
import pytest
from conftest import says
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal, assert_series_equal

from kdstudy.engine import ask
from kdstudy.stats import paired
from kdstudy.stats.paired import difference, interval, summary, tuned, where


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


def test_one_setting_column_is_enough():
    frame = pd.concat([plain(0.0, 0.6), plain(0.1, 0.7)])
    assert paired.searched(frame) == ["weight_decay"]
    assert set(tuned(frame)["weight_decay"]) == {0.1}


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
