"""The committed limits are those of the committed tables; what the rules of their choice promise; what is spoilt."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import tiny_run

from kdstudy.diagnosis import rulebook
from kdstudy.diagnosis.rulebook import limits
from kdstudy.diagnosis.rules import RULES
from kdstudy.store.working import Store
from kdstudy.study.beds import Bed
from kdstudy.study.calibration import costs, fit, table, tokens
from kdstudy.study.calibration.teachers import CORRUPTIONS, EXPECTED, Case, cases
from kdstudy.study.experiment import Design, Experiment, Study
from kdstudy.study.search import Protocol
from kdstudy.train.metrics import accuracy

SOME = ("digits", "digits merge=2", "clinc150 variant=small", "fashion_mnist train=2000")


@pytest.fixture(scope="module")
def teachers() -> pd.DataFrame:
    return fit.teachers()


@pytest.fixture(scope="module")
def limit(teachers) -> dict[str, float]:
    return fit.fit(teachers, fit.students())


# ---------------------------------------------------------------- limits


def test_the_committed_limits_are_fitted_on_the_committed_tables(teachers, limit, tmp_path: Path, monkeypatch):
    assert limits() == limit
    monkeypatch.setattr(fit, "THRESHOLDS", tmp_path / "limits.json")
    assert fit.write(teachers, fit.students()) == limit
    assert json.loads((tmp_path / "limits.json").read_text("utf-8")) == limit


def test_temperatures_are_those_of_kd_students_at_fixed_ones():
    run, rows = tiny_run("kd"), [("τ 2:kd", 2.0, 0.25, 0.8), ("τ 2:kd", 2.0, 0.75, 0.6), ("kd", 2.0, 0.1, 0.1)]
    frame = pd.DataFrame(rows, columns=["condition", "tau", "target_mass", "validation_accuracy"])
    frame = frame.assign(dataset="bed", seed=range(3), run=run)
    design = Design(Bed(run.data, "same_labels", 0, run.teacher.recipe, run.recipe), {})
    found = table.temperatures(Study([Experiment(design, Protocol(), {}, {"practical": frame})]))
    most = 1 - 1 / 6
    assert found.to_dict("records") == [
        {"dataset": "bed", "tau": 2.0, "n": 2, "mass": round(0.5 / most, table.DIGITS), "accuracy": 0.7}
    ]


def test_every_case_of_the_plan_is_in_the_table(teachers):
    planned = {(c.run.key, c.kind) for c in cases()}
    assert len(planned) >= 200
    assert planned <= set(zip(teachers["key"], teachers["kind"]))
    assert set(teachers["kind"]) == {"healthy", "tokens", *EXPECTED}


def test_no_typical_healthy_teacher_has_a_finding_beside_its_few_classes(teachers, limit):
    rows = fit.with_untypical(teachers).query("kind == 'healthy'").to_dict("records")
    assert len(rows) >= 50
    assert {tuple(fit.codes(row, limit)) for row in rows} == {("healthy",), ("few_classes",)}


def test_kinds_are_told_apart_on_data_sets_that_the_limits_have_not_seen(teachers):
    unseen = {d: fit.fit(teachers[teachers["dataset"] != d], fit.students()) for d in SOME}
    least = dict.fromkeys(("shuffled", "shifted", "backwards", "renamed", "gaussian", "random", "saturated",
                           "probabilities", "overflow", "unfilled", "zeroed", "top_k", "collapsed", "repeated"),
                          1.0) | {"weak": 0.8, "smoothed": 0.6}  # fmt: skip
    rows = teachers[teachers["dataset"].isin(SOME)].to_dict("records")
    for kind, share in least.items():
        hits = [EXPECTED[kind] in fit.codes(r, unseen[r["dataset"]]) for r in rows if r["kind"] == kind]
        assert np.mean(hits) >= share, kind


def test_what_is_rounded_noisy_or_text_is_told_nothing_but_what_is_so(teachers, limit):
    rows = fit.with_untypical(teachers)
    for kind in ("rounded", "noisy_labels", "tokens"):
        its = rows[rows["kind"] == kind]
        some = its if kind == "tokens" else its[~its["dataset"].str.startswith("tokens")]
        found = {code for row in some.to_dict("records") for code in fit.codes(row, limit)}
        assert len(some) > 5 and found <= {"healthy", "few_classes"}, kind


def test_held_out_codes_come_from_limits_without_their_group(teachers, monkeypatch):
    seen, real = [], fit.fit
    monkeypatch.setattr(fit, "fit", lambda t, s: seen.append(set(t["dataset"])) or real(t, s))
    part = teachers[teachers["dataset"].str.startswith(("digits", "synthetic classes=1", "clinc150"))]
    found = fit.held_out(part, fit.students(), part["dataset"].str.split().str[0])
    assert [len(part["dataset"].unique()) - len(s) for s in seen] == [5, 3, 3]
    assert len(found) == len(part) and all(found)


def test_rates_count_kinds_and_codes():
    rows = pd.DataFrame({"kind": ["weak", "weak", "random"], "accuracy_gap": 0.0, "accuracy": 1.0, "mass": 0.1})
    found = fit.rates(rows, [["weak_teacher"], ["healthy"], ["weak_teacher", "few_classes"]])
    both = {"meant": "weak_teacher"}
    assert found.to_dict("records") == [
        {"kind": "weak", "n": 2, **both, "few_classes": 0, "healthy": 1, "weak_teacher": 1},
        {"kind": "random", "n": 1, **both, "few_classes": 1, "healthy": 0, "weak_teacher": 1},
    ]


@pytest.mark.parametrize(
    ("below", "above", "limit"), [([1.0, 2.0], [8.0, 9.0], 4.0), ([1.0, 5.0], [4.2, 9.0], 4.0), ([1.0], [1.0], 0.952)]
)
def test_a_limit_lies_between_or_keeps_who_is_above(below, above, limit):
    assert fit.between(pd.Series(below), pd.Series(above)) == limit


def test_temperatures_that_are_good_lie_within_their_limits():
    rows = [("a", 1.0, 0.01, 0.80), ("a", 2.0, 0.04, 0.90), ("a", 4.0, 0.16, 0.897), ("a", 8.0, 0.64, 0.85),
            ("flat", 1.0, 0.9, 0.5), ("flat", 2.0, 0.95, 0.5)]  # fmt: skip
    taught = pd.DataFrame(rows, columns=["dataset", "tau", "mass", "accuracy"])
    assert fit.temperatures(taught) == {"tau_low_mass": 0.02, "tau_high_mass": 0.32}


def test_limits_for_smoothing_hold_off_teachers_of_hard_labels_with_room(teachers, limit):
    hard = fit.with_untypical(teachers).query("kind in ['healthy', 'untypical']")
    pinned, spread = limit["smoothed_pinned"] / fit.GUARD, limit["smoothed_spread"] * fit.GUARD
    assert not ((hard["pinned"] > pinned) & ((hard["spread"] < spread) | (hard["classes"] == 2))).any()


def test_a_table_is_collected_from_runs(monkeypatch, own_store):
    """Two kinds on one tiny data set, trained into the test's own store."""
    some = [Case("healthy", tiny_run(epochs=30, hidden=(32,))), Case("weak", tiny_run(seed=1))]
    monkeypatch.setattr(table, "cases", lambda: some)
    monkeypatch.setattr(table.tokens, "teachers", lambda: [("tokens", V[None], Y[None])])
    rows = table.collect(Store())
    known = [kind for kind, fn in CORRUPTIONS.items() if fn.classes <= 5]
    text = [kind for kind in known if kind not in table.TEXT]
    assert list(rows["kind"]) == ["healthy", "weak", *known, "outdone", "tokens", *text]
    assert rows["key"].tolist()[:2] == [c.run.key for c in some]
    assert all(fit.codes(row, limits()) for row in rows.to_dict("records"))
    assert set(rows.columns) <= set(fit.teachers().columns)


