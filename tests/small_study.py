"""A chapter's study small enough for a test, trained once for each module that asks for it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import SMALL

from kdstudy.core.spec import Data, pairs
from kdstudy.study import beds, plans, search
from kdstudy.study.experiment import Study

SOFT = Data("synthetic", pairs(SMALL | {"softness": 1.0, "train": 240, "test": 120}))


PERFORMED: dict[str, Study] = {}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs of a module's studies are kept."""
    return tmp_path_factory.mktemp("studies")


@pytest.fixture
def perform(folder: Path, own_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Study]]:
    """(chapter, its plan's own) -> its study on a small synthetic task with few labels: 2 settings, none
    beyond them, 2 seeds a role.
    """
    monkeypatch.setenv("KDSTUDY_STORE", str(folder / "runs.sqlite"))
    monkeypatch.setattr(beds, "STEPS", {"teacher": 40, "student": 20})
    monkeypatch.setattr(beds, "EPOCHS", 1)
    monkeypatch.setattr(search, "_edges", lambda *_: [])

    def performed(chapter: str, **given: object) -> Study:
        where = {"dataset": SOFT, "regime": "few_labels", "labels": 6, "hidden": 8} | given
        asked = f"{folder} {chapter} {given}"
        if asked not in PERFORMED:
            PERFORMED[asked] = plans.study(chapter, settings=2, tuning=2, seeds=2, admission=2, **where)
        return PERFORMED[asked]

    yield performed
