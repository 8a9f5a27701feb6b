"""What a rule is, the limits it is asked with, and the findings that all of them make of a teacher's statistics.

A rule is a function of the statistics and the limits, under `@finding`; limits were fitted by `study.calibration`. A
statistic that is not defined is None: nothing is found because of one.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from inspect import getdoc

import numpy as np

from kdstudy.core.findings import SEVERITIES, Finding, plain
from kdstudy.core.registry import Registry
from kdstudy.diagnosis.statistics.all import Statistics
from kdstudy.diagnosis.statistics.shares import mean_masses

Limits = Mapping[str, float]
Found = bool | None | dict[str, object]
Rule = Callable[[Statistics, Limits], Found]

RULES: Registry[Rule] = Registry("finding", in_workers=False)
THRESHOLDS = resources.files("kdstudy.diagnosis") / "thresholds.json"
COSTS = resources.files("kdstudy.diagnosis") / "costs.json"
NO_RUN = "This study has no run with this fault: what it costs students was not measured."
NEAR = 0.2  # kappa that few examples may show by chance
NORMAL = 4.0  # standard errors above chance, below which nothing is claimed to be known
STEP = 2**0.125
GRID = 2 ** (np.arange(-16, 49) / 8)  # temperatures from 1/4 to 64, where the limits of the range are looked for


def finding(
    shows: str = "", unless: str = "", doubts: str = "", severity: str = "warning", claim: str = ""
) -> Callable[[Rule], Rule]:
    """Register a rule under its function's name, which is the finding's code.

    The first line of its docstring says what is wrong, the paragraph after it what to do, where {name} is a statistic
    or evidence. It returns whether that is so, or more evidence beside the statistics that `shows` names; of this,
    names that begin with _ are words for the advice, and _severity and _advice go before the rule's own. `unless` names
    findings that explain it away: where one of them was made, the rule is not asked. `doubts` names the levels that the
    finding puts in doubt; an error puts all in doubt. `claim`: the claim of this study whose runs measured the damage.
    """
    facts = {"unless": tuple(unless.split()), "doubts": tuple(doubts.split())}
    return RULES.register(shows=shows, severity=severity, claim=claim, **facts)


@cache
def limits() -> dict[str, float]:
    """The calibrated limits by name, as study.calibration wrote them."""
    return json.loads(THRESHOLDS.read_text("utf-8"))


@cache
def costs() -> dict[str, str]:
    """What claims say that faults cost students, as study.calibration wrote it of the published results."""
    return json.loads(COSTS.read_text("utf-8"))


def made(s: Statistics, limit: Limits) -> dict[str, dict[str, object]]:
    """Of each rule that holds, and is not explained away: its evidence and words."""
    out: dict[str, dict[str, object]] = {}
    for code, rule in RULES.items():
        if not out.keys() & set(rule.unless) and (found := rule(s, limit)):
            out[code] = s.some(rule.shows) | (found if isinstance(found, dict) else {})
    return out


def findings(s: Statistics, limit: Limits | None = None) -> tuple[Finding, ...]:
    """All findings, errors first, else in the order in which rules are entered."""
    out = []
    for code, found in made(s, limit or limits()).items():
        message, _, advice = (getdoc(RULES[code]) or "").partition("\n")
        advice = found.get("_advice", advice).format_map(s.value | found)
        evidence = plain({name: value for name, value in found.items() if not name.startswith("_")})
        severity, cost = found.get("_severity", RULES[code].severity), costs().get(RULES[code].claim, NO_RUN)
        out.append(Finding(code, severity, evidence, " ".join(advice.split()), message.rstrip("."), cost))
    return tuple(sorted(out, key=lambda f: SEVERITIES.index(f.severity)))


# ---------------------------------------------------------------- what rules have in common


def above(value: float | None, limit: float) -> bool:
    """Whether a statistic is defined and above its limit."""
    return value is not None and value > limit


def below(value: float | None, limit: float) -> bool:
    """Whether a statistic is defined and below its limit."""
    return value is not None and value < limit


def at_chance(s: Statistics, limit: Limits) -> bool:
    """No better than class counts alone give: hardly above that, or by less than a fifth and 4 standard errors."""
    hardly = below(s["kappa"], limit["chance_kappa"])
    return hardly or (below(s["kappa"], NEAR) and below(s["z"], NORMAL))


def recommended(s: Statistics, limit: Limits) -> dict[str, object]:
    """The temperatures at which the mean mass, of the most there is, lies within the calibrated limits.

    The mean of 1 - p^tau_t over 1 - 1 / C, its limit for tau -> infinity, at temperatures from 1/4 to 64 in steps of
    2^(1/8). Where it is beyond the upper limit at tau = 1 already, nothing is to be softened: from half of that to 1.
    None with a reason for a teacher at chance, or where no temperature gives enough.
    """
    none, teacher = {"low": None, "high": None}, s.inputs.teacher
    if not len(teacher.labels):
        return none | {"reason": "no finite rows"}
    if at_chance(s, limit):
        return none | {"reason": "the teacher is at chance on these labels"}
    low, high = limit["tau_low_mass"], limit["tau_high_mass"]
    mass = mean_masses(teacher, GRID.tolist()) / (1 - 1 / s["classes"])
    span = f"{low:.0%} to {high:.0%} of the probability that can leave the label does, as for the best students here"
    if mass[GRID == 1] > high:
        reason = f"at τ = 1 more than {high:.0%} of the probability that can leave the label does already"
        return {"low": 0.5, "high": 1.0, "reason": reason}
    inside = GRID[(mass >= low) & (mass <= high)]
    if not len(inside):
        return none | {"reason": f"at no temperature from 0.25 to 64 {span}"}
    low, high = float(inside[0]), float(inside[-1])
    low, high = (low, high) if low < high else (low / STEP, high * STEP)
    return {"low": round(low, 2), "high": round(high, 2), "reason": f"there {span}"}
