"""`check_loss`: somebody's own distillation loss against the one that is meant, and which fault it has."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from kdstudy.core.findings import Finding
from kdstudy.core.threads import one_thread
from kdstudy.losscheck import explain
from kdstudy.losscheck.call import SMALL, Batch, Measured, Probes, Stop
from kdstudy.losscheck.explain import ROUGH, Explanation
from kdstudy.losscheck.meant import MEANT, TOLERANCE, meant
from kdstudy.losscheck.report import LossReport, finding
from kdstudy.losscheck.variants import KDLoss

COARSE = 2e-2  # tolerance for what is rounded to 16 bits
SATURATED = 1000.0  # gap of the two largest logits in units of tau: exp(-1000) is 0 in float64 too
Known = tuple[list[Explanation], KDLoss, list[Finding]]  # explanations, of which loss, and what had to be assumed


def _called(loss: KDLoss, given: dict[str, Any]) -> Probes:
    """The way to call a function that works: (B, C) or (B, T, C) unless that is stated, in the precision or float32."""
    stop, shape, shift = None, given["shape"], given["shift"]
    for tokens in (False, True) if shape is None else (shape == "BTV",):
        shifts = (0, 1) if shift is None and tokens else (int(bool(shift)),)
        losses = [replace(loss, form=replace(loss.form, shift=s), tokens=tokens or bool(shift)) for s in shifts]
        for dtype in dict.fromkeys((given["dtype"], torch.float32)):
            probes = Probes(given["fn"], tuple(losses), dtype, tokens, loss.classes)
            try:
                probes.call(probes.draw(0))
                return _smaller(probes)
            except Stop as error:
                if error.finding.code != "raises":
                    return probes
                last = error
        stop = stop or last
    raise stop


def _smaller(probes: Probes) -> Probes:
    """The same with few classes in place of very many: with the others left out or, if need be, without probability."""
    others = probes.classes - SMALL
    for more in (0, others) if others > 0 else ():
        small = replace(probes, classes=SMALL, more=more)
        try:
            if small.call(small.draw(0)).finite:
                return small
        except Stop:
            continue
    return probes


def _behaviour(probes: Probes) -> tuple[list[Finding], Probes]:
    """What one call and its repetition show, and the tolerance that the precision of its answer allows."""
    batch, said = probes.draw(0), probes.losses[0].said
    one, two = probes.call(batch), probes.call(batch)
    if not torch.equal(torch.nan_to_num(one.student), torch.nan_to_num(two.student)):
        raise Stop("not_deterministic", difference=float((one.student - two.student).abs().max()))
    shown = [finding("modifies_its_input")] if one.wrote else []
    single = one.shape.numel() == 1
    if single == ("none" in said):
        shown.append(finding("reduced" if single else "per_example", shape=tuple(one.shape), expected="()"))
    coarse = max((probes.dtype, one.dtype), key=lambda d: torch.finfo(d).eps if d.is_floating_point else 0.0)
    tolerance, rounding = TOLERANCE.get(coarse, COARSE), _rounding(probes, batch, one.student, one.value)
    if {"hard", "divergence"} & said:  # whose functions may take float32 alone
        tolerance = max(tolerance, 1e-5)
    if rounding:
        shown.append(finding("rounded_inside", to=rounding))
        tolerance = COARSE
    exact = getattr(torch, rounding) if rounding in ("bfloat16", "float16") else None
    return shown, replace(probes, tolerance=tolerance, rounding=exact)


def _rounding(probes: Probes, batch: Batch, gradient: Tensor, value: float) -> str:
    """The precision to which the function rounds its logits: rounding them before changes nothing; "" if to none."""
    if not gradient.any():
        return ""
    for dtype in (torch.bfloat16, torch.float16):
        answer = probes.call(batch.to(dtype))
        if torch.equal(answer.student, gradient) and answer.value == value:
            return str(dtype).removeprefix("torch.")
    near, far = (probes.call(batch._replace(z=batch.z * by)).student for by in (1 + 1e-6, 1.2))
    same, constant = ((g == gradient)[gradient != 0].double().mean() for g in (near, far))
    return "less than float32" if same > 0.5 > constant else ""


def _causes(probes: Probes) -> tuple[list[Finding], KDLoss]:
    """What explains the gradient: the loss that is meant, known faults, or neither; and the loss that was found."""
    loss = probes.losses[0]
    first = probes.measure(probes.draw(0), probes.draw(1, spread=1 + loss.tau))
    wider = probes.measure_wider()
    measured = [*first, *(wider or probes.measure(probes.draw(2)))]
    for one in measured:
        if not one.gradient.isfinite().all():
            largest = float(torch.stack([one.batch.z, one.batch.v]).abs().max())
            return [finding("not_finite", where=f"logits up to {largest:.3g}", value=one.value)], loss
    if not any(bool(one.gradient.any()) for one in measured):
        detached = [finding("student_detached", part="hard and soft", measured=0.0)]
        return _swapped(probes, measured, [], loss) or detached, loss
    known = _known(probes, measured)
    if wider and not _clear(known):  # it may count its classes by a number of its own
        same = [*first, *probes.measure(probes.draw(2))]
        other = _known(probes, same)
        known, measured = (other, same) if _clear(other) else (known, measured)
    if probes.classes < loss.classes and (known[0] or probes.more):
        probes = replace(probes, classes=loss.classes, more=0)
        measured = probes.measure(probes.draw(0), probes.draw(2))
        again = known[0] and explain.again(known[0][0], measured, known[1], probes.tolerance)
        known = (again, *known[1:]) if again else _known(probes, measured)
    return _as_findings(probes, measured, *known)


def _clear(known: Known) -> bool:
    """Whether there is an explanation, of form and weights."""
    return bool(known[0]) and explain.OTHER_WEIGHTS not in known[0][0].factors and not known[0][0].own


def _as_findings(
    probes: Probes, measured: list[Measured], found: list[Explanation], loss: KDLoss, assumed: list[Finding]
) -> tuple[list[Finding], KDLoss]:
    """Findings of what is known of the gradient, and the loss that was found."""
    if swapped := _swapped(probes, measured, found, loss):
        return swapped, loss
    if not found:
        return _unknown(probes, measured), loss
    listed = explain.as_findings(found, measured, loss, probes.tolerance)
    if listed[0].code == "correct":
        listed = [] if assumed else [replace(listed[0], evidence=listed[0].evidence | _aside(probes, loss))]
    return [*assumed, *listed], replace(loss, form=found[0].form)


def _known(probes: Probes, measured: list[Measured]) -> Known:
    """Explanations, the loss that they are of, and what had to be assumed: the fewest deviations, from most exact."""
    losses, plain = probes.losses, probes.losses[0]
    if not plain.tokens and "shift" not in plain.said and _order_counts(probes, measured[-1]):
        losses = [replace(plain, tokens=True, form=replace(plain.form, shift=s)) for s in (1, 0)]
    for tolerance in dict.fromkeys((probes.tolerance, max(ROUGH, probes.tolerance))):
        known: Known = ([], plain, [])
        for loss in losses:
            found = explain.explanations(measured, loss, tolerance)
            if found and (not known[0] or found[0].cost < known[0][0].cost):
                known = found, loss, []
            if found and not found[0].cost:
                break
        for loss in () if known[0] else losses:
            known = known if known[0] else explain.by_degree(measured, loss, tolerance)
        if known[0] and tolerance > probes.tolerance:
            known[2].append(finding("inexact", residual=known[0][0].residual, tolerance=probes.tolerance))
        if known[0]:
            return known
    return [], plain, []


def _order_counts(probes: Probes, one: Measured) -> float:
    """By how much the gradient changes if the rows of a batch are permuted together; 0 if hardly."""
    order = torch.arange(len(one.batch.y)).roll(1)
    permuted = probes.call(Batch(*(x[order] for x in one.batch))).student
    change = float((permuted - one.gradient[order]).norm() / one.gradient.norm())
    return change if change > 10 * probes.tolerance else 0.0


def _swapped(probes: Probes, measured: list[Measured], found: list[Explanation], loss: KDLoss) -> list[Finding]:
    """That the arguments are swapped and what else is wrong, if that takes fewer faults than `found`."""
    constant = bool(found) and "soft_term_missing" in found[0].codes  # the student as a constant in the teacher's place
    if found and found[0].cost < 2 and not constant:
        return []
    try:
        exchanged = replace(probes, swapped=True).measure(*(one.batch for one in measured))
    except Stop:  # it was called before, without asking for a gradient at the teacher
        return []
    if not all(bool(one.gradient.any()) and bool(one.gradient.isfinite().all()) for one in exchanged):
        return []
    better = [e for e in explain.explanations(exchanged, loss, probes.tolerance) if "reversed_kl" not in e.codes]
    if not better or (found and not constant and better[0].cost + 1 >= found[0].cost):
        return []
    faults = explain.faults(better, exchanged, loss)
    others = [f for f in faults if not (constant and f.code == "hard_term_missing")]
    return [finding("arguments_swapped", gradient_at_teacher=float(exchanged[0].gradient.norm())), *others]


def _unknown(probes: Probes, measured: list[Measured]) -> list[Finding]:
    """What a gradient without an explanation depends on, which rows it weighs, or of what it is made."""
    last, b = measured[-1].gradient, measured[-1].batch
    if change := _order_counts(probes, measured[-1]):
        return [finding("depends_on_order", change=change, expected=0.0)]
    z, v = (torch.cat([logits[:1], logits[1:].flip(-1)]) for logits in (b.z, b.v))  # the first row stays
    change = float((probes.call(Batch(z, v, b.y)).student[0] - last[0]).norm() / last[0].norm())
    if change > 10 * probes.tolerance:
        return [finding("depends_on_other_rows", change=change, expected=0.0)]
    for loss in probes.losses:
        if weighted := explain.by_rows(measured, loss, probes.tolerance):
            return weighted
    worst = max(measured, key=lambda one: one.difference(probes.losses[0]))
    return [finding("unknown", **explain.decomposed(worst, probes.losses[0]))]


def _aside(probes: Probes, loss: KDLoss) -> dict[str, str]:
    """What is told of a loss that is correct: what it does with labels that may be padding, and what was not tried."""
    missing, shift = [] if probes.tokens else ["(B, T, C)"], loss.form.shift
    told = {"rows": "successive tokens, each with the label of the next"} if shift and "shift" not in loss.said else {}
    batch = probes.draw(2, ignored=-100)
    try:
        if loss.ignore_index is None:
            gradient = probes.call(batch).student
            share = float(gradient[batch.y.roll(-shift, -1) == -100].norm() / gradient.norm())
            kept = f"not left out ({share:.0%} of the gradient); if they are padding, state ignore_index=-100"
            told["labels_of_-100"] = kept if share > probes.tolerance else "left out"
        else:
            value = probes.call(batch._replace(y=torch.full_like(batch.y, loss.ignore_index))).value
            told["if_all_labels_are_ignored"] = f"{value:g}"
    except Stop as stop:
        what = "ignored labels: a label of -100" if loss.ignore_index is None else "nothing but ignored labels: it"
        missing.append(f"{what} {stop.finding.message.removeprefix('it ')[:60]}")
    return told | ({"not_tried": "; ".join(missing)} if missing else {})


def _finite(probes: Probes, form_is_kl: bool) -> list[Finding]:
    """Whether it stays finite where a softmax is exactly 0 or 1, on constant rows, and in float16 on ordinary logits.

    Of other divergences than KL it is told, not blamed: many have no finite value there.
    """
    batch, gap = probes.draw(1), SATURATED * max(probes.losses[0].tau, 1.0)
    sure = torch.zeros_like(batch.z).scatter(-1, batch.z.argmax(-1, keepdim=True), gap)
    cases = {
        "saturated teachers": batch._replace(v=sure),
        "saturated students": batch._replace(z=sure),
        "rows of equal logits": batch._replace(z=torch.zeros_like(sure)),
    }
    for where, case in cases.items():
        answer = probes.call(case)
        if not answer.finite:
            code = "not_finite" if form_is_kl and where != "rows of equal logits" else "not_finite_at_extremes"
            return [finding(code, where=where, gap=gap, value=answer.value)]
    batch, half = probes.draw(1, spread=5.0), replace(probes, dtype=torch.float16)
    try:
        bad = not half.call(batch).finite and replace(half, fn=probes.losses[0], more=0).call(batch).finite
    except Stop:  # not made for float16, which it need not be
        return []
    largest = float(torch.stack([batch.z, batch.v]).abs().max())
    return [finding("not_finite_in_half", largest_logit=largest)] if bad and form_is_kl else []


def _findings(loss: KDLoss, given: dict[str, Any]) -> LossReport:
    found, dtype = [], torch.float32
    try:
        probes = _called(loss, given)
        dtype = probes.dtype
        shown, probes = _behaviour(probes)
        found += shown
        causes, loss_found = _causes(probes)
        found += causes
        value = probes.call(probes.draw(0)).value
        codes, form = {f.code for f in found}, loss_found.form
        kl = form.support == "all" and (form.soft == "forward" or form.soft not in MEANT)
        if value == value and "not_finite" not in codes:
            found += _finite(probes, kl and "arguments_swapped" not in codes)
        elif not {"log_target_mismatch", "not_finite"} & codes:
            found.append(finding("not_finite", where="ordinary logits", value=value))
    except Stop as stop:
        found.append(stop.finding)
    wrong = any(f.severity == "error" for f in found)
    listed = tuple(f for f in found if not (wrong and f.code == "correct"))
    return LossReport(loss, str(dtype).removeprefix("torch."), listed)


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
    weights: str | Sequence[float] | None = None,
    divergence: Any = None,
    beta: float | None = None,
    top_k: int | Sequence[int | str] | None = None,
    hard: Any = None,
    class_weights: Any = None,
    ignore_index: int | None = None,
    shape: str | None = None,
    shift: bool | None = None,
    reduction: str | None = None,
    dtype: torch.dtype = torch.float64,
) -> LossReport:
    """Which fault a distillation loss has, found by running it on crafted inputs.

    `fn(student_logits, teacher_logits, labels)`, with shapes (B, C), (B, C), (B,), returns a scalar tensor; it is
    compared, in value and gradient, with

        (1 - alpha) CE(z, y) + alpha tau^2 KL(p^tau || q^tau), mean over the batch,

    q^tau = softmax(z / tau) the student's and p^tau = softmax(v / tau) the teacher's. Cross-entropy with p^tau in
    place of KL differs by the teacher's entropy alone, which has no gradient, and is right too. Bind tau and alpha
    to your function and state them here:

    >>> from torch.nn.functional import cross_entropy, kl_div
    >>> def mine(z, v, y, T=4.0, a=0.9):
    ...     soft = kl_div((z / T).log_softmax(-1), (v / T).softmax(-1), reduction="batchmean")
    ...     return (1 - a) * cross_entropy(z, y) + a * T**2 * soft
    >>> check_loss(mine, 100, tau=4.0, alpha=0.9).codes
    ('correct',)
    >>> check_loss(lambda z, v, y: mine(z, v, y, a=0.5), 100, tau=4.0, alpha=0.9).codes
    ('other_alpha',)

    What else is meant is stated likewise; what is not stated is found, and another method is named without blame:

    - `weights`: (hard, soft) in place of alpha, tau^2 included; or a convention: "alpha", "tau squared" (1 and tau^2),
      "timm" (the same), "trl" (JSD alone, labels of -100 left out). `tau_squared=False`: alpha without tau^2.
      alpha = 1 checks a function that is the soft term alone.
    - `divergence`: "forward", "reverse", "jsd", "symmetric", "skew", "skew reverse", "mse" and others (`DIVERGENCES`),
      `beta` its parameter; or a function of (z / tau, v / tau) that returns a number or one for each row.
    - `top_k`: k or (k, kind): the teacher's k largest classes alone, "renormalised" for teacher and student (the
      default) or as "teacher renormalised", with a "tail bucket" for all others, or "truncated".
    - `hard(z, y)`: another hard term than cross-entropy; `class_weights`: those of cross-entropy, one for each class.
    - `shape`: "BC", or "BTV" for sequences of tokens; `shift`: whether the function moves labels by one, as causal
      language models do; `ignore_index`: the label of rows that neither part counts, such as -100.
    - `reduction`: "mean" over rows or tokens, "sum", "none", "batchmean" (over sequences), "elements" (classes too).

    >>> def reverse(z, v, y):
    ...     return kl_div(v.log_softmax(-1), z.softmax(-1), reduction="batchmean")
    >>> print(check_loss(reverse, 10, tau=1.0, alpha=1.0, divergence="reverse").findings[0].message)
    value and gradient are those of the loss as stated

    Batches of several sizes are tried on the CPU; a function that raises in float64 is checked in float32. Faults,
    also several at once, are named with numbers and a remedy; an exception of `fn` becomes a finding, too.
    At tau = 1 a missing tau^2 is no fault, and at alpha = 1/2 exchanged weights are none.

    ValueError if an argument is none of those allowed.
    """
    given = dict(locals())
    with _quietly():
        return _findings(meant(given), given)
