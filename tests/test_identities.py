"""Every identity holds, and every one can fail: each broken formula breaks exactly the identities it must."""

import inspect
from dataclasses import replace

import pytest
import torch
from conftest import says

from kdstudy import identities, objective, shapes, targets
from kdstudy.identities import DRAWS, IDENTITIES, check, random_case, table
from kdstudy.objective import Target

LOSS, LOG_REST, GRADIENT, WEIGHT = targets.loss, objective.log_off_label, objective.gradient, objective.rescaling
LEFT, PERMUTED, CLASS_MEAN = shapes.off_label_mass, shapes.permute_others, shapes.class_means
TRUE = dict(targets.CONDITIONS)
ALL = set(IDENTITIES)


def loss_without_tau_squared(logits, goal, label, tau):
    scale = tau.reshape(-1, 1) ** 2 if tau.ndim else tau**2
    return LOSS(logits, Target(goal.hard, goal.soft / scale[..., None], goal.rest / scale), label, tau)


def loss_over_batch_and_classes(logits, goal, label, tau):
    return LOSS(logits, goal, label, tau) / logits.shape[-1]


def loss_with_the_student_not_cooled(logits, goal, label, tau):
    soft = -(tau**2) * (goal.soft * logits.log_softmax(-1)).sum(-1).mean(-1)
    return LOSS(logits, Target(goal.hard, torch.zeros_like(goal.soft), goal.rest), label, tau) + soft


def loss_of_probabilities(logits, goal, label, tau):
    return LOSS(logits.softmax(-1), goal, label, tau)


def rest_of_all_classes(logits, label):
    return torch.zeros_like(LOG_REST(logits, label))


def gradient_without_the_rest(logits, weights, label, tau):
    return GRADIENT(logits, replace(weights, rest_weight=torch.zeros_like(weights.rest_weight)), label, tau)


def weight_without_temperature(logits, weights, label, tau):
    return WEIGHT(logits, weights, label, torch.ones_like(tau))


def kd_with_the_teacher_not_cooled(teacher, label, ctx, *, tau=2.0, alpha=0.9):
    return TRUE["kd"](teacher, label, ctx, tau=1.0, alpha=alpha)


def kd_with_the_labels_always_whole(teacher, label, ctx, *, tau=2.0, alpha=0.9):
    goal = TRUE["kd"](teacher, label, ctx, tau=tau, alpha=alpha)
    return Target(goal.hard / (1 - alpha) if alpha < 1 else goal.hard, goal.soft, goal.rest)


def kd_of_a_shifted_batch(teacher, label, ctx, *, tau=2.0, alpha=0.9):
    return TRUE["kd"](teacher.roll(1, 0), label, ctx, tau=tau, alpha=alpha)


def kd_of_the_wrong_classes(teacher, label, ctx, *, tau=2.0, alpha=0.9):
    return TRUE["kd"](teacher.roll(1, 1), label, ctx, tau=tau, alpha=alpha)


def smoothing_that_spares_the_label(label, ctx, *, epsilon=0.1):
    mass = torch.full((len(label),), epsilon, dtype=ctx.dtype)
    return targets._hard_only(shapes.assemble(mass, targets._uniform(label, ctx), label))


def each_example_its_own_mass(mass):
    return mass


def mass_of_the_teacher_not_cooled(teacher, label, tau):
    return LEFT(teacher, label, 1.0)


def kd_pt_of_any_dose(teacher, label, ctx, *, tau=2.0, alpha=0.9, dose=1.0):
    return TRUE["kd_pt"](teacher, label, ctx, tau=tau, alpha=alpha)


def topk_of_two_less(teacher, label, ctx, *, tau=2.0, alpha=0.9, k=3):
    return TRUE["topk"](teacher, label, ctx, tau=tau, alpha=alpha, k=k - 2)  # a last class alone would keep its mass


def permuted_by_one_further(rho, label, order):
    return PERMUTED(rho, label, order.roll(1, -1))


def permuted_by_another_draw(teacher, label, ctx, *, tau=2.0, alpha=0.9):
    return TRUE["example_permuted"](teacher, label, replace(ctx, seed=1), tau=tau, alpha=alpha)


def weights_that_are_the_confidence(teacher, label, ctx, *, tau=1.0, alpha=0.9):
    weight = 1 - alpha + alpha * (1 - LEFT(teacher, label, tau))
    return targets._hard_only(targets._labels(label, ctx) * weight[:, None])


def nontarget_part_of_all_classes(teacher, label, ctx, *, tau=2.0, nontarget=1.0):
    goal = TRUE["nckd"](teacher, label, ctx, tau=tau, nontarget=nontarget)
    return replace(goal, rest=torch.zeros_like(goal.rest))


def mean_over_all_examples(rho, label):
    return CLASS_MEAN(rho, torch.zeros_like(label))


def shape_that_keeps_the_label(teacher, label, tau):
    return CLASS_MEAN((teacher / tau).softmax(-1), label)


