"""One thing that is found wrong with a teacher's logits, and where its rule is entered.

A rule is one function of the signals and the calibrated limits; it returns None, or severity, evidence and advice.
`unless` names findings that explain it away: where one of them was made, the rule is not asked.
"""

from collections.abc import Callable
from dataclasses import dataclass

from kdstudy.findings_limits import Limits
from kdstudy.signals import Signals

Found = tuple[str, dict[str, object], str] | None
Rule = Callable[[Signals, Limits], Found]

RULES: dict[str, tuple[Rule, tuple[str, ...]]] = {}


@dataclass(frozen=True)
class Finding:
    """One thing that was found: its severity is "error", "warning" or "info", its evidence numbers by name."""

    code: str
    severity: str
    evidence: dict[str, object]
    advice: str


def finding(unless: str = "") -> Callable[[Rule], Rule]:
    """Register a rule under its function's name, not to be asked where one of `unless` was found."""

    def register(fn: Rule) -> Rule:
        RULES[fn.__name__] = fn, tuple(unless.split())
        return fn

    return register


def some(s: Signals, names: str) -> dict[str, object]:
    """Those signals, as evidence."""
    return {name: s[name] for name in names.split()}
