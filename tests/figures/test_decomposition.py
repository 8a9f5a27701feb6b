"""The decomposition's figures: they show what the tables say, and draw whatever part of the grid there is."""

import numpy as np
import pandas as pd
import pytest
from IPython.core.pylabtools import print_figure
from matplotlib.figure import Figure

from kdstudy.engine import ask
from kdstudy.figures.chapters import decomposition as drawn
from kdstudy.figures.shared import classes as by_class
from kdstudy.figures.shared import levels, search
from kdstudy.stats import factorial, paired
from kdstudy.store.published import Classes
from kdstudy.study import plans

DKD = {"tckd": "target", "nckd": "nontarget", "dkd": "nontarget"}
BUILDERS = {
    "grid": lambda t: drawn.grid(paired.tuned(t)),
    "ladder": lambda t: drawn.effect_dots(drawn.of_grid(factorial.ladder, paired.tuned(t)), paired.tuned(t)),
    "shares": lambda t: drawn.effect_dots(drawn.of_grid(factorial.shares, paired.tuned(t)), paired.tuned(t)),
    "decoupled": lambda t: drawn.effect_dots(drawn.weighted_sums(paired.tuned(t), drawn.PARTS), t),
    "sensitivity": lambda t: drawn.sensitivity(t, 0.9, drawn.MAIN),
    "given": lambda t: levels.level_bars(levels.by_temperature(t, 0.9), "temperature"),
    "made": lambda t: levels.level_bars(levels.at_kd_setting(t), "condition"),
    "search": lambda t: search.surfaces(t, ["class_matched", "kd"]),
}


def rows(conditions: list[str], seeds: int, dataset: str) -> list[dict[str, object]]:
    """Every condition over its settings; accuracies differ by condition, setting and seed."""
    rng, found = np.random.default_rng(0), []
    for k, name in enumerate(conditions):
        free = [(np.nan, np.nan, w, np.nan) for w in (0.0, 0.01)]
        if name in DKD:
            free = [(tau, np.nan, 0.0, w) for tau in (1.0, 4.0) for w in (1.0, 2.0)]
        elif name != "hard":
            free = [(tau, alpha, 0.0, np.nan) for tau in (1.0, 2.0, 4.0) for alpha in (0.5, 0.9)]
        for i, (tau, alpha, decay, part) in enumerate(free):
            for seed in range(seeds):
                y = 0.5 + 0.01 * k + 0.002 * i + 0.01 * seed + rng.normal(0, 0.001)
                row = {"key": f"{dataset} {name} {i} {seed}", "dataset": dataset, "condition": name, "seed": seed,
                       "tau": tau, "alpha": alpha, "weight_decay": decay, "target": np.nan, "nontarget": np.nan,
                       "test_accuracy": y, "validation_accuracy": y}  # fmt: skip
                row |= {"hidden": "6", "device": "CPU", "stale": False}
                row |= {DKD[name]: part} if name in DKD else {}
                found.append(row | {f"{who}_{level}": 0.1 * (name != "hard" or who == "student")
                                    for who in ("target", "student") for level in factorial.PLAYERS})  # fmt: skip
    return found


def table(conditions: str | list[str] = plans.DECOMPOSITION, seeds: int = 4, datasets: str = "a, b") -> pd.DataFrame:
    """Runs of these conditions on every data set; only the columns that their conditions have."""
    found = [r for d in plans.several(datasets) for r in rows(plans.several(conditions), seeds, d)]
    frame = pd.DataFrame(found)
    settings = [c for c in paired.SETTING if c in frame]
    return frame.drop(columns=[c for c in settings if frame[c].isna().all()])


