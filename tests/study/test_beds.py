"""Beds: what students and teachers of each regime see, and who listens to whom."""

from dataclasses import replace

import pytest
from conftest import SMALL, TINY, says

from kdstudy.core.spec import Data, pairs
from kdstudy.data import registry
from kdstudy.distill import conditions
from kdstudy.engine import teachers
from kdstudy.study import beds
from kdstudy.study.beds import TEACHER_SEED, bed

REGIMES = {
    "same_labels": {"labels": 3}, "few_labels": {"labels": 3}, "transfer_set": {"labels": 3},
    "privileged": {"columns": 4}, "soft_truth": {"labels": 3},
}  # fmt: skip


def made(regime: str):
    return bed(TINY, regime, **REGIMES[regime])


def student(regime: str, name: str, seed: int = 2):
    return made(regime).run(conditions.make(name), seed)


def restrictions(data: Data) -> dict[str, object]:
    """Options that restrict what is seen."""
    return {k: v for k, v in data.options if k in ("labels", "transfer", "columns")}


@pytest.mark.parametrize(
    "regime, with_teacher, without",
    [
        ("same_labels", {"labels": (3, 2)}, {"labels": (3, 2)}), ("few_labels", {"labels": (3, 2)}, {"labels": (3, 2)}),
        ("soft_truth", {"labels": (3, 2)}, {"labels": (3, 2)}), ("privileged", {"columns": 4}, {"columns": 4}),
        ("transfer_set", {"transfer": (3, 2)}, {"labels": (3, 2)}),
    ],
)  # fmt: skip
def test_what_students_see_is_drawn_by_their_seed(regime, with_teacher, without):
    assert restrictions(student(regime, "kd").data) == with_teacher
    assert restrictions(student(regime, "hard").data) == without
    assert student(regime, "hard").teacher is None


@pytest.mark.parametrize("regime", REGIMES)
def test_the_trained_network_behind_a_teacher_sees_what_the_regime_says(regime):
    run = student(regime, "kd")
    teacher = run.teacher
    assert teacher.seed == TEACHER_SEED + run.seed and teacher.recipe == made(regime).teacher
    if regime == "same_labels":
        assert teacher.data == run.data and not teachers.kind(teacher)
    else:
        (member,) = teachers.members(teacher)
        assert member.data == made(regime).data and teachers.kind(teacher) == "informed"
        assert teachers.plain(teacher) == run.data


def test_the_school_trains_that_very_network():
    for regime in REGIMES:
        run, at_school = student(regime, "kd"), made(regime).school().run(conditions.make("hard"), TEACHER_SEED + 2)
        networks = teachers.members(run.teacher) or [run.teacher]
        same = replace(at_school, data=networks[0].data) if regime == "same_labels" else at_school
        assert networks == [same]


def test_a_random_teacher_is_not_trained_and_says_nothing_else():
    run = student("few_labels", "random_teacher")
    assert run.teacher.recipe.epochs == 0 and made("few_labels").teacher.epochs > 0


def test_recipes_of_runs_and_of_changed_beds():
    few = made("few_labels")
    run = few.run(conditions.make("kd"), 0, lr=0.3, weight_decay=0.01)
    assert (run.recipe.lr, run.recipe.weight_decay) == (0.3, 0.01)
    assert replace(run.recipe, lr=few.student.lr, weight_decay=few.student.weight_decay) == few.student
    assert few.longer(2).student.epochs == 2 * few.student.epochs and few.longer(2).teacher == few.teacher
    assert bed(TINY, "few_labels", 3, hidden=7).student.hidden == (7,)


def test_networks_are_trained_for_so_many_steps_on_what_they_see():
    few = made("few_labels")  # 18 of 96 examples
    assert few.student.epochs == beds.STEPS["student"]  # one batch of 18 an epoch
    assert few.teacher.epochs == beds.STEPS["teacher"]  # one batch of 96
    unlabelled = made("transfer_set")
    assert unlabelled.run(conditions.make("kd"), 0).recipe.epochs == beds.STEPS["student"]  # one batch of 96
    larger = bed(Data("synthetic", pairs(SMALL | {"train": 960})), "transfer_set", 3)
    by_condition = [larger.run(conditions.make(n), 0).recipe.epochs for n in ("hard", "kd")]
    assert by_condition == [beds.STEPS["student"], -(-beds.STEPS["student"] // (960 // beds.BATCH))]
    whole = bed(Data("synthetic", pairs(SMALL | {"train": 960})), "same_labels")
    assert whole.student.epochs == -(-beds.STEPS["student"] // (960 // beds.BATCH))


@pytest.mark.parametrize("regime", REGIMES)
def test_a_bed_is_named_by_data_regime_and_amount(regime):
    amount = next(iter(REGIMES[regime].values()))
    assert made(regime).name == f"{made(regime).data.label}, {regime.replace('_', ' ')} ({amount})"


def test_conditions_that_need_super_classes_are_able_where_there_are_some():
    able = made("few_labels").able
    needy = [n for n in conditions.CONDITIONS if getattr(conditions.named(n), "needs_superclasses", False)]
    assert needy and able("kd") and all(map(able, needy))
    flat = replace(made("few_labels"), data=Data("digits"))
    assert flat.able("kd") and not any(map(flat.able, needy)) and not registry.grouped(flat.data)


def test_a_regime_that_a_data_set_cannot_have_is_refused():
    with pytest.raises(ValueError, match="^regime 'few' is unknown; there are: same_labels, few_labels, "):
        bed(TINY, "few")
    with pytest.raises(
        ValueError, match=says("soft_truth: found 'digits', allowed: synthetic, whose P(y | x) is known")
    ):
        bed("digits", "soft_truth")
