"""Published choices trained again: the same numbers, and what is said where they are not."""

from types import SimpleNamespace

import pandas as pd
import pytest
from tiny_notebooks import write

from kdstudy.book import build, publish, reproduce
from kdstudy.store.published import Published


@pytest.fixture
def published(perform, tmp_path, monkeypatch) -> pd.DataFrame:
    """The choices of a small published study, whose chapter is a notebook with one parameter."""
    notebook = write(tmp_path / "universe.ipynb", 'conditions: str = "hard, kd"  # conditions')
    monkeypatch.setattr(build, "chapters", lambda: {"universe": notebook})
    monkeypatch.setattr(reproduce, "plans", SimpleNamespace(study=perform))
    study = perform("universe", conditions="hard, kd")
    publish.one("universe", study, {})
    return study.tables["practical"]


def test_runs_trained_again_are_equal_bit_for_bit(published):
    again = reproduce.sample("universe", 2)
    assert again["key"].nunique() == 2 and set(again["key"]) <= set(published["key"])
    assert (again["difference"] == 0).all() and again["same data"].all() and again.attrs["absent"] == []
    assert "metrics equal the stored ones, bit for bit" in reproduce.sentence(again)
    assert list(reproduce.table(again)["largest difference"]) == [0, 0]


def test_a_run_is_named_by_bed_and_side_and_compared_with_the_spread_of_its_seeds(published):
    again = reproduce.sample("universe", 1)
    row = again[again["metric"] == "test_accuracy"].iloc[0]
    side = published[published["condition"] == published.set_index("key").loc[row["key"], "condition"]]
    seed = published.set_index("key").loc[row["key"], "seed"]
    assert row["run"] == f"synthetic, few labels (6), {side['condition'].iloc[0]}, seed {seed}"
    assert row["spread"] == pytest.approx(side["test_accuracy"].std())


def test_what_is_not_equal_is_said(published):
    pool, _ = reproduce.candidates("universe", Published())
    fresh = pool.head(1).assign(test_accuracy=pool["test_accuracy"].iloc[0] + 0.02, digest="other")
    frame = reproduce.compare(fresh, pool, Published())
    said = reproduce.sentence(frame)
    assert "test accuracy differs by at most 2.00 points" in said and "their digests differ" in said


def test_provenance_counts_runs_by_code_and_device(published):
    rows = reproduce.provenance("universe")
    assert rows["runs"].sum() == len(Published().frame()) and rows["stale"].sum() == 0
