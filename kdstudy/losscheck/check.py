"""`check_loss`: somebody's own distillation loss against the one that is meant, and which fault it has."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from kdstudy.core.findings import Finding
from kdstudy.core.threads import one_thread
from kdstudy.losscheck import explain
from kdstudy.losscheck.call import Batch, Caller, Measured, Stop, draw_batch, name_of
from kdstudy.losscheck.explain import ROUGH, Explanation
from kdstudy.losscheck.meant import METHODS, TOLERANCE, meant
from kdstudy.losscheck.report import LossReport, finding
from kdstudy.losscheck.variants import KDLoss, Loss

ROWS, TOKENS = (5, 8, 12), ((2, 5), (3, 4), (2, 7))  # sizes of the batches: rows, or sequences and tokens
FEW_ROWS, FEW_TOKENS = (3, 4, 6), ((2, 2), (1, 4), (2, 3))  # where classes are many
SMALL = 512  # classes on which a loss of more is explained, if it takes so few
MORE_CLASSES = 3  # in the last batch, if the function is not bound to a number of classes
COARSE = 2e-2  # tolerance for what is rounded to 16 bits
SATURATED = 1000.0  # gap of the two largest logits in units of tau: exp(-1000) is 0 in float64 too
Known = tuple[list[Explanation], KDLoss, list[Finding]]  # explanations, of which loss, and what had to be assumed


@dataclass(frozen=True)
class Probes:
    """How a function is called: its precision, the losses that may be meant, and what of its answers counts as equal.

    `tokens`: with (B, T, C). `classes`: with so many, fewer than there are where it takes fewer. `rounding`: the
    precision to which it rounds the logits itself.
    """

    caller: Caller
    losses: tuple[KDLoss, ...]
    tokens: bool
    classes: int
    tolerance: float = 0.0
    rounding: torch.dtype | None = None

    def draw(self, k: int, classes: int = 0, spread: float = 2.0, ignored: int | None = None) -> Batch:
        """The batch of the k-th size."""
        classes = classes or self.classes
        few = classes > SMALL
        sizes = (FEW_TOKENS if few else TOKENS) if self.tokens else (FEW_ROWS if few else ROWS)
        ignored = self.losses[0].ignore_index if ignored is None else ignored
        batch = draw_batch(sizes[k], classes, spread, ignored)
        return batch if self.rounding is None else batch.rounded(self.rounding)

    def measure(self, classes: int) -> list[Measured]:
        """Answers on batches of several sizes; the last with more classes, if the function takes them. May stop."""
        spreads = (2.0, 1.0 + self.losses[0].tau, 2.0)
        measured = [self.caller.measure(self.draw(k, classes, spreads[k])) for k in (0, 1)]
        try:
            more = self.caller.measure(self.draw(2, classes + MORE_CLASSES))
            return [*measured, more] if more.gradient.isfinite().all() else [*measured, self._last(classes)]
        except Stop:
            return [*measured, self._last(classes)]

    def _last(self, classes: int) -> Measured:
        return self.caller.measure(self.draw(2, classes))


def _called(fn: Loss, loss: KDLoss, dtype: torch.dtype, shape: str | None, shifted: bool | None) -> Probes:
    """The way to call a function that works: (B, C) or (B, T, C) unless that is stated, in the precision or float32."""
    stop = None
    for tokens in (False, True) if shape is None else (shape == "BTV",):
        shifts = (0, 1) if shifted is None and tokens else (int(bool(shifted)),)
        losses = [replace(loss, form=replace(loss.form, shift=s), tokens=tokens or bool(shifted)) for s in shifts]
        for precision in dict.fromkeys((dtype, torch.float32)):
            probes = Probes(Caller(fn, losses[0], precision), tuple(losses), tokens, loss.classes)
            try:
                probes.caller.call(probes.draw(0))
                return _smaller(probes)
            except Stop as error:
                if error.finding.code != "raises":
                    return probes
                last = error
        stop = stop or last
    raise stop


def _smaller(probes: Probes) -> Probes:
    """The same with few classes in place of very many, if the function is not bound to their number."""
    small = replace(probes, classes=min(probes.classes, SMALL))
    try:
        return small if small.caller.call(small.draw(0)).finite else probes
    except Stop:
        return probes


def _behaviour(probes: Probes) -> tuple[list[Finding], Probes]:
    """What one call and its repetition show, and the tolerance that the precision of its answer allows."""
    caller, batch = probes.caller, probes.draw(0)
    one, two = caller.call(batch), caller.call(batch)
    if not torch.equal(torch.nan_to_num(one.student), torch.nan_to_num(two.student)):
        raise Stop("not_deterministic", difference=float((one.student - two.student).abs().max()))
    shown = [finding("modifies_its_input")] if one.wrote else []
    single, stated = one.shape.numel() == 1, "none" in caller.loss.said
    if single == stated:
        shown.append(finding("reduced" if single else "per_example", shape=tuple(one.shape), expected="()"))
    dtypes = (caller.dtype, one.dtype)
    coarse = max(dtypes, key=lambda d: torch.finfo(d).eps if d.is_floating_point else 0.0)
    tolerance, rounding = TOLERANCE.get(coarse, COARSE), _rounding(caller, batch, one.student)
    if {"hard", "divergence"} & caller.loss.said:  # whose functions may take float32 alone
        tolerance = max(tolerance, 1e-5)
    if rounding:
        shown.append(finding("rounded_inside", to=rounding))
        tolerance = COARSE
    exact = getattr(torch, rounding) if rounding in ("bfloat16", "float16") else None
    return shown, replace(probes, tolerance=tolerance, rounding=exact)


def _rounding(caller: Caller, batch: Batch, gradient: Tensor) -> str:
    """The precision to which the function rounds its logits: rounding them before changes nothing; "" if to none."""
    if not gradient.any():
        return ""
    for dtype in (torch.bfloat16, torch.float16):
        if torch.equal(caller.call(batch.rounded(dtype)).student, gradient):
            return name_of(dtype)
    near = caller.call(replace(batch, z=batch.z * (1 + 1e-6))).student
    moving = gradient != 0
    return "less than float32" if (near == gradient)[moving].double().mean() > 0.5 else ""


def _causes(probes: Probes) -> tuple[list[Finding], KDLoss]:
    """What explains the gradient: the loss that is meant, known faults, or neither; and the loss that was found."""
    classes, measured = probes.losses[0].classes, probes.measure(probes.classes)
    for one in measured:
        if not one.gradient.isfinite().all():
            largest = float(torch.stack([one.batch.z, one.batch.v]).abs().max())
            return [finding("not_finite", where=f"logits up to {largest:.3g}", value=one.value)], probes.losses[0]
    known = _known(measured, probes) if any(bool(one.gradient.any()) for one in measured) else None
    if known and known[0] and probes.classes < classes:
        full = [probes.caller.measure(probes.draw(k, classes)) for k in (0, 2)]
        again = explain.again(known[0][0], full, known[1], probes.tolerance)
        known, measured = ((again, *known[1:]), full) if again else (_known(full, probes), full)
    return _as_findings(probes, measured, known)


def _as_findings(probes: Probes, measured: list[Measured], known: Known | None) -> tuple[list[Finding], KDLoss]:
    """Findings of what is known of the gradient; None: there is no gradient."""
    found, loss, assumed = known or ([], probes.losses[0], [])
    if swapped := _swapped(found, _teacher_as_student(probes, measured), loss, probes.tolerance):
        return swapped, loss
    if known is None:
        return [finding("student_detached", part="hard and soft", measured=0.0)], loss
    if not found:
        return _unknown(probes, measured), loss
    listed = explain.as_findings(found, measured, loss, probes.tolerance)
    if assumed and listed[0].code == "correct":
        listed = listed[1:]
    if listed and listed[0].code == "correct":
        evidence = listed[0].evidence | _aside(probes, loss)
        listed = [replace(listed[0], evidence=evidence)]
    return [*assumed, *listed], replace(loss, form=found[0].form)


def _known(measured: list[Measured], probes: Probes) -> Known:
    """Explanations, the loss that they are of, and what had to be assumed: the fewest deviations, from most exact."""
    tolerance, losses = probes.tolerance, list(probes.losses)
    if not losses[0].tokens and "shift" not in losses[0].said and _order_counts(probes, measured[-1]):
        losses += [replace(losses[0], tokens=True, form=replace(losses[0].form, shift=s)) for s in (1, 0)]
    several = [(explain.explanations(measured, loss, tolerance), loss, []) for loss in losses[:1]]
    if not several[0][0] or several[0][0][0].cost:
        several += [(explain.explanations(measured, loss, tolerance), loss, []) for loss in losses[1:]]
    if fitting := [known for known in several if known[0]]:
        return min(fitting, key=lambda known: known[0][0].cost)
    for loss in losses:
        if (known := explain.by_degree(measured, loss, tolerance))[0]:
            return known
    found = explain.explanations(measured, losses[0], max(ROUGH, tolerance))
    return found, losses[0], [finding("inexact", residual=e.residual, tolerance=tolerance) for e in found[:1]]


def _order_counts(probes: Probes, one: Measured) -> float:
    """By how much the gradient changes if the rows of a batch are permuted together; 0 if hardly."""
    b, order = one.batch, torch.arange(len(one.batch.y)).roll(1)
    permuted = probes.caller.call(Batch(b.z[order], b.v[order], b.y[order], b.other)).student
    change = float((permuted - one.gradient[order]).norm() / one.gradient.norm())
    return change if change > 10 * probes.tolerance else 0.0


def _teacher_as_student(probes: Probes, measured: list[Measured]) -> list[Measured]:
    """What is measured if the teacher's logits are the ones to be learnt; nothing, if no gradient reaches them."""
    batches = [one.batch for one in measured]
    try:
        answers = [probes.caller.call(batch, teacher=True) for batch in batches]
    except Stop:  # it was called before, without asking for a gradient at the teacher
        return []
    if not all(bool(a.teacher.any()) and bool(a.teacher.isfinite().all()) for a in answers):
        return []
    return [Measured(Batch(b.v, b.z, b.y, b.other), a.teacher, a.value, a.value) for b, a in zip(batches, answers)]


