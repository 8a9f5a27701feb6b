"""Every silent bug of the catalogue is planted as its condition says, and found by the name that it should have."""

import warnings

import pytest
import torch
from lessons import F64, close, many
from torch import Tensor
from torch.testing import assert_close

from kdstudy import catalogue, check_loss, diagnose, faults, targets
from kdstudy.catalogue import CATALOGUE, Fault

LOSSES = [f for f in CATALOGUE if f.loss and f.condition]
LOGITS = [f for f in CATALOGUE if f.logits and f.condition != "shuffled_teacher"]  # whose order is the seed's own


def called(fault: Fault) -> str:
    return fault.fault


def slope(loss, z: Tensor) -> Tensor:
    z = z.clone().requires_grad_()
    return torch.autograd.grad(loss(z), z)[0]


@pytest.mark.parametrize("tau, alpha", [(0.5, 0.9), (4.0, 0.9), (4.0, 0.3)])
@pytest.mark.parametrize("fault", LOSSES, ids=called)
def test_a_planted_loss_has_the_gradient_of_its_condition(fault, tau, alpha):
    v, y, ctx, _ = many(20, 5)
    z = torch.randn(20, 5, generator=torch.Generator().manual_seed(0), dtype=F64)
    goal = targets.target(targets.make(fault.condition, tau=tau, alpha=alpha), v, y, ctx)
    ours = slope(lambda z: targets.loss(z, goal, y, torch.tensor(tau, dtype=F64)), z)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of the mean over batch and classes
        theirs = slope(lambda z: fault.loss(tau, alpha)(z, v, y), z)
    assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("fault", LOGITS, ids=called)
def test_kd_of_planted_logits_is_the_condition(fault):
    v, y, ctx, _ = many(20, 5)
    close(targets.kd(fault.logits(v), y, ctx), targets.named(fault.condition)(v, y, ctx), atol=0)


def test_a_cache_in_another_order_has_every_row_once():
    (fault,) = (f for f in CATALOGUE if f.condition == "shuffled_teacher")
    v = torch.arange(100.0)[:, None].expand(-1, 3)
    moved = fault.logits(v)
    assert (moved != v).any(-1).sum() > 90 and torch.equal(moved.sort(0).values, v)


def test_every_planted_condition_is_in_the_catalogue_with_one_place_to_find_it():
    assert {f.condition for f in CATALOGUE} - {None} == {*faults.FAULTS}
    assert all((f.loss is None) != (f.logits is None) for f in CATALOGUE)
    assert len({f.fault for f in CATALOGUE}) == len(CATALOGUE)


@pytest.mark.parametrize("tau, alpha", [(4.0, 0.9), (2.0, 0.5)])
@pytest.mark.parametrize("classes", [3, 6, 20])
def test_each_fault_is_found_by_its_name(classes, tau, alpha):
    v, y, _, _ = many(60 * classes, classes)
    v[torch.arange(len(y)), y] += 4  # as sure as teachers are
    assert diagnose(v, y).codes == ["healthy"]
    found = catalogue.table(v.numpy(), y.numpy(), tau, alpha).set_index("fault")
    assert found["named"].all() and list(found.index) == [f.fault for f in CATALOGUE]
    for fault in CATALOGUE:
        codes = found.loc[fault.fault, "finds"].split(", ")
        assert codes[0] == fault.code and (fault.tool == "diagnose" or len(codes) == 1)


def test_the_right_loss_in_the_same_words_is_correct():
    right = catalogue._soft(lambda z, v, tau: catalogue._kl(catalogue._log(z, tau), catalogue._cool(v, tau), tau))
    assert check_loss(right(4.0, 0.9), 10, tau=4.0, alpha=0.9).codes == ("correct",)


def test_what_is_not_found_is_said():
    fault = Fault("none", "nowhere", "nothing", "nothing", None, "misaligned", logits=lambda v: v)
    v, y, _, _ = many(200, 4)
    assert fault.tool == "diagnose" and fault.code not in fault.found(v, y, 4.0, 0.9)
