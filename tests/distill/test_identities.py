"""Every identity holds, and every one can fail: each broken formula breaks exactly the identities it must."""

import functools
import inspect
from dataclasses import replace

import pytest
import torch

from kdstudy.distill import conditions, identities, levels, loss
from kdstudy.distill.identities import DRAWS, IDENTITIES, check, checked, random_case
from kdstudy.distill.loss import Target

LOSS, LOG_OFF_LABEL, GRADIENT, WEIGHT = conditions.loss, loss.log_off_label, loss.gradient, loss.rescaling
MASS, PERMUTE, CLASS_MEANS = levels.off_label_mass, levels.permute_others, levels.class_means
TRUE = dict(conditions.CONDITIONS)
ALL = set(IDENTITIES)


def altered(name, teacher=lambda v: v, seed=lambda seed: seed, **params):
    """A condition given another teacher, another seed, or other values of its parameters."""
    fn = TRUE[name]

    @functools.wraps(fn)
    def condition(v, label, ctx, **given):
        given |= {k: change(given[k]) for k, change in params.items()}
        return fn(teacher(v), label, replace(ctx, seed=seed(ctx.seed)), **given)

    return condition


def loss_without_tau_squared(logits, goal, label, tau):
    scale = tau.reshape(-1, 1) ** 2 if tau.ndim else tau**2
    return LOSS(logits, Target(goal.hard, goal.soft / scale[..., None], goal.rest / scale), label, tau)


def loss_with_the_student_not_cooled(logits, goal, label, tau):
    soft = -(tau**2) * (goal.soft * logits.log_softmax(-1)).sum(-1).mean(-1)
    return LOSS(logits, Target(goal.hard, torch.zeros_like(goal.soft), goal.rest), label, tau) + soft


def kd_with_the_labels_always_whole(teacher, label, ctx, *, tau=2.0, alpha=0.9):
    goal = TRUE["kd"](teacher, label, ctx, tau=tau, alpha=alpha)
    return replace(goal, hard=goal.hard / (1 - alpha) if alpha < 1 else goal.hard)


def smoothing_that_spares_the_label(label, ctx, *, epsilon=0.1):
    mass = torch.full((len(label),), epsilon, dtype=ctx.dtype)
    return conditions._hard_only(levels.assemble(mass, conditions._uniform(label, ctx), label))


def weights_that_are_the_confidence(teacher, label, ctx, *, tau=1.0, alpha=0.9):
    weight = 1 - alpha + alpha * (1 - MASS(teacher, label, tau))
    return conditions._hard_only(conditions._labels(label, ctx) * weight[:, None])


def nontarget_part_of_all_classes(teacher, label, ctx, *, tau=2.0, nontarget=1.0):
    goal = TRUE["nckd"](teacher, label, ctx, tau=tau, nontarget=nontarget)
    return replace(goal, rest=torch.zeros_like(goal.rest))


