"""Figures of the instance chapter: planted weights come back by difficulty; what is missing is said, not crashed on."""

import numpy as np
import pytest
from IPython.core.pylabtools import print_figure

from kdstudy.engine import ask
from kdstudy.figures.chapters import instance
from kdstudy.study import difficulty
from kdstudy.study.experiment import Study

PROBE, CHECKS = 25, 5


@pytest.fixture
def study(perform, monkeypatch) -> Study:
    """A study whose weights fall with difficulty under KD, beyond what float16 squares hold, and rise under CWTM."""
    found = perform("instance", conditions="cwtm")
    kd = set(found.tables["at_kd"].query("condition == 'kd'")["key"])
    falling = np.tile(np.linspace(3e4, -3e4, PROBE), (CHECKS, 1)).astype(np.float16)
    mass = np.stack([np.linspace(0.1, 0.8, PROBE), np.linspace(0.1, 0.8, PROBE) ** 2]).astype(np.float16)

    def held(frame, name: str) -> dict[str, np.ndarray]:
        return {k: mass if name == "mass" else falling * (1 if k in kd else -1) for k in frame["key"]}

    monkeypatch.setattr(ask, "arrays", held)
    monkeypatch.setattr(difficulty, "watched", lambda run: np.arange(PROBE) / 9)
    return found


def test_weights_are_drawn_by_tenths_of_difficulty(study):
    figure = instance.deciles(instance.weighed(study.tables["at_kd"]))
    (ax,) = (ax for ax in figure.axes if ax.get_visible())
    lines = {c.get_label(): c[0].get_ydata() for c in ax.containers}
    w = np.linspace(3e4, -3e4, PROBE).astype(np.float16).astype(float)
    wanted = [np.median(w[instance.tenths(np.arange(float(PROBE))) == g]) for g in range(10)]
    assert list(lines["KD"]) == pytest.approx(wanted)
    assert list(lines["CWTM"]) == pytest.approx([-v for v in wanted])
    assert "svg" in print_figure(figure, "svg")


def test_without_conditions_that_weigh_an_empty_figure_says_so(study):
    frame = study.tables["at_kd"]
    figure = instance.deciles(instance.weighed(frame[frame["condition"] == "hard"]))
    assert figure.texts[0].get_text() == "nothing to draw: no condition that weighs examples is among the runs"


def test_orders_are_rank_correlations_of_the_conditions_there_are(study):
    found = instance.orders(study.tables["at_kd"], study.tables)
    assert found.index.tolist() == [study.experiments[0].name]
    assert found.iloc[0].to_dict() == {"w under KD": "−1.00 [−1.00, −1.00]", "masses learnt": "+1.00 [+1.00, +1.00]"}


@pytest.mark.parametrize("n", [1, 3, 10, 25, 512])
def test_tenths_are_even_and_in_order(n):
    values = np.random.default_rng(0).permutation(n).astype(float)
    found = instance.tenths(values)
    counts = np.bincount(found)
    assert len(counts) == min(10, n) and counts.max() - counts.min() <= 1
    assert (np.diff(found[values.argsort()]) >= 0).all()
