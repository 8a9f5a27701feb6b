"""Claims (claims.toml), and the rule by which data give each its verdict.

A contrast of conditions, each at its setting best on validation, is judged on each data set by its
interval over seeds, widened so that the intervals of all data sets hold together: *supported* if it
lies beyond `margin` in the claimed direction, *contradicted* if it falls wholly short of `margin`;
*undecided* if it contains `margin`. Over data sets: *mixed* if some support and some contradict; else
the verdict that more than half of them give; else *undecided*.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd

from kdstudy.core import plugins
from kdstudy.distill import identities
from kdstudy.engine import ask
from kdstudy.stats import factorial, paired
from kdstudy.study import array_metrics, plans

FILE = Path(__file__).with_suffix(".toml")
COLUMNS = ["claim", "dataset", "effect", "low", "high", "n", "p", "verdict"]
SUPPORTED, CONTRADICTED, MIXED, UNDECIDED = "supported", "contradicted", "mixed", "undecided"
RULES = ("difference", "slope", "identity")
Tables = Mapping[str, pd.DataFrame]  # a chapter's answered tables, by part


@dataclass(frozen=True)
class Claim:
    """One row of claims.toml, which says what the fields mean."""

    id: str
    level: str
    chapter: str
    rule: str
    statement: str
    source: str
    identity: str = ""
    contrast: Mapping[str, float] = field(default_factory=dict)
    measure: str = ""
    direction: int = 0
    margin: float = 0.0
    part: str = "study"
    over: str = ""
    at: Mapping[str, float] = field(default_factory=dict)


def load(*paths: Path) -> list[Claim]:
    """The claims of these files: unless any is named, of `FILE` and of each plugin's .toml, which lies beside it.

    ValueError for an unknown or missing field, an unknown rule, or a repeated id.
    """
    paths = paths or (FILE, *plugins.claims())
    known, rows = {f.name for f in fields(Claim)}, [row for path in paths for row in _rows(path)]
    for row in rows:
        if odd := sorted(row.keys() - known):
            raise ValueError(
                f"claim {row.get('id')!r}: unknown field {', '.join(odd)}; there are: {', '.join(sorted(known))}"
            )
        if lack := [f.name for f in fields(Claim) if f.default is f.default_factory is MISSING and f.name not in row]:
            raise ValueError(f"claim {row.get('id')!r}: lacks {', '.join(lack)}")
        if row["rule"] not in RULES:
            raise ValueError(f"claim {row['id']!r}: rule {row['rule']!r}, allowed: {', '.join(map(repr, RULES))}")
        row["contrast"] = {c: _weight(row["id"], w) for c, w in row.get("contrast", {}).items()}
    claims = [Claim(**row) for row in rows]
    if len({c.id for c in claims}) < len(claims):
        raise ValueError(f"{', '.join(path.name for path in paths)}: an id occurs twice")
    return claims


def _rows(path: Path) -> list[dict[str, object]]:
    try:
        return tomllib.loads(path.read_text("utf-8"))["claim"]
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise ValueError(f"{path}: found no claims ({error}), allowed: TOML with a table [[claim]] for each") from error


def _weight(claim: str, text: str | float) -> float:
    """A weight of a contrast: a number, or a fraction as text."""
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"claim {claim!r}: weight {text!r}, allowed: a number or a fraction such as '-1/2'") from None


def verdict(interval: paired.Interval, direction: int, margin: float) -> str:
    """The verdict of one interval (rule above)."""
    low, high = sorted((direction * interval.low, direction * interval.high))
    if low > margin:
        return SUPPORTED
    if high < margin:
        return CONTRADICTED
    return UNDECIDED


def overall(verdicts: Sequence[str]) -> str:
    """The verdict over data sets (rule above)."""
    if SUPPORTED in verdicts and CONTRADICTED in verdicts:
        return MIXED
    for name in (SUPPORTED, CONTRADICTED):
        if 2 * list(verdicts).count(name) > len(verdicts):
            return name
    return UNDECIDED


def values(claim: Claim, frame: pd.DataFrame) -> dict[str, pd.Series]:
    """The claim's contrast for each seed, on each data set of a tuned table that has all its conditions."""
    groups = {name: g for name, g in frame.groupby("dataset", sort=False) if {*claim.contrast} <= {*g["condition"]}}
    if claim.rule == "difference":
        return {name: paired.contrast(group, claim.contrast, claim.measure) for name, group in groups.items()}
    return {name: slopes(claim, group) for name, group in groups.items()}


