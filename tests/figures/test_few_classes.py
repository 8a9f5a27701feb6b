"""Figures of the chapter on few classes: planted effects by number of classes come back, and what is drawn is that."""

import numpy as np
import pandas as pd
import pytest
from IPython.core.pylabtools import print_figure

from kdstudy.engine import ask
from kdstudy.figures.chapters import few_classes as drawn
from kdstudy.store.published import Classes
from kdstudy.study.theory import with_classes

LEFT = (2, 3, 6)
GAIN = {2: 0.0, 3: 0.01, 6: 0.03}  # of class shape over matched smoothing
FINER = {2: 0.02, 3: 0.05}  # of a teacher of all classes over one of the merged
NAMES = list(drawn.REMEDY)


def options(classes: int, more: str = "") -> str:
    return "{" + ", ".join(filter(None, [more, f'"merge": {classes}' if classes < 6 else ""])) + "}"


def table(seeds: int = 3, datasets: tuple[str, ...] = ("digits", "mine"), conditions=None) -> pd.DataFrame:
    """Every level at two temperatures; tau 4 is better for all that have one, on validation as well."""
    rows, own = [], {"hard": 0.0, "label_smoothing_matched": 0.01, "class_matched": 0.01, "kd_pt": 0.0, "kd": 0.02}
    for d, c, s, name in ((d, c, s, n) for d in datasets for c in LEFT for s in range(seeds) for n in own):
        for tau in (np.nan,) if name == "hard" else (1.0, 4.0):
            right = 0.7 + 0.01 * s + own[name] + GAIN[c] * (name == "class_matched") + 0.001 * (tau == 4)
            rows.append((d, options(c), name, s, tau, np.nan if name == "hard" else 0.9, right, 0.1 * c, c / 10))
    columns = ["dataset", "options", "condition", "seed", "tau", "alpha", "test_accuracy", "target_mass", "level"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame[frame["condition"].isin(conditions or own)].assign(
        key=lambda t: [str(i) for i in range(len(t))], validation_accuracy=lambda t: t["test_accuracy"],
        target_universe=lambda t: 1 - t["level"], target_domain=lambda t: t["level"] - 0.1, target_instance=0.1,
        train_accuracy=0.9, weight_decay=0.0, hidden="4", device="CPU", stale=False,
    )  # fmt: skip


def finer(merged: pd.DataFrame) -> pd.DataFrame:
    """KD of the merged classes from a teacher of all, with its planted gain and a domain share of its own."""
    frame = merged[(merged["condition"] == "kd") & (merged["options"] != "{}")]
    gain = with_classes(frame)["classes"].map(FINER)
    return frame.assign(test_accuracy=frame["test_accuracy"] + gain, target_domain=0.3, target_universe=0.6)


@pytest.fixture(autouse=True)
def six_classes(monkeypatch):
    monkeypatch.setattr(ask, "classes", lambda name, frame=None: Classes(tuple("abcdef")))


def by_classes(rows: pd.DataFrame, level: object, by: str = "level", dataset: str = "mine") -> pd.Series:
    return rows[(rows["dataset"] == dataset) & (rows[by] == level)].set_index("classes")["difference"]


def test_planted_levels_come_back_at_each_number_of_classes():
    rows = drawn.at_best(table())
    np.testing.assert_allclose(by_classes(rows, "domain").loc[list(LEFT)], [0, 0.01, 0.03], atol=1e-12)
    np.testing.assert_allclose(by_classes(rows, "all: KD").loc[list(LEFT)], [0.021] * 3, atol=1e-12)


def test_the_class_shape_is_compared_at_equal_temperature():
    rows = drawn.class_shape(table())
    assert sorted(set(rows["tau"])) == [1, 4] and len(rows) == 2 * 2 * 3
    np.testing.assert_allclose(by_classes(rows, 1, "tau").loc[list(LEFT)], [0, 0.01, 0.03], atol=1e-12)
    assert drawn.class_shape(table(conditions=["hard"])).empty


def test_the_remedy_is_compared_with_both_where_classes_were_merged():
    merged = table()
    rows = drawn.remedies(merged, finer(merged))
    for name, found in zip(NAMES, ([0.021, 0.021], [0.041, 0.071], [0.02, 0.05])):
        np.testing.assert_allclose(by_classes(rows, name).loc[[2, 3]], found, atol=1e-12)
        assert set(by_classes(rows, name).index) == {2, 3}


def test_what_both_teachers_hold_is_shown_at_one_temperature():
    merged = table()
    held = drawn.carried(merged, finer(merged))
    sides = [f"{level}, {name}" for level in ("target mass", "domain", "instance") for name in ("merged", "all")]
    assert list(held.columns) == ["τ", *sides]
    assert list(held.index) == [(d, c) for d in ("digits", "mine") for c in (2, 3)] and (held["τ"] == 4).all()
    np.testing.assert_allclose(held.loc[("mine", 3), ["domain, merged", "domain, all"]].astype(float), [0.2, 0.3])


def test_teachers_are_told_apart_by_what_they_were_taught():
    own = table(conditions=["hard"])
    both = pd.concat([own, own.assign(options=[options(2, '"composed": "finer"')] * len(own), test_accuracy=1.0)])
    row = drawn.teacher_accuracy(both).loc[("mine", 2)]
    assert row["all-class teacher"] == 1 and row["merged-class teacher"] == pytest.approx(0.71) and row["n"] == 3
    assert np.isnan(drawn.teacher_accuracy(both).loc[("mine", 6), "all-class teacher"])


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("datasets", [("digits",), ("digits", "mine")])
def test_every_figure_draws(seeds, datasets):
    merged = table(seeds, datasets)
    figures = [
        drawn.taught(merged, "domain_share"),
        drawn.against_classes(drawn.at_best(merged), merged),
        drawn.against_classes(drawn.class_shape(merged), merged),
        drawn.against_classes(drawn.remedies(merged, finer(merged)), merged),
    ]
    counts = [[len(ax.containers) for ax in f.axes if ax.get_visible()] for f in figures]
    assert counts == [[n] * len(datasets) for n in (2, 4, 2, 3)]
    line = figures[0].axes[0].containers[0].lines[0]
    np.testing.assert_allclose(np.asarray(line.get_ydata(), float), [0.1, 0.2, 0.5], atol=1e-12)
    assert all("svg" in print_figure(f, "svg") for f in figures)


def test_without_the_conditions_or_merged_classes_an_empty_figure_says_why():
    hard, merged = table(conditions=["hard"]), table()[lambda t: t["options"] == "{}"]
    none = finer(merged)[["key", "dataset", "options", "condition", "seed"]]
    rows = drawn.remedies(merged, none)
    assert rows.empty and drawn.carried(merged, none).empty
    empty = [drawn.taught(hard, "domain_share"), drawn.against_classes(drawn.class_shape(hard), hard),
             drawn.against_classes(rows, merged)]  # fmt: skip
    why = "nothing to draw: no data set has the conditions that this compares"
    assert [f.texts[0].get_text() for f in empty] == [why] * 3
