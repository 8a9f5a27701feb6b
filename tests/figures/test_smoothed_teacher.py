"""The chapter on smoothed teachers: the exact fit, and planted losses taken apart."""

import numpy as np
import pandas as pd
import pytest
import teacher_tables
import torch
from IPython.core.pylabtools import print_figure

from kdstudy.distill import levels
from kdstudy.engine import ask
from kdstudy.figures.chapters import smoothed_teacher as drawn
from kdstudy.figures.shared.teachers import described
from kdstudy.stats import paired
from kdstudy.store.published import Classes
from kdstudy.study.theory import exact_fit_mass

PAIR = ("kd", "label_smoothing_matched", "kd_pt")


@pytest.fixture(autouse=True)
def anatomies(monkeypatch):
    monkeypatch.setattr(ask, "arrays", teacher_tables.held)
    monkeypatch.setattr(ask, "classes", lambda name, frame=None: Classes(("a", "b", "c", "d")))


def teachers(seeds: int) -> pd.DataFrame:
    return described(teacher_tables.smoothed_teachers(seeds), teacher_tables.smoothed_students(seeds))


def students(seeds: int, epsilons=teacher_tables.EPSILONS) -> pd.DataFrame:
    """KD students of teachers of every epsilon."""
    found = [teacher_tables.smoothed_students(seeds, e).assign(teacher_epsilon=e) for e in epsilons]
    return pd.concat(found, ignore_index=True)