def slopes(claim: Claim, frame: pd.DataFrame) -> pd.Series:
    """For each seed, the least-squares slope of the contrast on the data set's option `claim.over`."""
    at = frame.groupby(frame["options"].map(lambda text: paired.option(text, claim.over)))
    by_x = pd.DataFrame({x: paired.contrast(group, claim.contrast, claim.measure) for x, group in at})
    return pd.Series(factorial.trend(list(by_x.columns), by_x), index=by_x.index)


def place(claim: Claim, name: str) -> tuple[str, str]:
    """Part and condition of a name in a contrast: "part:condition", or a condition of the claim's own part."""
    part, _, condition = name.rpartition(":")
    return part or claim.part, condition


def compared(claim: Claim, tables: Tables) -> pd.DataFrame:
    """The runs a claim compares, at the setting `claim.at` where it names one; `condition` as the contrast has it."""
    sides = []
    for name in claim.contrast:
        part, condition = place(claim, name)
        side = tables[part][tables[part]["condition"] == condition]
        for setting, value in claim.at.items() if len(side) else ():
            side = side[side[setting].isna() | (side[setting] == value)]
        sides.append(side.assign(condition=name))
    return pd.concat(sides)


def answered(claim: Claim, tables: Tables) -> bool:
    """Whether the tables have every condition the claim compares, at its setting, and what its measure needs."""
    parts = [place(claim, name)[0] for name in claim.contrast] + [array_metrics.needed(claim.measure, claim.part)]
    if claim.contrast and not all(part in tables for part in parts):
        return False
    return not claim.contrast or {*claim.contrast} <= {*compared(claim, tables)["condition"]}


def effects(claim: Claim, tables: Tables) -> pd.DataFrame:
    """Effect, interval, n and verdict of a contrast on each data set of a chapter's tables."""
    best = paired.tuned(compared(claim, tables))
    found = values(claim, array_metrics.measured(best, claim.measure, tables))
    rows = paired.intervals({(name,): each for name, each in found.items()}, ["dataset"])
    each = (paired.Interval(**row) for row in rows.drop(columns="dataset").to_dict("records"))
    judged = [verdict(i, claim.direction, claim.margin) for i in each]
    return rows.rename(columns={"mean": "effect"}).assign(claim=claim.id, verdict=judged)[COLUMNS]


def judge(claim: Claim, tables: Tables) -> pd.DataFrame:
    """The claim's rows: one for each data set, or one for an identity."""
    if claim.rule != "identity":
        return effects(claim, tables)
    found = identities.check(claim.identity)
    holds = SUPPORTED if found.holds else CONTRADICTED
    return pd.DataFrame([{"claim": claim.id, "dataset": "identity", "effect": found.error, "low": np.nan,
                          "high": np.nan, "n": found.n, "p": np.nan, "verdict": holds}])  # fmt: skip


def chapter(name: str, tables: Tables) -> pd.DataFrame:
    """All rows of the claims of a chapter whose conditions its tables hold."""
    mine = [c for c in load() if c.chapter == name and answered(c, tables)]
    rows = [found for c in mine if len(found := judge(c, tables))]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=COLUMNS)


def on_images(name: str, tables: Tables) -> pd.DataFrame:
    """The rows of a chapter's claims judged on its convolutional networks, which have fewer parts; no identities."""
    own = {"study": tables["images"], "teachers": tables["image_teachers"]}
    rows = chapter(name, own)
    return rows[rows["dataset"] != "identity"].reset_index(drop=True)


def beside(name: str, rows: pd.DataFrame, tables: Tables) -> tuple[pd.DataFrame, pd.DataFrame, Tables]:
    """The rows of a chapter's claims on images; those with the perceptrons' rows of the same claims before them; and
    the table that both rest on.
    """
    pictured = on_images(name, tables)
    kept = rows[rows["claim"].isin(pictured["claim"])]
    return pictured, pd.concat([kept, pictured]), {"study": pd.concat([tables["study"], tables["images"]])}


def board(executor: str = "local", **given: object) -> tuple[pd.DataFrame, dict[str, Tables]]:
    """The rows of all claims at these parameters, and the tables they rest on; what is None is left to each plan."""
    given = {name: value for name, value in given.items() if value is not None}
    tables = {name: ask.answer(plan(**given), executor) for name, plan in plans.PLANS.items()}
    return pd.concat([chapter(name, own) for name, own in tables.items()], ignore_index=True), tables
