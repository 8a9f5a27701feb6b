"""From what explains a measured gradient to findings: each fault with the numbers that show it."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from kdstudy.lossfaults import Setting
from kdstudy.lossfit import ROUGH, Explanation, Seen, constant, difference
from kdstudy.lossreport import Finding, finding

Evidence = dict[str, object]


def _pair(weights: Float[Tensor, "2"]) -> str:
    hard, soft = weights.tolist()
    return f"{hard:.4g} hard, {soft:.4g} soft"


def _expected(meant: Setting) -> Float[Tensor, "2"]:
    return torch.tensor([1 - meant.alpha, meant.alpha * meant.scale], dtype=torch.float64)


def _of_weights(found: Explanation, at: Seen, meant: Setting) -> list[tuple[str, str, Evidence]]:
    """Code, part and evidence of each fault of an explanation's weights."""
    weights, expected, result = found.weights[0], _expected(meant), []
    b, c = at.probe.z.shape
    both = {"measured": _pair(weights), "expected": _pair(expected)}
    for factor in found.factors:
        k = 0 if factor.part == "hard" else 1
        ratio = float(weights[k] / expected[k]) if expected[k] else float("inf")
        own = {"measured": ratio, "expected": 1.0, "factor": f"{factor.words} = {factor.of(b, c):.4g}"}
        result.append((factor.code, factor.part, own if factor.words else both))
    if "other_weights" in found.codes:
        result.append(("other_weights", "both", both))
    return result


def _other_alpha(found: Explanation, meant: Setting) -> float | None:
    """The alpha that both weights agree on, if they do."""
    hard, soft = found.weights[0].tolist()
    agree = 0 <= 1 - hard <= 1 and abs(soft - (1 - hard) * meant.scale) <= ROUGH * abs(soft)
    return float(f"{1 - hard:.6g}") if agree else None


def faults(found: Sequence[Explanation], seen: Sequence[Seen], meant: Setting) -> list[Finding]:
    """The faults of the first explanation, each with its evidence; the others as what it may be instead."""
    first, others = found[0], [" and ".join(sorted(e.codes)) for e in found[1:]]
    numbers = {"difference": difference(seen[0], meant), "left": first.left}
    if "other_weights" in first.codes and (alpha := _other_alpha(first, meant)) is not None:
        listed = [("other_alpha", "both", {"measured": alpha, "expected": meant.alpha})]
    else:
        listed = _of_weights(first, seen[0], meant)
    parts, evidence = {}, {}
    for code, part, own in [*((s.code, s.part, numbers) for s in first.steps), *listed]:
        parts.setdefault(code, []).append(part)
        evidence.setdefault(code, own)
    perhaps = {"or": " or ".join(others)} if others else {}
    return [finding(code, part=" and ".join(parts[code]), **own, **perhaps) for code, own in evidence.items()]


def _unseen(found: Explanation, seen: Sequence[Seen], meant: Setting, tolerance: float) -> float:
    """How much the value changes between two students beyond what the gradient explains, as a share; nan: no value."""
    worst = 0.0
    for k, at in enumerate(seen):
        one, two = constant(at, found, k, meant)
        scale = abs(at.value) + abs(at.other) + abs(one) + abs(two)
        worst = max(worst, abs(one - two) / scale) if one - two == one - two else worst
    return worst if worst > 10 * tolerance else 0.0


def _constant(found: Explanation, seen: Sequence[Seen], meant: Setting) -> str:
    """What the value is, its constant told."""
    at = seen[0]
    p = (at.probe.v / meant.tau).log_softmax(-1)
    entropy = float(found.weights[0][1]) * float(-(p.exp() * p).sum(-1).mean())
    lacks, scale = constant(at, found, 0, meant)[0], abs(at.value) + entropy
    if abs(lacks) <= ROUGH * scale:
        return "with KL"
    if abs(lacks - entropy) <= ROUGH * scale:
        return "with cross-entropy: more by the teacher's entropy, which has no gradient"
    return f"more by {lacks:.4g}, which has no gradient"


def named(found: Sequence[Explanation], seen: Sequence[Seen], meant: Setting, tolerance: float) -> list[Finding]:
    """Findings of the explanations; of none of them a fault, that the loss is correct."""
    first, result = found[0], faults(found, seen, meant)
    unseen = _unseen(first, seen, meant, max(tolerance, first.left))
    for part in ("soft", "hard"):
        if unseen and f"{part}_term_missing" in first.codes:
            own = finding("student_detached", part=part, measured=0.0, change_of_value=unseen)
            return [own if f.code == f"{part}_term_missing" else f for f in result]
    if unseen:
        return [*result, finding("value_without_gradient", change=unseen, expected=0.0)]
    if not result:
        value = _constant(first, seen, meant)
        return [finding("correct", difference=difference(seen[0], meant), value=value)]
    return result
