"""Figures that have nothing to show say so, and one seed needs no interval; contrasts pair by seed."""

import numpy as np
import pandas as pd
import pytest
from IPython.core.pylabtools import print_figure

from kdstudy import figures, setups, stats
from kdstudy.figures import style


def table(seeds: int) -> pd.DataFrame:
    """Hard labels, and KD at two temperatures that gain 0.01 and 0.03."""
    rows = [("hard", np.nan, np.nan, 0.5), ("kd", 1.0, 0.9, 0.51), ("kd", 4.0, 0.9, 0.53)]
    return pd.DataFrame(
        {"dataset": "digits", "condition": name, "tau": tau, "alpha": alpha, "weight_decay": 0.0, "seed": seed,
         "test_accuracy": mean + seed / 100, "validation_accuracy": mean, "hidden": "6", "device": "CPU",
         "stale": False}
        for name, tau, alpha, mean in rows for seed in range(seeds)
    )  # fmt: skip


@pytest.mark.parametrize("seeds", [1, 4])
def test_a_sweep_draws_with_any_number_of_seeds(seeds):
    assert "svg" in print_figure(figures.sweep(table(seeds), "tau", "test_accuracy"), "svg")


def test_nothing_to_draw_is_said_where_a_notebook_shows_it():
    empty = figures.sweep(table(2), "epsilon", "test_accuracy")
    assert [t.get_text() for t in empty.texts] == ["nothing to draw: no condition among the runs has epsilon"]
    assert "svg" in print_figure(empty, "svg")


def test_contrasts_are_paired_and_joint():
    best = stats.tuned(table(4))
    (row,) = stats.contrasts(best, "kd", "hard", "test_accuracy", ["dataset"]).to_dict("records")
    assert row["difference"] == pytest.approx(0.03) and row["n"] == 4
    assert stats.contrasts(table(4), "kd", "hard", "test_accuracy", ["dataset", "tau"]).empty


def test_a_teacher_is_of_its_students_seed():
    students = table(3)
    both = pd.concat([students, students.assign(seed=students["seed"] + setups.TEACHER_SEED)])
    assert style.facts(both) == style.facts(students) and "n = 3 seeds" in style.facts(both)


def test_the_lowest_panel_of_each_column_has_its_ticks():
    _, axes = style.panels("abcd", wide=3, sharex=True)
    told = {name: ax.xaxis.get_tick_params()["labelbottom"] for name, ax in axes.items()}
    assert told == {"a": False, "b": True, "c": True, "d": True}
