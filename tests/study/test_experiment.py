"""Experiments: what is asked at each stage, that all sides are searched alike, and which seeds judge them."""

import hashlib
import inspect
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest
from conftest import SMALL, TINY

from kdstudy.core.spec import Data, Recipe, Run, pairs
from kdstudy.engine import teachers
from kdstudy.study import claims, experiment, plans, search
from kdstudy.study.beds import TEACHER_SEED, bed
from kdstudy.study.experiment import Design, Experiment, Side, sides
from kdstudy.study.search import Protocol

TINY_PROTOCOL = Protocol(settings=4, tuning=2, evaluation=4, admission=2)
ROLES = ("tuning", "evaluation", "admission")
PARTS = {
    "tuning": ("tuning",),
    "evaluation": ("practical", "instead", "at_kd", "at_hard"),
    "admission": ("admission", "doubled"),
}


def short(regime: str = "few_labels", **given: object):
    """A bed whose networks are trained in milliseconds."""
    found = bed(TINY, regime, **({"labels": 4} | given))
    return replace(found, teacher=Recipe((9,), 2, 16), student=Recipe((5,), 2, 16), unlabelled_epochs=2)


def design(names=("hard", "label_smoothing", "kd"), **given: object) -> Design:
    found = short(**given)
    return Design(found, sides(found, names))


# ---------------------------------------------------------------- without training


Score = Callable[[Run], float]


def chance(run: Run) -> float:
    """A number for each run that looks drawn."""
    return int(hashlib.sha256(run.key.encode()).hexdigest()[:8], 16) / 2**32


def steep(run: Run) -> float:
    """The higher the learning rate, the better: an edge for whoever is asked."""
    return run.recipe.lr + 1e-3 * chance(run)


@pytest.fixture
def answer(monkeypatch) -> list[list[Run]]:
    """Answers without training, by a score of each run; returns what was asked, question by question."""
    asked: list[list[Run]] = []

    def ask(runs, executor="local", diverged="raise", score: Score = steep, **rest: object) -> pd.DataFrame:
        asked.append(list(runs))
        columns = ("key", "seed", "validation_accuracy", "test_accuracy")
        rows = [(r.key, r.seed, score(r), score(r)) for r in asked[-1]]
        return pd.DataFrame(rows, columns=columns).assign(run=asked[-1])

    monkeypatch.setattr(experiment.ask, "ask", ask)
    return asked


def tried(made: Experiment) -> dict[str, set]:
    """The settings that each side tried."""
    table = made.tables["tuning"]
    return {n: {search.setting(r) for r in g["run"]} for n, g in table.groupby("condition")}


def searched(made: Experiment) -> list[str]:
    """The sides that are searched; others are there to say what a search is worth."""
    return [n for n, side in made.design.sides.items() if "lr" not in dict(side.fixed)]


def searched_alike(made: Experiment) -> None:
    """All sides that are searched tried as many settings, of the learning rates and weight decays of hard labels."""
    found, nuisance = tried(made), lambda settings: {(s.lr, s.weight_decay) for s in settings}
    assert {len(found[n]) for n in searched(made)} == {len(found["hard"])}
    assert all(nuisance(found[n]) == nuisance(found["hard"]) for n in searched(made))
    assert {len(found[n]) for n in found.keys() - {*searched(made)}} <= {1}


def seeds_apart(made: Experiment) -> None:
    """No seed of one role, of a student or of a teacher, in another."""
    of = {
        r: {seed for p in PARTS[r] if p in made.tables for run in made.tables[p]["run"] for seed in heard(run)}
        for r in ROLES
    }
    of["tuning"] |= {run.seed % TEACHER_SEED for run in made.tables["teacher_tuning"]["run"]}
    assert all(of[a].isdisjoint(of[b]) for a in ROLES for b in ROLES if a != b)
    assert of["tuning"] == {*made.protocol.seeds("tuning")}


def heard(run: Run) -> set[int]:
    """The seeds of a run and of its teacher, as a student's."""
    return {run.seed % TEACHER_SEED} | ({run.teacher.seed % TEACHER_SEED} if run.teacher else set())


PLENTY = Data("synthetic", pairs(SMALL | {"train": 600}))
GIVEN = {"dataset": PLENTY, "labels": 4, "regime": "few_labels"}


@pytest.mark.parametrize("chapter", plans.PLANS)
def test_all_sides_of_all_plans_are_searched_alike_and_judged_on_seeds_of_their_own(chapter, answer):
    plan, known = plans.PLANS[chapter], inspect.signature(plans.PLANS[chapter]).parameters
    given = {k: v for k, v in GIVEN.items() if k in known or "where" in known}
    given |= {"labels": (3, 10)} if chapter == "regimes" else {}
    designs = plan(**given)
    assert designs
    for one in designs:
        made = experiment.perform(one, TINY_PROTOCOL)
        searched_alike(made)
        seeds_apart(made)
        assert len(tried(made)["hard"]) > TINY_PROTOCOL.settings  # widened, for all
        for claim in [
            c for c in claims.load() if c.contrast and c.chapter == chapter and {*c.contrast} <= made.choices.keys()
        ]:
            assert len({len(tried(made)[name]) for name in {*claim.contrast} & {*searched(made)}}) == 1


def test_without_an_edge_nothing_is_added(answer, monkeypatch):
    monkeypatch.setattr(
        search, "choose", lambda table, real=search.choose: {n: replace(c, edges=()) for n, c in real(table).items()}
    )
    assert {len(s) for s in tried(experiment.perform(design(), TINY_PROTOCOL)).values()} == {4}


