"""Chapters on other teachers and temperatures: what is drawn and listed is what the runs say."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from IPython.core.pylabtools import print_figure

from kdstudy.data import registry
from kdstudy.engine import ask
from kdstudy.figures.chapters import smoothed_teacher, temperature, too_good_teacher
from kdstudy.figures.shared.teachers import sides_of, taught
from kdstudy.figures.tables import points
from kdstudy.study.experiment import Experiment, Study

ROUNDED = 1e-7  # accuracies are stored rounded


def accuracies(study: Study, part: str = "practical") -> dict[str, float]:
    """Mean test accuracy by side."""
    return study.tables[part].groupby("condition")["test_accuracy"].mean().to_dict()


def labels(figure) -> set[str]:
    """What is named in a figure's panels."""
    return {c.get_label() for ax in figure.axes for c in ax.containers} - {"_nolegend_"}


def test_smoothed_teachers_are_compared_with_the_plain_one(perform):
    study = perform("smoothed_teacher", doses=[0.4], tau=[1.0, 8.0])
    own, heard, at_kd = (accuracies(study, part) for part in ("practical", "teachers", "at_kd"))
    rows = smoothed_teacher.paradox(study).set_index(["who", "teacher_epsilon"])["effect"].to_dict()
    sides = {0.1: "smoothed:kd", 0.4: "ε 0.4:kd"}
    expected = {("the teacher itself", e): heard[s] - heard["kd"] for e, s in sides.items()}
    expected |= {("its KD student", e): own[s] - own["kd"] for e, s in sides.items()}
    assert rows == pytest.approx(expected, abs=ROUNDED)

    changed = smoothed_teacher.by_side(study).set_index(["part", "taught"])["effect"].to_dict()
    assert len(changed) == 12
    for part, means in (("each at its own choice", own), ("at KD's setting", at_kd)):
        for name, one, other in (("class shape", "smoothed:class_matched", "class_matched"),
                                 ("τ 8", "τ 8 smoothed:kd", "τ 8:kd")):  # fmt: skip
            assert changed[part, name] == pytest.approx(means[one] - means[other], abs=ROUNDED)
    drawn = [smoothed_teacher.against_smoothing(study), smoothed_teacher.masses(study), smoothed_teacher.changes(study)]
    assert labels(drawn[0]) == {*smoothed_teacher.WHO} and {"τ = 1", "τ = 8"} <= labels(drawn[1])
    assert all("svg" in print_figure(figure, "svg") for figure in drawn)

    (of_kd,) = taught(study, ["kd"]).to_dict("records")
    kd = study.tables["at_kd"].query("condition == 'kd'")
    left, tau = ask.logits([r.teacher for r in kd["run"]]), kd["run"].iloc[0].condition.tau
    masses = []
    for run in kd["run"]:
        p = np.exp(left[run.teacher.key]["logits_train"].astype(float) / tau)
        y = registry.load(run.data).train.y.numpy()
        masses.append(np.mean(1 - p[np.arange(len(y)), y] / p.sum(1)))
    assert of_kd["target_mass"] == pytest.approx(np.mean(masses), abs=1e-5)
    assert of_kd["teacher_accuracy"] == pytest.approx(heard["kd"])


def test_points_are_gains_over_hard_labels_against_the_teachers_accuracy(perform):
    study = perform("too_good_teacher", size=0.25, length=[0.1, 0.3])
    own, heard = accuracies(study), accuracies(study, "teachers")
    found = too_good_teacher.points(study).set_index("side")
    expected = {s: own[s] - own["hard"] for s in own if s != "hard"}
    assert found["effect"].to_dict() == pytest.approx(expected, abs=ROUNDED)
    assert found["teacher"].to_dict() == pytest.approx(heard)
    figure = too_good_teacher.follows(study)
    named = {
        "own",
        "width × 0.25",
        "epochs × 0.1",
        "epochs × 0.3",
        "widest, longest",
        "ensemble",
        "cross-fitted",
        "assistant",
    }
    assert labels(figure) == named and "svg" in print_figure(figure, "svg")
    order = [n for n in study.experiments[0].design.sides if n != "hard"]
    assert list(taught(study, sides_of(study)).index.get_level_values("taught")) == order


