"""Every identity holds, and every one can fail: each broken formula breaks exactly the identities it must."""

import inspect

import pytest
import torch
from conftest import says

from kdstudy import identities, targets
from kdstudy.identities import DRAWS, IDENTITIES, check, draw, table

LOSS, LOG_REST, LEFT = targets.loss, targets.log_rest, targets.left
KD, SMOOTHING, MATCHED = (targets.CONDITIONS[n] for n in ("kd", "label_smoothing", "label_smoothing_matched"))
ALL = set(IDENTITIES)


def loss_without_tau_squared(logits, goal, label, tau):
    return LOSS(logits, targets.Target(goal.hard, goal.soft / tau**2, goal.rest), label, tau)


def loss_over_batch_and_classes(logits, goal, label, tau):
    return LOSS(logits, goal, label, tau) / logits.shape[-1]


def loss_with_the_student_not_cooled(logits, goal, label, tau):
    soft = -(tau**2) * (goal.soft * logits.log_softmax(-1)).sum(-1).mean(-1)
    return LOSS(logits, targets.Target(goal.hard, torch.zeros_like(goal.soft), goal.rest), label, tau) + soft


def loss_of_probabilities(logits, goal, label, tau):
    return LOSS(logits.softmax(-1), goal, label, tau)


def kd_with_the_teacher_not_cooled(teacher, label, ctx, *, tau=2.0, alpha=0.9):
    return KD(teacher, label, ctx, tau=1.0, alpha=alpha)


def kd_with_the_labels_always_whole(teacher, label, ctx, *, tau=2.0, alpha=0.9):
    goal = KD(teacher, label, ctx, tau=tau, alpha=alpha)
    return targets.Target(goal.hard / (1 - alpha) if alpha < 1 else goal.hard, goal.soft, goal.rest)


def kd_of_a_shifted_batch(teacher, label, ctx, *, tau=2.0, alpha=0.9):
    return KD(teacher.roll(1, 0), label, ctx, tau=tau, alpha=alpha)


def kd_of_the_wrong_classes(teacher, label, ctx, *, tau=2.0, alpha=0.9):
    return KD(teacher.roll(1, 1), label, ctx, tau=tau, alpha=alpha)


def smoothing_that_spares_the_label(label, ctx, *, epsilon=0.1):
    return targets._hard_only(targets.spread(torch.full((len(label),), epsilon, dtype=ctx.dtype), label, ctx))


def smoothing_matched_for_each_example(teacher, label, ctx, *, tau=2.0, alpha=0.9):
    mass = LEFT(teacher, label, tau)
    return targets._distil(targets.spread(mass, label, ctx), label, ctx, alpha)


def rest_of_all_classes(logits, label):
    return torch.zeros_like(LOG_REST(logits, label))


HOT = {"kd_gradient", "kl_divergence", "hot_limit"}  # those at a temperature other than 1
BROKEN = [  # where, what, by what, and the identities that must fail
    (targets, "loss", loss_without_tau_squared, HOT),
    (targets, "loss", loss_over_batch_and_classes, ALL - {"stationary_point"}),  # 0 at any scale
    (targets, "loss", loss_with_the_student_not_cooled, HOT),
    (targets, "loss", loss_of_probabilities, ALL),
    (targets, "log_rest", rest_of_all_classes, {"rescaling"}),
    (targets.CONDITIONS, "kd", kd_with_the_teacher_not_cooled, HOT),
    (targets.CONDITIONS, "kd", kd_with_the_labels_always_whole, {"uniform_teacher", "kd_gradient", "rescaling"}),
    (targets.CONDITIONS, "kd", kd_of_a_shifted_batch, HOT | {"rescaling"}),
    (targets.CONDITIONS, "kd", kd_of_the_wrong_classes, HOT | {"rescaling", "stationary_point"}),
    (targets.CONDITIONS, "label_smoothing", smoothing_that_spares_the_label, {"uniform_teacher"}),
    (targets.CONDITIONS, "label_smoothing_matched", smoothing_matched_for_each_example, {"matched_smoothing"}),
]


@pytest.mark.parametrize("name", IDENTITIES)
def test_identity_holds(name):
    found = check(name)
    assert found.holds and found.error <= found.tolerance
    assert found.n == DRAWS
    assert found.statement == inspect.getdoc(IDENTITIES[name][0]).splitlines()[0]


@pytest.mark.parametrize("where, name, wrong, wanted", BROKEN, ids=[wrong.__name__ for _, _, wrong, _ in BROKEN])
def test_a_broken_formula_breaks_its_identities(monkeypatch, where, name, wrong, wanted):
    put = monkeypatch.setitem if isinstance(where, dict) else monkeypatch.setattr
    put(where, name, wrong)
    assert {i for i in IDENTITIES if not check(i).holds} == wanted


def test_each_identity_is_broken_by_something_narrower_than_everything():
    narrow = set().union(*(wanted for *_, wanted in BROKEN if len(wanted) < len(ALL) - 1))
    assert narrow == ALL - {"kd_without_teacher"}  # which only the loss as a whole could break


def test_an_error_just_over_the_tolerance_is_an_error(monkeypatch):
    for error, holds in ((0.99e-3, True), (1.01e-3, False)):
        monkeypatch.setitem(IDENTITIES, "off", (lambda case, e=error: torch.tensor([0.0, -e]), 1e-3))
        monkeypatch.setattr(inspect, "getdoc", lambda fn: "A statement.\n\nMore.")
        assert check("off").holds == holds


def test_draws_are_varied_and_the_same_every_time():
    cases = [draw(seed) for seed in range(DRAWS)]
    assert torch.equal(draw(3).z, cases[3].z) and draw(3).tau == cases[3].tau
    assert len({c.tau for c in cases}) == len({c.alpha for c in cases}) == DRAWS
    assert min(c.tau for c in cases) < 1 < 4 < max(c.tau for c in cases)
    assert min(c.alpha for c in cases) < 0.1 and max(c.alpha for c in cases) > 0.9
    assert set(torch.cat([c.y for c in cases]).tolist()) == set(range(identities.CLASSES))


def test_an_unknown_identity_is_refused():
    there = ", ".join(IDENTITIES)
    with pytest.raises(ValueError, match=says(f"identity 'kd' is unknown; there are: {there}")):
        check("kd")


def test_table_of_all_or_of_some(monkeypatch):
    assert list(table()["holds"]) == ["yes"] * len(IDENTITIES)
    monkeypatch.setattr(targets, "loss", loss_without_tau_squared)
    some = table("uniform_teacher", "kd_gradient")
    assert list(some["holds"]) == ["yes", "NO"]
    assert some["identity"][0].startswith("KD with a uniform teacher")
    assert some["largest error"][1] > some["tolerance"][1] and list(some["cases"]) == [DRAWS] * 2
