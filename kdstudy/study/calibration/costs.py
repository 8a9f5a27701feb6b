"""What the faults that a diagnosis finds cost students: the claims of this study that measured it, in words."""

import json
from collections.abc import Iterable

import pandas as pd

from kdstudy.diagnosis.rulebook import COSTS
from kdstudy.diagnosis.rules import RULES
from kdstudy.study import claims, plans, verdicts


def named() -> dict[str, claims.Claim]:
    """The claims that findings name, by id."""
    wanted = {rule.claim for rule in RULES.values()}
    return {claim.id: claim for claim in claims.load() if claim.id in wanted}


def judged() -> pd.DataFrame:
    """The rows of those claims, of the runs that are published; nothing is trained."""
    chapters = dict.fromkeys(claim.chapter for claim in named().values())
    return pd.concat([claims.chapter(name, plans.study(name, executor="stored")) for name in chapters])


def in_words(rows: pd.DataFrame) -> dict[str, str]:
    """By id: what was claimed, its verdict, and the effects from the least to the greatest on the beds that vote."""
    given, out = claims.by_claim(rows), {}
    for key, claim in named().items():
        its = rows[(rows["claim"] == key) & (rows["at"] == claims.places(claim)[0])]
        votes = its[its["votes"].astype(bool)]
        out[key] = f"{claim.statement} This study's runs: {_found(claim, given.get(key, ''), votes)} (claim {key})."
    return out


def _found(claim: claims.Claim, verdict: str, votes: pd.DataFrame) -> str:
    if votes.empty:
        return "no admitted bed has them"
    what = f"{verdicts.unit(claim)} of {verdicts.measure(claim.measure).label}".strip()
    ends = " to ".join(dict.fromkeys(verdicts.number(e, claim) for e in votes["effect"].agg(["min", "max"])))
    return f"{verdict}, {ends} {what} on {_counted(votes['dataset'])}"


def _counted(beds: Iterable[str]) -> str:
    number = len(set(beds))
    return f"{number} bed{'s' * (number != 1)}"


def write(rows: pd.DataFrame | None = None) -> dict[str, str]:
    """Write what findings say of their costs, of these rows or of the published results."""
    found = in_words(judged() if rows is None else rows)
    COSTS.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return found