WARM = {"kd_gradient", "kl_divergence", "hot_limit", "rescaling", "closed_form", "decoupled"}  # at any tau but 1
SOFT = {"mass_and_shape", "all_classes", "unpermuted"}  # KD's own target is one side of them
TARGETS = SOFT | {"no_dose", "mean_weight", "total_variance", "two_classes"}  # of which no loss is taken
SCALED = ALL - TARGETS - {"stationary_point"}  # which is 0 at any scale
BY_KD = (WARM | SOFT) - {"closed_form"}  # which only compares what is done with a target
HARDER = {"uniform_teacher", "kd_gradient", "rescaling", "all_classes"}
BROKEN = {  # how: where, what, by what, and the identities that must fail
    "loss without tau squared": (conditions, "loss", loss_without_tau_squared, WARM),
    "loss over batch and classes": (conditions, "loss", lambda z, *more: LOSS(z, *more) / z.shape[-1], SCALED),
    "loss with the student not cooled": (conditions, "loss", loss_with_the_student_not_cooled, WARM),
    "loss of probabilities": (conditions, "loss", lambda z, *more: LOSS(z.softmax(-1), *more), ALL - TARGETS),
    "rest of all classes": (loss, "log_off_label", lambda z, label: torch.zeros_like(LOG_OFF_LABEL(z, label)),
                            {"rescaling", "closed_form", "decoupled"}),
    "gradient without the rest": (
        loss, "gradient",
        lambda z, weights, *more: GRADIENT(z, replace(weights, rest_weight=weights.rest_weight * 0), *more),
        {"closed_form"}),
    "weight without temperature": (
        loss, "rescaling", lambda *a: WEIGHT(*a[:-1], torch.ones_like(a[-1])), {"rescaling"}),
    "kd with the teacher not cooled": (conditions.CONDITIONS, "kd", altered("kd", tau=lambda tau: 1.0), BY_KD),
    "kd with the labels always whole": (conditions.CONDITIONS, "kd", kd_with_the_labels_always_whole, HARDER),
    "kd of a shifted batch": (conditions.CONDITIONS, "kd", altered("kd", lambda v: v.roll(1, 0)), BY_KD),
    "kd of the wrong classes": (
        conditions.CONDITIONS, "kd", altered("kd", lambda v: v.roll(1, 1)), BY_KD | {"stationary_point"}),
    "smoothing that spares the label": (
        conditions.CONDITIONS, "label_smoothing", smoothing_that_spares_the_label, {"uniform_teacher"}),
    "kd-pt of any dose": (conditions.CONDITIONS, "kd_pt", altered("kd_pt", dose=lambda dose: 1.0), {"no_dose"}),
    "top-k of two less": (  # a last class alone would keep its mass
        conditions.CONDITIONS, "topk", altered("topk", k=lambda k: k - 2), {"all_classes"}),
    "permuted by another draw": (
        conditions.CONDITIONS, "example_permuted", altered("example_permuted", seed=lambda _: 1), {"unpermuted"}),
    "weights that are confidences": (conditions.CONDITIONS, "cwtm", weights_that_are_the_confidence, {"mean_weight"}),
    "non-target part of all classes": (conditions.CONDITIONS, "nckd", nontarget_part_of_all_classes, {"decoupled"}),
    "each example its own mass": (levels, "mean_mass", lambda mass: mass, {"matched_smoothing", "total_variance"}),
    "mass of the teacher not cooled": (
        levels, "off_label_mass", lambda v, label, tau: MASS(v, label, 1.0), {"mass_and_shape", "decoupled"}),
    "permuted by one further": (
        levels, "permute_others", lambda rho, label, order: PERMUTE(rho, label, order.roll(1, -1)), {"unpermuted"}),
    "mean over all examples": (
        levels, "class_means", lambda rho, label: CLASS_MEANS(rho, torch.zeros_like(label)), {"total_variance"}),
    "shape that keeps the label": (
        levels, "class_shape", lambda v, label, tau: CLASS_MEANS((v / tau).softmax(-1), label), {"two_classes"}),
}  # fmt: skip


@pytest.mark.parametrize("name", IDENTITIES)
def test_identity_holds(name):
    found = check(name)
    assert found.holds and found.error <= found.tolerance
    assert found.n == DRAWS
    assert found.statement == inspect.getdoc(IDENTITIES[name][0]).splitlines()[0]


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_formula_breaks_its_identities(monkeypatch, how):
    where, name, wrong, wanted = BROKEN[how]
    put = monkeypatch.setitem if isinstance(where, dict) else monkeypatch.setattr
    put(where, name, wrong)
    monkeypatch.setattr(identities, "DRAWS", 4)  # as many as are needed: a break is no matter of rounding
    assert {i for i in IDENTITIES if not check(i).holds} == wanted


def test_each_identity_is_broken_by_something_narrower_than_everything():
    narrow = set().union(*(wanted for *_, wanted in BROKEN.values() if not wanted >= SCALED))
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


def test_a_table_of_all_or_of_some(monkeypatch):
    monkeypatch.setattr(identities, "DRAWS", 4)
    assert list(checked()["holds"]) == ["yes"] * len(IDENTITIES)
    monkeypatch.setattr(conditions, "loss", loss_without_tau_squared)
    some = checked("uniform_teacher", "kd_gradient")
    assert list(some["holds"]) == ["yes", "NO"]
    assert some["identity"][0].startswith("KD with a uniform teacher")
    assert some["largest error"][1] > some["tolerance"][1] and list(some["cases"]) == [4, 4]