def texts(figure: Figure) -> str:
    """Every text of a figure."""
    return "\n".join(t.get_text() for ax in figure.axes for t in ax.texts) + "\n".join(
        t.get_text() for t in figure.texts
    )


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("seeds", [1, 4])
def test_figures_draw_with_any_number_of_seeds(name, seeds):
    assert "svg" in print_figure(BUILDERS[name](table(seeds=seeds)), "svg")


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("conditions", ["hard", "kd", "hard, kd", "kd_pt, tckd", "hard, tckd, nckd, dkd", "hard, topk"])
def test_figures_draw_what_there_is_or_say_what_lacks(name, conditions):
    figure = BUILDERS[name](table(conditions))
    assert "svg" in print_figure(figure, "svg")
    bare = not any(ax.lines or ax.images or ax.patches or ax.collections for ax in figure.axes)
    assert bare == ("nothing to draw: " in texts(figure))


def test_a_data_set_without_the_whole_grid_is_left_out_of_the_factorial():
    frame = pd.concat([table(datasets="a"), table("hard, kd", datasets="b")])
    assert set(drawn.of_grid(factorial.effects, paired.tuned(frame))["dataset"]) == {"a"}
    assert drawn.of_grid(factorial.effects, table("hard, kd")).empty


def test_the_grid_prints_means_and_paired_gains():
    best = paired.tuned(table("hard, kd", datasets="a"))
    means = best.groupby("condition")["test_accuracy"].mean()
    shown = texts(drawn.grid(best))
    assert f"\n{100 * means['kd']:.1f} ± " in shown
    assert f"({100 * (means['kd'] - means['hard']):+.1f})" in shown


def test_both_parts_of_decoupled_kd_add_up_and_what_lacks_a_condition_is_left_out():
    best = paired.tuned(table("hard, tckd, nckd, dkd", datasets="a"))
    found = drawn.weighted_sums(best, drawn.PARTS).set_index("contrast")["difference"]
    y = factorial.cells(best, "test_accuracy", ["hard", "tckd", "nckd", "dkd"]).mean()
    assert found["target part"] == pytest.approx((y["tckd"] - y["hard"] + y["dkd"] - y["nckd"]) / 2)
    assert found["target part"] + found["non-target part"] == pytest.approx(y["dkd"] - y["hard"])
    assert "decoupled KD less KD" not in found.index


def test_equal_settings_are_equal_and_keep_the_tuned_baseline():
    frame = table(datasets="a")
    got = drawn.effects_by_temperature(frame, 0.9)
    assert sorted(got["tau"].unique()) == [1, 2, 4]
    one = frame[(frame["tau"] == 2) & (frame["alpha"] == 0.9)]
    hard = paired.tuned(frame[frame["condition"] == "hard"])
    want = factorial.effects(pd.concat([hard, one]), "test_accuracy")
    pd.testing.assert_frame_equal(got[got["tau"] == 2].drop(columns="tau").reset_index(drop=True), want)


def test_cells_beside_each_other_share_the_setting_of_kd():
    frame = table()
    got, kd = levels.at_kd_setting(frame), paired.tuned(frame[frame["condition"] == "kd"])
    others = got[got["condition"] != "hard"]
    assert set(others["condition"]) == set(factorial.CELLS.values())
    assert (set(others["tau"]), set(others["alpha"])) == (set(kd["tau"]), set(kd["alpha"]))


def test_what_lies_beside_zero_is_said_with_its_size():
    found = pd.DataFrame(
        {"dataset": "a", "effect": ["universe", "mass x class", "KD"], "mean": [0.02, -0.011, 0.0],
         "low": [0.01, -0.02, -1.0], "high": [0.03, -0.001, 1.0]}
    )  # fmt: skip
    assert drawn.signs(found) == "- **a**: above zero universe (+2.0); below zero mass × class (-1.1)"
    assert drawn.signs(found.iloc[:0]) == "No data set has all the conditions that this compares."


# ---------------------------------------------------------------- the search


