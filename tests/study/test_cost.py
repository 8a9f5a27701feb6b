"""What a study costs, counted before it is performed, against the study performed."""

from collections import Counter

import pandas as pd
import pytest
from small_study import FEW, WHERE

from kdstudy.engine import teachers
from kdstudy.store.working import Store
from kdstudy.study import beds, plans
from kdstudy.study.plans import cost
from kdstudy.study.search import Protocol


def test_as_many_runs_are_counted_as_a_study_trains(brief, monkeypatch, tmp_path):
    study, protocol = plans.study("universe", conditions="hard, kd", **WHERE, **FEW), Protocol(2, 2, 2, 2)
    design, trained = study.experiments[0].design, Store().rows().values()
    assert set(cost.runs(design, protocol)) == set(study.runs)  # with answers, which choices are made is known
    monkeypatch.setenv("KDSTUDY_STORE", str(tmp_path / "empty.sqlite"))
    counted = cost.with_teachers(cost.runs(design, protocol))
    assert len(set(counted)) == len(counted) and not any(teachers.kind(r) for r in counted)
    seeds = [r["seed"] for r in trained if "composed" not in r["options"]]
    ours, theirs = (Counter((s >= beds.TEACHER_SEED, s % beds.TEACHER_SEED // 1000) for s in seeds)
                    for seeds in ([r.seed for r in counted], seeds))  # fmt: skip
    for role, number in theirs.items():  # of the runs on evaluation seeds some may be the same
        assert ours[role] == number if role[1] != 1 else ours[role] >= number > 0


def test_seconds_are_means_of_data_set_role_and_network():
    rows = [
        ("digits", 0, None, 1.0),
        ("digits", 1, None, 3.0),
        ("digits", 10_000, None, 9.0),
        ("digits", 0, "cnn4", 5.0),
    ]
    found = cost.seconds(pd.DataFrame(rows, columns=["dataset", "seed", "net", "seconds"]))
    assert found == {("digits", "student", "mlp"): 2, ("digits", "teacher", "mlp"): 9, ("digits", "student", "cnn4"): 5}
    assert cost.seconds(pd.DataFrame({"key": []})) == {}


def test_what_chapters_share_is_paid_once(monkeypatch):
    [design] = cost.plans.levels.universe(dataset="synthetic", regime="soft_truth", conditions="kd")
    monkeypatch.setattr(cost.plans, "PLANS", {"a": lambda: [design], "b": lambda: [design, design]})
    monkeypatch.setattr(cost, "seconds", lambda _: {("synthetic", "student", "mlp"): 3600.0})
    first, second = cost.table("ab", Protocol(4, 2, 3, 2)).to_dict("records")
    assert first["to train"] == first["runs"] and first["core-hours to train"] == first["core-hours"]
    assert first["runs"] == first["more"] == second["runs"] and second["more"] == second["core-hours"] == 0
    students = sum(r.seed < beds.TEACHER_SEED for r in cost.with_teachers(cost.runs(design, Protocol(4, 2, 3, 2))))
    assert first["core-hours"] == pytest.approx(students + (first["runs"] - students) * cost.GUESS / 3600)