WARM = {"kd_gradient", "kl_divergence", "hot_limit", "rescaling", "closed_form", "decoupled"}  # at any tau but 1
SOFT = {"mass_and_shape", "all_classes", "unpermuted"}  # KD's own target is one side of them
TARGETS = SOFT | {"no_dose", "mean_weight", "total_variance", "two_classes"}  # of which no loss is taken
SCALED = ALL - TARGETS - {"stationary_point"}  # which is 0 at any scale
BY_KD = (WARM | SOFT) - {"closed_form"}  # which only compares what is done with a target
BROKEN = [  # where, what, by what, and the identities that must fail
    (targets, "loss", loss_without_tau_squared, WARM),
    (targets, "loss", loss_over_batch_and_classes, SCALED),
    (targets, "loss", loss_with_the_student_not_cooled, WARM),
    (targets, "loss", loss_of_probabilities, ALL - TARGETS),
    (objective, "log_off_label", rest_of_all_classes, {"rescaling", "closed_form", "decoupled"}),
    (objective, "gradient", gradient_without_the_rest, {"closed_form"}),
    (objective, "rescaling", weight_without_temperature, {"rescaling"}),
    (targets.CONDITIONS, "kd", kd_with_the_teacher_not_cooled, BY_KD),
    (targets.CONDITIONS, "kd", kd_with_the_labels_always_whole,
     {"uniform_teacher", "kd_gradient", "rescaling", "all_classes"}),
    (targets.CONDITIONS, "kd", kd_of_a_shifted_batch, BY_KD),
    (targets.CONDITIONS, "kd", kd_of_the_wrong_classes, BY_KD | {"stationary_point"}),
    (targets.CONDITIONS, "label_smoothing", smoothing_that_spares_the_label, {"uniform_teacher"}),
    (targets.CONDITIONS, "kd_pt", kd_pt_of_any_dose, {"no_dose"}),
    (targets.CONDITIONS, "topk", topk_of_two_less, {"all_classes"}),
    (targets.CONDITIONS, "example_permuted", permuted_by_another_draw, {"unpermuted"}),
    (targets.CONDITIONS, "cwtm", weights_that_are_the_confidence, {"mean_weight"}),
    (targets.CONDITIONS, "nckd", nontarget_part_of_all_classes, {"decoupled"}),
    (shapes, "mean_mass", each_example_its_own_mass, {"matched_smoothing", "total_variance"}),
    (shapes, "off_label_mass", mass_of_the_teacher_not_cooled, {"mass_and_shape", "decoupled"}),
    (shapes, "permute_others", permuted_by_one_further, {"unpermuted"}),
    (shapes, "class_means", mean_over_all_examples, {"total_variance"}),
    (shapes, "class_shape", shape_that_keeps_the_label, {"two_classes"}),
]  # fmt: skip


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
    monkeypatch.setattr(identities, "DRAWS", 4)  # as many as are needed: a break is no matter of rounding
    assert {i for i in IDENTITIES if not check(i).holds} == wanted


def test_each_identity_is_broken_by_something_narrower_than_everything():
    narrow = set().union(*(wanted for *_, wanted in BROKEN if not wanted >= SCALED))
    assert narrow == ALL - {"kd_without_teacher"}  # which only the loss as a whole could break


def test_an_error_just_over_the_tolerance_is_an_error(monkeypatch):
    for error, holds in ((0.99e-3, True), (1.01e-3, False)):
        monkeypatch.setitem(IDENTITIES, "off", (lambda case, e=error: torch.tensor([0.0, -e]), 1e-3))
        monkeypatch.setattr(inspect, "getdoc", lambda fn: "A statement.\n\nMore.")
        assert check("off").holds == holds


def test_draws_are_varied_and_the_same_every_time():
    cases = [random_case(seed) for seed in range(DRAWS)]
    assert torch.equal(random_case(3).z, cases[3].z) and random_case(3).tau == cases[3].tau
    assert len({c.tau for c in cases}) == len({c.alpha for c in cases}) == DRAWS
    assert min(c.tau for c in cases) < 1 < 4 < max(c.tau for c in cases)
    assert min(c.alpha for c in cases) < 0.1 and max(c.alpha for c in cases) > 0.9
    assert set(torch.cat([c.y for c in cases]).tolist()) == set(range(identities.CLASSES))
    assert set(torch.cat([c.superclass for c in cases]).tolist()) == {0, 1, 2}
    assert torch.equal(random_case(3).rows, cases[3].rows) and not torch.equal(cases[3].rows, cases[4].rows)


def test_an_unknown_identity_is_refused():
    there = ", ".join(IDENTITIES)
    with pytest.raises(ValueError, match=says(f"identity 'kd' is unknown; there are: {there}")):
        check("kd")


def test_table_of_all_or_of_some(monkeypatch):
    monkeypatch.setattr(identities, "DRAWS", 4)
    assert list(table()["holds"]) == ["yes"] * len(IDENTITIES)
    monkeypatch.setattr(targets, "loss", loss_without_tau_squared)
    some = table("uniform_teacher", "kd_gradient")
    assert list(some["holds"]) == ["yes", "NO"]
    assert some["identity"][0].startswith("KD with a uniform teacher")
    assert some["largest error"][1] > some["tolerance"][1] and list(some["cases"]) == [4, 4]
