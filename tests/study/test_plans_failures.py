"""The runs of the failure chapters: what is changed, and that nothing else is."""

from collections import Counter
from dataclasses import replace

import pytest

from kdstudy.core.spec import Data
from kdstudy.distill import conditions
from kdstudy.engine import teachers as composed
from kdstudy.study import recipes
from kdstudy.study.plans import failures

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
