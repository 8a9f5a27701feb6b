"""`kdstudy claims`: computed once for each state of results, claims and code."""

import pandas as pd
import pytest
from command import shell
from conftest import tiny_run

from kdstudy.core import paths
from kdstudy.engine import ask
from kdstudy.study import claims

kdstudy = pytest.fixture(shell)
ROW = {"claim": "kd-beats-hard", "dataset": "digits", "at": claims.OWN, "effect": 0.01, "low": 0.0, "high": 0.02,
       "n": 5, "p": 0.001, "detectable": 0.01, "edge": False, "search": False, "votes": True}  # fmt: skip


@pytest.fixture
def computed(monkeypatch) -> list[int]:
    """How often all claims are judged."""
    calls, row = [], ROW | {"claim": claims.load()[0].id, "verdict": claims.SUPPORTED}
    monkeypatch.setattr(claims, "board", lambda executor: calls.append(executor) or (pd.DataFrame([row]), {}))
    return calls


def test_verdicts_are_computed_once_for_each_state(kdstudy, computed, tmp_path):
    first = kdstudy("claims")
    assert first[0] == 0 and f"**{claims.load()[0].id}: supported.**" in first[1]
    assert kdstudy("claims") == first and len(computed) == 1
    ask.ask([tiny_run()])  # the working store has changed
    assert kdstudy("claims") == first and len(computed) == 2
    paths.results_folder().mkdir(exist_ok=True)
    (paths.results_folder() / "new.parquet").write_bytes(b"x")  # so have the published results
    kdstudy("claims"), kdstudy("claims")
    assert len(computed) == 3


def test_a_changed_source_is_another_state(computed, tmp_path, monkeypatch):
    from kdstudy.cli.claims import state

    monkeypatch.setattr(paths, "PACKAGE", tmp_path)
    (tmp_path / "claims.toml").write_text("a")
    before = state()
    (tmp_path / "claims.toml").write_text("b")
    assert state() != before
