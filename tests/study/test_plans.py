"""From a chapter's parameters to its designs: which beds are asked, and what is compared on them."""

import inspect
from dataclasses import replace

import cells
import pytest
from conftest import SMALL, TINY

from kdstudy.book import build, notebooks
from kdstudy.core.spec import Data, pairs
from kdstudy.data import registry
from kdstudy.study import beds, plans
from kdstudy.study.experiment import BASELINE, TREATMENT, Design, Study
from kdstudy.study.plans import levels
from kdstudy.study.search import Protocol

SOFT = Data("synthetic", pairs(SMALL | {"softness": 1.0, "train": 96}))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("kd", ["kd"]), ("kd, hard, kd", ["kd", "hard"]), (" kd ,, hard,", ["kd", "hard"]), (2.0, [2.0]),
        ([1.0, 2.0], [1.0, 2.0]), ((3,), [3]), (range(2), [0, 1]), ([], []), (TINY, [TINY]),
    ],
)  # fmt: skip
def test_several_values_or_one(value, expected):
    assert plans.several(value) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, list(levels.BEDS)),
        ({"among": levels.CHEAP}, list(levels.CHEAP)),
        ({"regime": "same_labels"}, [("digits", "same_labels"), ("synthetic", "same_labels")]),
        ({"among": levels.CHEAP[:1], "regime": "same_labels, few_labels"},
         [("digits", "few_labels"), ("digits", "same_labels")]),
        ({"dataset": "synthetic, digits"}, [("synthetic", "soft_truth"), ("digits", "few_labels")]),
        ({"dataset": TINY, "regime": "few_labels, transfer_set", "labels": 4},
         [("synthetic", "few_labels"), ("synthetic", "transfer_set")]),
    ],
)  # fmt: skip
def test_beds_are_those_of_the_study_unless_data_or_regimes_are_named(given, expected):
    assert [(b.data.name, b.regime) for b in plans.asked(**given)] == expected


def test_beds_that_cannot_be_asked_are_refused():
    with pytest.raises(ValueError, match="^regime 'many' is unknown; there are: "):
        plans.asked(regime="many")
    with pytest.raises(ValueError, match="^data set 'digit' is unknown; there are: "):
        plans.asked(["synthetic", "digit"])
    with pytest.raises(ValueError, match="^soft_truth: found 'digits', allowed: synthetic"):
        plans.PLANS["noise"](regime="soft_truth")
    with pytest.raises(
        ValueError, match="^labels: found 1000, allowed: at most 2[0-9] of each class, which synthetic has"
    ):
        plans.asked(TINY, labels=1000)
    with pytest.raises(ValueError, match="^classes: found 6, allowed: fewer than the 6 of synthetic"):
        plans.PLANS["few_classes"](dataset=TINY, labels=4, classes=6)


@pytest.mark.parametrize("name", ["universe", "domain", "instance", "decomposition"])
def test_conditions_are_compared_with_hard_labels_and_kd_on_one_bed(name):
    (design,) = plans.PLANS[name](dataset=TINY, regime="few_labels", labels=4)
    assert [*design.sides] == list(dict.fromkeys([*getattr(levels, name.upper()), TREATMENT]))
    assert {side.bed for side in design.sides.values()} == {design.bed} and design.mechanism
    (design,) = plans.PLANS[name](dataset=TINY, labels=4, conditions="kd_pt", regime="transfer_set")
    assert [*design.sides] == [BASELINE, "kd_pt", TREATMENT, *levels.PSEUDO]
    assert all(side.condition == n and not side.fixed for n, side in design.sides.items())


def test_similarity_varies_nothing_but_the_data_and_that_of_the_bed_is_the_bed():
    own = dict(registry.options("synthetic"))["similarity"]
    (design,) = plans.PLANS["domain"](dataset=SOFT, regime="soft_truth", labels=4, similarity=[own, 0.9])
    extra = {n: s for n, s in design.sides.items() if ":" in n}
    assert [*extra] == [f"similarity {s:g}:{c}" for s in (own, 0.9) for c in levels.ALIKE]
    assert {replace(s.bed, data=design.bed.data) for s in extra.values()} == {design.bed}
    similar = {n: registry.options(s.bed.data.name) | dict(s.bed.data.options) for n, s in extra.items()}
    assert {n: o["similarity"] for n, o in similar.items()} == {
        n: own if n.startswith(f"similarity {own:g}") else 0.9 for n in extra
    }
    (few,) = plans.PLANS["domain"](dataset=TINY, regime="few_labels", labels=4, similarity=[0.9])
    assert not any(":" in n for n in few.sides)


