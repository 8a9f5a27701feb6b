"""From parameters to runs: which settings are crossed, who gets a teacher, how much each side is searched."""

import re
from collections import Counter
from dataclasses import replace

import pytest
from conftest import TINY
from lessons import LABEL, TEACHER, context

from kdstudy.core.spec import Data, Recipe
from kdstudy.data import registry, transforms
from kdstudy.distill import conditions
from kdstudy.engine import teachers as composed
from kdstudy.study import plans, recipes
from kdstudy.study.plans import failures
from kdstudy.train import networks

SMALL = {"dataset": "digits", "tau": [1.0, 4.0], "alpha": [0.5], "epsilon": [0.1], "weight_decay": [0.0], "seeds": 2}


def small(**changes):
    return plans.universe(**SMALL | changes)["study"]


def params(made) -> list[dict[str, float]]:
    return [dict(c.params) for c in made]


def test_settings_cross_the_parameters_a_condition_has_and_no_other():
    given = {"tau": [1.0, 2.0], "alpha": [0.5, 0.9], "epsilon": [0.1, 0.2, 0.3]}
    assert params(recipes.settings("kd", **given)) == [
        {"tau": t, "alpha": a} for t in (1.0, 2.0) for a in (0.5, 0.9)
    ]  # fmt: skip
    assert params(recipes.settings("label_smoothing", **given)) == [{"epsilon": e} for e in (0.1, 0.2, 0.3)]
    assert params(recipes.settings("hard", **given)) == [{}]


def test_settings_fill_in_defaults_and_take_single_values():
    assert params(recipes.settings("kd")) == [conditions.parameters("kd")]
    assert params(recipes.settings("kd", tau=3)) == [{"tau": 3.0, "alpha": conditions.parameters("kd")["alpha"]}]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("kd", ["kd"]), ("kd, hard", ["kd", "hard"]), (" kd ,, hard,", ["kd", "hard"]), (2.0, [2.0]),
        ([1.0, 2.0], [1.0, 2.0]), ((3,), [3]), (range(2), [0, 1]), ([], []),
    ],
)  # fmt: skip
def test_several_values_or_one(value, expected):
    assert plans.several(value) == expected


@pytest.mark.parametrize(("seeds", "expected"), [(3, [0, 1, 2]), (1, [0]), ([7, 3], [7, 3]), ((5,), [5])])
def test_seeds_are_a_count_or_a_list(seeds, expected):
    assert recipes.seed_list(seeds) == expected
    assert list(dict.fromkeys(r.seed for r in small(seeds=seeds, conditions="hard"))) == expected


def test_without_a_word_on_seeds_each_data_set_has_its_own_count():
    asked = plans.study(["digits", "fashion_mnist"], "hard", weight_decay=[])
    assert Counter(r.data.name for r in asked) == {"digits": 20, "fashion_mnist": 10}
    assert recipes.seed_list(None, recipes.SETUPS["synthetic"]) == list(range(20))
    assert recipes.seed_list(None) == list(range(recipes.DEFAULT.seeds))


def test_only_conditions_that_listen_have_a_teacher():
    asked = small()
    assert {r.condition.name for r in asked} == set(plans.UNIVERSE)
    for run in asked:
        assert (run.teacher is not None) == conditions.listens(run.condition.name)


def test_a_teacher_is_hard_labels_on_the_same_data_with_its_own_seed_and_recipe():
    for run in small(conditions="kd"):
        teacher = run.teacher
        assert (teacher.data, teacher.condition) == (run.data, conditions.make("hard"))
        assert teacher.seed == recipes.TEACHER_SEED + run.seed
        assert teacher.recipe == recipes.SETUPS["digits"].teacher
        assert teacher.teacher is None
    assert len({r.teacher for r in small(conditions="kd")}) == 2  # one for each seed, whatever tau and alpha


def test_students_of_one_seed_differ_in_nothing_but_what_they_are_taught():
    asked = small(weight_decay=[])
    assert {r.recipe for r in asked} == {recipes.SETUPS["digits"].student}
    assert Counter(r.condition for r in asked) == dict.fromkeys({r.condition for r in asked}, 2)


SEARCHED = [
    (plans.universe, set(plans.UNIVERSE)),
    (plans.domain, {*plans.DOMAIN} - {"kd_rel"}),  # which digits have no super-classes for
    (plans.instance, set(plans.INSTANCE)),
    (plans.decomposition, set(plans.DECOMPOSITION)),
]


@pytest.mark.parametrize(("plan", "expected"), SEARCHED, ids=[p.__name__ for p, _ in SEARCHED])
def test_the_baseline_is_searched_as_widely_as_every_method(plan, expected):
    asked = plan(dataset="digits", seeds=1)["study"]
    searched = Counter(r.condition.name for r in asked)
    assert set(searched) == expected
    assert set(searched.values()) == {8}
    decays = [r.recipe.weight_decay for r in asked if r.condition.name == "hard"]
    assert sorted(decays) == sorted(plans.WEIGHT_DECAYS)
    assert {r.recipe.weight_decay for r in asked if r.condition.name != "hard"} == {0.0}


