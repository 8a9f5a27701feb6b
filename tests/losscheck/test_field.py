"""Losses that people brought, in a few lines each: what an expert says of them, from threads of 2020 to 2026."""

import doctest
import functools
import importlib
import math

import pytest
import torch
import torch.nn.functional as F
from losses import errors
from torch import nn
from torch.nn.functional import cross_entropy as ce
from torch.nn.functional import log_softmax as L
from torch.nn.functional import softmax as P

from kdstudy import check_loss
from kdstudy.losscheck.variants import METHODS

SAID = {"correct", "rounded_inside", "not_finite_at_extremes", "not_finite_in_half", "inexact"}  # beside a verdict
SOFT, HALF, LM = {"tau": 1.0, "alpha": 1.0}, {"tau": 1.0, "alpha": 0.5}, {"shape": "BTV", "ignore_index": -100}
WEIGHT = torch.tensor([0.5] * 3 + [2.0] + [0.5] * 6)


def rows(q, p):
    """KL(p || q) of logits, row by row."""
    return F.kl_div(L(q, -1), P(p, -1), reduction="none").sum(-1)


def kd(z, v, y, T=4.0, a=0.9, hard=ce, soft=lambda q, p: rows(q, p).mean(), squared=None):
    """KD with a part replaced."""
    return (1 - a) * hard(z, y) + a * (T * T if squared is None else squared) * soft(z / T, v / T)


half = functools.partial(kd, T=1.0, a=0.5)


def jsd(z, v, y=None, beta=0.5):
    q, p = L(z, -1), L(v, -1)
    mix = torch.logsumexp(torch.stack([q + math.log(1 - beta), p + math.log(beta)]), 0)
    return (beta * p.exp() * (p - mix) + (1 - beta) * q.exp() * (q - mix)).sum(-1).mean()


def skewed(z, v, y):
    p, q = P(v, -1), P(z, -1)
    keep = y != -100
    return -((p * (0.1 * p + 0.9 * q).log()).sum(-1) * keep).sum() / keep.sum()


def causal(z, v, y, teacher=slice(None, -1)):
    z, v, y = z[..., :-1, :], v[..., teacher, :], y[..., 1:]
    return 0.5 * ce(z.flatten(0, -2), y.flatten()) + 0.5 * rows(z, v).mean()


def masked(z, v, y, count=None):
    keep = y != -100
    return (rows(z, v) * keep).sum() / (keep.sum() if count is None else count(keep))


def top(z, v, y, k=5, kind="truncated"):
    at = v.topk(k, -1).indices
    q, p = L(z, -1).gather(-1, at), L(v, -1).gather(-1, at)
    p = p if kind == "truncated" else p.log_softmax(-1)
    q = q.log_softmax(-1) if kind == "renormalised" else q
    return (p.exp() * (p - q)).sum(-1).mean()


def decoupled(z, v, y, T=4.0, beta=8.0):
    label = F.one_hot(y, z.shape[-1]).bool()
    sides = [torch.stack([x[label], x.masked_fill(label, 0).sum(-1)], -1) for x in (P(z / T, -1), P(v / T, -1))]
    target = F.kl_div(sides[0].log(), sides[1], reduction="batchmean")
    return ce(z, y) + T**2 * (target + beta * rows(z / T - 1e3 * label, v / T - 1e3 * label).mean())


def correlated(z, v, y, T=4.0, beta=2.0):
    def pearson(a, b):
        return F.cosine_similarity(a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True), 1, 1e-8).mean()

    q, p = P(z / T, 1), P(v / T, 1)
    return ce(z, y) + beta * T**2 * (1 - pearson(q, p)) + T**2 * (1 - pearson(q.T, p.T))


def standardised(z, v, y, T=2.0, mean=False):
    z_, v_ = ((x - x.mean(-1, keepdim=True)) / (1e-7 + x.std(-1, keepdim=True)) for x in (z, v))
    return kd(
        z_, v_, y, T, soft=lambda q, p: rows(q, p).mean() / (z.shape[-1] if mean else 1), hard=lambda *_: ce(z, y)
    )


def several(z, v, y):
    bce = F.binary_cross_entropy_with_logits
    return 0.1 * bce(z, F.one_hot(y, z.shape[1]).to(z)) + 0.9 * bce(z, v.sigmoid())


def bfloat(z, v, y, wholly):
    z, v = z.bfloat16(), v.bfloat16()
    return kd(z, v, y) if wholly else kd(z.float(), v.float(), y)


def distilled(z, v, y, T=2.0):
    keep = y != -100
    return 2 * ce(z[keep], y[keep]) + 5 * T**2 * rows(z[keep] / T, v[keep] / T).mean()


