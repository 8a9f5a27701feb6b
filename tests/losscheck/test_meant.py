"""What is meant can be stated: right losses in the forms that libraries give them, and mistakes in each kind."""

import functools
import inspect
import itertools
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from losses import errors

from kdstudy import check_loss
from kdstudy.losscheck.report import WORDS


def per_token(z, v, divergence):
    """Each row's divergence, as trl, torchtune, distillm and timm write them."""
    q, p = z.log_softmax(-1), v.log_softmax(-1)
    if divergence == "forward":
        return F.kl_div(q, p.exp(), reduction="none")
    if divergence == "reverse":
        return F.kl_div(p, q, reduction="none", log_target=True)
    if divergence == "jsd":
        m = torch.logsumexp(torch.stack([q + math.log(0.5), p + math.log(0.5)]), 0)
        return 0.5 * F.kl_div(m, p, reduction="none", log_target=True) + 0.5 * F.kl_div(
            m, q, reduction="none", log_target=True
        )
    if divergence == "symmetric":
        return 0.5 * (p.exp() - q.exp()) * (p - q)
    if divergence == "skew":
        return -p.exp() * (0.1 * p.exp() + 0.9 * q.exp()).log()
    return (z - v) ** 2


def library(divergence="forward", reduction="mean", shape="BC", dtype=None, T=2.0, weights=(0.5, 2.0), shift=False):
    """A loss in that form, with labels of -100 left out, and what states it."""

    def loss(z, v, y):
        if shift:
            z, v, y = z[..., :-1, :], v[..., :-1, :], y[..., 1:]
        sequences = z.shape[0]
        keep = y != -100
        z, v, y = z[keep], v[keep], y[keep]
        if dtype:
            z, v = z.to(dtype), v.to(dtype)
        soft = per_token(z / T, v / T, divergence).sum(-1)
        hard = F.cross_entropy(z, y, reduction="none")
        if reduction == "none":
            return weights[0] * hard + weights[1] * soft
        how = {"mean": soft.mean(), "sum": soft.sum(), "elements": soft.mean() / z.shape[-1]}
        how |= {"batchmean": soft.sum() / sequences}
        hard = hard.sum() if reduction == "sum" else hard.mean()
        return weights[0] * hard + weights[1] * how[reduction]

    stated = {"divergence": divergence, "reduction": reduction, "shape": shape, "tau": T, "weights": weights}
    return loss, stated | {"ignore_index": -100, "shift": shift}


DIVERGED = ("forward", "reverse", "jsd", "symmetric", "skew", "mse")
COMBINED = [
    *({"divergence": d, "reduction": r, "shape": s}
      for d, r, s in itertools.product(DIVERGED, ("mean", "sum", "none", "elements"), ("BC", "BTV"))),
    *({"divergence": d, "dtype": t} for d, t in itertools.product(DIVERGED, (torch.float32, torch.bfloat16))),
    *({"reduction": r, "shape": "BTV", "shift": True} for r in ("mean", "sum", "batchmean", "elements")),
    *({"weights": w, "T": T} for w, T in itertools.product([(0.0, 1.0), (1.0, 16.0), (0.1, 0.9)], (1.0, 4.0))),
]  # fmt: skip


@pytest.mark.parametrize("form", COMBINED, ids=lambda form: "-".join(map(str, form.values())))
def test_a_right_loss_of_a_library_is_not_blamed_if_it_is_stated(form):
    loss, stated = library(**form)
    report = check_loss(loss, 7, **stated)
    assert report.ok and "correct" in report.codes, str(report)
    assert report.as_json() and {*report.codes} <= {"correct", "rounded_inside", "not_finite_at_extremes"}, str(report)


METHODS = {"forward": "correct", "reverse": "reversed_kl", "jsd": "jensen_shannon", "symmetric": "symmetric_kl",
           "skew": "skew_kl", "mse": "squared_error"}  # fmt: skip


@pytest.mark.parametrize("divergence", DIVERGED)
def test_another_method_is_named_without_blame_if_nothing_is_stated_and_blamed_if_another_is(divergence):
    loss, stated = library(divergence)
    report = check_loss(loss, 7, tau=2.0, weights=(0.5, 2.0))
    assert report.ok and report.codes[0] == METHODS[divergence], str(report)
    other = "reverse" if divergence == "forward" else "forward"
    code = "forward_kl" if divergence == "forward" else METHODS[divergence]
    assert code in check_loss(loss, 7, **stated | {"divergence": other}).codes
    assert not check_loss(loss, 7, **stated | {"divergence": other}).ok


