"""A chapter's study small enough for a test, whose runs are trained once for all tests of a session."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SMALL

from kdstudy.core.spec import Data, pairs
from kdstudy.study import beds, plans, search
from kdstudy.study.experiment import Study

SOFT = Data("synthetic", pairs(SMALL | {"softness": 1.0, "train": 240, "test": 120}))
WHERE = {"dataset": SOFT, "regime": "few_labels", "labels": 6, "hidden": 8}
FEW = {"settings": 2, "tuning": 2, "seeds": 2, "admission": 2}
PERFORMED: dict[str, Study] = {}


@pytest.fixture
def brief(own_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks are trained for a few steps, and no setting is added beyond an edge."""
    monkeypatch.setattr(beds, "STEPS", {"teacher": 40, "student": 20})
    monkeypatch.setattr(beds, "EPOCHS", 1)
    monkeypatch.setattr(search, "_edges", lambda *_: [])


@pytest.fixture
def perform(
    brief: None, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Study]:
    """(chapter, its plan's own) -> its study on a small synthetic task with few labels, by `FEW`."""
    place = tmp_path_factory.getbasetemp()
    place = place.parent if "PYTEST_XDIST_WORKER" in os.environ else place  # which all workers share
    monkeypatch.setenv("KDSTUDY_STORE", str(place / "studies.sqlite"))

    def performed(chapter: str, **given: object) -> Study:
        if (asked := f"{chapter} {given}") not in PERFORMED:
            PERFORMED[asked] = plans.study(chapter, **FEW | WHERE | given)
        return PERFORMED[asked]

    return performed