CASES = [  # what it is, the loss, what is stated, what is found; "" is correct
    # a divergence meant, or found
    ("reverse KL, as in MiniLLM", lambda z, v, y: rows(v, z).mean(), SOFT, "reversed_kl"),
    ("the same, stated", lambda z, v, y: rows(v, z).mean(), SOFT | {"divergence": "reverse"}, ""),
    ("JSD of GKD", jsd, SOFT, "jensen_shannon"),
    ("JSD divided by classes too", lambda z, v, y: jsd(z, v) / 10, SOFT, "jensen_shannon averaged_over_classes"),
    ("JSD with another beta", functools.partial(jsd, beta=0.1), SOFT | {"divergence": "jsd"}, "other_parameter"),
    ("JSD without its halves", lambda z, v, y: 2 * jsd(z, v), SOFT | {"divergence": "jsd"}, "other_weights"),
    ("symmetric KL", lambda z, v, y: (rows(z, v) + rows(v, z)).mean() / 2, SOFT, "symmetric_kl"),
    ("Jeffreys", functools.partial(half, soft=lambda q, p: (rows(q, p) + rows(p, q)).mean()), HALF, "symmetric_kl"),
    ("skew KL of DistiLLM", skewed, SOFT | LM | {"divergence": "skew"}, ""),
    ("skew KL found", skewed, SOFT, "skew_kl"),
    ("DKD", decoupled, {}, "decoupled_kd"),
    ("DIST at a temperature, with weights", correlated, {}, "correlation"),
    ("standardised logits", standardised, {"tau": 2.0}, "standardised_logits"),
    ("the same, a mean over classes", functools.partial(standardised, mean=True), {"tau": 2.0},
     "standardised_logits averaged_over_classes"),
    ("sorted probabilities", lambda z, v, y: ce(z, y) + 1.5 * (P(z, -1).sort()[0] - P(v, -1).sort()[0]).abs().mean(),
     {"tau": 1.0}, "sorted_probabilities"),
    ("DKD divided by the batch again", lambda z, v, y: decoupled(z, v, y) / len(y), {}, "decoupled_kd averaged_twice"),
    ("several labels each", several, {"tau": 1.0}, "binary_cross_entropy"),
    ("Huber of logits", lambda z, v, y: F.smooth_l1_loss(z, v), SOFT, "squared_error"),
    ("|z - v|", lambda z, v, y: F.l1_loss(z, v), SOFT, "squared_error"),
    ("a square root", lambda z, v, y: jsd(z, v).sqrt(), SOFT | {"divergence": "jsd"}, "unknown"),
    # tokens, padding, shifts
    ("padding in the soft part", lambda z, v, y: half(z, v, y), HALF | {"ignore_index": -100}, "ignored_rows_taught"),
    ("the same, nothing stated", half, HALF, ""),
    ("padding in the mean", functools.partial(masked, count=torch.numel), SOFT | LM, "ignored_rows_counted"),
    ("a mean of each sequence", lambda z, v, y: ((rows(z, v) * (y != -100)).sum(1) / (y != -100).sum(1)).mean(),
     SOFT | LM, "rows_weighted"),
    ("torchtune's forward KL", masked, SOFT, ""),
    ("a causal model's loss", causal, HALF, ""),
    ("the same, stated", causal, HALF | {"shape": "BTV", "shift": True}, ""),
    ("the teacher a token later", functools.partial(causal, teacher=slice(1, None)), HALF | {"shape": "BTV"},
     "teacher_shifted"),
    ("the teacher a row before", lambda z, v, y: rows(z[1:], v[:-1]).mean(), SOFT, "teacher_shifted"),
    ("sequences alone", lambda z, v, y: rows(z[:, :-1, :], v[:, :-1, :]).mean(), SOFT, ""),
    ("batchmean of tokens", lambda z, v, y: rows(z, v).sum() / len(z), SOFT | LM,
     "summed_over_tokens ignored_rows_taught"),
    ("DistilBERT", distilled, {"tau": 2.0, "weights": (2.0, 20.0)} | LM, ""),
    # labels and classes
    ("label 0 is left out", functools.partial(kd, hard=functools.partial(ce, ignore_index=0)), {}, "labels_left_out"),
    ("rows of low confidence are left out", lambda z, v, y: (rows(z, v) * (P(v, -1).amax(-1) > 0.5)).mean(), SOFT,
     "rows_weighted"),
    ("class weights, stated", lambda z, v, y: kd(z, v, y, hard=functools.partial(ce, weight=WEIGHT.to(z))),
     {"hard": functools.partial(ce, weight=WEIGHT)}, ""),
    ("class weights that are missing", kd, {"class_weights": WEIGHT}, "classes_weighted"),
    # the k largest
    ("top-k, cut", top, SOFT, "top_k"),
    ("top-k, renormalised", functools.partial(top, kind="renormalised"), SOFT | {"top_k": 5}, ""),
    ("only the teacher's renormalised", functools.partial(top, kind="teacher"),
     SOFT | {"top_k": (5, "teacher renormalised")}, ""),
    ("cut, though renormalised is stated", top, SOFT | {"top_k": 5}, "top_k"),
    ("k is all classes", functools.partial(top, k=10), SOFT, ""),
    # temperatures and weights
    ("temperature on the teacher alone", lambda z, v, y: kd(z, v, y, soft=lambda q, p: rows(4 * q, p).mean()), {},
     "tau_on_teacher_only"),
    ("multiplied by tau", lambda z, v, y: kd(z, v, y, soft=lambda q, p: rows(16 * q, 16 * p).mean()), {},
     "other_temperature other_weights"),
    ("one target from both", lambda z, v, y: ce(z, 0.1 * F.one_hot(y, 10).to(z) + 0.9 * P(v / 4, -1)), {},
     "tau_on_teacher_only tau_squared_missing"),
    ("teacher at 1, student at 0.6", lambda z, v, y: rows(z / 0.6, v).mean(),
     {"tau": 0.6, "alpha": 1.0, "tau_squared": False}, "tau_on_student_only"),
    ("timm", lambda z, v, y: ce(z, y) + 16 * rows(z / 4, v / 4).mean(), {"weights": "timm"}, ""),
    ("DeiT, divided by all numbers", functools.partial(kd, soft=lambda q, p: rows(q, p).sum() / q.numel()), {},
     "averaged_over_classes"),
    ("ProDA", lambda z, v, y: F.kl_div(P(z, 1), P(v, 1), reduction="sum") / z.numel(), SOFT,
     "log_missing averaged_over_classes"),
    ("easydistill", lambda z, v, y: (rows(z, v) / len(y)).sum() / len(y), SOFT, "averaged_twice"),
    ("a number of classes written out", lambda z, v, y: nn.KLDivLoss()(L(z, -1), P(v, -1)) * 10, SOFT, ""),
    # precision
    ("bfloat16 before the loss", functools.partial(bfloat, wholly=False), {}, ""),
    ("bfloat16 in it", functools.partial(bfloat, wholly=True), {}, ""),
    ("a clamped logarithm", lambda z, v, y: -(P(v, -1) * (P(z, -1) + 1e-8).log()).sum(-1).mean(), SOFT, ""),
    ("other rows too", lambda z, v, y: rows(z - z.mean(0), v).mean(), SOFT, "depends_on_other_rows"),
    ("two teachers, one of another order", lambda z, v, y: rows(z, v + v.flip(0)).mean(), SOFT, "depends_on_order"),
]  # fmt: skip
BLAMELESS = METHODS | {"rows_weighted"}