MISTAKES = [  # reduced otherwise than stated, in any method and shape
    *({"divergence": d, "shape": s, "found": "elements", "code": "averaged_over_classes"}
      for d, s in itertools.product(("reverse", "jsd", "symmetric", "skew"), ("BC", "BTV"))),
    *({"divergence": d, "found": "sum", "code": "summed_over_batch"} for d in ("reverse", "jsd", "mse")),
    {"shape": "BTV", "found": "batchmean", "code": "summed_over_tokens"},
    {"found": "mean", "reduction": "sum", "code": "averaged_over_batch"},
]  # fmt: skip


@pytest.mark.parametrize("form", MISTAKES, ids=lambda form: "-".join(map(str, form.values())))
def test_a_mistake_in_another_method_is_one(form):
    form = dict(form)
    code, found = form.pop("code"), form.pop("found")
    loss, _ = library(**form | {"reduction": found})
    _, stated = library(**{"reduction": "mean"} | form)
    assert code in errors(check_loss(loss, 7, **stated))


def shared(z, v, y):
    """KD on every row, labels of -100 left out of cross-entropy alone."""
    return 0.5 * F.cross_entropy(z.flatten(0, -2), y.flatten()) + 0.5 * kl(z, v).mean()


def kl(z, v):
    return F.kl_div(z.log_softmax(-1), v.softmax(-1), reduction="none").sum(-1)


def shifted(z, v, y, student=slice(None, -1), teacher=slice(None, -1), label=slice(1, None)):
    z, v, y = z[..., student, :], v[..., teacher, :], y[..., label]
    n = min(z.shape[-2], y.shape[-1])
    hard = F.cross_entropy(z[..., :n, :].flatten(0, -2), y[..., :n].flatten())
    return 0.5 * hard + 0.5 * kl(z, v).mean()


def masked(z, v, y, at, count):
    """`at` of the labels says which rows the divergence has, `count` by what it is divided."""
    hard = F.cross_entropy(z[..., :-1, :].flatten(0, -2), y[..., 1:].flatten())
    keep = (y != -100)[..., at]
    each = kl(z, v)[..., :-1] if at == slice(1, None) else kl(z, v)
    return 0.5 * hard + 0.5 * (each * keep).sum() / (keep.sum() if count == "kept" else keep.numel())


HALF = {"tau": 1.0, "alpha": 0.5}
TOKENS = [  # of sequences: the loss, what is stated, what is found
    (shared, {"ignore_index": -100}, {"ignored_rows_taught"}),
    (shared, {"ignore_index": -100, "shape": "BTV"}, {"ignored_rows_taught"}),
    (shared, {}, set()),
    (shifted, {}, set()),
    (shifted, {"shape": "BTV"}, set()),
    (shifted, {"shape": "BTV", "shift": True}, set()),
    (shifted, {"shape": "BTV", "shift": False}, {"labels_shifted"}),
    (shared, {"shape": "BTV", "shift": True}, {"labels_shifted"}),
    (functools.partial(shifted, teacher=slice(1, None)), {"shape": "BTV"}, {"teacher_shifted"}),
    (functools.partial(masked, at=slice(1, None), count="kept"), {"ignore_index": -100, "shape": "BTV"}, set()),
    (functools.partial(masked, at=slice(1, None), count="all"), {"ignore_index": -100, "shape": "BTV"},
     {"ignored_rows_counted"}),
    (functools.partial(masked, at=slice(None), count="kept"), {"ignore_index": -100, "shape": "BTV"},
     {"mask_not_shifted"}),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "stated", "codes"), TOKENS)
def test_padding_and_shifts(loss, stated, codes):
    report = check_loss(loss, 7, **HALF | stated)
    assert errors(report) == codes, str(report)
    told = report.findings[0].evidence.get("labels_of_-100", "")
    assert codes or "ignore_index" in stated or "not left out" in told


