"""Verdicts in words: sentences for a chapter, phrases for other pages."""

from collections.abc import Mapping

import pandas as pd

from kdstudy import stats
from kdstudy.claims import load, overall

SAID = {  # derived measures; those called likeness or order are rank correlations; and a teacher's anatomy
    "geometry_teacher": "likeness to the teacher's class geometry",
    "means_teacher": "likeness to the teacher's class means",
    "geometry_superclass": "likeness to the super-classes",
    "weight_difficulty": "w against difficulty",
    "mass_learnt": "mass learnt against taught",
    "domain_share": "domain share",
    "instance_share": "instance share",
    "tail_accuracy": "accuracy on the rarest third",
    "between_train": "variance between classes (training set)",
}


def words(measure: str) -> str:
    """A measure's column as words: "test_nll" as "test NLL"."""
    if measure in SAID:
        return SAID[measure]
    return " ".join(w.upper() if w in ("nll", "ece") else w for w in measure.split("_"))


def sentences(rows: pd.DataFrame) -> str:
    """Markdown: each claim with its verdict, and the numbers it rests on."""
    by_id, lines = {c.id: c for c in load()}, []
    for key, group in rows.groupby("claim", sort=False):
        claim = by_id[key]
        lines.append(f"- **{claim.id}: {overall(list(group['verdict']))}.** {claim.statement} ({claim.source})")
        if claim.rule == "identity":
            row = group.iloc[0]
            lines.append(f"    - largest error {row['effect']:.1e} over {row['n']} random cases")
            continue
        for row in group.to_dict("records"):
            i = stats.Interval(row["effect"], row["low"], row["high"], row["n"], row["p"])
            lines.append(f"    - {row['dataset']}: {words(claim.measure)} {i}: {row['verdict']}")
    return "\n".join(lines)


def beside(rows: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """Each claim judged on images: its verdict over the perceptrons' data sets and the convolutional networks'."""
    known = {c.id: c for c in load()}
    found = [
        {
            "claim": key,
            "statement": known[key].statement,
            "perceptrons": overall(list(rows.loc[rows["claim"] == key, "verdict"])),
            "convolutional": overall(list(group["verdict"])),
        }
        for key, group in images.groupby("claim", sort=False)
    ]
    return pd.DataFrame(found, columns=["claim", "statement", "perceptrons", "convolutional"])


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


def glue(rows: pd.DataFrame, more: Mapping[str, str] | None = None) -> None:
    """Make the phrases, the number of seeds as "seeds", and `more` available to other pages of the book."""
    from myst_nb import glue as paste

    counts = sorted(rows.loc[rows["p"].notna(), "n"].unique())
    seeds = " to ".join(f"{n:.0f}" for n in dict.fromkeys((*counts[:1], *counts[-1:])))
    for name, text in (phrases(rows) | {"seeds": seeds or "no"} | dict(more or {})).items():
        paste(name, text, display=False)
