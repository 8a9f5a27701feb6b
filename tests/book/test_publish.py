"""What `kdstudy full` writes: every chapter's runs once, the arrays that chapters show, the names of classes."""

import json

import pytest
from conftest import tiny_run

from kdstudy.book import publish
from kdstudy.core.spec import Data, Run
from kdstudy.engine import ask
from kdstudy.store.published import Classes, Published
from kdstudy.store.working import Store
from kdstudy.study import plans

FIRST = [tiny_run("hard", s) for s in range(2)] + [
    tiny_run("class_mean", s, tau=t) for s in range(2) for t in (1.0, 4.0)
]
SECOND = [*FIRST[2:], *(tiny_run("kd_pt", s) for s in range(2))]
FOLDS = [Run(Data(r.data.name, (*r.data.options, ("fold", 1))), r.recipe, r.condition, r.seed) for r in FIRST[:1]]


@pytest.fixture
def chapters(monkeypatch) -> list:
    """Two small chapters that share runs."""
    known = {
        "domain": lambda: {"study": FIRST, "teachers": plans.teachers(FIRST)},
        "instance": lambda: {"study": SECOND, "folds": FOLDS},
    }
    monkeypatch.setattr(plans, "PLANS", known)
    return list(publish.everything())


def test_each_run_is_published_once_by_the_first_chapter_that_has_it(chapters):
    assert [p.name for p in chapters] == ["domain.parquet", "instance.parquet"]
    held = {p.stem: {r["key"] for r in Published()._tables[p.stem].to_dict("records")} for p in chapters}
    teachers = {r.key for r in plans.teachers(FIRST)}
    assert held["domain"] == {r.key for r in FIRST} | teachers
    assert held["instance"] == {r.key for r in SECOND + FOLDS} - held["domain"]


def test_published_runs_answer_without_training(chapters, trained):
    Store().forget(Store().rows())
    trained.clear()
    asked = [*FIRST, *SECOND, *FOLDS, *plans.teachers(FIRST)]
    assert set(ask.ask(asked)["source"]) == {"published"} and not trained


def test_arrays_are_those_that_chapters_show(chapters):
    best = ask.ask(FIRST)
    best = best[publish.best(best)]
    assert len(best) == 4
    everything = [r.key for r in [*FIRST, *SECOND, *FOLDS, *plans.teachers(FIRST)]]
    held = Published().arrays(everything, ["similarity", "w", "mass", "miss", "curves", "logits_train", "per_class"])
    by_name = {n: {k for k, v in held.items() if n in v} for n in ("similarity", "miss", "curves", "per_class")}
    assert by_name["similarity"] == {*best["key"], *(r.key for r in plans.teachers(FIRST))}
    assert by_name["miss"] == {FOLDS[0].key}
    assert not by_name["curves"] | by_name["per_class"]
    shown = ask.ask(SECOND)
    shown = shown[publish.best(shown) | (shown["condition"] == "kd_pt")]
    assert {k for k, v in held.items() if {"w", "mass"} <= v.keys()} == set(shown["key"]) and len(shown) == 4


def test_an_array_that_was_not_published_is_trained_again(chapters, trained):
    other = next(
        r
        for r in FIRST
        if r.condition.name == "class_mean" and r.key not in Published().arrays([r.key], ["similarity"])
    )
    before = Store().arrays([other.key], ["similarity"])[other.key]["similarity"]
    Store().forget(Store().rows())
    trained.clear()
    frame = ask.ask([other])
    assert not trained
    found = ask.arrays(frame, "similarity")[other.key]
    assert {r.key for stack in trained for r in stack} == {other.key, other.teacher.key}
    assert (found == before).all()


def test_classes_are_published_by_data_set():
    known = {"a": Classes(("x", "y"), (0, 1), ("g", "h")), "b": Classes(("1", "2"))}
    Published().publish_classes({"a": known["a"]})
    Published().publish_classes({"b": known["b"]})
    assert Published().classes() == known
    assert ask.classes("a") == known["a"]
    assert json.loads((Published().folder / "classes.json").read_text("utf-8"))["b"]["superclass"] is None


def test_classes_of_data_that_are_not_published_are_those_of_the_data():
    frame = ask.ask(FIRST[:1])
    found = ask.classes("synthetic", frame)
    assert found.names == tuple(f"c{i}" for i in range(6)) and found.superclass == (0, 0, 0, 1, 1, 1)
    with pytest.raises(
        ValueError, match="^classes of data set 'other': found none published, and no run of it in the table$"
    ):
        ask.classes("other", frame)