def test_the_student_s_token_against_the_teacher_s_before_it_is_told_from_a_shift():
    one = check_loss(lambda z, v, y: kl(z[1:], v[:-1]).mean(), 7, tau=1.0, alpha=1.0)
    assert one.codes == ("teacher_shifted",)
    assert check_loss(lambda z, v, y: kl(z[:, :-1, :], v[:, :-1, :]).mean(), 7, tau=1.0, alpha=1.0).ok


def test_labels_classes_and_rows_that_are_weighed_are_named_with_numbers():
    weight = torch.linspace(0.2, 1.4, 7)

    def mine(z, v, y, hard, rows=1.0):
        return 0.5 * hard(z, y) + 0.5 * (rows * kl(z, v)).mean()

    padded = check_loss(functools.partial(mine, hard=functools.partial(F.cross_entropy, ignore_index=0)), 7, **HALF)
    assert padded.codes == ("labels_left_out",) and padded.findings[0].evidence["labels"] == [0]
    assert padded.findings[0].evidence["difference"] > 0.01
    weighted = functools.partial(mine, hard=lambda z, y: F.cross_entropy(z, y, weight=weight.to(z)))
    assert check_loss(weighted, 7, **HALF).codes == ("classes_weighted",)
    for stated in ({"class_weights": weight}, {"hard": functools.partial(F.cross_entropy, weight=weight)}):
        assert check_loss(weighted, 7, **HALF, **stated).codes == ("correct",)
    sure = check_loss(lambda z, v, y: mine(z, v, y, F.cross_entropy, v.softmax(-1).amax(-1)), 7, **HALF)
    assert sure.ok and sure.codes == ("rows_weighted",)


def of_top(z, v, y, kind, k=3):
    q, p = z.log_softmax(-1), v.log_softmax(-1)
    top = v.topk(k, -1).indices
    q, p = q.gather(-1, top), p.gather(-1, top)
    if kind == "renormalised":
        q, p = q.log_softmax(-1), p.log_softmax(-1)
    if kind == "tail bucket":
        q, p = (torch.cat([x, torch.log1p(-x.exp().sum(-1, keepdim=True))], -1) for x in (q, p))
    return (p.exp() * (p - q)).sum(-1).mean()


@pytest.mark.parametrize("kind", ["truncated", "renormalised", "tail bucket"])
def test_the_k_most_likely_classes(kind):
    loss, only = functools.partial(of_top, kind=kind), {"tau": 1.0, "alpha": 1.0}
    report = check_loss(loss, 12, **only)
    assert report.ok and report.findings[0].code == "top_k"
    assert (report.findings[0].evidence["k"], report.findings[0].evidence["outside"]) == (3, kind)
    assert "correct" in check_loss(loss, 12, top_k=(3, kind), **only).codes
    assert not check_loss(loss, 12, top_k=(4, kind), **only).ok


def test_rounding_inside_is_judged_by_its_own_precision():
    for whole in (True, False):

        def mine(z, v, y, whole=whole):
            z, v = (x.bfloat16() if whole else x.bfloat16().float() for x in (z, v))
            return 0.5 * F.cross_entropy(z, y) + 0.5 * kl(z, v).mean()

        assert check_loss(mine, 7, **HALF).codes == ("rounded_inside", "correct")


def test_a_vocabulary_is_explained_on_few_classes_and_held_against_all():
    def mine(z, v, y):
        return kl(z, v).mean() / 40_000

    assert errors(check_loss(lambda z, v, y: kl(z, v).mean(), 40_000, tau=1.0, alpha=1.0)) == set()
    report = check_loss(mine, 40_000, tau=1.0, alpha=1.0)
    assert not report.ok, str(report)
    mean = check_loss(lambda z, v, y: F.kl_div(z.log_softmax(-1), v.softmax(-1)), 40_000, tau=1.0, alpha=1.0)
    assert mean.codes == ("averaged_over_classes",) and mean.findings[0].evidence["measured"] == pytest.approx(
        1 / 40_000
    )


FUNCTIONS = [lambda *given: 1 / 0, lambda *given: None, lambda *given: "x", lambda *given: given[0].detach().numpy(),
             lambda *given: given[0][:0], lambda *given: torch.tensor(float("nan"))]  # fmt: skip


@pytest.mark.parametrize("part", ["hard", "divergence"])
@pytest.mark.parametrize("odd", FUNCTIONS)
def test_a_stated_part_that_fails_is_a_finding(part, odd):
    report = check_loss(lambda z, v, y: kl(z, v).mean(), 7, tau=1.0, alpha=0.5, **{part: odd})
    assert not report.ok and str(report) and report.as_json()


