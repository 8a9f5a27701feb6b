"""Which runs a study and the parts of a chapter ask for."""

from dataclasses import replace

from lessons import LABEL, TEACHER, context

from kdstudy.core.spec import Data
from kdstudy.data import registry, transforms
from kdstudy.distill import conditions
from kdstudy.study import plans, recipes

# ---------------------------------------------------------------- studies


def test_without_a_search_of_its_own_temperature_and_weight_have_one():
    asked = plans.study("digits", "kd, kd_pt", seeds=1)
    assert {(r.condition.name, *dict(r.condition.params).values()) for r in asked} == {
        *(("kd", a, t) for a in plans.ALPHAS for t in plans.TAUS),
        *(("kd_pt", a, 1.0, t) for a in plans.ALPHAS for t in plans.TAUS),
    }


def test_a_data_set_may_be_given_with_options():
    data = Data("digits", (("seed", 3),))
    asked = plans.study([data, "digits"], "kd", tau=1.0, alpha=0.5, seeds=1)
    assert [r.data for r in asked] == [data, Data("digits")]
    assert [r.teacher.data for r in asked] == [data, Data("digits")]


def needs_groups(name):
    try:
        conditions.target(conditions.make(name), TEACHER, LABEL, replace(context(), superclass=None))
    except ValueError as error:
        return "super-classes" in str(error)
    return False


def test_conditions_that_need_super_classes_are_left_out_where_there_are_none():
    assert recipes.GROUPED == tuple(filter(needs_groups, conditions.CONDITIONS))
    asked = plans.study(plans.DATASETS, "kd, kd_rel", seeds=1)
    assert {r.data.name for r in asked if r.condition.name == "kd_rel"} == {"synthetic", "clinc150"}
    assert {r.data.name for r in asked if r.condition.name == "kd"} == set(plans.DATASETS)
    assert plans.study("digits", "kd_rel", seeds=1) == []


def test_a_random_teacher_is_the_seeds_own_as_it_was_drawn():
    drawn, trained = (plans.study("digits", name, tau=1.0, alpha=0.5, seeds=3) for name in ("random_teacher", "kd"))
    for a, b in zip(drawn, trained):
        assert a.teacher == replace(b.teacher, recipe=replace(b.teacher.recipe, epochs=0))
        assert b.teacher.recipe == recipes.SETUPS["digits"].teacher
        assert a.recipe == b.recipe


def test_teachers_are_those_that_were_trained_each_once():
    asked = plans.study(["digits", "synthetic"], "hard, kd, kd_pt, random_teacher", seeds=2)
    found = plans.teachers(asked)
    assert [(t.data.name, t.seed) for t in found] == [(d, s) for d in ("digits", "synthetic") for s in (10_000, 10_001)]
    assert all(t.recipe == recipes.SETUPS[t.data.name].teacher for t in found)
    assert plans.teachers(plans.study("digits", "hard, random_teacher", seeds=1)) == []


# ---------------------------------------------------------------- parts of chapters


def test_folds_cover_every_fold_of_every_data_set():
    asked = plans.folds(["digits", "clinc150"], epochs=4, teachers=2)
    assert [(r.data, r.seed) for r in asked] == [
        (Data(name, (("fold", fold),)), 10_000 + seed)
        for name in ("digits", "clinc150") for fold in range(transforms.FOLDS) for seed in range(2)
    ]  # fmt: skip
    assert {r.recipe for r in asked} == {replace(recipes.SETUPS[n].teacher, epochs=4) for n in ("digits", "clinc150")}
    assert {(r.condition, r.teacher) for r in asked} == {(conditions.make("hard"), None)}
    assert {r.data.name for r in plans.folds()} == set(plans.DATASETS)


def test_doses_lead_from_matched_smoothing_to_kd_pt():
    asked = plans.doses("digits", seeds=1, tau=2.0, alpha=0.9)
    assert [dict(r.condition.params)["dose"] for r in asked] == list(plans.DOSES) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert {r.condition.name for r in asked} == {"kd_pt"}
    assert asked[-1].key == plans.study("digits", "kd_pt", seeds=1, tau=2.0, alpha=0.9)[0].key


def test_alike_varies_nothing_but_the_similarity():
    asked = plans.alike(seeds=2, tau=2.0, alpha=0.9)
    options = [dict(r.data.options) for r in asked if r.condition.name == "class_matched" and r.seed == 0]
    assert options == [{"similarity": s} for s in plans.SIMILARITIES]
    assert len({replace(r, data=Data("synthetic"), teacher=None) for r in asked}) == len(plans.ALIKE) * 2
    assert len(asked) == len(plans.ALIKE) * 2 * len(plans.SIMILARITIES)
    assert {r.condition.name for r in asked} == set(plans.ALIKE)
    assert all(r.teacher.data == r.data for r in asked)


def test_the_similarity_of_the_data_set_itself_is_the_run_that_the_study_has():
    given = {"conditions": "class_matched", "tau": 2.0, "alpha": 0.9, "seeds": 2}
    assert registry.options("synthetic")["similarity"] == 0.5
    own, alike = plans.study("synthetic", **given), plans.alike(similarity=[0.5, 0.9], **given)
    assert [r.key for r in alike[:2]] == [r.key for r in own]
    assert not {r.key for r in alike[2:]} & {r.key for r in own}


def test_decoupled_kd_is_searched_over_one_of_its_weights_as_widely_as_a_cell_over_alpha():
    asked = plans.decomposition(dataset="digits", seeds=1)["study"]
    varied = {}
    for r in asked:
        for key, value in r.condition.params:
            varied.setdefault(r.condition.name, {}).setdefault(key, set()).add(value)
    taus, alphas, weights = map(set, (plans.TAUS, plans.ALPHAS, plans.WEIGHTS))
    assert varied["tckd"] == {"tau": taus, "target": weights}
    assert varied["nckd"] == {"tau": taus, "nontarget": weights}
    assert varied["dkd"] == {"tau": taus, "target": {1.0}, "nontarget": weights}
    assert all(varied[name] | {"dose": {1.0}} == {"tau": taus, "alpha": alphas, "dose": {1.0}} for name in plans.GRID)


def test_every_run_of_a_chapter_is_in_one_of_its_parts():
    given = {"dataset": "digits", "seeds": 1, "epochs": 3}
    parts = {name: list(plan(**given)) for name, plan in plans.PLANS.items()}
    beside = ["images", "image_teachers"]
    assert {name: parts[name] for name in list(parts)[:4]} == {
        "universe": ["study", *beside],
        "domain": ["study", "alike", "teachers", *beside],
        "instance": ["study", "doses", "widths", "folds", *beside],
        "decomposition": ["study", "decayed", *beside],
    }
    for name, plan in plans.PLANS.items():
        found = plans.every(name, **given, executor="local")
        assert set(found) == {run for part in plan(**given).values() for run in part}
        students = [r for r in found if r.seed < recipes.TEACHER_SEED]
        assert students and all(r.recipe.epochs == 3 for r in students)
    everything = plans.every("scoreboard", **given)
    assert set(everything) == {run for name in plans.PLANS for run in plans.every(name, **given)}
    assert plans.every("background", **given) == []
