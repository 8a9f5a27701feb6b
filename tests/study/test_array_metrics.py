"""Measures of what runs left, against their definitions, on small runs and on planted arrays."""

import numpy as np
import pytest
from conftest import says, tiny_run
from scipy.stats import spearmanr

from kdstudy.engine import ask
from kdstudy.stats import mantel
from kdstudy.study import array_metrics, difficulty

TAUGHT = [tiny_run(name, s) for s in range(2) for name in ("hard", "kd", "random_teacher")]


@pytest.fixture
def tables() -> dict:
    """A small chapter: three conditions and their teachers, as these hear them."""
    heard = [r for r in TAUGHT if r.teacher]
    teachers = ask.ask([r.teacher for r in heard]).set_index("key").loc[[r.teacher.key for r in heard]].reset_index()
    return {"study": ask.ask(TAUGHT), "teachers": teachers.assign(condition=[r.condition.name for r in heard])}


def test_geometry_is_compared_with_the_teacher_of_the_seed_for_those_without_one_too(tables):
    frame = tables["study"]
    found = array_metrics.geometry_teacher(frame, tables)
    similar = ask.arrays(frame, "similarity") | ask.arrays(tables["teachers"], "similarity")
    teacher = {r.seed: r.teacher.key for r in TAUGHT if r.condition.name == "kd"}
    for value, row in zip(found, frame.to_dict("records")):
        own, other = (similar[k][0].astype(float) for k in (row["key"], teacher[row["seed"]]))
        assert value == pytest.approx(spearmanr(own, other).statistic)
    assert not np.allclose(found, array_metrics.means_teacher(frame, tables))


def test_without_a_teacher_in_the_table_there_is_nothing_to_compare_with(tables):
    alone, without = tables["study"], tables | {"teachers": tables["teachers"][:0]}
    assert array_metrics.geometry_teacher(alone, without).isna().all()
    assert array_metrics.measured(alone, "geometry_teacher", without).empty


def test_who_hears_a_teacher_of_its_own_is_compared_with_that_one(tables):
    frame, teachers = tables["study"], tables["teachers"]
    mine, other = teachers.loc[teachers["condition"] == "kd", "key"]  # of seeds 0 and 1
    swapped = frame.assign(teacher=frame["teacher"].where(frame["condition"] != "kd", other))
    named = dict(zip(frame["key"], array_metrics.teacher_keys(swapped, tables)))
    kd, hard = (frame.loc[frame["condition"] == c, "key"].iloc[0] for c in ("kd", "hard"))
    assert named[kd] == other and named[hard] == mine


def test_geometry_is_compared_with_the_blocks_of_super_classes(tables):
    frame = tables["study"]
    blocks = mantel.blocks(np.array([0, 0, 0, 1, 1, 1]))
    found = array_metrics.geometry_superclass(frame, tables)
    for value, held in zip(found, ask.arrays(frame, "similarity").values()):
        tested = mantel.mantel(mantel.square(held[0].astype(float)), blocks, permutations=1)
        assert value == pytest.approx(tested.correlation)


def plant(monkeypatch, frame, **arrays) -> None:
    monkeypatch.setattr(ask, "arrays", lambda asked, name: dict.fromkeys(asked["key"], arrays[name]))


def test_weights_that_fall_with_difficulty_have_correlation_minus_one(tables, monkeypatch):
    frame = tables["study"][:1]
    monkeypatch.setattr(difficulty, "watched", lambda run: np.arange(10.0))
    plant(monkeypatch, frame, w=np.stack([-(np.arange(10.0) ** 3), -6e4 * np.arange(10.0) / 9]).astype(np.float16))
    assert array_metrics.weight_difficulty(frame, tables).tolist() == pytest.approx([-1.0])
    plant(monkeypatch, frame, w=np.stack([-np.arange(10.0), np.arange(10.0)]).astype(np.float16))
    assert array_metrics.weight_difficulty(frame, tables).tolist() == [0.0]
    plant(monkeypatch, frame, w=np.ones((2, 10), np.float16))
    assert array_metrics.weight_difficulty(frame, tables).isna().all()


def test_mass_learnt_compares_what_was_taught_with_what_the_student_gives(tables, monkeypatch):
    frame = tables["study"][:1]
    plant(monkeypatch, frame, mass=np.stack([np.arange(8.0), np.arange(8.0) ** 2]).astype(np.float16))
    assert array_metrics.mass_learnt(frame, tables).tolist() == [1.0]
    plant(monkeypatch, frame, mass=np.stack([np.ones(8), np.arange(8.0)]).astype(np.float16))
    assert array_metrics.mass_learnt(frame, tables).isna().all()


def test_a_measure_that_nobody_knows(tables):
    assert array_metrics.measured(tables["study"], "test_accuracy", tables) is tables["study"]
    known = ", ".join(array_metrics.DERIVED)
    with pytest.raises(ValueError, match=says(f"measure 'warmth' is no column of the table; derived are: {known}")):
        array_metrics.measured(tables["study"], "warmth", tables)