def test_a_divergence_of_one_s_own():
    def mine(s, t):
        return (s.softmax(-1) - t.softmax(-1)).abs().pow(1.5).sum(-1)

    def loss(z, v, y):
        return 0.5 * F.cross_entropy(z, y) + 0.5 * 9 * mine(z / 3, v / 3).mean()

    assert "correct" in check_loss(loss, 7, tau=3.0, alpha=0.5, divergence=mine).codes
    assert errors(check_loss(loss, 7, tau=3.0, alpha=0.5, divergence=lambda s, t: mine(s, t) / 9)) != set()


REFUSED = [{"divergence": "kl"}, {"weights": (1, 2, 3)}, {"weights": "gkd"}, {"weights": (0, 0)}, {"beta": 0.5},
           {"divergence": "jsd", "beta": 2}, {"top_k": 7}, {"top_k": (3, "most")}, {"class_weights": [1, 2]},
           {"class_weights": "x"}, {"shape": "BCHW"}, {"reduction": "average"}, {"shift": 2}, {"ignore_index": "pad"},
           {"hard": F.cross_entropy, "class_weights": torch.ones(7)}, {"tau": "4"}, {"alpha": None},
           {"divergence": torch.dist, "top_k": 3}]  # fmt: skip


@pytest.mark.parametrize("stated", REFUSED)
def test_what_cannot_be_meant_is_refused_with_what_can(stated):
    name = "beta" if "beta" in stated else [*stated][-1]
    with pytest.raises(ValueError, match=rf"^{name}: found .*, allowed: "):
        inspect.unwrap(check_loss)(shared, 7, **stated)  # types are checked in tests alone


def test_conventions_by_name():
    def timm(z, v, y, T=4.0):
        return F.cross_entropy(z, y) + T**2 * kl(z / T, v / T).mean()

    assert check_loss(timm, 7, weights="timm").codes == check_loss(timm, 7, weights="tau squared").codes == ("correct",)
    trl, _ = library("jsd", T=1.0, weights=(0.0, 1.0), shape="BTV")
    assert "correct" in check_loss(trl, 7, tau=1.0, weights="trl", shape="BTV").codes


def total_variation(z, v, y):
    return (z.softmax(-1) - v.softmax(-1)).abs().sum(-1).mean()


def over_tokens(z, v, y):
    return (v.softmax(-1) * (v.log_softmax(-1) - z.log_softmax(1))).sum(-1).mean()


def with_the_last(z, v, y):
    return F.cross_entropy(z[:, :-1].flatten(0, 1), y[:, 1:].flatten()) + per_token(z, v, "forward").sum(-1).mean()


def skewed(z, v, y):
    return per_token(z, v, "skew").sum(-1).mean()


def broken(s, t):
    raise RuntimeError("no such divergence")


SOFT = {"tau": 1.0, "alpha": 1.0}
SHOWN = [
    ("total_variation", total_variation, SOFT),
    ("cosine_of_logits", lambda z, v, y: (1 - F.cosine_similarity(z, v, -1)).mean(), SOFT),
    ("softmax_over_tokens", over_tokens, SOFT | {"shape": "BTV"}),
    ("last_token_taught", with_the_last, {"tau": 1.0, "weights": (1, 1), "shape": "BTV", "shift": True}),
    ("all_classes", lambda z, v, y: per_token(z, v, "forward").sum(-1).mean(), SOFT | {"top_k": (3, "truncated")}),
    ("other_parameter", skewed, SOFT | {"divergence": "skew", "beta": 0.3}),
    ("reduced", total_variation, SOFT | {"reduction": "none"}),
    ("stated_part_fails", total_variation, SOFT | {"divergence": broken}),
]


@pytest.mark.parametrize(("code", "loss", "stated"), SHOWN, ids=[code for code, *_ in SHOWN])
def test_what_is_seldom_found_is_named_too(code, loss, stated):
    assert code in check_loss(loss, 7, **stated).codes


def test_every_finding_is_expected_by_a_test():
    expected = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("*.py"))
    assert [code for code in WORDS if f'"{code}"' not in expected and f"'{code}'" not in expected] == []
