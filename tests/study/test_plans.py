"""From parameters to runs: which settings are crossed, who gets a teacher, how much each side is searched."""

import re
from collections import Counter
from dataclasses import replace

import pytest
from conftest import TINY

from kdstudy.core.spec import Recipe
from kdstudy.data import registry
from kdstudy.distill import conditions
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


@pytest.mark.parametrize("seeds", [0, -2])
def test_fewer_than_one_seed_is_refused(seeds):
    message = f"seeds: found {seeds}, allowed: a count of at least 1, or a list of seeds"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        small(seeds=seeds)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="^seed: found -1, allowed: a whole number of at least 0$"):
        small(seeds=[-1])


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


def test_without_the_baseline_no_weight_decay_is_searched():
    assert {r.condition.name for r in small(conditions="kd", weight_decay=plans.WEIGHT_DECAYS)} == {"kd"}


def test_hidden_replaces_the_students_width_only():
    own = recipes.SETUPS["digits"]
    for run in small(conditions="kd", hidden=3):
        assert run.recipe == replace(own.student, hidden=(3,))
        assert run.teacher.recipe == own.teacher


def test_epochs_replace_those_of_student_and_teacher():
    own = recipes.SETUPS["digits"]
    for run in small(conditions="kd", epochs=2):
        assert run.recipe == replace(own.student, epochs=2)
        assert run.teacher.recipe == replace(own.teacher, epochs=2)


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


@pytest.mark.parametrize(("name", "value"), [("hidden", 0), ("epochs", 0)])
def test_a_network_of_nothing_is_refused(name, value):
    found, allowed = ("(0,)", "positive whole numbers") if name == "hidden" else ("0", "a whole number of at least 1")
    with pytest.raises(ValueError, match=f"^{name}: found {re.escape(found)}, allowed: {allowed}$"):
        small(**{name: value})


def test_an_unknown_data_set():
    there = f"{', '.join(registry.names())}{registry.OWN}"
    message = f"data set 'digit' is unknown; there are: {there}; did you mean 'digits'?"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        small(dataset=["synthetic", "digit"])


def test_an_unknown_condition():
    message = f"condition 'hardt' is unknown; there are: {', '.join(conditions.CONDITIONS)}; did you mean 'hard'?"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        small(conditions="kd, hardt")


def test_a_parameter_out_of_range():
    with pytest.raises(ValueError, match="^alpha of condition 'kd': found 1.5, allowed: 0 <= alpha <= 1$"):
        small(alpha=1.5, conditions="kd")


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
