"""The map of regimes, the budget curves and the page of beds, on a study of milliseconds and against slow twins."""

from itertools import combinations

import numpy as np
import pytest
from IPython.core.pylabtools import print_figure

from kdstudy.figures.chapters import regimes as drawn
from kdstudy.study import admission, budget, search


@pytest.fixture
def mapped(perform):
    return perform("regimes", regime=None, labels=[2, 99])


@pytest.fixture
def searched(perform):
    return perform("admission", regime="soft_truth, same_labels")


def test_a_cell_is_kd_minus_hard_labels_of_its_students(mapped):
    found, table = drawn.cells(mapped), mapped.tables["practical"]
    assert len(found) == 3 + 1 and set(found["labels"]) == {0, 2}, "no class has 99 examples"
    assert len(drawn.cell_table(mapped)) == len(found)
    right = table.groupby("condition")["test_accuracy"].mean()
    for row in found.to_dict("records"):
        cell = f"{row['saw']} {row['labels']}"
        assert row["effect"] == pytest.approx(right[f"{cell}:kd"] - right[f"{cell}:hard"], abs=1e-7)
        assert row["low"] <= row["effect"] <= row["high"]


def test_teachers_of_the_map_saw_what_its_columns_say(mapped):
    kd = mapped.tables["practical"].loc[lambda t: t["condition"].str.fullmatch(r"\w+ 2:kd")]
    assert len(kd) == 3 * 2
    for regime, run in zip(kd["condition"].str.split().str[0], kd["run"]):
        assert ("transfer" if regime == "transfer_set" else "labels") in dict(run.data.options)
        if regime == "same_labels":
            assert run.teacher.data == run.data
        else:
            assert dict(run.teacher.data.options)["composed"] == "informed"


def test_the_map_writes_each_cell_and_brackets_what_contains_zero(mapped):
    figure = drawn.regime_map(mapped)
    texts = [t.get_text() for t in figure.axes[0].texts]
    rows = drawn.cells(mapped)
    assert len(texts) == len(rows)
    assert sum(t.startswith("(") for t in texts) == ((rows["low"] <= 0) & (rows["high"] >= 0)).sum()
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["2", "all"]
    assert "svg" in print_figure(figure, "svg")


def test_budget_curves_are_the_mean_over_all_subsets_of_settings(searched):
    for experiment in searched.experiments:
        table = experiment.tables["tuning"]
        valid, test = (search.scores(table, f"{s}_accuracy") for s in ("validation", "test"))
        for side, curve in budget.curves(experiment).items():
            v, t = valid[side].to_numpy()[:2], test[side].to_numpy()[:2]  # 2 settings before any beyond an edge
            for b, seed in ((b, s) for b in (1, 2) for s in (0, 1)):
                kept = [t[max(few, key=lambda i: (v[i, seed], -i)), seed] for few in combinations(range(2), b)]
                assert curve.loc[b, seed] == pytest.approx(np.mean(kept))


def test_gains_by_budget_are_against_equal_and_against_full(searched):
    rows, one = budget.gains(searched), searched.experiments[0]
    hard, kd = budget.curves(one).values()
    mine = rows[(rows["dataset"] == one.name) & (rows["budget"] == 1)].set_index("line")
    assert mine.loc[budget.EQUAL, "mean"] == pytest.approx((kd.loc[1] - hard.loc[1]).mean())
    assert mine.loc[budget.FULL, "low"] == pytest.approx((kd.loc[1] - hard.loc[2]).min())
    assert budget.doubling(24) == [1, 2, 4, 8, 16, 24] and budget.doubling(1) == [1]
    saved = budget.saved(searched).set_index("dataset").loc[one.name]
    assert saved["gain with 1"] - saved["gain with all"] == pytest.approx(saved["saved search"])


def test_a_run_that_diverged_answers_nothing_rightly(searched):
    one = searched.experiments[0]
    table = one.tables["tuning"]
    kd = table.index[table["condition"] == "kd"]
    table.loc[kd, ["validation_accuracy", "test_accuracy"]] = np.nan
    assert (budget.curves(one)["kd"] == 0).all(axis=None) and (budget.curves(one)["hard"] > 0).all(axis=None)


def test_untuned_sides_have_the_recipe_of_no_search(searched):
    for experiment in searched.experiments:
        for name, side in (("hard", "hard, untuned"), ("kd", "kd, untuned")):
            values = experiment.choices[side].setting.values
            assert values == {"lr": 0.1, "weight_decay": 0.0} | ({"alpha": 0.9, "tau": 4.0} if name == "kd" else {})
    rows = drawn.searched(searched)
    wide = rows.pivot(index="dataset", columns="search", values="effect")
    right = searched.tables["practical"].pivot_table(index="dataset", columns="condition", values="test_accuracy")
    np.testing.assert_allclose(wide["KD searched"], (right["kd"] - right["hard, untuned"])[wide.index], atol=1e-7)


def test_pages_draw_and_say_which_beds_are_refused(searched):
    figures = [drawn.budget_curves(searched), drawn.searched_dots(searched)]
    assert [len(ax.containers) for f in figures for ax in f.axes if ax.get_visible()] == [2, 2, 6]
    assert all("svg" in print_figure(f, "svg") for f in figures)
    table, said = admission.table(searched), drawn.refusals(searched)
    assert list(drawn.described(searched)["students: labelled"]) == [6 * 6] * 2
    assert said.count("- **") == (~table["admitted"].astype(bool)).sum() > 0
    assert drawn.search_share(searched).count("points over hard labels without a search") == 2