def test_weight_decay_is_searched_on_every_data_set():
    asked = small(dataset=["digits", "synthetic"], conditions="hard", weight_decay=[0.0, 1e-3], seeds=1)
    found = [(r.data.name, r.recipe.weight_decay) for r in asked]
    assert sorted(found) == [(name, w) for name in ("digits", "synthetic") for w in (0.0, 1e-3)]
    assert all(r.recipe.hidden == recipes.SETUPS[r.data.name].student.hidden for r in asked)


def test_hidden_replaces_the_students_width_only_and_epochs_those_of_both():
    own = recipes.SETUPS["digits"]
    for run in small(conditions="kd", hidden=3):
        assert (run.recipe, run.teacher.recipe) == (replace(own.student, hidden=(3,)), own.teacher)
    for run in small(conditions="kd", epochs=2):
        assert (run.recipe, run.teacher.recipe) == (replace(own.student, epochs=2), replace(own.teacher, epochs=2))


REFUSED = [
    ({"seeds": 0}, "seeds: found 0, allowed: a count of at least 1, or a list of seeds"),
    ({"seeds": -2}, "seeds: found -2, allowed: a count of at least 1, or a list of seeds"),
    ({"seeds": [-1]}, "seed: found -1, allowed: a whole number of at least 0"),
    ({"hidden": 0}, "hidden: found (0,), allowed: positive whole numbers"),
    ({"epochs": 0}, "epochs: found 0, allowed: a whole number of at least 1"),
    ({"alpha": 1.5, "conditions": "kd"}, "alpha of condition 'kd': found 1.5, allowed: 0 <= alpha <= 1"),
    ({"conditions": "kd, hardt"}, "condition 'hardt' is unknown; there are: hard, "),
    ({"dataset": ["synthetic", "digit"]}, "data set 'digit' is unknown; there are: "),
]


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_what_cannot_be_asked_is_refused(given, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        small(**given)


def test_every_data_set_of_the_plan_has_its_own_setup():
    images = {"fashion_images", "tiny_imagenet", "cifar10", "cifar100"}
    assert set(recipes.SETUPS) == {*plans.DATASETS, *images}
    assert recipes.setup("something new") == recipes.DEFAULT
    for name, own in recipes.SETUPS.items():
        assert recipes.setup(name) == own
        if own.student.net == "mlp":
            assert max(own.teacher.hidden) > max(own.student.hidden)
        else:
            sizes = [
                sum(p.numel() for p in networks.build(r.net, 3, 10, 0).parameters()) for r in (own.teacher, own.student)
            ]
            assert sizes[0] > sizes[1]


def test_no_run_is_asked_twice():
    asked = small(weight_decay=[0.0, 0.0, 1e-3], tau=[1.0, 1, 4.0], seeds=[0, 1, 0], conditions="hard, kd, hard")
    keys = [r.key for r in asked]
    assert len(keys) == len(set(keys)) == 2 * (2 + 2)
    for chapter in plans.PLANS:
        everything = plans.every(chapter, dataset="digits", seeds=2)
        assert len({r.key for r in everything}) == len(everything)


def test_a_whole_number_means_the_same_run():
    assert [r.key for r in small(tau=[1, 4], weight_decay=[0])] == [r.key for r in small()]


def test_the_plan_of_a_chapter_goes_by_its_name():
    levels = ["universe", "domain", "instance", "decomposition"]
    assert list(plans.PLANS)[:4] == levels
    assert all(getattr(plans if name in levels else failures, name) is plan for name, plan in plans.PLANS.items())
    assert all(plan.__name__ == name for name, plan in plans.PLANS.items())
    assert plans.teacher_of(TINY, Recipe((4,), 1), 3).seed == 10_003


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
    declared = [name for name, fn in conditions.CONDITIONS.items() if getattr(fn, "needs_superclasses", False)]
    assert declared == list(filter(needs_groups, conditions.CONDITIONS)) == ["kd_rel"]
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


# ---------------------------------------------------------------- failure chapters: what is changed, and nothing else

GIVEN = {"dataset": "digits", "seeds": 2, "tau": [1.0, 4.0]}
PLANS = [failures.smoothed_teacher, failures.too_good_teacher, failures.temperature,
         failures.few_classes, failures.noise, failures.silent_bugs]  # fmt: skip


@pytest.mark.parametrize("plan", PLANS, ids=lambda p: p.__name__)
def test_every_side_is_searched_as_widely(plan):
    parts = plan(dataset="digits", seeds=1)
    found = Counter((r.condition.name) for r in parts["study"])
    taus, alphas = ({dict(r.condition.params)[k] for r in parts["study"] if r.teacher} for k in ("tau", "alpha"))
    assert found["hard"] == len(failures.WEIGHT_DECAYS) == 4
    assert {n for name, n in found.items() if name != "hard"} == {len(taus) * len(alphas)}
    assert {r.recipe.weight_decay for r in parts["study"] if r.teacher} == {0.0}


@pytest.mark.parametrize("plan", PLANS, ids=lambda p: p.__name__)
def test_without_a_word_the_chapters_have_their_own_data_and_seeds(plan):
    found = Counter((r.data.name, r.seed) for r in plan()["study"] if r.condition.name == "hard")
    seeds = {name: len([s for d, s in found if d == name]) for name in failures.DATASETS}
    assert seeds == failures.SEEDS
    assert {r.data.name for r in plan(dataset="fashion_mnist", seeds=1)["study"]} == {"fashion_mnist"}


def test_students_of_a_changed_teacher_differ_in_nothing_else():
    parts = failures.smoothed_teacher(**GIVEN, epsilon=[0.1, 0.3], claimed=0.1, conditions="hard, kd, kd_pt")
    own = {r.key: r for r in parts["study"]}
    for r in parts["smoothed"]:
        assert dict(r.teacher.condition.params) == {"epsilon": 0.1}
        plain = replace(r, teacher=replace(r.teacher, condition=conditions.make("hard")))
        assert plain.key in own
    assert {r.condition.name for r in parts["smoothed"]} == {"kd", "kd_pt"}
    found = {dict(r.teacher.condition.params).get("epsilon", 0.0) for r in parts["grid"]}
    assert found == {0.0, 0.1, 0.3} and len(parts["grid"]) == 3 * 2 * 2 * 2
    assert {t.condition.name for t in parts["pair"]} == {"hard", "label_smoothing"} and len(parts["pair"]) == 4


def test_teachers_are_scaled_in_width_and_length():
    parts = failures.too_good_teacher(**GIVEN, size=[0.5, 2.0], length=[0.1, 1.0, 2.0])
    own = recipes.SETUPS["digits"].teacher
    assert {(r.teacher.recipe.hidden[0], r.teacher.recipe.epochs) for r in parts["grid"]} == {
        (h, e) for h in (128, 512) for e in (6, 60, 120)
    }
    assert {r.teacher.recipe.epochs for r in parts["early"]} == {6}
    assert {r.teacher.recipe for r in parts["largest"]} == {replace(own, hidden=(512,), epochs=120)}
    assert {composed.kind(r.teacher) for r in parts["crossfitted"]} == {"crossfitted"}
    for r in parts["assistant"]:
        assert r.teacher.recipe.hidden == (round((256 * 6) ** 0.5),)
        assert r.teacher.condition.name == "kd" and r.teacher.teacher.recipe == own
        assert r.teacher.teacher.seed == r.teacher.seed == recipes.TEACHER_SEED + r.seed


def test_a_network_never_scales_to_nothing():
    assert failures._scaled(recipes.SETUPS["digits"].teacher, 1e-9, 1e-9).hidden == (1,)
    assert failures._scaled(recipes.SETUPS["digits"].teacher, 1e-9, 1e-9).epochs == 1


def test_the_hottest_temperature_and_the_others():
    parts = failures.temperature(**GIVEN, alpha=0.9)
    taus = [{r.condition.tau for r in parts[name]} for name in ("hot", "warm")]
    assert taus == [{4.0}, {1.0}] and {r.condition.name for r in parts["hot"]} == {"kd"}


def test_merged_data_sets_and_the_whole_one():
    assert failures.merged(["digits", "synthetic"], None) == [
        *(Data("digits", (("merge", c),)) for c in (2, 5)), Data("digits"),
        *(Data("synthetic", (("merge", c),)) for c in (2, 5, 10)), Data("synthetic"),
    ]  # fmt: skip
    assert failures.merged("digits", [3, 50, 10]) == [Data("digits", (("merge", 3),)), Data("digits")]


def test_noise_has_its_levels_and_its_teachers():
    parts = failures.noise(dataset="synthetic, digits", seeds=1, noise=[0.0, 0.2], claimed=0.3, tau=1.0, alpha=0.9)
    assert {dict(r.data.options).get("noise", 0) for r in parts["noise"]} == {0, 0.2, 0.3}
    assert {dict(r.data.options).get("noise", 0) for r in parts["noisy"]} == {0.3}
    assert all(r.teacher.data == r.data for r in parts["noise"] if r.teacher)
    assert {r.data.name for r in parts["exact"]} == {"synthetic"} and len(parts["law"]) == 3
    assert {r.data for r in parts["imbalanced"]} == {Data(n, (("imbalance", 10.0),)) for n in ("synthetic", "digits")}
    skewed = failures.noise(dataset="clinc150", seeds=1)["imbalanced"]
    assert {r.data for r in skewed} == {Data("clinc150", (("variant", "imbalanced"),))}
