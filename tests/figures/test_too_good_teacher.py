"""The chapter on teachers too good: planted relations between teacher and student come back."""

import numpy as np
import pandas as pd
import pytest
import teacher_tables
from IPython.core.pylabtools import print_figure

from kdstudy.engine import ask
from kdstudy.figures.chapters import too_good_teacher as drawn
from kdstudy.figures.shared.teachers import described, of_teacher
from kdstudy.stats import paired


@pytest.fixture(autouse=True)
def anatomies(monkeypatch):
    monkeypatch.setattr(ask, "arrays", teacher_tables.held)


def tables(seeds: int) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """The chapter's parts and every teacher as described; the cross-fitted teacher is no cell of the grid."""
    plain = teacher_tables.sized_teachers(seeds)
    kd, recipe = teacher_tables.sized_students(plain), plain.set_index("key")
    of = kd["teacher"].map(recipe["hidden"] + "," + recipe["epochs"].map("{:g}".format))
    cross = kd["teacher"].str.startswith("X")
    parts = {
        "study": kd[(of == "32,20") & ~cross], "largest": kd[of == "32,60"], "early": kd[of == "32,2"],
        "crossfitted": kd[cross], "assistant": kd[of == "8,20"], "grid": kd[~cross],
    }  # fmt: skip
    return parts, described(plain[~plain["key"].str.startswith("X")], parts["study"])


def best(parts, teachers) -> pd.DataFrame:
    grid = of_teacher(parts["grid"], teachers, {"size": "size", "length": "length"})
    return paired.tuned(grid, within=["size", "length"])


@pytest.mark.parametrize("seeds", [1, 3])
def test_students_stand_at_their_teachers_accuracy(seeds):
    parts, teachers = tables(seeds)
    figure = drawn.against(best(parts, teachers), teachers, {"assistant": parts["assistant"]})
    right = 0.5 + 0.032 + 0.06 + 0.01 * np.mean(range(seeds))
    at = [tuple(float(v[0]) for v in line.get_data()) for line in figure.axes[1].get_lines() if len(line.get_xdata())]
    assert len(at) == 6 + 1
    assert any(np.allclose(point, (right, right / 2 + 0.01)) for point in at)
    said = [t.get_text() for t in figure.legends[0].get_texts()]
    assert said == ["epochs × 0.1", "epochs × 1", "epochs × 3", "width × 0.25", "width × 1", "assistant"]
    assert "svg" in print_figure(figure, "svg")


@pytest.mark.parametrize("seeds", [1, 3])
def test_amounts_are_those_taught_at_the_own_width(seeds):
    parts, teachers = tables(seeds)
    figure = drawn.amounts(parts["grid"], teachers, parts["crossfitted"])
    taught = [c.lines[0].get_ydata(orig=False) for c in figure.axes[0].containers]
    np.testing.assert_allclose(taught, [[0.2, 0.05], [2, 0.5], [6, 1.5], [2, 0.5]])
    assert figure.legends[0].get_texts()[-1].get_text() == "cross-fitted"
    without = drawn.amounts(parts["grid"], teachers, parts["crossfitted"][:0])
    assert len(without.axes[0].containers) == 3
    assert "svg" in print_figure(figure, "svg")


def test_targets_are_counted_once_for_all_weights():
    parts, _ = tables(2)
    two = pd.concat([parts["study"], parts["study"].assign(alpha=0.5)])
    assert len(drawn._once(two)) == len(parts["study"])


@pytest.mark.parametrize("seeds", [1, 3])
def test_students_follow_accuracy_and_not_a_constant(seeds):
    parts, teachers = tables(seeds)
    teachers = teachers.assign(law_1=np.nan, sure_train=-teachers["test_accuracy"])
    found = drawn.follows(best(parts, teachers), teachers, ["test_accuracy", "sure_train", "sure_test", "law_1"])
    assert list(found["measure"]) == ["test accuracy", "sure train"] * 2
    np.testing.assert_allclose(found["correlation"], [1, -1, 1, -1])
    assert set(found["teachers"]) == {6} and set(found["n"]) == {seeds}


def test_teachers_of_each_part_are_those_its_best_students_listen_to():
    parts, teachers = tables(3)
    worse = parts["study"].assign(validation_accuracy=0.0, teacher_epochs=20.0)
    parts["early"] = pd.concat([parts["early"].assign(teacher_epochs=2.0), worse])
    found = drawn.listened(parts | {"assistant": parts["assistant"][:0]}, teachers, ["epochs", "test_accuracy"])
    assert found["epochs"].unstack(0).to_dict() == {
        d: {"own": 20.0, "widest, longest": 60.0, "fewer epochs": 2.0} for d in teacher_tables.DATASETS
    } and set(found["n"]) == {3}  # fmt: skip


def test_what_is_missing_is_said():
    parts, teachers = tables(2)
    narrow = parts["grid"][parts["grid"]["teacher"].isin(teachers[teachers["size"] < 1]["key"])]
    said = [
        drawn.against(best(parts, teachers)[:0], teachers, {}),
        drawn.amounts(narrow, teachers, parts["crossfitted"]),
    ]
    assert [f.texts[0].get_text().removeprefix("nothing to draw: ") for f in said] == [
        "no KD student is among the runs",
        "no KD student of a teacher of the study's own width is among the runs",
    ]
