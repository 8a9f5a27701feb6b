"""Teachers and what their students gain: planted differences come back, in tables and in what is drawn."""

import numpy as np
import pandas as pd
import pytest
import teacher_tables
from IPython.core.pylabtools import print_figure
from matplotlib.colors import to_rgba

from kdstudy.engine import ask
from kdstudy.figures.shared import teachers as drawn
from kdstudy.figures.tables import count_signs
from kdstudy.stats import paired
from kdstudy.study.contrasts import changes


@pytest.fixture(autouse=True)
def anatomies(monkeypatch):
    monkeypatch.setattr(ask, "arrays", teacher_tables.held)


def sized(seeds: int = 3) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Teachers as described, and students of them with the teachers' size and length."""
    plain = teacher_tables.sized_teachers(seeds, extra=False)
    students = teacher_tables.sized_students(plain)
    own = students[students["teacher"].isin(plain["key"][(plain["hidden"] == "32") & (plain["epochs"] == 20)])]
    teachers = drawn.described(plain, own)
    return teachers, drawn.of_teacher(students, teachers, {"size": "size", "length": "length"})


def test_teachers_are_measured_by_those_the_study_listens_to():
    teachers, students = sized()
    assert sorted(teachers["size"].unique()) == [0.25, 1.0]
    assert sorted(teachers["length"].unique()) == [0.1, 1.0, 3.0]
    assert (teachers["teacher_epsilon"] == 0).all()
    np.testing.assert_allclose(teachers["sure_train"], teachers["epochs"] / 60)
    by_key = teachers.set_index("key")["length"]
    assert (students["length"] == students["teacher"].map(by_key)).all()


def test_smoothing_is_zero_where_a_teacher_has_none():
    plain = teacher_tables.smoothed_teachers(2)
    found = drawn.described(plain, teacher_tables.smoothed_students(2))
    assert found.groupby("key")["teacher_epsilon"].first().to_dict() == {
        k: 0.0 if np.isnan(e) else e for k, e in zip(plain["key"], plain["epsilon"])
    }


@pytest.mark.parametrize(("hidden", "units"), [("8", 8.0), ("8x4", 12.0)])
def test_units_add_up_over_layers(hidden, units):
    assert drawn._units(hidden) == units


def test_each_teacher_is_tuned_alone():
    _, students = sized()
    students.loc[(students["size"] == 1) & (students["tau"] == 1), "validation_accuracy"] = 1.0
    found = paired.tuned(students, within=["size", "length"]).groupby("size")["tau"].unique()
    assert {k: list(v) for k, v in found.items()} == {0.25: [4.0], 1.0: [1.0]}
    assert paired.tuned(students[:0], within=["size"]).empty


@pytest.mark.parametrize("seeds", [1, 3])
def test_differences_are_those_planted_and_leave_the_control_out(seeds):
    _, students = sized(seeds)
    own = students[(students["size"] == 1) & (students["length"] == 1)]
    found = changes(students, own, ["dataset", "size", "length", "tau"], ["dataset", "tau"])
    assert len(found) == 2 * 5 * 2 and set(found["n"]) == {seeds}
    hidden, epochs = found["size"] * 32, found["length"] * 20
    np.testing.assert_allclose(found["difference"], (hidden - 32) / 2000 + (epochs - 20) / 2000, atol=1e-12)


def test_counts_are_of_whole_intervals():
    found = pd.DataFrame({"tau": [1, 1, 1, 2], "low": [0.1, -1, -2, 0.0], "high": [1, 1, -1, 1.0]})
    assert count_signs(found, ["tau"]).to_numpy().tolist() == [[3, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize(
    ("measure", "said"),
    [("instance_4", "instance share,\nτ = 4 (%)"), ("mass_1", "mass off the label,\nτ = 1 (%)"),
     ("test_accuracy", "test accuracy (%)"), ("between_train", "variance between classes,\ntraining set (%)"),
     ("odd_7", "odd 7")],
)  # fmt: skip
def test_measures_of_teachers_are_named(measure, said):
    assert drawn.teacher_label(measure) == said


@pytest.mark.parametrize("seeds", [1, 3])
def test_portraits_draw_every_teacher(seeds):
    teachers, _ = sized(seeds)
    figure = drawn.portraits(teachers, "length", ["test_accuracy", "sure_train"], "size")
    assert [ax.get_title() for ax in figure.axes] == ["digits", "mine", "", ""]
    lines = [c.lines[0] for c in figure.axes[2].containers]
    np.testing.assert_allclose([line.get_ydata(orig=False) for line in lines], [[2 / 60, 20 / 60, 1]] * 2)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["width × 0.25", "width × 1"]
    assert "the networks named are the teachers" in figure.texts[-1].get_text().replace("\n", " ")
    assert "svg" in print_figure(figure, "svg")


def test_portraits_of_one_teacher_say_why_they_are_empty():
    teachers, _ = sized()
    for frame in (teachers[teachers["length"] == 1], teachers[:0]):
        figure = drawn.portraits(frame, "length", ["test_accuracy"])
        assert figure.texts[0].get_text() == "nothing to draw: no teachers that differ in: teacher's epochs × own"


@pytest.mark.parametrize("seeds", [1, 3])
def test_maps_say_points_and_what_excludes_zero(seeds):
    _, students = sized(seeds)
    best = paired.tuned(students, within=["size", "length"])
    own = best[(best["size"] == 1) & (best["length"] == 1)]
    found = changes(best, own, ["dataset", "size", "length"])
    figure = drawn.maps(found, best, "length", "size", note="a note")
    said = {t.get_position(): (t.get_text(), t.get_weight()) for t in figure.axes[0].texts}
    weight = "bold" if seeds > 1 else "normal"  # one seed has no interval
    assert said == {
        (0, 0): ("-2.1", weight), (1, 0): ("-1.2", weight), (2, 0): ("+0.8", weight),
        (0, 1): ("-0.9", weight), (2, 1): ("+2.0", weight),
    }  # fmt: skip
    assert "a note" in figure.texts[-1].get_text()
    assert "svg" in print_figure(figure, "svg")


def test_maps_of_small_differences_stay_pale():
    found = pd.DataFrame({"dataset": "mine", "alpha": 0.9, "tau": [1.0, 4.0], "teacher_epsilon": 0.1,
                          "difference": [0.001, -0.02], "low": -1.0, "high": 1.0})  # fmt: skip
    figure = drawn.maps(found, teacher_tables.smoothed_students(1), "tau", "teacher_epsilon", "alpha")
    (image,) = figure.axes[0].images
    assert image.norm.vmax == pytest.approx(max(0.001 + 0.75 * 0.019, drawn.SMALLEST))
    small = found.assign(difference=[0.0001, -0.0002])
    figure = drawn.maps(small, teacher_tables.smoothed_students(1), "tau", "teacher_epsilon", "alpha")
    assert figure.axes[0].images[0].norm.vmax == drawn.SMALLEST
    assert [to_rgba(t.get_color()) for t in figure.axes[0].texts] == [to_rgba("black")] * 2
    assert figure.axes[0].get_title() == "mine, α = 0.9"


def test_maps_of_nothing_say_so():
    figure = drawn.maps(pd.DataFrame(columns=["dataset"]), pd.DataFrame(), "tau", "size")
    assert figure.texts[0].get_text() == "nothing to draw: no students of teachers that differ"
