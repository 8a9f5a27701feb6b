"""Few classes: differences and tables are what the runs say, at each number of classes, and drawn where they lie."""

import pytest
from IPython.core.pylabtools import print_figure

from kdstudy.figures.chapters import few_classes
from kdstudy.study.experiment import Study


@pytest.fixture
def study(perform) -> Study:
    """Six classes, and three and two of them."""
    return perform("few_classes", classes=(2, 3))


def test_differences_are_those_of_the_sides_of_equal_classes(study):
    accuracy = study.tables["practical"].groupby("condition")["test_accuracy"].mean()
    found = few_classes.gains(study).set_index(["line", "classes"])["effect"]
    assert few_classes.left(study.experiments[0]) == [2, 3]
    expected = {
        ("KD − hard", 6.0): ("kd", "hard"),
        ("class − uniform", 6.0): ("class_matched", "label_smoothing_matched"),
    }
    expected["KD − matched", 6.0] = "kd", "label_smoothing_matched"
    for c in (2, 3):
        expected["KD − matched", c] = f"{c} classes:kd", f"{c} classes:label_smoothing_matched"
        expected["KD − hard", c] = f"{c} classes:kd", f"{c} classes:hard"
        expected["finer − merged", c] = f"{c} classes finer:kd", f"{c} classes:kd"
    expected["class − uniform", 3.0] = "3 classes:class_matched", "3 classes:label_smoothing_matched"
    assert found.to_dict() == pytest.approx(
        {k: accuracy[one] - accuracy[other] for k, (one, other) in expected.items()}, abs=1e-7
    )


def test_differences_are_drawn_by_classes(study):
    figure = few_classes.against_classes(study)
    ax = figure.axes[0]
    lines = {c.get_label(): c[0].get_ydata() for c in ax.containers}
    found = few_classes.gains(study).set_index(["line", "classes"])["effect"]
    assert list(lines["KD − hard labels"]) == pytest.approx([found["KD − hard", c] for c in (2, 3, 6)])
    assert "svg" in print_figure(figure, "svg")
    assert few_classes.taught(study).shape[0] == 5


def test_what_is_taught_is_taken_at_the_setting_of_kd_and_of_the_teacher_that_was_heard(study):
    found, kd = few_classes.taught(study), study.tables["at_kd"]
    teachers = study.tables["teachers"].groupby("condition")["test_accuracy"].mean()
    for name, side in (("all classes", "kd"), ("3 classes", "3 classes:kd"), ("3 classes finer", "3 classes finer:kd")):
        row, mine = found.loc[(study.experiments[0].name, name)], kd[kd["condition"] == side]
        assert row["target_mass"] == pytest.approx(mine["target_mass"].mean())
        assert row["teacher_accuracy"] == pytest.approx(teachers[side]) and row["n"] == 2
