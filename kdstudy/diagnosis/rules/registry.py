"""Where rules are entered, and all of them asked in turn, with the calibrated limits.

A rule is one function of the statistics and the limits; it returns None, or severity, evidence and advice.
"""

import json
from collections.abc import Callable
from functools import cache
from importlib import resources

from kdstudy.core.findings import SEVERITIES, Finding, plain
from kdstudy.core.registry import Registry
from kdstudy.diagnosis.predicates import Limits, Values
from kdstudy.diagnosis.statistics.all import Statistics

Found = tuple[str, dict[str, object], str] | None
Rule = Callable[[Statistics, Limits], Found]

RULES: Registry[Rule] = Registry("finding")
THRESHOLDS = resources.files("kdstudy.diagnosis") / "thresholds.json"


def finding(
    unless: str = "", doubts: str = "", when: Callable[[Values, Limits], bool] | None = None
) -> Callable[[Rule], Rule]:
    """Register a rule under its function's name, which is the finding's code; its docstring says what is wrong.

    `unless` names findings that explain it away: where one of them was made, the rule is not asked. `doubts` names the
    levels that the finding puts in doubt; an error puts all in doubt. `when` is the predicate that must hold first: one
    of the statistics alone, which calibration asks of its table.
    """

    def register(rule: Rule) -> Rule:
        rule.unless, rule.doubts, rule.when = tuple(unless.split()), tuple(doubts.split()), when
        return RULES.register(rule)

    return register


@cache
def limits() -> dict[str, float]:
    """The calibrated limits by name, as study.calibration wrote them."""
    return json.loads(THRESHOLDS.read_text("utf-8"))


def findings(s: Statistics, limit: Limits | None = None) -> tuple[Finding, ...]:
    """All findings, errors first, else in the order in which rules are entered."""
    limit, made = limit or limits(), {}
    for code, rule in RULES.items():
        if made.keys() & set(rule.unless) or (rule.when and not rule.when(s, limit)):
            continue
        if found := rule(s, limit):
            severity, evidence, advice = found
            message = (rule.__doc__ or "").partition("\n")[0].rstrip(".")
            made[code] = Finding(code, severity, plain(evidence), advice, message)
    return tuple(sorted(made.values(), key=lambda f: SEVERITIES.index(f.severity)))
