"""The committed limits are those of the committed tables; what the rules of their choice promise."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kdstudy import calibration, calibration_plan, calibration_table, findings, findings_limits
from kdstudy.store import ROOT, Store


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return calibration.teachers()


@pytest.fixture(scope="module")
def limit(table) -> dict[str, float]:
    return calibration.fit(table, calibration.students())


@pytest.fixture(scope="module")
def unseen(table) -> dict[str, dict[str, float]]:
    """Limits fitted without each of some data sets."""
    return {d: calibration.fit(table[table["dataset"] != d], calibration.students()) for d in SOME}


def test_the_committed_limits_are_fitted_on_the_committed_tables(limit):
    assert json.loads(calibration.LIMITS.read_text("utf-8")) == limit
    assert findings.limits() == limit


def test_the_committed_temperatures_are_those_of_the_published_students(monkeypatch):
    monkeypatch.setenv("KDSTUDY_RESULTS", str(ROOT / "data/results"))
    pd.testing.assert_frame_equal(calibration_table.temperatures(), calibration.students())


def test_limits_are_written_as_fitted(table, limit, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(calibration, "LIMITS", tmp_path / "limits.json")
    assert calibration.write(table, calibration.students()) == limit
    assert json.loads((tmp_path / "limits.json").read_text("utf-8")) == limit


def test_every_case_of_the_plan_is_in_the_table(table):
    planned = {(c.run.key, c.kind) for c in calibration_plan.cases()}
    assert len(planned) >= 200
    assert planned <= set(zip(table["key"], table["kind"]))
    assert set(table["kind"]) == {"healthy", *calibration.MEANT}


def test_no_typical_healthy_teacher_has_a_finding_beside_its_few_classes(table, limit):
    rows = calibration.labelled(table).query("kind == 'healthy'").to_dict("records")
    found = {tuple(calibration.codes(row, limit)) for row in rows}
    assert len(rows) >= 50
    assert found == {("healthy",), ("few_classes",)}


@pytest.mark.parametrize(
    ("kind", "least"),
    [
        ("shuffled", 1.0),
        ("shifted", 1.0),
        ("backwards", 1.0),
        ("renamed", 1.0),
        ("gaussian", 1.0),
        ("random", 1.0),
        ("saturated", 1.0),
        ("probabilities", 1.0),
        ("overflow", 1.0),
        ("unfilled", 1.0),
        ("weak", 0.8),
        ("smoothed", 0.6),
    ],
)
def test_kinds_are_told_apart_on_data_sets_that_the_limits_have_not_seen(table, unseen, kind, least):
    mine = [r for r in table[table["kind"] == kind].to_dict("records") if r["dataset"] in SOME]
    hits = [calibration.MEANT[kind] in calibration.codes(r, unseen[r["dataset"]]) for r in mine]
    assert np.mean(hits) >= least


SOME = ("digits", "digits merge=2", "clinc150 variant=small", "fashion_mnist train=2000")


def test_held_out_codes_come_from_limits_without_their_group(table, monkeypatch):
    seen, real = [], calibration.fit
    monkeypatch.setattr(calibration, "fit", lambda t, s: seen.append(set(t["dataset"])) or real(t, s))
    part = table[table["dataset"].str.startswith(("digits", "synthetic classes=1", "clinc150"))]
    found = calibration.held_out(part, calibration.students(), part["dataset"].str.split().str[0])
    assert [len(part["dataset"].unique()) - len(s) for s in seen] == [5, 3, 3]
    assert len(found) == len(part) and all(found)


def test_rates_count_kinds_and_codes():
    rows = pd.DataFrame({"kind": ["weak", "weak", "random"], "accuracy_gap": 0.0, "accuracy": 1.0, "mass": 0.1})
    found = calibration.rates(rows, [["weak_teacher"], ["healthy"], ["weak_teacher", "few_classes"]])
    assert found.to_dict("list") == {
        "kind": ["weak", "random"],
        "n": [2, 1],
        "meant": ["weak_teacher", "weak_teacher"],
        "few_classes": [0, 1],
        "healthy": [1, 0],
        "weak_teacher": [1, 1],
    }


@pytest.mark.parametrize(
    ("below", "above", "limit"), [([1.0, 2.0], [8.0, 9.0], 4.0), ([1.0, 5.0], [4.2, 9.0], 4.0), ([1.0], [1.0], 0.952)]
)
def test_a_limit_lies_between_or_keeps_who_is_above(below, above, limit):
    assert calibration.between(pd.Series(below), pd.Series(above)) == limit


def test_temperatures_that_are_good_lie_within_their_limits():
    taught = pd.DataFrame(
        {
            "dataset": ["a"] * 4 + ["flat"] * 2,
            "tau": [1.0, 2.0, 4.0, 8.0, 1.0, 2.0],
            "mass": [0.01, 0.04, 0.16, 0.64, 0.9, 0.95],
            "accuracy": [0.80, 0.90, 0.897, 0.85, 0.5, 0.5],
        }
    )
    assert calibration.temperatures(taught) == {"tau_low_mass": 0.02, "tau_high_mass": 0.32}


def test_limits_for_smoothing_hold_off_teachers_of_hard_labels_with_room(table, limit):
    kinds = calibration.labelled(table)
    hard = kinds[kinds["kind"].isin(["healthy", "untypical"])]
    wide = limit["smoothed_pinned"] / calibration.GUARD, limit["smoothed_spread"] * calibration.GUARD
    near = (hard["pinned"] > wide[0]) & ((hard["spread"] < wide[1]) | (hard["classes"] == 2))
    assert not near.any()


def test_a_table_is_collected_from_runs(monkeypatch, own_store):
    """Two kinds on one tiny data set, trained into the test's own store."""
    from conftest import tiny_run

    cases = [
        calibration_plan.Case("healthy", tiny_run(epochs=30, hidden=(32,))),
        calibration_plan.Case("weak", tiny_run(seed=1)),
    ]
    monkeypatch.setattr(calibration_table, "cases", lambda: cases)
    rows = calibration_table.collect(Store())
    assert list(rows["kind"]) == ["healthy", "weak", *calibration_plan.SPOILT, "outdone"]
    assert rows["key"].tolist()[:2] == [c.run.key for c in cases]
    for row in rows.to_dict("records"):
        assert calibration.codes(row, findings.limits())
    assert set(rows.columns) <= set(calibration.teachers().columns)


def test_predicates_belong_to_rules():
    assert findings_limits.PREDICATES.keys() <= findings.RULES.keys()
