"""Somebody's own distillation loss against the one that is meant: which fault does it have?"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from kdstudy import lossfit
from kdstudy.losscalls import Caller, Loss, Stop, name_of
from kdstudy.lossfaults import Form, Setting
from kdstudy.lossfit import ROUGH, Explanation, Probe, Seen
from kdstudy.lossnames import faults, named
from kdstudy.lossreport import Finding, LossReport, finding
from kdstudy.spec import require

BATCHES = (5, 8, 12)
OTHER = 3  # classes more, where that settles which of two faults it is
TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-4}
SATURATED = 1000.0  # gap of the two largest logits in units of tau: exp(-1000) is 0 in float64 too


def _behaviour(check: Caller, at: Probe) -> tuple[list[Finding], float]:
    """What one call and its repetition show; the tolerance that the precision of its answer allows."""
    one, two = check.ask(at), check.ask(at)
    if not torch.equal(torch.nan_to_num(one.student), torch.nan_to_num(two.student)):
        raise Stop("not_deterministic", difference=float((one.student - two.student).abs().max()))
    found = []
    if one.wrote:
        found.append(finding("modifies_its_input"))
    if torch.Size(one.shape).numel() != 1:
        found.append(finding("per_example", shape=one.shape, expected="()"))
    coarse = max((check.dtype, one.dtype), key=lambda d: torch.finfo(d).eps if d.is_floating_point else 0.0)
    return found, TOLERANCE.get(coarse, 2e-2)


def _causes(check: Caller, probes: list[Probe], tolerance: float) -> list[Finding]:
    """What explains the gradient: the loss that is meant, known faults, or neither."""
    seen, meant, found, extra = [check.seen(at) for at in probes], check.meant, [], []
    for one in seen:
        if not one.gradient.isfinite().all():
            largest = float(torch.stack([one.probe.z, one.probe.v]).abs().max())
            return [finding("not_finite", where=f"logits up to {largest:.3g}", value=one.value)]
    moving = any(bool(one.gradient.any()) for one in seen)
    if moving:
        found, meant, extra = _known(check, seen, tolerance)
    turned = _as_teacher(check, probes)
    if turned and (swapped := _swapped(found, turned, check.meant, tolerance)):
        return swapped
    sizes = [float(one.gradient.norm()) for one in (seen[0], *turned[:1])]
    warned = [finding("teacher_not_detached", teacher=sizes[1], student=sizes[0])] if turned else []
    if not moving:
        return [finding("student_detached", part="hard and soft", measured=0.0), *warned]
    if not found:
        return _strange(check, seen, tolerance) + warned
    found = lossfit.settled(found, _elsewhere(check) if len(found) > 1 else [], meant, tolerance)
    return extra + named(found, seen, meant, tolerance) + warned


def _as_teacher(check: Caller, probes: list[Probe]) -> list[Seen]:
    """What is seen if the teacher's logits are the ones to be learnt; nothing, if no gradient reaches them."""
    try:
        answers = [check.ask(at, teacher=True) for at in probes]
    except Stop:  # it was called before, without asking for a gradient at the teacher
        return []
    if not all(bool(a.teacher.any()) and bool(a.teacher.isfinite().all()) for a in answers):
        return []
    return [Seen(Probe(at.v, at.z, at.y, at.other), a.teacher, a.value, a.value) for at, a in zip(probes, answers)]


def _swapped(found: list[Explanation], turned: list[Seen], meant: Setting, tolerance: float) -> list[Finding]:
    """That the arguments are swapped and what else is wrong, if that takes fewer faults than `found`."""
    fixed = bool(found) and "soft_term_missing" in found[0].codes  # the student as a constant in the teacher's place
    if found and found[0].cost < 2 and not fixed:
        return []
    better = [e for e in lossfit.explain(turned, meant, tolerance) if "reversed_kl" not in e.codes]
    if not better or (found and not fixed and better[0].cost + 1 >= found[0].cost):
        return []
    others = [f for f in faults(better, turned, meant) if not (fixed and f.code == "hard_term_missing")]
    return [finding("arguments_swapped", gradient_at_teacher=float(turned[0].gradient.norm())), *others]


