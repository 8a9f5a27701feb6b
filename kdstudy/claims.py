"""Claims with verdicts computed from data.

A contrast is judged on each data set by its paired interval, widened so that the intervals of all
data sets hold together: *supported* if it lies beyond `margin` in the claimed direction,
*contradicted* if it falls wholly short of `margin`; *undecided* if it contains `margin`. Over data
sets: *mixed* if some support and some contradict; else the verdict that more than half of them
give; else *undecided*.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from kdstudy import identities, stats

FILE = Path(__file__).with_suffix(".toml")
COLUMNS = ["claim", "dataset", "effect", "low", "high", "n", "p", "verdict"]
SUPPORTED, CONTRADICTED, MIXED, UNDECIDED = "supported", "contradicted", "mixed", "undecided"


@dataclass(frozen=True)
class Claim:
    """One row of claims.toml."""

    id: str
    level: str
    chapter: str
    kind: str
    statement: str
    source: str
    identity: str = ""
    treatment: str = ""
    control: str = ""
    measure: str = ""
    direction: int = 0
    margin: float = 0.0


def load(path: Path = FILE) -> list[Claim]:
    """The claims of a file; ValueError for an unknown or missing field, an unknown kind, or a repeated id."""
    known, rows = {f.name for f in fields(Claim)}, tomllib.loads(path.read_text("utf-8"))["claim"]
    for row in rows:
        if odd := sorted(row.keys() - known):
            raise ValueError(
                f"claim {row.get('id')!r}: unknown field {', '.join(odd)}; there are: {', '.join(sorted(known))}"
            )
        if lack := [f.name for f in fields(Claim) if f.default is MISSING and f.name not in row]:
            raise ValueError(f"claim {row.get('id')!r}: lacks {', '.join(lack)}")
        if row["kind"] not in ("contrast", "identity"):
            raise ValueError(f"claim {row['id']!r}: kind {row['kind']!r}, allowed: 'contrast', 'identity'")
    claims = [Claim(**row) for row in rows]
    if len({c.id for c in claims}) < len(claims):
        raise ValueError(f"{path.name}: an id occurs twice")
    return claims


def verdict(interval: stats.Interval, direction: int, margin: float) -> str:
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


def effects(claim: Claim, frame: pd.DataFrame) -> pd.DataFrame:
    """Effect, interval, n and verdict of a contrast on each data set of an answered table."""
    chosen = stats.tuned(frame[frame["condition"].isin([claim.treatment, claim.control])])
    names, rows = list(dict.fromkeys(frame["dataset"])), []
    for name in names:
        d = stats.difference(
            chosen,
            {"dataset": name, "condition": claim.treatment},
            {"dataset": name, "condition": claim.control},
            claim.measure,
        )
        i = stats.interval(d, family=len(names))
        rows.append({"claim": claim.id, "dataset": name, "effect": i.mean, "low": i.low, "high": i.high,
                     "n": i.n, "p": i.p, "verdict": verdict(i, claim.direction, claim.margin)})  # fmt: skip
    return pd.DataFrame(rows)


def judge(claim: Claim, frame: pd.DataFrame) -> pd.DataFrame:
    """The claim's rows: one for each data set, or one for an identity."""
    if claim.kind == "contrast":
        return effects(claim, frame)
    found = identities.check(claim.identity)
    holds = SUPPORTED if found.holds else CONTRADICTED
    return pd.DataFrame([{"claim": claim.id, "dataset": "identity", "effect": found.error, "low": np.nan,
                          "high": np.nan, "n": found.n, "p": np.nan, "verdict": holds}])  # fmt: skip


def chapter(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """All rows of the claims of a chapter whose conditions the table holds."""
    present = set(frame["condition"])
    mine = [c for c in load() if c.chapter == name]
    rows = [judge(c, frame) for c in mine if c.kind == "identity" or {c.treatment, c.control} <= present]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=COLUMNS)


def words(measure: str) -> str:
    """A measure's column as words: "test_nll" as "test NLL"."""
    return " ".join(w.upper() if w in ("nll", "ece") else w for w in measure.split("_"))


def sentences(rows: pd.DataFrame) -> str:
    """Markdown: each claim with its verdict, and the numbers it rests on."""
    by_id, lines = {c.id: c for c in load()}, []
    for key, group in rows.groupby("claim", sort=False):
        claim = by_id[key]
        lines.append(f"- **{claim.id}: {overall(list(group['verdict']))}.** {claim.statement} ({claim.source})")
        if claim.kind == "identity":
            row = group.iloc[0]
            lines.append(f"    - largest error {row['effect']:.1e} over {row['n']} random cases")
            continue
        for row in group.to_dict("records"):
            i = stats.Interval(row["effect"], row["low"], row["high"], row["n"], row["p"])
            lines.append(f"    - {row['dataset']}: {words(claim.measure)} {i}: {row['verdict']}")
    return "\n".join(lines)


def phrases(rows: pd.DataFrame) -> dict[str, str]:
    """Each claim's verdict as "<id>" and its numbers as "<id>-numbers"."""
    found = {}
    for key, group in rows.groupby("claim", sort=False):
        parts = [
            f"{r['dataset']} {r['effect']:+.3f} [{r['low']:+.3f}, {r['high']:+.3f}]" for r in group.to_dict("records")
        ]
        if group["low"].isna().all():
            parts = [f"largest error {group['effect'].iloc[0]:.1e}"]
        found |= {key: overall(list(group["verdict"])), f"{key}-numbers": "; ".join(parts)}
    return found


def glue(rows: pd.DataFrame) -> None:
    """Make the phrases, and the number of seeds as "seeds", available to other pages of the book."""
    from myst_nb import glue as paste

    counts = rows.loc[rows["p"].notna(), "n"]
    for name, text in (phrases(rows) | {"seeds": f"{counts.min()}" if counts.nunique() == 1 else "several"}).items():
        paste(name, text, display=False)