def _swapped(found: list[Explanation], as_student: list[Measured], loss: KDLoss, tolerance: float) -> list[Finding]:
    """That the arguments are swapped and what else is wrong, if that takes fewer faults than `found`."""
    constant = bool(found) and "soft_term_missing" in found[0].codes  # the student as a constant in the teacher's place
    if not as_student or (found and found[0].cost < 2 and not constant):
        return []
    better = [e for e in explain.explanations(as_student, loss, tolerance) if "reversed_kl" not in e.codes]
    if not better or (found and not constant and better[0].cost + 1 >= found[0].cost):
        return []
    faults = explain.faults(better, as_student, loss)
    others = [f for f in faults if not (constant and f.code == "hard_term_missing")]
    return [finding("arguments_swapped", gradient_at_teacher=float(as_student[0].gradient.norm())), *others]


def _unknown(probes: Probes, measured: list[Measured]) -> list[Finding]:
    """What a gradient without an explanation depends on, which rows it weighs, or of what it is made."""
    caller, tolerance, loss = probes.caller, probes.tolerance, probes.losses[0]
    last, b = measured[-1].gradient, measured[-1].batch
    if change := _order_counts(probes, measured[-1]):
        return [finding("depends_on_order", change=change, expected=0.0)]
    z, v = (torch.cat([logits[:1], logits[1:].flip(-1)]) for logits in (b.z, b.v))  # the first row stays
    first = caller.call(Batch(z, v, b.y, b.other)).student[0]
    change = float((first - last[0]).norm() / last[0].norm())
    if change > 10 * tolerance:
        return [finding("depends_on_other_rows", change=change, expected=0.0)]
    for meant_ in probes.losses:
        if weighted := explain.by_rows(measured, meant_, tolerance):
            return weighted
    worst = max(measured, key=lambda one: one.difference(loss))
    return [finding("unknown", **explain.decomposed(worst, loss))]


