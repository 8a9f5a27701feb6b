"""Convolutional networks beside the perceptrons: what is asked, and what is said of both."""

import pandas as pd
import pytest
from conftest import tiny_run
from test_claims import planted

from kdstudy import figures
from kdstudy.book import build, notebooks, publish, reproduce
from kdstudy.engine import ask
from kdstudy.figures import style
from kdstudy.stats import paired
from kdstudy.store.published import Published
from kdstudy.store.working import Record, Store
from kdstudy.study import claims, plans, verdicts
from kdstudy.study.recipes import setup

CHAPTERS = ("universe", "domain", "instance", "decomposition")
SETS = "fashion_images, tiny_imagenet"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_asks_its_conditions_of_convolutional_networks_too(chapter):
    parts = plans.PLANS[chapter](images=SETS)
    asked, heard = parts["images"], parts["image_teachers"]
    assert {r.condition.name for r in asked} == {r.condition.name for r in parts["study"]} | (
        {"kd_rel"} if chapter == "domain" else set()
    )
    seeds = {name: {r.seed for r in asked if r.data.name == name} for name in plans.several(SETS)}
    assert seeds == {name: set(range(setup(name).seeds)) for name in plans.several(SETS)}
    assert {r.recipe.dtype for r in [*asked, *heard]} == {"bfloat16"} and "mlp" not in {r.recipe.net for r in asked}
    assert set(heard) == {r.teacher for r in asked if r.teacher and r.teacher.recipe.epochs}


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_without_images_nothing_is_asked_of_them(chapter):
    parts = plans.PLANS[chapter](images=[])
    assert parts["images"] == parts["image_teachers"] == []
    assert notebooks.parameters(build.chapters()[chapter])["images"].default == SETS


def test_the_baseline_is_searched_as_widely_on_images():
    asked = plans.universe(images=SETS)["images"]
    of = {(c, name) for c in ("hard", "label_smoothing") for name in plans.several(SETS)}
    found = {
        (c, name): len({r for r in asked if (r.condition.name, r.data.name, r.seed) == (c, name, 0)}) for c, name in of
    }
    assert set(found.values()) == {3}


def tables() -> dict[str, pd.DataFrame]:
    """A gain of KD on perceptrons' data, none on images; there, another column for what was trained."""
    study, images = (
        pd.concat([frame, frame[frame["condition"] == "kd"].assign(condition="label_smoothing_matched")])
        for frame in (planted({"digits": 0.03, "synthetic": 0.03}), planted({"fashion_images": -0.03}))
    )
    keyed = (part.assign(key=[f"{name}{i}" for i in range(len(part))]) for name, part in (("s", study), ("i", images)))
    return dict(zip(("study", "images"), keyed)) | {"image_teachers": images.iloc[:0]}


def test_claims_are_judged_on_both_kinds_of_networks():
    held = tables()
    pictured, shown, both = claims.beside("universe", claims.chapter("universe", held), held)
    assert set(pictured["claim"]) == {"U2", "U2-rest", "U3-kd"} and set(pictured["dataset"]) == {"fashion_images"}
    assert list(shown.loc[shown["claim"] == "U2", "dataset"]) == ["synthetic", "digits", "fashion_images"]
    assert len(both["study"]) == len(held["study"]) + len(held["images"])
    said = verdicts.beside(shown[~shown["dataset"].isin(pictured["dataset"])], pictured).set_index("claim")
    assert tuple(said.loc["U2", ["perceptrons", "convolutional"]]) == ("supported", "contradicted")


def test_without_images_nothing_is_judged_or_drawn():
    held = {"study": tables()["study"], "images": ask.ask([]), "image_teachers": ask.ask([])}
    pictured, shown, _ = claims.beside("universe", claims.chapter("universe", held), held)
    assert pictured.empty and shown.empty and verdicts.beside(shown, pictured).empty
    assert paired.tuned(held["images"]).empty and paired.coverage(held["images"]).empty
    assert paired.recipes(held["image_teachers"]).empty
    assert "nothing to draw" in figures.forest(shown, held).texts[0].get_text()


def test_networks_are_named_once_perceptrons_first():
    names = pd.Series(["cnn16", "8", "16", "64x8", "8", "resnet20"])
    assert style._students(names) == "MLP, 8, 16, 64-8 hidden, cnn16, resnet20"
    assert style._students(pd.Series(["cnn16"])) == "cnn16"


def test_only_perceptrons_are_trained_again_for_the_page(monkeypatch):
    asked = [tiny_run("hard", s) for s in range(2)]
    images = plans.universe(images="fashion_images")["images"][:1]
    monkeypatch.setattr(plans, "every", lambda *_, **__: [*images, *asked])
    monkeypatch.setattr(Published, "rows", lambda _, keys: {k: {} for k in keys})
    assert reproduce.candidates("universe", Published()) == (asked, [])


def test_what_was_published_is_taken_over_where_the_store_lacks_it(monkeypatch, trained):
    asked = [tiny_run("hard", s) for s in range(3)]
    monkeypatch.setattr(plans, "PLANS", {"universe": lambda: {"study": asked[:2]}})
    list(publish.everything())
    first = Published().rows()
    Store().forget(first)
    trained.clear()
    monkeypatch.setattr(plans, "PLANS", {"universe": lambda: {"study": asked}})
    list(publish.everything(published=Published()))
    again = Published()
    assert {r.key for stack in trained for r in stack} == {asked[2].key}
    assert {k: again.rows()[k] for k in first} == first and len(again.rows()) == 3
    assert again.arrays(first, ["reliability"]).keys() == first.keys()


def test_a_published_perceptron_has_no_name_of_a_network_beside_those_that_have():
    rows = [{**tiny_run("hard", s).columns, "code": "", "test_accuracy": 0.5} for s in range(2)]
    rows[1]["net"] = "cnn4"
    Published().publish("universe", [Record(row, {}) for row in rows])
    assert Published().rows() == {row["key"]: row for row in rows}