def _known(check: Caller, seen: list[Seen], tolerance: float) -> tuple[list[Explanation], Setting, list[Finding]]:
    """Explanations, the setting they hold in, and what had to be assumed for them."""
    meant = check.meant
    if found := lossfit.explain(seen, meant, tolerance):
        return found, meant, []
    share = lossfit.smoothing(seen, meant, tolerance) if meant.hard is None else None
    if share and (found := lossfit.explain(seen, meant, tolerance, Form(smoothing=share))):
        return found, meant, [finding("hard_smoothed", measured=share, expected=0.0)]
    tau = lossfit.temperature(seen, meant, tolerance)
    if tau and (found := lossfit.explain(seen, replace(meant, tau=tau), tolerance)):
        return found, replace(meant, tau=tau), [finding("other_temperature", measured=tau, expected=meant.tau)]
    found = lossfit.explain(seen, meant, max(ROUGH, tolerance))
    return found, meant, [finding("inexact", left=e.left, tolerance=tolerance) for e in found[:1]]


def _elsewhere(check: Caller) -> list[Seen]:
    """Answers for another number of classes, from functions that are not bound to theirs."""
    try:
        return [check.seen(lossfit.probe(7, check.meant.classes + OTHER, 2.0))]
    except Stop:
        return []


def _strange(check: Caller, seen: list[Seen], tolerance: float) -> list[Finding]:
    """What a gradient without an explanation depends on, or of what it is made."""
    at, n = seen[-1].probe, len(seen[-1].probe.y)
    order = torch.arange(n).roll(1)
    moved = check.ask(Probe(at.z[order], at.v[order], at.y[order], at.other))
    change = float((moved.student - seen[-1].gradient[order]).norm() / seen[-1].gradient.norm())
    if change > 10 * tolerance:
        return [finding("depends_on_order", change=change, expected=0.0)]
    beside = [torch.cat([x[:1], x[1:].flip(-1)]) for x in (at.z, at.v)]
    first, alone = seen[-1].gradient[0], check.ask(Probe(*beside, at.y, at.other)).student[0]
    change = float((alone - first).norm() / first.norm())
    if change > 10 * tolerance:
        return [finding("depends_on_other_rows", change=change, expected=0.0)]
    return [finding("unknown", **lossfit.decomposed(seen, check.meant))]


def _extremes(check: Caller, turned: bool) -> list[Finding]:
    """Whether it stays finite where a softmax is exactly 0 or 1, and in float16 on ordinary logits.

    A student that stands in the teacher's place has an infinite gradient at 0 by that fault alone.
    """
    at, gap = lossfit.probe(4, check.meant.classes, 2.0), SATURATED * max(check.meant.tau, 1.0)
    sure = torch.zeros_like(at.z).scatter(-1, at.z.argmax(-1, keepdim=True), gap)
    for where, extreme in (("teachers", replace(at, v=sure)), ("students", replace(at, z=sure))):
        answer = check.ask(extreme)
        if not answer.finite and not (turned and where == "students"):
            return [finding("not_finite", where=f"saturated {where}", gap=gap, value=answer.value)]
    at = lossfit.probe(8, check.meant.classes, 5.0)
    try:
        answer = replace(check, dtype=torch.float16).ask(at)
        meant = replace(check, fn=check.meant, dtype=torch.float16).ask(at)
    except Stop:  # not made for float16, which it need not be
        return []
    if answer.finite or turned or not meant.finite:
        return []
    return [finding("not_finite_in_half", largest_logit=float(torch.stack([at.z, at.v]).abs().max()))]


def _precision(fn: Loss, meant: Setting, dtype: torch.dtype, at: Probe) -> Caller:
    """The function in the precision asked for, or in float32 if it takes no other."""
    try:
        Caller(fn, meant, dtype).ask(at)
    except Stop as stop:
        if stop.finding.code == "raises" and dtype == torch.float64:
            return Caller(fn, meant, torch.float32)
    return Caller(fn, meant, dtype)