def _aside(probes: Probes, loss: KDLoss) -> dict[str, str]:
    """What is told of a loss that is correct: what it does with labels that may be padding, and what was not tried."""
    missing = [] if probes.tokens else ["(B, T, C)"]
    shifted = bool(loss.form.shift) and "shift" not in loss.said
    told = {"rows": "successive tokens, each with the label of the next"} if shifted else {}
    if loss.ignore_index is None:
        try:
            told["labels_of_-100"] = _of_ignored(probes, loss, probes.draw(2, ignored=-100))
        except Stop as stop:
            missing.append(f"ignored labels: a label of -100 {stop.finding.message[:60]}")
    else:
        batch = probes.draw(2)
        try:
            value = probes.caller.call(replace(batch, y=torch.full_like(batch.y, loss.ignore_index))).value
            told["if_all_labels_are_ignored"] = f"{value:g}"
        except Stop as stop:
            missing.append(f"nothing but ignored labels: {stop.finding.message[:60]}")
    return told | ({"not_tried": "; ".join(missing)} if missing else {})


def _of_ignored(probes: Probes, loss: KDLoss, batch: Batch) -> str:
    """What a function does with rows labelled -100, in words."""
    masked, gradient = replace(loss, ignore_index=-100), probes.caller.call(batch).student
    try:
        right = torch.autograd.grad(masked(z := batch.z.clone().requires_grad_(), batch.v, batch.y), z)[0]
    except Stop:
        right = torch.zeros_like(gradient)
    if (gradient - right).norm() <= max(10 * probes.tolerance, 1e-6) * right.norm():
        return "left out"
    labels = masked._as_sequences(batch.y, batch.y)
    rows = ~masked._counted(masked.form, labels)[1].view(batch.y.shape)
    share = float(gradient[rows].norm() / gradient.norm())
    return f"not left out ({share:.0%} of the gradient); if they are padding, state ignore_index=-100"