@pytest.mark.parametrize(("loss", "stated", "codes"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_people_bring_gets_the_verdict_of_an_expert(loss, stated, codes):
    report = check_loss(loss, 10, **stated)
    assert {*report.codes} - SAID == {*codes.split()}, str(report)
    assert report.ok == ({*codes.split()} <= BLAMELESS and not ("top_k" in codes and "top_k" in stated)), str(report)
    assert codes or not errors(report)


def test_the_numbers_of_a_finding_are_those_of_a_batch_that_shows_it():
    left_out = check_loss(functools.partial(kd, hard=functools.partial(ce, ignore_index=0)), 10)
    assert left_out.findings[0].evidence["labels"] == [0] and left_out.findings[0].evidence["difference"] > 0.001


def test_a_function_bound_to_its_vocabulary_is_explained_on_few_classes_and_held_against_all():
    bound = torch.zeros(600)
    assert check_loss(lambda z, v, y: jsd(z + bound, v, beta=0.3), 600, **SOFT).codes == ("jensen_shannon",)
    mean = check_loss(lambda z, v, y: rows(z + bound, v).mean() / 600, 600, **SOFT)
    assert mean.codes == ("averaged_over_classes",)
    assert mean.findings[0].evidence["measured"] == pytest.approx(1 / 600)


def test_the_examples_of_the_documentation_run():
    results = doctest.testmod(importlib.import_module("kdstudy.losscheck.check"))
    assert results.attempted >= 5 and results.failed == 0