def _findings(check: Caller, probes: list[Probe]) -> list[Finding]:
    found = []
    try:
        shown, tolerance = _behaviour(check, probes[0])
        found += shown
        found += _causes(check, probes, tolerance)
        value = check.ask(probes[0]).value
        codes = {f.code for f in found}
        if value == value and "not_finite" not in codes:
            found += _extremes(check, bool({"reversed_kl", "arguments_swapped"} & codes))
        elif not {"log_target_mismatch", "not_finite"} & codes:
            found.append(finding("not_finite", where="ordinary logits", value=value))
    except Stop as stop:
        found.append(stop.finding)
    wrong = any(f.severity == "error" for f in found)
    return [f for f in found if not (wrong and f.code == "correct")]


@contextmanager
def _quietly() -> Iterator[None]:
    """Leaves random numbers, threads and gradient mode as they are; of what it warns, findings say more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # many small tensors only lose by a second thread
    try:
        with warnings.catch_warnings(), torch.enable_grad(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_num_threads(threads)


def check_loss(
    fn: Any,
    num_classes: int,
    *,
    tau: float = 4.0,
    alpha: float = 0.9,
    tau_squared: bool = True,
    hard: Any = None,
    dtype: torch.dtype = torch.float64,
) -> LossReport:
    """Which fault a distillation loss has, found by running it on crafted inputs.

    `fn(student_logits, teacher_logits, labels)`, with shapes (B, C), (B, C), (B,), returns a scalar tensor; it is
    compared, in value and gradient, with

        (1 - alpha) CE(z, y) + alpha tau^2 KL(p^tau || q^tau), mean over the batch,

    q^tau = softmax(z / tau) the student's and p^tau = softmax(v / tau) the teacher's. Cross-entropy with p^tau in
    place of KL differs by the teacher's entropy alone, which has no gradient, and is right too. Bind tau and alpha
    to your function and state them here:

        check_loss(lambda z, v, y: my_loss(z, y, v, T=4.0, alpha=0.9), 100, tau=4.0, alpha=0.9)
        check_loss(functools.partial(my_loss, temperature=2.0, alpha=0.5), 100, tau=2.0, alpha=0.5)

    alpha = 1 checks a function that is the soft term alone. `tau_squared=False` states the convention without tau^2;
    `hard(z, y)` another hard term than cross-entropy, such as partial(cross_entropy, label_smoothing=0.1).
    Batches of several sizes are tried on the CPU; a function that raises in float64 is checked in float32. Faults,
    also several at once, are named with numbers and a remedy; an exception of `fn` becomes a finding, too.
    At tau = 1 a missing tau^2 is no fault, and at alpha = 1/2 exchanged weights are none.

    ValueError if `fn` is not callable, num_classes < 2, tau <= 0, alpha outside [0, 1], or another dtype than float64
    and float32 is asked for.
    """
    require(callable(fn), "fn", fn, "a function of (student_logits, teacher_logits, labels)")
    require(hard is None or callable(hard), "hard", hard, "None, or a function of (student_logits, labels)")
    whole = num_classes >= 2 and num_classes == int(num_classes)
    require(whole, "num_classes", num_classes, "a whole number of at least 2")
    require(0 < tau < float("inf"), "tau", tau, "a finite number above 0")
    require(0 <= alpha <= 1, "alpha", alpha, "0 <= alpha <= 1")
    require(dtype in TOLERANCE, "dtype", dtype, "torch.float64, torch.float32")
    meant = Setting(int(num_classes), float(tau), float(alpha), tau_squared, hard)
    probes = [lossfit.probe(b, meant.classes, spread) for b, spread in zip(BATCHES, (2.0, 1.0 + meant.tau, 2.0))]
    with _quietly():
        check = _precision(fn, meant, dtype, probes[0])
        return LossReport(meant, name_of(check.dtype), tuple(_findings(check, probes)))