def test_settings_name_the_ends_of_their_search():
    got = search.settings(table("hard, kd, dkd", datasets="a")).set_index("condition")
    assert got.loc["kd", "tau"] == "4 ↑"
    assert got.loc["kd", "alpha"] == "0.9"  # of two values each is an end
    assert got.loc["kd", "weight_decay"] == got.loc["hard", "tau"] == ""
    assert search.edges(got.reset_index()).startswith("Of 5 values chosen, 1 are the highest (↑) and 0 the low")


def test_settings_stand_side_by_side():
    wide = search.settings_by_condition(search.settings(table("hard, kd")))
    assert list(wide) == ["a", "b"] and list(wide.index) == ["hard", "kd"]
    assert wide.loc["kd", "b"] == "τ 4 ↑, α 0.9"
    assert wide.loc["hard", "a"] == "weight decay 0.01"


# ---------------------------------------------------------------- classes


def counted(frame: pd.DataFrame, classes: int, empty: int = -1) -> dict[str, np.ndarray]:
    """Right answers of each class: 100 examples, KD right on 10 more of class 0 and 10 fewer of class 1."""
    found = {}
    for key, condition, seed in zip(frame["key"], frame["condition"], frame["seed"]):
        right = np.full(classes, 50 + seed)
        right[:2] += [10 + seed % 2, -10 - seed % 2] if condition == "kd" else [0, 0]
        every = np.full(classes, 100)
        right[empty], every[empty] = (0, 0) if empty >= 0 else (right[empty], every[empty])
        found[key] = np.stack([right, every]).astype(np.int32)
    return found


@pytest.fixture(params=[2, 10, 1000])
def classes(request, monkeypatch) -> int:
    """A data set of so many classes."""
    names = tuple(f"class of a long name {i}" for i in range(request.param))
    monkeypatch.setattr(ask, "classes", lambda dataset, frame=None: Classes(names))
    return request.param


def test_classes_that_change_are_found_and_drawn(classes):
    best = paired.tuned(table("hard, kd", datasets="a"))
    got = by_class.class_changes(best, counted(best, classes))
    assert got.loc[got["significant"], "class"].tolist() == ["class of a long name 0", "class of a long name 1"]
    assert by_class.count_classes(got)[["classes", "gain", "lose"]].to_numpy().tolist() == [[classes, 1, 1]]
    assert "svg" in print_figure(by_class.sorted_classes(got, best), "svg")


def test_a_class_without_test_examples_is_left_out(monkeypatch):
    monkeypatch.setattr(ask, "classes", lambda dataset, frame=None: Classes(tuple("xyz")))
    best = paired.tuned(table("hard, kd", datasets="a", seeds=1))
    got = by_class.class_changes(best, counted(best, 3, empty=2))
    assert got["class"].tolist() == ["x", "y"]
    assert not got["significant"].any()  # one seed tells nothing


def test_no_comparison_of_classes_is_said():
    best = paired.tuned(table("kd", datasets="a"))
    got = by_class.class_changes(best, {})
    assert got.empty and by_class.count_classes(got).empty
    assert "nothing to draw" in texts(by_class.sorted_classes(got, best))


def test_with_weight_decay_on_both_sides_each_is_at_its_best():
    rows = [
        {"dataset": "digits", "options": "{}", "condition": name, "tau": tau, "weight_decay": w, "seed": s,
         "validation_accuracy": at, "test_accuracy": at + s / 100}
        for name, tau, w, at in (
            ("hard", np.nan, 0.0, 0.5), ("hard", np.nan, 0.01, 0.6), ("kd", 2.0, 0.0, 0.55), ("kd", 2.0, 0.01, 0.63),
            ("label_smoothing_matched", 2.0, 0.0, 0.61), ("label_smoothing_matched", 2.0, 0.01, 0.58),
        )
        for s in range(3)
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    found = drawn.with_decay(frame, frame[frame["condition"] != "hard"]).set_index("pair")["difference"]
    assert found.round(6).to_dict() == {
        "KD less hard labels": 0.03, "matched smoothing less hard labels": 0.01, "KD less matched smoothing": 0.02,
    }  # fmt: skip
