"""`check_loss`: somebody's own distillation loss against the one that is meant, and which fault it has."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from kdstudy.core.findings import Finding
from kdstudy.core.spec import require
from kdstudy.core.threads import one_thread
from kdstudy.losscheck import explain
from kdstudy.losscheck.call import Batch, Caller, Measured, Stop, draw_batch, name_of
from kdstudy.losscheck.explain import ROUGH, Explanation
from kdstudy.losscheck.report import LossReport, finding
from kdstudy.losscheck.variants import Form, KDLoss, Loss

SIZES = (5, 8, 12)  # of the batches
MORE_CLASSES = 3  # added where that settles which of two faults it is
TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-4}
SATURATED = 1000.0  # gap of the two largest logits in units of tau: exp(-1000) is 0 in float64 too


def _behaviour(caller: Caller, batch: Batch) -> tuple[list[Finding], float]:
    """What one call and its repetition show; the tolerance that the precision of its answer allows."""
    one, two = caller.call(batch), caller.call(batch)
    if not torch.equal(torch.nan_to_num(one.student), torch.nan_to_num(two.student)):
        raise Stop("not_deterministic", difference=float((one.student - two.student).abs().max()))
    shown = [finding("modifies_its_input")] if one.wrote else []
    if one.shape.numel() != 1:
        shown.append(finding("per_example", shape=tuple(one.shape), expected="()"))
    coarse = max((caller.dtype, one.dtype), key=lambda d: torch.finfo(d).eps if d.is_floating_point else 0.0)
    return shown, TOLERANCE.get(coarse, 2e-2)


def _causes(caller: Caller, batches: list[Batch], tolerance: float) -> list[Finding]:
    """What explains the gradient: the loss that is meant, known faults, or neither."""
    measured, loss = [caller.measure(batch) for batch in batches], caller.loss
    for one in measured:
        if not one.gradient.isfinite().all():
            largest = float(torch.stack([one.batch.z, one.batch.v]).abs().max())
            return [finding("not_finite", where=f"logits up to {largest:.3g}", value=one.value)]
    moves, found, assumed = any(bool(one.gradient.any()) for one in measured), [], []
    if moves:
        found, loss, assumed = _known(measured, loss, tolerance)
    as_student = _teacher_as_student(caller, batches)
    if as_student and (swapped := _swapped(found, as_student, caller.loss, tolerance)):
        return swapped
    sizes = [float(one.gradient.norm()) for one in (measured[0], *as_student[:1])]
    reached = [finding("teacher_not_detached", teacher=sizes[1], student=sizes[0])] if as_student else []
    if not moves:
        return [finding("student_detached", part="hard and soft", measured=0.0), *reached]
    if not found:
        return [_unknown(caller, measured, tolerance), *reached]
    if len(found) > 1:
        found = explain.holding(found, _more_classes(caller), loss, tolerance)
    return [*assumed, *explain.as_findings(found, measured, loss, tolerance), *reached]


def _teacher_as_student(caller: Caller, batches: list[Batch]) -> list[Measured]:
    """What is measured if the teacher's logits are the ones to be learnt; nothing, if no gradient reaches them."""
    try:
        answers = [caller.call(batch, teacher=True) for batch in batches]
    except Stop:  # it was called before, without asking for a gradient at the teacher
        return []
    if not all(bool(a.teacher.any()) and bool(a.teacher.isfinite().all()) for a in answers):
        return []
    return [Measured(Batch(b.v, b.z, b.y, b.other), a.teacher, a.value, a.value) for b, a in zip(batches, answers)]


def _swapped(found: list[Explanation], as_student: list[Measured], loss: KDLoss, tolerance: float) -> list[Finding]:
    """That the arguments are swapped and what else is wrong, if that takes fewer faults than `found`."""
    constant = bool(found) and "soft_term_missing" in found[0].codes  # the student as a constant in the teacher's place
    if found and found[0].cost < 2 and not constant:
        return []
    better = [e for e in explain.explanations(as_student, loss, tolerance) if "reversed_kl" not in e.codes]
    if not better or (found and not constant and better[0].cost + 1 >= found[0].cost):
        return []
    faults = explain.faults(better, as_student, loss)
    others = [f for f in faults if not (constant and f.code == "hard_term_missing")]
    return [finding("arguments_swapped", gradient_at_teacher=float(as_student[0].gradient.norm())), *others]


