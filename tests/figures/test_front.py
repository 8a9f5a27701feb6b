"""The front page's figures: targets by level against a loop, gains as they are measured, pages that stand alone."""

import json
import re

import numpy as np
import pytest

from kdstudy.core.paths import ROOT
from kdstudy.figures import front
from kdstudy.figures.chapters import temperature
from kdstudy.figures.style import LEVELS

RNG = np.random.default_rng(0)
LOGITS, LABELS = RNG.normal(0, 3, (60, 4)), RNG.integers(0, 4, 60)


@pytest.mark.parametrize("tau", [0.5, 4.0])
def test_levels_are_the_mean_mass_the_class_and_the_example(tau):
    p = [[np.exp(v / tau) / sum(np.exp(np.array(row) / tau)) for v in row] for row in LOGITS.tolist()]
    mass = np.mean([1 - row[y] for row, y in zip(p, LABELS)])
    found = front.levels(LOGITS, LABELS, 7, tau)
    others = [k for k in range(4) if k != LABELS[7]]
    assert list(found) == list(LEVELS) and found["universe"] == pytest.approx([mass / 3] * 3, abs=1e-5)
    mine = [row for row, y in zip(p, LABELS) if y == LABELS[7]]
    assert sorted(found["domain"]) == pytest.approx(sorted(np.mean(mine, axis=0)[others]), abs=1e-5)
    assert sorted(found["instance"]) == pytest.approx(sorted(np.array(p[7])[others]), abs=1e-5)


def test_hero_has_what_was_measured_and_a_picture_without_a_script(perform):
    study = perform("temperature", tau=[2, 16], alpha=[0.5], width=[4])
    page = front.hero(study).data
    data = json.loads(re.search(r'application/json">(.*?)</script>', page)[1])
    gains = temperature.against_control(study, "hard").query("line == '8 units'").sort_values("tau")
    assert np.array(data["tau"])[:, :2] == pytest.approx(gains[["tau", "effect"]].to_numpy() * [1, 100], abs=0.01)
    assert len(data["targets"]) == 2 and [len(level) for level in data["targets"][0]] == [len(data["classes"])] * 3
    assert 'src="data:image/svg+xml;base64,' in page and len(re.search('alt="([^"]*)"', page)[1]) > 30
    shown = front.shown(temperature.ranges(study), "ranges", study).data
    assert "τ 2; τ 16" in shown and "http" not in re.sub('base64,[^"]*', "", shown)
    assert (ROOT / "book/_static/hero.js").stat().st_size <= 10_000
