"""Every known bug is planted as its condition says, and found by the name that it should have."""

import pytest
import torch
from lessons import F64, close, many
from torch import Tensor
from torch.testing import assert_close

from kdstudy import check_loss, diagnose
from kdstudy.distill import conditions, faults
from kdstudy.losscheck.variants import KDLoss
from kdstudy.study import known_bugs
from kdstudy.study.known_bugs import KNOWN_BUGS, Bug

LOSSES = {bug.name: bug for bug in KNOWN_BUGS if bug.loss and bug.condition}
LOGITS = {bug.name: bug for bug in KNOWN_BUGS if bug.logits}
REORDERED = LOGITS.pop("outputs cached in another order")  # which its condition draws for each seed


def gradient(loss, z: Tensor) -> Tensor:
    z = z.clone().requires_grad_()
    return torch.autograd.grad(loss(z), z)[0]


@pytest.mark.parametrize("tau, alpha", [(0.5, 0.9), (4.0, 0.9), (4.0, 0.3)])
@pytest.mark.parametrize("name", LOSSES)
def test_a_planted_loss_has_the_gradient_of_its_condition(name, tau, alpha):
    v, y, ctx, _ = many(20, 5)
    z = torch.randn(20, 5, generator=torch.Generator().manual_seed(0), dtype=F64)
    goal = conditions.target(conditions.make(LOSSES[name].condition, tau=tau, alpha=alpha), v, y, ctx)
    planted = LOSSES[name].loss(KDLoss(5, tau, alpha))
    ours = gradient(lambda z: conditions.loss(z, goal, y, torch.tensor(tau, dtype=F64)), z)
    theirs = gradient(lambda z: planted(z, v, y), z)
    assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", LOGITS)
def test_kd_of_planted_logits_is_the_condition(name):
    v, y, ctx, _ = many(20, 5)
    close(conditions.kd(LOGITS[name].logits(v), y, ctx), conditions.named(LOGITS[name].condition)(v, y, ctx), atol=0)


def test_a_cache_in_another_order_has_every_row_once():
    v = torch.arange(100.0)[:, None].expand(-1, 3)
    moved = REORDERED.logits(v)
    assert (moved != v).any(-1).sum() > 90 and torch.equal(moved.sort(0).values, v)


def test_every_planted_condition_is_known_with_one_place_to_find_it():
    assert {bug.condition for bug in KNOWN_BUGS} - {None} == {*faults.FAULTS}
    assert all((bug.loss is None) != (bug.logits is None) for bug in KNOWN_BUGS)
    assert len({bug.name for bug in KNOWN_BUGS}) == len(KNOWN_BUGS)


@pytest.mark.parametrize("classes, tau, alpha", [(3, 4.0, 0.9), (6, 2.0, 0.5), (20, 4.0, 0.9)])
def test_each_bug_is_found_by_its_name(classes, tau, alpha):
    v, y, _, _ = many(60 * classes, classes)
    v[torch.arange(len(y)), y] += 4  # as sure as teachers are
    assert [*diagnose(v, y).codes] == ["healthy"]
    found = known_bugs.planted(v.numpy(), y.numpy(), tau, alpha).set_index("fault")
    assert found["named"].all() and list(found.index) == [bug.name for bug in KNOWN_BUGS]
    for bug in KNOWN_BUGS:
        codes = found.loc[bug.name, "finds"].split(", ")
        assert codes[0] == bug.finding and (bug.tool == "diagnose" or len(codes) == 1)


def test_the_loss_as_it_is_meant_is_correct_and_what_is_not_found_is_not_named():
    assert check_loss(KDLoss(10, 4.0, 0.9), 10, tau=4.0, alpha=0.9).codes == ("correct",)
    bug = Bug("none", "nowhere", "nothing", "nothing", None, "misaligned", logits=lambda v: v)
    v, y, _, _ = many(200, 4)
    assert bug.tool == "diagnose" and bug.finding not in bug.report(v, y, 4.0, 0.9).codes
