"""What `kdstudy full` writes: every chapter's runs once, the arrays that chapters read, the names of classes."""

import json
from types import SimpleNamespace

import pandas as pd
import pytest
from conftest import TINY, tiny_run
from small_study import FEW, WHERE

from kdstudy.book import publish
from kdstudy.engine import ask
from kdstudy.store.provenance import stale_rows
from kdstudy.store.published import Classes, Published
from kdstudy.store.working import Store
from kdstudy.study import admission, plans

ASKED = FEW | WHERE | {"conditions": "hard, kd"}


@pytest.fixture
def study(perform):
    return perform("universe", **ASKED)


def test_a_published_study_answers_without_training_and_chooses_the_same(study, trained, monkeypatch):
    publish.one("universe", study, {})
    monkeypatch.setenv("KDSTUDY_STORE", str(Published().folder / "empty.sqlite"))
    trained.clear()
    again = plans.study("universe", **ASKED)
    assert not trained
    assert [e.choices for e in again.experiments] == [e.choices for e in study.experiments]
    for part in ("practical", "at_kd", "at_hard", "instead", "teachers"):
        columns = study.tables[part].columns.difference(["source"])
        pd.testing.assert_frame_equal(again.tables[part][columns], study.tables[part][columns], check_dtype=False)
    assert admission.table(again).equals(admission.table(study))
    frame = Published().frame()
    assert not stale_rows(frame).any() and set(frame["key"]) == {run.key for run in study.runs}


def test_rows_of_the_search_hold_accuracies_and_no_other_measure(study):
    publish.one("universe", study, {})
    rows = Published().rows()
    tried, chosen = ({*study.tables[part]["key"]} for part in ("tuning", "practical"))
    assert all({"validation_accuracy", "test_accuracy", "seconds", "lr", "code"} <= rows[k].keys() for k in tried)
    assert not any("test_nll" in rows[k] or "target_mass" in rows[k] for k in tried)
    assert all("test_nll" in rows[k] and "target_mass" in rows[k] for k in chosen)


def test_arrays_are_those_that_the_plan_declares(study):
    publish.one("universe", study, {})
    names = ["right", "per_class", "reliability", "similarity", "logits_train", "w"]
    held = {k: {*v} for k, v in Published().arrays([r.key for r in study.runs], names).items()}
    by_part = {part: {*table["key"]} for part, table in study.tables.items()}
    alike = by_part["at_kd"] | by_part["at_hard"]
    assert held == {k: {"right", "per_class"} for k in alike} | {
        k: {"right", "per_class", "reliability"} for k in by_part["practical"]
    }


def test_an_array_of_few_seeds_and_none_of_runs_that_diverged(study, monkeypatch):
    monkeypatch.setattr(plans.PLANS["universe"], "arrays", {"doubled": {"similarity": 1}}, raising=False)
    table = study.tables["doubled"].sort_values("seed")
    assert plans.shown("universe")["doubled"] == {"similarity": 1}
    assert set(publish._first(table, 1)["seed"]) == {2000} and len(publish._first(table, None)) == 2
    sides = table.assign(condition=["kd", "hard"])
    assert list(publish._first(sides, ("hard",))["seed"]) == [2001]
    assert list(publish._first(table.assign(diverged=[1, None]), None)["seed"]) == [2001]


def test_each_run_is_published_once_by_the_first_chapter_that_has_it(perform, monkeypatch):
    known = {name: plans.PLANS[name] for name in ("universe", "instance")}
    asked = SimpleNamespace(PLANS=known, shown=plans.shown, study=lambda name, executor: perform(name, **ASKED))
    monkeypatch.setattr(publish, "plans", asked)
    assert [path.name for path in publish.everything()] == ["universe.parquet", "instance.parquet"]
    first, second = (set(Published().frame(name)["key"]) for name in known)
    assert first == set(Published().frame()["key"]) and not second
    assert list(Published().classes()) == ["synthetic"]


def test_an_array_that_was_not_published_is_trained_again(trained):
    run = tiny_run("kd")
    frame = ask.ask([run])
    before = ask.arrays(frame, "similarity")[run.key]
    Store().forget(Store().rows())
    trained.clear()
    assert (ask.arrays(frame, "similarity")[run.key] == before).all()
    assert {r for stack in trained for r in stack} == {run, run.teacher}


def test_classes_are_published_by_data_set():
    known = {"a": Classes(("x", "y"), (0, 1), ("g", "h")), "b": Classes(("1", "2"))}
    Published().publish_classes({"a": known["a"]})
    Published().publish_classes({"b": known["b"]})
    assert Published().classes() == known
    assert ask.classes("a") == known["a"]
    assert json.loads((Published().folder / "classes.json").read_text("utf-8"))["b"]["superclass"] is None


def test_classes_of_data_that_are_not_published_are_those_of_the_data():
    frame = ask.ask([tiny_run()])
    found = ask.classes(TINY.name, frame)
    assert found.names == tuple(f"c{i}" for i in range(6)) and found.superclass == (0, 0, 0, 1, 1, 1)
    with pytest.raises(
        ValueError, match="^classes of data set 'other': found none published, and no run of it in the table$"
    ):
        ask.classes("other", frame)
