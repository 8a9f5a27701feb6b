"""From what explains a measured gradient to findings: each fault with the numbers that show it."""

from collections.abc import Sequence

import torch

from kdstudy.core.findings import Finding
from kdstudy.losscheck.call import Measured
from kdstudy.losscheck.fit import ROUGH, Explanation
from kdstudy.losscheck.report import finding
from kdstudy.losscheck.variants import KDLoss

Evidence = dict[str, object]


def _in_words(hard: float, soft: float) -> str:
    return f"{hard:.4g} hard, {soft:.4g} soft"


def _weight_faults(found: Explanation, one: Measured, loss: KDLoss) -> list[tuple[str, str, Evidence]]:
    """Code, part and evidence of each fault of an explanation's weights."""
    shape, faults = one.batch.z.shape, []
    fitted, stated = found.fitted[0].tolist(), loss.weights.at(*shape)
    both = {"measured": _in_words(*fitted), "expected": _in_words(*stated)}
    if "other_weights" in found.codes:
        alpha = _other_alpha(*fitted, loss)
        other = ("other_alpha", "both", {"measured": alpha, "expected": loss.alpha})
        return [("other_weights", "both", both) if alpha is None else other]
    for factor in found.weights.faults if found.weights else ():
        k = 0 if factor.part == "hard" else 1
        ratio = fitted[k] / stated[k] if stated[k] else float("inf")
        single = {"measured": ratio, "expected": 1.0, "factor": f"{factor.words} = {factor.of(*shape):.4g}"}
        faults.append((factor.code, factor.part, single if factor.words else both))
    return faults


def _other_alpha(hard: float, soft: float, loss: KDLoss) -> float | None:
    """The alpha that both weights agree on, if they do."""
    agree = 0 <= 1 - hard <= 1 and abs(soft - (1 - hard) * loss.scale) <= ROUGH * abs(soft)
    return float(f"{1 - hard:.6g}") if agree else None


def faults(found: Sequence[Explanation], measured: Sequence[Measured], loss: KDLoss) -> list[Finding]:
    """The faults of the first explanation, each with its evidence; the others as what it may be instead."""
    first, others = found[0], [" and ".join(sorted(e.codes)) for e in found[1:]]
    numbers = {"difference": measured[0].difference(loss), "residual": first.residual}
    of_form = [(fault.code, fault.part, numbers) for fault in first.form_faults]
    parts, evidence = {}, {}
    for code, part, shown in [*of_form, *_weight_faults(first, measured[0], loss)]:
        parts.setdefault(code, []).append(part)
        evidence.setdefault(code, shown)
    instead = {"or": " or ".join(others)} if others else {}
    return [finding(code, part=" and ".join(parts[code]), **shown, **instead) for code, shown in evidence.items()]


def _unexplained(found: Explanation, one: Measured, k: int, loss: KDLoss) -> tuple[float, float]:
    """What an explanation's value lacks on batch `k`, for each of its two students: the same constant, if it is right.

    Nothing but a constant has no gradient.
    """
    batch = one.batch
    values = [torch.stack(loss.parts(found.form, z, batch.v, batch.y)) for z in (batch.z, batch.other)]
    first, second = (float(found.fitted[k] @ parts) for parts in values)
    return one.value - first, one.other_value - second


def _change_without_gradient(found: Explanation, measured: Sequence[Measured], loss: KDLoss, tolerance: float) -> float:
    """How much the value changes between two students beyond what the gradient explains, as a share; 0 if hardly."""
    worst = 0.0
    for k, one in enumerate(measured):
        first, second = _unexplained(found, one, k, loss)
        scale = abs(one.value) + abs(one.other_value) + abs(first) + abs(second)
        change = abs(first - second)
        worst = max(worst, change / scale) if change == change else worst  # nan: the value is none
    return worst if worst > 10 * tolerance else 0.0


def _constant(found: Explanation, one: Measured, loss: KDLoss) -> str:
    """By which constant the value differs from that of the loss with KL, in words."""
    log_p = (one.batch.v / loss.tau).log_softmax(-1)
    entropy = float(found.fitted[0][1]) * float(-(log_p.exp() * log_p).sum(-1).mean())
    more, scale = _unexplained(found, one, 0, loss)[0], abs(one.value) + entropy
    if abs(more) <= ROUGH * scale:
        return "with KL"
    if abs(more - entropy) <= ROUGH * scale:
        return "with cross-entropy: more by the teacher's entropy, which has no gradient"
    return f"more by {more:.4g}, which has no gradient"


def findings(
    found: Sequence[Explanation], measured: Sequence[Measured], loss: KDLoss, tolerance: float
) -> list[Finding]:
    """Findings of the explanations; if none of them is a fault, that the loss is correct."""
    first, listed = found[0], faults(found, measured, loss)
    change = _change_without_gradient(first, measured, loss, max(tolerance, first.residual))
    for part in ("soft", "hard"):
        if change and (missing := f"{part}_term_missing") in first.codes:
            detached = finding("student_detached", part=part, measured=0.0, change_of_value=change)
            return [detached if f.code == missing else f for f in listed]
    if change:
        return [*listed, finding("value_without_gradient", change=change, expected=0.0)]
    if not listed:
        difference, value = measured[0].difference(loss), _constant(first, measured[0], loss)
        return [finding("correct", difference=difference, value=value)]
    return listed