def test_temperatures_are_compared_within_students_of_one_width(perform):
    study = perform("temperature", tau=[2.0, 16.0], alpha=[0.5], width=[4])
    own, at_kd = accuracies(study), accuracies(study, "at_kd")
    gains = temperature.against_control(study, "hard").set_index(["line", "tau"])["effect"].to_dict()
    where = {("8 units", t): ("", f"τ {t:g}:kd") for t in (2.0, 16.0)}
    where |= {("4 units", t): ("4 units:", f"4 units τ {t:g}:kd") for t in (2.0, 16.0)}
    expected = {k: own[side] - own[f"{group}hard"] for k, (group, side) in where.items()}
    assert gains == pytest.approx(expected, abs=ROUNDED)
    costs = temperature.against_control(study, "kd", "at_kd").set_index(["line", "tau"])["effect"].to_dict()
    expected = {k: at_kd[side] - at_kd[f"{group}kd"] for k, (group, side) in where.items()}
    assert costs == pytest.approx(expected, abs=ROUNDED)
    figures = [temperature.gains(study), temperature.costs(study)]
    assert [labels(figure) for figure in figures] == [{"4 hidden units", "8 hidden units"}] * 2
    assert all("svg" in print_figure(figure, "svg") for figure in figures)
    rows = temperature.weights(study).set_index("weight")["KD − hard"].to_dict()
    expected = {"searched": own["kd"] - own["hard"], "α 0.5": own["α 0.5:kd"] - own["hard"]}
    assert rows.keys() == expected.keys() and all(rows[k].startswith(points(v) + " [") for k, v in expected.items())


def test_temperatures_worked_that_gain_surely_and_nearly_the_most(perform, monkeypatch):
    study = perform("temperature", tau=[2.0, 16.0], alpha=[0.5], width=[4])
    shown = {4: (0.004, 0.030), 8: (0.010, 0.036), 32: (-0.001, 0.037), 1: (0.001, 0.025)}  # low and effect
    rows = [
        {"dataset": "a", "tau": float(t), "low": low, "effect": effect, "mass": 0.5}
        for t, (low, effect) in shown.items()
    ]
    sides = iter(rows)
    monkeypatch.setattr(temperature, "temperatures", lambda e: {f"τ {t:g}:kd": (8, t) for t in (2.0, 16.0, 2.5, 3.0)})
    monkeypatch.setattr(temperature.claims, "described", lambda *_: pd.DataFrame([next(sides)]))
    table = study.tables["practical"]
    heated = table[table["condition"].str.startswith("τ 2")].assign(condition="τ 2.5:kd")
    more = pd.concat([table, heated, heated.assign(condition="τ 3:kd")])
    (experiment,) = study.experiments
    planted = Study([replace(experiment, tables={**experiment.tables, "practical": more})])
    found = temperature.worked(planted)
    assert found["worked"].tolist() == [True, True, False, False] and found["mass"].between(0, 1).all()
    both = pd.concat([found, found.assign(dataset="b", worked=[False, True, True, False])])
    monkeypatch.setattr(temperature, "worked", lambda _: both)
    assert temperature.everywhere(planted) == "at τ = 16"
    monkeypatch.setattr(temperature, "worked", lambda _: both.assign(worked=False))
    assert temperature.everywhere(planted) == "at none"


def test_a_bed_without_fixed_temperatures_says_so(perform):
    study = perform("universe")
    (experiment,) = study.experiments
    assert isinstance(experiment, Experiment) and temperature.temperatures(experiment) == {}
    assert temperature.gains(study).texts[0].get_text() == f"nothing to draw: {temperature.WHY}"