def sides(seeds: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Conditions under the smoothed teacher and under the plain one."""
    return tuple(teacher_tables.smoothed_students(seeds, e, PAIR) for e in (0.1, 0.0))


@pytest.mark.parametrize("tau", [1.0, 2.0, 8.0])
@pytest.mark.parametrize("epsilon", [0.05, 0.4, 1.0])
@pytest.mark.parametrize("classes", [2, 10, 150])
def test_the_exact_fit_is_smoothed_labels_at_a_temperature(classes, epsilon, tau):
    """The mass that `shapes.off_label_mass` takes off logits which fit smoothed labels."""
    fit = torch.full((classes, classes), epsilon / classes, dtype=torch.double)
    fit += (1 - epsilon) * torch.eye(classes, dtype=torch.double)
    mass = levels.off_label_mass(fit.log(), torch.arange(classes), tau)
    np.testing.assert_allclose(mass, exact_fit_mass(epsilon, classes, tau), rtol=1e-12)


def test_the_exact_fit_without_smoothing_leaves_the_label_alone():
    np.testing.assert_array_equal(exact_fit_mass(np.zeros(2), 10, 8.0), [0, 0])


@pytest.mark.parametrize("seeds", [1, 3])
def test_masses_stand_beside_the_exact_fit(seeds):
    figure = drawn.masses(teachers(seeds))
    dashed = [line for line in figure.axes[0].get_lines() if line.get_linestyle() == "--"]
    assert len(dashed) == 4
    for line, tau in zip(dashed, (1.0, 2.0, 4.0, 8.0)):
        assert line.get_xdata()[-1] == 0.4
        assert line.get_ydata(orig=False)[-1] == pytest.approx(exact_fit_mass(0.4, 4, tau))
    points = figure.axes[0].containers[0].lines[0]
    np.testing.assert_allclose(
        [points.get_xdata(orig=False), points.get_ydata(orig=False)], [teacher_tables.EPSILONS, [0.5] * 3]
    )
    assert "svg" in print_figure(figure, "svg")


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_paradox_shows_teacher_and_student(seeds):
    best = paired.tuned(students(seeds), within=["teacher_epsilon"])
    figure = drawn.paradox(teachers(seeds), best)
    mean = np.mean(range(seeds))
    teacher, student = (c.lines[0].get_ydata(orig=False) for c in figure.axes[1].containers)
    np.testing.assert_allclose(teacher, [0.01 + 1e-4 * mean, 0.04 + 4e-4 * mean], atol=1e-12)
    np.testing.assert_allclose(student, [1e-4 * mean, 4e-4 * mean], atol=1e-12)  # at tau = 1, which loses nothing
    assert "svg" in print_figure(figure, "svg")


def test_heat_is_the_change_of_the_change():
    found = drawn.heating(students(3).sort_values("dataset", ascending=False))
    assert list(dict.fromkeys(found["dataset"])) == ["mine", "digits"]
    np.testing.assert_allclose(found["difference"], -found["teacher_epsilon"] * 3 / 10, atol=1e-12)
    one = students(3)[lambda t: t["tau"] == 4]
    for none in (one, one[:0], students(3, (0.0,))):
        assert drawn.heating(none).empty


def test_losses_come_back_by_condition():
    found = drawn.by_condition(*sides(3), 0.9).set_index(["condition", "tau", "dataset"])["difference"]
    assert found["kd", 4.0, "mine"] == pytest.approx(-0.03 + 1e-4)
    assert found["label_smoothing_matched", 4.0, "mine"] == pytest.approx(-0.06 + 1e-4)
    assert found["kd", 1.0, "digits"] == pytest.approx(1e-4)
    figure = drawn.conditions(found.reset_index().assign(low=-1, high=1), sides(3)[1], 0.9)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["KD", "matched smoothing", "KD-pt"]
    assert "svg" in print_figure(figure, "svg")


@pytest.mark.parametrize("seeds", [1, 3])
def test_amount_and_knowledge_add_up(seeds):
    smoothed, study = sides(seeds)
    found = drawn.split(smoothed, study, 0.9)
    by = found.pivot(index=["dataset", "tau"], columns="part", values="difference")
    np.testing.assert_allclose(by["KD"], by["amount"] + by["knowledge"], atol=1e-12)
    assert by.loc[("mine", 4.0), "amount"] == pytest.approx(-0.06 + 1e-4 * np.mean(range(seeds)))
    assert by.loc[("mine", 4.0), "knowledge"] == pytest.approx(0.03)
    row = found[(found["dataset"] == "mine") & (found["tau"] == 4) & (found["part"] == "KD")].iloc[0]
    expected = paired.interval([-0.03 + 1e-4 * s for s in range(seeds)], family=6)  # three parts, two temperatures
    np.testing.assert_allclose([row["low"], row["high"]], [expected.low, expected.high])


def test_without_matched_smoothing_nothing_is_taken_apart():
    smoothed, study = (t[t["condition"] != "label_smoothing_matched"] for t in sides(2))
    assert drawn.split(smoothed, study, 0.9).empty
    assert drawn.split(*sides(2), 0.3).empty


@pytest.mark.parametrize("seeds", [1, 3])
def test_accuracy_stands_at_the_mass_taught(seeds):
    figure = drawn.by_mass(students(seeds), 0.9)
    line = figure.axes[0].containers[2].lines[0]
    np.testing.assert_allclose(line.get_xdata(orig=False), [0.4, 1.0])
    mean = np.mean(range(seeds))
    hot = 0.72 + 0.01 * mean + 9e-4 + 4e-4 * mean - 0.12
    np.testing.assert_allclose(line.get_ydata(orig=False), [hot + 0.12, hot])
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["ε = 0", "ε = 0.1", "ε = 0.4"]
    assert "svg" in print_figure(figure, "svg")


def test_what_is_missing_is_said():
    plain, kd = teachers(2)[lambda t: t["teacher_epsilon"] == 0], students(2, (0.0,))
    none = drawn.by_condition(*(t[:0] for t in sides(2)), 0.9)
    said = [
        drawn.masses(plain), drawn.paradox(plain, kd),
        drawn.conditions(none, kd, 0.9), drawn.by_mass(kd, 0.3),
    ]  # fmt: skip
    alone = "no students of a smoothed teacher and of the plain one"
    assert [f.texts[0].get_text().removeprefix("nothing to draw: ") for f in said] == [
        "no teacher among the runs is smoothed", alone, alone, "no KD student has the weight 0.3",
    ]  # fmt: skip
