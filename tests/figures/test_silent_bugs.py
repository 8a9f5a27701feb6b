"""The silent bugs' figures: planted costs are found at both settings, drawn where they lie, and said in words."""

import numpy as np
import pandas as pd
import pytest
from IPython.core.pylabtools import print_figure

from kdstudy import diagnose
from kdstudy.engine import ask
from kdstudy.figures.chapters import silent_bugs
from kdstudy.study import array_metrics

LOSS = {"kd": 0.0, "fault_no_tau2": 0.02, "fault_detached": 0.3}  # at tau = 4; a tenth of it at tau = 1


def study(seeds: int = 4, sets: tuple[str, ...] = ("a", "b")) -> pd.DataFrame:
    """Hard labels at two weight decays, KD and two faults at two temperatures and two weights."""
    rows = [
        {"dataset": d, "condition": c, "tau": tau, "alpha": alpha, "weight_decay": 0.0,
         "accuracy": 0.7 - loss * (1 if tau == 4 else 0.1) - 0.001 * (alpha == 0.5)}
        for d in sets for c, loss in LOSS.items() for tau in (1.0, 4.0) for alpha in (0.5, 0.9)
    ]  # fmt: skip
    rows += [
        {"dataset": d, "condition": "hard", "tau": np.nan, "alpha": np.nan, "weight_decay": decay,
         "accuracy": 0.6 + decay}
        for d in sets for decay in (0.0, 0.01)
    ]  # fmt: skip
    random = np.random.default_rng(0)
    return pd.DataFrame(
        row | {"seed": s, "key": f"{i} {s}", "options": "{}", "hidden": "6", "device": "CPU", "stale": False,
               "test_accuracy": row["accuracy"] + s / 100 + random.normal(0, 1e-4),
               "validation_accuracy": row["accuracy"]}
        for i, row in enumerate(rows) for s in range(seeds)
    )  # fmt: skip


def test_costs_are_those_planted_at_the_best_and_at_one_setting():
    found = silent_bugs.costs(study(), 4.0, 0.9).set_index(["setting", "dataset", "condition"])["difference"]
    assert len(found) == 2 * 2 * 2
    for d in "ab":
        for fault in ("fault_no_tau2", "fault_detached"):
            assert found[silent_bugs.BEST, d, fault] == pytest.approx(-LOSS[fault] / 10, abs=5e-4)
            assert found[silent_bugs.FIXED, d, fault] == pytest.approx(-LOSS[fault], abs=5e-4)


def test_one_setting_has_untuned_hard_labels_beside_it():
    found = silent_bugs.at_setting(study(2), 4.0, 0.9)
    assert set(found["condition"]) == {"hard", *LOSS} and not found.duplicated(["dataset", "condition", "seed"]).any()
    assert set(found["weight_decay"]) == {0.0} and set(found["tau"].dropna()) == {4.0}
    plain = study(2)[lambda f: f["condition"] == "hard"].drop(columns=["tau", "alpha"])
    assert set(silent_bugs.at_setting(plain, 4.0, 0.9)["weight_decay"]) == {0.0}


@pytest.mark.parametrize("seeds", [1, 4])
@pytest.mark.parametrize("sets", [("a",), ("a", "b")])
def test_costs_are_drawn_where_they_lie(seeds, sets):
    figure = silent_bugs.cost(study(seeds, sets), 4.0, 0.9)
    drawn = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title() for ax in drawn] == list(sets)
    points = [(c.get_label(), float(c[0].get_xdata()[0])) for c in drawn[0].containers]
    for setting, costs in ((silent_bugs.FIXED, [-0.02, -0.3]), (silent_bugs.BEST, [-0.002, -0.03])):
        assert [x for label, x in points if label == setting] == pytest.approx(costs, abs=1e-3)
    assert [t.get_text() for t in drawn[0].get_yticklabels()] == ["no τ²", "student detached"]
    assert drawn[0].get_xscale() == "symlog" and f"n = {seeds} seeds" in figure.texts[-1].get_text()
    assert "svg" in print_figure(figure, "svg")


def test_small_costs_have_a_linear_axis():
    mild = study()[lambda f: f["condition"] != "fault_detached"]
    assert silent_bugs.cost(mild, 4.0, 0.9).axes[0].get_xscale() == "linear"


@pytest.mark.parametrize("kept", [["hard"], ["kd"], ["hard", "fault_no_tau2"], []])
def test_without_kd_or_a_fault_there_is_nothing_to_draw(kept):
    frame = study()[lambda f: f["condition"].isin(kept)]
    figure = silent_bugs.cost(frame, 4.0, 0.9)
    assert figure.texts[0].get_text() == "nothing to draw: it needs KD and a planted fault"
    assert silent_bugs.costs_in_words(silent_bugs.costs(frame, 4.0, 0.9)) == "No fault is among the runs."


def test_what_was_not_run_at_the_setting_leaves_the_best():
    found = silent_bugs.costs(study(), 2.0, 0.9)
    assert set(found["setting"]) == {silent_bugs.BEST}


def test_costs_in_words_follow_their_intervals():
    rows = [("fault_no_tau2", -0.2, -0.1), ("fault_detached", -0.1, 0.1), ("fault_argmax", 0.1, 0.2)]
    frame = pd.DataFrame(
        {"dataset": "a", "setting": "x", "condition": c, "low": low, "high": high} for c, low, high in rows
    )
    expected = "- a, x: cost: no τ²; neither can be told: student detached; gain: teacher's argmax"
    assert silent_bugs.costs_in_words(frame) == expected


def test_shares_of_what_was_taught_are_those_of_the_targets(monkeypatch):
    parts = {"target_universe": 0.6, "target_domain": 0.3, "target_instance": 0.1, "target_mass": 0.5}
    frame = study(2).assign(**parts, test_agreement=0.8, test_teacher_kl=0.2, train_accuracy=0.9, teacher="t")
    teachers = pd.DataFrame({"key": ["t"]})
    held = {k: np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]) for k in [*frame["key"], "t"]}
    monkeypatch.setattr(ask, "arrays", lambda f, name: {k: held[k] for k in f["key"]})
    found = silent_bugs.taught(silent_bugs.at_setting(frame, 4.0, 0.9), {"teachers": teachers})
    assert {c for _, c in found.index} == set(LOSS)
    row = found.loc[("a", "fault_no_tau2")]
    assert (row["domain_share"], row["instance_share"], row["geometry"]) == pytest.approx((0.3, 0.1, 1.0))
    assert array_metrics.DERIVED["domain_share"](frame, {}).iloc[0] == pytest.approx(0.3)
    assert silent_bugs.taught(frame.iloc[:0], {}).empty


def test_the_example_is_a_fair_teacher_whose_reordered_rows_are_found():
    logits, label = silent_bugs.example()
    assert logits.shape == (len(label), 10) and (logits.argmax(1) == label).mean() > 0.9
    assert "misaligned" not in diagnose(logits, label).codes
    assert "misaligned" in diagnose(logits[::-1].copy(), label).codes
