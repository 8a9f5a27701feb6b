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
Found = bool | None | tuple[str, dict[str, object], str]
Rule = Callable[[Statistics, Limits], Found]

RULES: Registry[Rule] = Registry("finding", in_workers=False)
THRESHOLDS = resources.files("kdstudy.diagnosis") / "thresholds.json"
LOST = 0.1  # of the rows left out, beyond which the rest say nothing about how sure or even the teacher is
LARGE = 1e4  # logits, where others overflow: their scale is not one that a softmax is taken of
NEAR = 0.2  # kappa that few examples may show by chance
NORMAL = 4.0  # standard errors above chance, below which nothing is claimed to be known
FIRST = 5  # rows, or runs of them, that evidence names
STEP = 2**0.125
GRID = 2 ** (np.arange(-16, 49) / 8)  # temperatures from 1/4 to 64, where the limits of the range are looked for


def finding(shows: str = "", unless: str = "", doubts: str = "", fitted: bool = False) -> Callable[[Rule], Rule]:
    """Register a rule under its function's name, which is the finding's code.

    The first line of its docstring says what is wrong, the paragraph after it what to do. It returns whether that is
    so, which makes a warning with the statistics that `shows` names as evidence; or severity, evidence and advice.
    `unless` names findings that explain it away: where one of them was made, the rule is not asked. `doubts` names the
    levels that the finding puts in doubt; an error puts all in doubt. `fitted`: it rests on numbers alone, against
    limits that were fitted, so that calibration asks it of its table of teachers.
    """
    facts = {"unless": tuple(unless.split()), "doubts": tuple(doubts.split())}
    return RULES.register(shows=shows, fitted=fitted, **facts)


@cache
def limits() -> dict[str, float]:
    """The calibrated limits by name, as study.calibration wrote them."""
    return json.loads(THRESHOLDS.read_text("utf-8"))


def findings(s: Statistics, limit: Limits | None = None) -> tuple[Finding, ...]:
    """All findings, errors first, else in the order in which rules are entered."""
    limit, made = limit or limits(), {}
    for code, rule in RULES.items():
        if made.keys() & set(rule.unless) or not (found := rule(s, limit)):
            continue
        message, _, advice = (getdoc(rule) or "").partition("\n")
        warning = "warning", s.some(rule.shows), " ".join(advice.split())
        severity, evidence, advice = found if isinstance(found, tuple) else warning
        made[code] = Finding(code, severity, plain(evidence), advice, message.rstrip("."))
    return tuple(sorted(made.values(), key=lambda f: SEVERITIES.index(f.severity)))


# ---------------------------------------------------------------- what rules have in common


def above(value: float | None, limit: float) -> bool:
    """Whether a statistic is defined and above its limit."""
    return value is not None and value > limit


def below(value: float | None, limit: float) -> bool:
    """Whether a statistic is defined and below its limit."""
    return value is not None and value < limit


def rows_lost(s: Statistics) -> bool:
    """Whether rows are left out so that the rest need not be like them: many, or some of logits that overflow."""
    return above(s["left_out"], LOST) or (above(s["left_out"], 0) and above(s["highest"], LARGE))


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
    span = f"{low:.0%} to {high:.0%} of the mass that can leave the label does, as for this study's best students"
    if mass[GRID == 1] > high:
        return {"low": 0.5, "high": 1.0, "reason": f"at tau = 1 more than {high:.0%} of the mass leaves already"}
    inside = GRID[(mass >= low) & (mass <= high)]
    if not len(inside):
        return none | {"reason": f"at no temperature from 0.25 to 64 {span}"}
    low, high = float(inside[0]), float(inside[-1])
    low, high = (low, high) if low < high else (low / STEP, high * STEP)
    return {"low": round(low, 2), "high": round(high, 2), "reason": f"there {span}"}


def row_ranges(rows: list[int]) -> str:
    """Rows as runs, at most `FIRST` of them: 3, 7-12."""
    at = np.split(np.array(rows), np.flatnonzero(np.diff(rows) != 1) + 1)
    runs = [f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in at]
    return ", ".join(runs[:FIRST]) + (f" and {len(runs) - FIRST} more runs" if len(runs) > FIRST else "")