# ---------------------------------------------------------------- ways to spoil logits

RNG = np.random.default_rng(0)
Y = RNG.integers(5, size=200)
V = (RNG.standard_normal((200, 5)) + 5 * (Y[:, None] == np.arange(5))).astype(np.float32)


def spoilt(kind: str) -> object:
    before = V.copy()
    out = CORRUPTIONS[kind](V, Y, np.random.default_rng(1))
    np.testing.assert_array_equal(V, before)
    return out


@pytest.mark.parametrize("kind", ["shuffled", "shifted", "backwards", "renamed"])
def test_pairing_is_lost_and_values_are_kept(kind):
    np.testing.assert_array_equal(np.sort(spoilt(kind), axis=None), np.sort(V, axis=None))
    assert (spoilt(kind).argmax(1) == Y).mean() < 0.4 < accuracy(*map(torch.tensor, (V, Y)))


def test_structureless_keeps_the_label_and_each_row_s_others():
    out, at = spoilt("structureless"), (np.arange(200), Y)
    np.testing.assert_array_equal(out[at], V[at])
    np.testing.assert_array_equal(np.sort(out, 1), np.sort(V, 1))
    assert (out != V).any(1).mean() > 0.9


def test_other_corruptions_do_what_they_say():
    np.testing.assert_allclose(spoilt("probabilities").sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(np.exp(spoilt("log_probabilities")), spoilt("probabilities"), rtol=1e-5)
    assert spoilt("overflow").dtype == np.float16
    assert np.isinf(spoilt("overflow")).any(1).mean() == pytest.approx(0.1, abs=0.02)
    assert (spoilt("unfilled") == 0).all(1).sum() == 20
    assert abs(np.corrcoef(spoilt("gaussian").ravel(), V.ravel())[0, 1]) < 0.1


def test_corruptions_of_some_rows_or_classes_leave_the_others():
    for kind, least, most in (
        ("zeroed", 1, 1),
        ("repeated", 20, 32),
        ("part_reordered", 10, 20),
        ("scattered", 60, 120),
    ):
        assert least <= (spoilt(kind) != V).any(1).sum() <= most, kind
    assert (spoilt("exchanged") != V).any(0).sum() == 2
    v, y = spoilt("padded")
    assert len(v) == len(y) > 300 and (y == np.bincount(Y).argmax()).mean() > 0.5
    v, y = spoilt("noisy_labels")
    assert v is V and 0.02 < (y != Y).mean() < 0.25


def test_a_counted_token_model_is_right_more_often_the_more_it_looks_back():
    ids = np.array([0, 1, 2, 0, 2, 1] * 200)
    right = []
    for order in (1, 2, 3):
        v, y = tokens.model(ids, order, np.arange(3, 1000))
        assert v.shape == (1, 997, 3) and y[0].tolist() == ids[3:1000].tolist()
        right.append((v[0].argmax(1) == y[0]).mean())
    assert right[0] < 0.8 and right[1] == right[2] == 1


# ---------------------------------------------------------------- what faults cost


def test_costs_are_what_claims_say_of_the_beds_that_vote():
    rows = [("F7-order", "a", "own", -0.2, True), ("F7-order", "b", "own", -0.01, True),
            ("F7-order", "c", "own", -0.9, False), ("F1", "a", "own", -0.9, False)]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["claim", "dataset", "at", "effect", "votes"]).assign(verdict="supported")
    found = costs.in_words(frame)
    assert found["F7-order"].endswith(
        "This study's runs: supported, −20.0 to −1.0 points of test accuracy on 2 beds (claim F7-order)."
    )
    assert found["F1"].endswith("This study's runs: no admitted bed has them (claim F1).")


def test_the_committed_costs_are_of_the_claims_that_findings_name():
    assert rulebook.costs().keys() == costs.named().keys() == {r.claim for r in RULES.values()} - {""}
