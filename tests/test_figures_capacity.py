"""Differences by width: planted ones are found and drawn; nothing to draw is said."""

import numpy as np
import pandas as pd
import pytest

from kdstudy import figures_capacity


def table(seeds: int = 4) -> pd.DataFrame:
    """KD-pt loses 0.08 over the number of hidden units, give or take a thousandth a seed."""
    random = np.random.default_rng(0)
    rows = [
        {"dataset": d, "condition": c, "tau": tau, "alpha": 0.9, "hidden": str(h), "seed": s, "device": "CPU",
         "stale": False, "test_accuracy": 0.8 - (c == "kd_pt") * 0.08 / h + random.normal(0, 0.001)}
        for d in ("digits", "synthetic") for c in ("kd_pt", "label_smoothing_matched") for tau in (4.0, 8.0)
        for h in (1, 2, 4) for s in range(seeds)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_differences_are_those_planted_at_each_width():
    found = figures_capacity.gains(table(), "kd_pt", "label_smoothing_matched")
    assert len(found) == 2 * 2 * 3 and set(found["n"]) == {4}
    for row in found.itertuples():
        assert row.difference == pytest.approx(-0.08 / row.width, abs=0.003)


@pytest.mark.parametrize("seeds", [1, 4])
def test_a_panel_a_data_set_and_a_line_a_temperature(seeds):
    figure = figures_capacity.widths(table(seeds), "kd_pt", "label_smoothing_matched")
    drawn = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title() for ax in drawn] == ["digits", "synthetic"]
    assert all(len(ax.containers) == 2 for ax in drawn)


def test_without_both_conditions_there_is_nothing_to_draw():
    only = table()[lambda t: t["condition"] == "kd_pt"]
    for frame in (only, only.iloc[:0]):
        figure = figures_capacity.widths(frame, "kd_pt", "label_smoothing_matched")
        assert figure.texts[0].get_text() == "nothing to draw: KD-pt and matched smoothing are not both among the runs"