def _known(measured: list[Measured], loss: KDLoss, tolerance: float) -> tuple[list[Explanation], KDLoss, list[Finding]]:
    """Explanations, the loss whose faults they are, and what had to be assumed for them."""
    if found := explain.explanations(measured, loss, tolerance):
        return found, loss, []
    share = explain.label_smoothing(measured, loss, tolerance) if loss.hard is None else None
    if share and (found := explain.explanations(measured, loss, tolerance, Form(smoothing=share))):
        return found, loss, [finding("hard_smoothed", measured=share, expected=0.0)]
    tau = explain.temperature(measured, loss, tolerance)
    if tau and (found := explain.explanations(measured, replace(loss, tau=tau), tolerance)):
        return found, replace(loss, tau=tau), [finding("other_temperature", measured=tau, expected=loss.tau)]
    found = explain.explanations(measured, loss, max(ROUGH, tolerance))
    return found, loss, [finding("inexact", residual=e.residual, tolerance=tolerance) for e in found[:1]]


def _more_classes(caller: Caller) -> list[Measured]:
    """Answers for another number of classes, from functions that are not bound to theirs."""
    try:
        return [caller.measure(draw_batch(7, caller.loss.classes + MORE_CLASSES, 2.0))]
    except Stop:
        return []


def _unknown(caller: Caller, measured: list[Measured], tolerance: float) -> Finding:
    """What a gradient without an explanation depends on, or of what it is made."""
    last, b = measured[-1].gradient, measured[-1].batch
    order = torch.arange(len(b.y)).roll(1)
    permuted = caller.call(Batch(b.z[order], b.v[order], b.y[order], b.other)).student
    change = float((permuted - last[order]).norm() / last.norm())
    if change > 10 * tolerance:
        return finding("depends_on_order", change=change, expected=0.0)
    z, v = (torch.cat([logits[:1], logits[1:].flip(-1)]) for logits in (b.z, b.v))  # the first row stays
    first = caller.call(Batch(z, v, b.y, b.other)).student[0]
    change = float((first - last[0]).norm() / last[0].norm())
    if change > 10 * tolerance:
        return finding("depends_on_other_rows", change=change, expected=0.0)
    return finding("unknown", **explain.decomposed(measured[0], caller.loss))


def _extremes(caller: Caller, reversed_: bool) -> list[Finding]:
    """Whether it stays finite where a softmax is exactly 0 or 1, and in float16 on ordinary logits.

    A student that stands in the teacher's place has an infinite gradient at 0 by that fault alone.
    """
    loss, batch = caller.loss, draw_batch(4, caller.loss.classes, 2.0)
    gap = SATURATED * max(loss.tau, 1.0)
    sure = torch.zeros_like(batch.z).scatter(-1, batch.z.argmax(-1, keepdim=True), gap)
    for where, saturated in (("teachers", replace(batch, v=sure)), ("students", replace(batch, z=sure))):
        answer = caller.call(saturated)
        if not answer.finite and not (reversed_ and where == "students"):
            return [finding("not_finite", where=f"saturated {where}", gap=gap, value=answer.value)]
    batch = draw_batch(8, loss.classes, 5.0)
    try:
        answer, right = (Caller(fn, loss, torch.float16).call(batch) for fn in (caller.fn, loss))
    except Stop:  # not made for float16, which it need not be
        return []
    if answer.finite or reversed_ or not right.finite:
        return []
    return [finding("not_finite_in_half", largest_logit=float(torch.stack([batch.z, batch.v]).abs().max()))]


def _precision(fn: Loss, loss: KDLoss, dtype: torch.dtype, batch: Batch) -> Caller:
    """The function in the precision asked for, or in float32 if it takes no other."""
    try:
        Caller(fn, loss, dtype).call(batch)
    except Stop as stop:
        if stop.finding.code == "raises" and dtype == torch.float64:
            return Caller(fn, loss, torch.float32)
    return Caller(fn, loss, dtype)


def _findings(caller: Caller, batches: list[Batch]) -> list[Finding]:
    found = []
    try:
        shown, tolerance = _behaviour(caller, batches[0])
        found += shown
        found += _causes(caller, batches, tolerance)
        value = caller.call(batches[0]).value
        codes = {f.code for f in found}
        if value == value and "not_finite" not in codes:
            found += _extremes(caller, bool({"reversed_kl", "arguments_swapped"} & codes))
        elif not {"log_target_mismatch", "not_finite"} & codes:
            found.append(finding("not_finite", where="ordinary logits", value=value))
    except Stop as stop:
        found.append(stop.finding)
    wrong = any(f.severity == "error" for f in found)
    return [f for f in found if not (wrong and f.code == "correct")]


@contextmanager
def _quietly() -> Iterator[None]:
    """Leaves random numbers, threads and gradient mode as they are; of what it warns, findings say more."""
    with one_thread(), warnings.catch_warnings(), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        yield


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
    loss = KDLoss(int(num_classes), float(tau), float(alpha), tau_squared, hard)
    batches = [draw_batch(b, loss.classes, spread) for b, spread in zip(SIZES, (2.0, 1.0 + loss.tau, 2.0))]
    with _quietly():
        caller = _precision(fn, loss, dtype, batches[0])
        return LossReport(loss, name_of(caller.dtype), tuple(_findings(caller, batches)))