def _finite(probes: Probes, form_is_kl: bool) -> list[Finding]:
    """Whether it stays finite where a softmax is exactly 0 or 1, on constant rows, and in float16 on ordinary logits.

    Of other divergences than KL it is told, not blamed: many have no finite value there.
    """
    loss, caller = probes.losses[0], probes.caller
    batch = probes.draw(1)
    gap = SATURATED * max(loss.tau, 1.0)
    sure = torch.zeros_like(batch.z).scatter(-1, batch.z.argmax(-1, keepdim=True), gap)
    cases = {"saturated teachers": {"v": sure}, "saturated students": {"z": sure},
             "rows of equal logits": {"z": torch.zeros_like(sure)}}  # fmt: skip
    for where, changes in cases.items():
        answer = caller.call(replace(batch, **changes))
        if not answer.finite:
            blamed = form_is_kl and where != "rows of equal logits"
            return [finding("not_finite" if blamed else "not_finite_at_extremes", where=where, gap=gap,
                            value=answer.value)]  # fmt: skip
    batch = probes.draw(1, spread=5.0)
    try:
        answer, right = (Caller(fn, loss, torch.float16).call(batch) for fn in (caller.fn, loss))
    except Stop:  # not made for float16, which it need not be
        return []
    if answer.finite or not form_is_kl or not right.finite:
        return []
    return [finding("not_finite_in_half", largest_logit=float(torch.stack([batch.z, batch.v]).abs().max()))]


def _findings(fn: Loss, loss: KDLoss, dtype: torch.dtype, shape: str | None, shifted: bool | None) -> LossReport:
    found, precision = [], torch.float32
    try:
        probes = _called(fn, loss, dtype, shape, shifted)
        precision = probes.caller.dtype
        shown, probes = _behaviour(probes)
        found += shown
        causes, loss_found = _causes(probes)
        found += causes
        value = probes.caller.call(probes.draw(0)).value
        codes = {f.code for f in found}
        form = loss_found.form
        kl = form.support == "all" and (form.soft == "forward" or form.soft not in METHODS)
        if value == value and "not_finite" not in codes:
            found += _finite(probes, kl and "arguments_swapped" not in codes)
        elif not {"log_target_mismatch", "not_finite"} & codes:
            found.append(finding("not_finite", where="ordinary logits", value=value))
    except Stop as stop:
        found.append(stop.finding)
    wrong = any(f.severity == "error" for f in found)
    return LossReport(loss, name_of(precision), tuple(f for f in found if not (wrong and f.code == "correct")))


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
    top_k: int | tuple[int, str] | None = None,
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

        check_loss(lambda z, v, y: my_loss(z, y, v, T=4.0, alpha=0.9), 100, tau=4.0, alpha=0.9)
        check_loss(functools.partial(my_loss, temperature=2.0, alpha=0.5), 100, tau=2.0, alpha=0.5)

    What else is meant is stated likewise; what is not stated is found, and another method is named without blame:

    - `weights`: (hard, soft) in place of alpha, tau^2 included; or a convention: "alpha", "tau squared" (1 and tau^2),
      "timm" (the same), "trl" (JSD alone, labels of -100 left out). `tau_squared=False`: alpha without tau^2.
      alpha = 1 checks a function that is the soft term alone.
    - `divergence`: "forward", "reverse", "jsd", "symmetric", "skew", "skew reverse", "mse" and others (`DIVERGENCES`),
      `beta` its parameter; or a function of (z / tau, v / tau) that returns a number or one for each row.
    - `top_k`: k or (k, "renormalised" | "tail bucket" | "truncated"): the teacher's k largest classes alone.
    - `hard(z, y)`: another hard term than cross-entropy; `class_weights`: those of cross-entropy, one for each class.
    - `shape`: "BC", or "BTV" for sequences of tokens; `shift`: whether the function moves labels by one, as causal
      language models do; `ignore_index`: the label of rows that neither part counts, such as -100.
    - `reduction`: "mean" over rows or tokens, "sum", "none", "batchmean" (over sequences), "elements" (classes too).

    Batches of several sizes are tried on the CPU; a function that raises in float64 is checked in float32. Faults,
    also several at once, are named with numbers and a remedy; an exception of `fn` becomes a finding, too.
    At tau = 1 a missing tau^2 is no fault, and at alpha = 1/2 exchanged weights are none.

    ValueError if an argument is none of those allowed.
    """
    stated = {"weights": weights, "divergence": divergence, "beta": beta, "top_k": top_k, "hard": hard,
              "class_weights": class_weights, "ignore_index": ignore_index, "shape": shape, "shift": shift,
              "reduction": reduction}  # fmt: skip
    with _quietly():
        loss = meant(fn, num_classes, tau, alpha, tau_squared, dtype, stated)
        return _findings(fn, loss, dtype, shape, shift)
