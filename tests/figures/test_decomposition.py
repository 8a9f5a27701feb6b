"""The decomposition's figures: effects and shares are what the cells' accuracies say, on beds with and without them."""

import numpy as np
import pytest
from IPython.core.pylabtools import print_figure

from kdstudy.figures.chapters import decomposition as drawn
from kdstudy.figures.shared import levels
from kdstudy.stats import factorial
from kdstudy.study import admission
from kdstudy.study.experiment import Study

KD, HARD = drawn.AT_NAMES.values()
ROUNDED = 1e-7  # accuracies are stored rounded


@pytest.fixture
def study(perform) -> Study:
    """Two beds: few labels, and a transfer set, of which the second has the teacher's labels as a side."""
    parts = [
        perform("decomposition", conditions=factorial.CONDITIONS, regime=r) for r in ("few_labels", "transfer_set")
    ]
    return Study([e for part in parts for e in part.experiments])


def test_effects_are_sums_of_accuracies_on_the_baseline_of_the_bed(study):
    found = drawn.effects(study, factorial.EFFECTS).set_index(["dataset", "at", "contrast"])["effect"]
    for experiment, baseline in zip(study.experiments, ("hard", drawn.PSEUDO)):
        for part, at in drawn.AT_NAMES.items():
            y = experiment.tables[part].groupby("condition")["test_accuracy"].mean()
            assert found[experiment.name, at, "KD"] == pytest.approx(y["kd"] - y[baseline], abs=ROUNDED)
            mass = [y[c] for (m, _), c in factorial.CELLS.items() if m == "instance"]
            constant = [y[c] for (m, _), c in factorial.CELLS.items() if m == "constant"]
            assert found[experiment.name, at, "instance mass"] == pytest.approx(
                np.mean(mass) - np.mean(constant), abs=ROUNDED
            )
    few, transfer = (e.name for e in study.experiments)
    assert "teacher's labels" not in found[few].index.get_level_values(1)
    y = study.experiments[1].tables["at_kd"].groupby("condition")["test_accuracy"].mean()
    assert found[transfer, KD, "teacher's labels"] == pytest.approx(y[drawn.PSEUDO] - y["hard"], abs=ROUNDED)


def test_shares_add_up_where_there_is_a_gain_and_only_on_admitted_beds(study, monkeypatch):
    transfer = study.experiments[1].name
    monkeypatch.setattr(admission, "admitted", lambda study: [transfer])
    monkeypatch.setattr(drawn.headline.Estimate, "low", property(lambda self: 1.0))
    found = drawn.shares(study)
    assert set(found["dataset"]) == {transfer}
    assert found.groupby("at")["mean"].sum().tolist() == pytest.approx([1, 1])
    table = drawn.shares_table(found)
    assert list(table) == ["teacher's labels", *factorial.PLAYERS] and list(table.index) == [
        (transfer, KD),
        (transfer, HARD),
    ]
    monkeypatch.setattr(drawn.headline.Estimate, "low", property(lambda self: -1.0))
    assert drawn.shares(study).empty


def test_a_share_has_the_error_of_a_ratio():
    """Against 2 000 drawings of 40 seeds: part and whole vary together, so that the ratio varies little."""
    rng = np.random.default_rng(0)

    def drawing(seeds: int) -> tuple[np.ndarray, np.ndarray]:
        whole = rng.normal(1, 0.3, (seeds, 1)) + rng.normal(0, 0.01, (seeds, 1))
        return 0.4 * whole + rng.normal(0, 0.02, (seeds, 1)), whole

    spread = np.std([(a.mean() / b.mean()) for a, b in (drawing(40) for _ in range(2000))])
    found = drawn.ratio(*drawing(40))
    assert found.mean == pytest.approx(0.4, abs=4 * spread) and found.error == pytest.approx(spread, rel=0.4)


def test_figures_draw_and_say_what_lacks(study):
    kd = study.tables["at_kd"]
    for figure in (
        drawn.effect_dots(drawn.effects(study, factorial.EFFECTS), study),
        levels.level_bars(kd[kd["condition"].isin(["kd", "kd_pt"])]),
    ):
        assert "svg" in print_figure(figure, "svg")
    assert [ax.get_title() for ax in figure.axes] == ["KD-pt", "KD"]
    few = Study(study.experiments[:1])
    for empty in (drawn.effect_dots(drawn.effects(few, drawn.PARTS), few), levels.level_bars(kd[:0])):
        assert empty.texts[0].get_text().startswith("nothing to draw")