def test_a_map_has_hard_labels_and_kd_at_every_number_of_labels_that_classes_have_more_of():
    (design,) = plans.PLANS["regimes"](dataset=TINY, labels=[3, 10_000])
    cells = ["same_labels 3", "all_labels 3", "transfer_set 3", "same_labels 0"]
    assert [*design.sides] == [BASELINE, TREATMENT, *(f"{c}:{n}" for c in cells for n in (BASELINE, TREATMENT))]
    assert not design.mechanism
    for name, side in list(design.sides.items())[2:]:
        where, amount = name.partition(":")[0].split()
        assert side.bed.amount == int(amount) and side.condition == name.partition(":")[2]
        assert side.bed.regime == {"all_labels": design.bed.regime}.get(where, where)


def test_recipes_that_are_not_searched_have_every_parameter_fixed():
    (design,) = plans.PLANS["admission"](dataset=TINY, labels=4)
    fixed = {n: dict(s.fixed) for n, s in design.sides.items()}
    assert fixed == {BASELINE: {}, TREATMENT: {}} | {f"{n}, untuned": levels.UNTUNED[n] for n in levels.UNTUNED}


@pytest.mark.parametrize("name", plans.PLANS)
def test_arrays_are_shown_of_parts_and_sides_that_there_are(name):
    plan = plans.PLANS[name]
    assert plan.__name__ == name and plans.shown(name).keys() >= levels.READ.keys()
    given = {"dataset": TINY} if {"dataset", "where"} & {*inspect.signature(plan).parameters} else {}
    for part, arrays in getattr(plan, "arrays", {}).items():
        assert part in plans.levels.experiment.PARTS and plans.shown(name)[part] == levels.READ.get(part, {}) | arrays
        sides = {n for design in plan(**given) for n in design.sides}
        for which in arrays.values():
            assert isinstance(which, int | None) or {*which} <= sides


def test_a_chapter_is_performed_by_its_protocol_and_none_is_left_to_the_plan(monkeypatch):
    bed, asked = beds.bed(TINY, "few_labels", 4), []
    monkeypatch.setattr(levels, "PLANS", {"one": lambda labels=1: asked.append(labels) or [Design(bed, {})]})
    monkeypatch.setattr(levels.experiment, "study", lambda *given: asked.append(given) or Study([]))
    assert plans.study("one", settings=5, seeds="7", labels=3, admission=None) == Study([])
    assert asked == [3, ([Design(bed, {})], Protocol(5, 3, 7, 10), "local")]
    assert plans.every("scoreboard") == plans.every("one") == plans.every("a page without a plan") == []
    assert len(asked) == 6


def test_what_a_plan_is_called_with_is_checked_as_on_the_command_line():
    with pytest.raises(
        ValueError, match="^chapter universe has no parameter 'learning_rate'; it has: dataset, regime, "
    ):
        plans.study("universe", learning_rate=5)
    with pytest.raises(ValueError, match="^chapter temperature has no parameter 'taus'; .*did you mean 'tau'"):
        plans.PLANS["temperature"](taus=[3])
    with pytest.raises(ValueError, match="^chapter domain: parameter similarity: found 1.0, allowed: .* each in "):
        plans.PLANS["domain"](dataset=TINY, similarity=1.0)
    (one,), (other,) = (
        plans.PLANS["domain"](dataset=SOFT, regime="soft_truth", labels=v, similarity=s)
        for v, s in (("4", "0.9"), (4, 0.9))
    )
    assert one == other


@pytest.mark.parametrize("chapter", build.chapters())
def test_a_chapter_is_described_once(chapter):
    """By its plan's signature; what no plan knows, by its cell. `python tests/cells.py` writes the cells."""
    cell = notebooks.parameters(build.chapters()[chapter])
    assert list(map(str, cell.values())) == list(map(str, cells.described(chapter).values()))