def test_an_edge_of_another_side_widens_nothing_and_one_of_a_decisive_side_all(answer, monkeypatch):
    real = search.choose
    for decisive, settings in (("label_smoothing", 4), ("kd", 5)):
        edge = lambda name, d=decisive: (("tau", 1),) if name == d else ()  # noqa: E731
        monkeypatch.setattr(search, "choose", lambda t, e=edge: {n: replace(c, edges=e(n)) for n, c in real(t).items()})
        assert {len(s) for s in tried(experiment.perform(design(), TINY_PROTOCOL)).values()} == {settings}


def test_the_parts_at_equal_settings_share_all_but_what_is_taught(answer):
    made = experiment.perform(
        design(("hard", "label_smoothing", "label_smoothing_matched", "kd_pt", "kd")), TINY_PROTOCOL
    )
    own = dict(made.choices["kd"].setting.condition.params)
    for part, whose in (("at_kd", "kd"), ("at_hard", "hard")):
        for run in made.tables[part]["run"]:
            shared = made.choices[whose].setting
            assert (run.recipe.lr, run.recipe.weight_decay) == (shared.lr, shared.weight_decay)
            assert all(v == own[k] for k, v in run.condition.params if k in own)
    (epsilon,) = {dict(r.condition.params)["epsilon"] for r in at(made, "at_kd", "label_smoothing")}
    assert epsilon == dict(made.choices["label_smoothing"].setting.condition.params)["epsilon"]  # KD has none
    assert at(made, "at_kd", "kd") == at(made, "practical", "kd")
    assert at(made, "at_hard", "hard") == at(made, "practical", "hard")


def at(made: Experiment, part: str, side: str) -> list[Run]:
    """The runs of a side in a part."""
    table = made.tables[part]
    return list(table.loc[table["condition"] == side, "run"])


def test_a_fixed_parameter_is_neither_searched_nor_moved(answer):
    found = short()
    made = experiment.perform(
        Design(
            found, {"hard": Side(found, "hard"), "kd": Side(found, "kd"), "hot": Side(found, "kd", (("tau", 64.0),))}
        ),
        TINY_PROTOCOL,
    )
    for part in ("tuning", "practical", "at_kd", "at_hard"):
        assert {r.condition.tau for r in at(made, part, "hot")} == {64.0}
    searched_alike(made)


def test_students_listen_to_tuned_teachers_that_were_searched_as_they_are(answer):
    made = experiment.perform(design(), TINY_PROTOCOL)
    school = made.tables["teacher_tuning"]
    best = max({search.setting(r) for r in school["run"]}, key=lambda s: s.lr)
    assert school.groupby("condition")["run"].apply(lambda runs: len({search.setting(r) for r in runs})).to_list() == [
        5
    ]
    for part in ("tuning", "practical", "admission"):
        for run in at(made, part, "kd"):
            assert (run.teacher.recipe.lr, run.teacher.recipe.weight_decay) == (best.lr, best.weight_decay)
    heard_by = at(made, "practical", "kd") + at(made, "practical", "label_smoothing")
    assert list(made.tables["teachers"]["run"]) == [r.teacher for r in heard_by if r.teacher]


def test_admission_asks_twice_the_epochs_on_the_same_seeds(answer):
    made = experiment.perform(design(), TINY_PROTOCOL)
    plain, twice = at(made, "admission", "hard"), list(made.tables["doubled"]["run"])
    assert [replace(r, recipe=replace(r.recipe, epochs=4)) for r in plain] == twice
    assert [r.teacher for r in at(made, "admission", "kd")] == at(made, "admission", "teacher")


def test_what_sides_share_is_asked_once_and_told_of_each(answer):
    found = short()
    same = {"hard": Side(found, "hard"), "again": Side(found, "hard"), "kd": Side(found, "kd")}
    made = experiment.perform(Design(found, same), TINY_PROTOCOL)
    assert at(made, "tuning", "again") == at(made, "tuning", "hard")
    assert all(len(set(asked)) == len(asked) for asked in answer)
    assert made.choices["again"] == made.choices["hard"]


def test_alternatives_are_evaluated_on_half_of_the_seeds(answer):
    made = experiment.perform(design(), TINY_PROTOCOL)
    assert {r.seed for r in made.tables["instead"]["run"]} == {1000, 1001}
    for name, choice in made.choices.items():
        assert {search.setting(r) for r in at(made, "instead", name)} == {*choice.instead.values()} | {choice.setting}


def test_a_design_without_mechanism_is_evaluated_at_its_own_choices_alone(answer):
    made = experiment.perform(replace(design(), mechanism=False), TINY_PROTOCOL)
    assert not {"at_kd", "at_hard"} & made.tables.keys() and {"practical", "admission"} <= made.tables.keys()
    chosen = experiment.perform(design(), TINY_PROTOCOL, evaluate=False)
    assert chosen.tables.keys() == {"teacher_tuning", "tuning"}


# ---------------------------------------------------------------- trained


def test_a_tiny_study_trains_once_and_is_answered_from_the_store(trained):
    designs = [design(), design(("hard", "kd"), regime="transfer_set")]
    first = experiment.study(designs, TINY_PROTOCOL)
    once = [r for stack in trained for r in stack]
    networks = {r for r in first.runs if not teachers.kind(r)}
    assert networks <= {*once} and max(Counter(r for r in once if r in networks).values()) <= 2  # twice: to teach, too
    trained.clear()
    second = experiment.study(designs, TINY_PROTOCOL)
    assert not trained and first.runs == second.runs
    practical = first.tables["practical"]
    assert list(practical["dataset"].unique()) == [d.bed.name for d in designs]
    assert practical.groupby(["dataset", "condition"], sort=False).size().to_list() == [4, 4, 4, 4, 4]
    assert practical["test_accuracy"].between(0, 1).all()
    for made in first.experiments:
        searched_alike(made)
        seeds_apart(made)
    assert {*first.tables} == {*experiment.PARTS}
