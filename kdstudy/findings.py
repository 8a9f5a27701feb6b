"""What is wrong with a teacher's logits: every rule asked in turn, with the calibrated limits.

Limits are in `thresholds.json`, which `calibration.fit` writes.
"""

import json
from functools import cache
from importlib import resources

from kdstudy import findings_data, findings_teacher
from kdstudy.findings_base import RULES, Finding, Limits
from kdstudy.signals import Signals

SEVERITIES = ("error", "warning", "info")
MODULES = findings_data, findings_teacher  # they enter their rules, in the order in which these are asked


@cache
def limits() -> dict[str, float]:
    """The calibrated limits by name."""
    return json.loads((resources.files("kdstudy") / "thresholds.json").read_text("utf-8"))


def findings(signals: Signals, limit: Limits | None = None) -> tuple[Finding, ...]:
    """All findings, errors first, else in the order in which rules are entered."""
    made: dict[str, Finding] = {}
    for code, (rule, unless) in RULES.items():
        if not made.keys() & set(unless) and (found := rule(signals, limit or limits())):
            made[code] = Finding(code, *found)
    return tuple(sorted(made.values(), key=lambda f: SEVERITIES.index(f.severity)))
