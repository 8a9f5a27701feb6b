"""Verdicts in words: sentences for a chapter, phrases for other pages, and every claim on one page as a table."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from kdstudy.stats import paired
from kdstudy.study.claims import CONTRADICTED, MIXED, SUPPORTED, UNDECIDED, Claim, load, overall
from kdstudy.study.measures import POINTS, measure

SIGNS = {SUPPORTED: "●", CONTRADICTED: "✖", MIXED: "◐", UNDECIDED: "◆"}
SHADES = {SUPPORTED: "info", CONTRADICTED: "danger", MIXED: "warning", UNDECIDED: "text-muted"}  # of the book's theme
LEVEL = 0.05
NO_CLAIM = "No claim compares conditions among these runs."


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
            i = paired.Interval(row["effect"], row["low"], row["high"], row["n"], row["p"])
            lines.append(f"    - {row['dataset']}: {measure(claim.measure).label} {i}: {row['verdict']}")
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


# ---------------------------------------------------------------- every claim on one page


def unit(claim: Claim) -> str:
    """The unit of a claim's effect: "points" for fractions shown as percent, else none."""
    return POINTS if measure(claim.measure).percent else ""


def p_values(rows: pd.DataFrame) -> np.ndarray:
    """Two-sided p of each row against its claim's margin, unadjusted; NaN for identities.

    The standard error is that of the row's own interval, half = t(1 - 0.05 / (2 family), n - 1) x error with the
    claim's number of rows as family: p x family < 0.05 if and only if the row has a verdict.
    """
    known, family = {c.id: c for c in load()}, rows.groupby("claim")["claim"].transform("size")
    found = []
    for row, m in zip(rows.to_dict("records"), family):
        claim, half, freedom = known[row["claim"]], row["high"] - row["effect"], max(row["n"] - 1, 1)
        away = abs(claim.direction * row["effect"] - claim.margin)
        if np.isnan(half) or claim.rule == "identity":
            found.append(np.nan)
        elif half == 0:
            found.append(float(away == 0))
        else:
            t = away / half * scipy_stats.t.ppf(1 - LEVEL / (2 * m), freedom)
            found.append(2 * float(scipy_stats.t.sf(t, freedom)) if np.isfinite(half) else 1.0)
    return np.array(found)


def holm_adjusted(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with `holm`, their p adjusted over all rows of the page, and `kept`, the verdict that this leaves.

    A verdict whose adjusted p is 0.05 or more is undecided; identities have no p and keep theirs. Holm 1979.
    """
    p = pd.Series(p_values(rows), rows.index)
    holm = pd.Series(np.nan, rows.index)
    holm[p.notna()] = paired.holm(p.dropna())
    return rows.assign(holm=holm, kept=rows["verdict"].where((holm < LEVEL) | p.isna(), UNDECIDED))


def by_claim(rows: pd.DataFrame, column: str = "verdict") -> dict[str, str]:
    """Each claim's verdict over its data sets."""
    return {key: overall(list(group[column])) for key, group in rows.groupby("claim", sort=False)}


def claims_summary(rows: pd.DataFrame) -> str:
    """Markdown: how many claims have which verdict, and how many would if all rows were one family."""
    if rows.empty:
        return NO_CLAIM
    rows, first = holm_adjusted(rows), by_claim(rows)
    counts = ", ".join(f"**{list(first.values()).count(v)} {v}**" for v in SIGNS)
    tested = rows[rows["holm"].notna()]
    decided, kept = (int((tested[c] != UNDECIDED).sum()) for c in ("verdict", "kept"))
    other = {k: v for k, v in by_claim(rows, "kept").items() if v != first[k]}
    changed = [f"{v} would be {', '.join(k for k in other if other[k] == v)}" for v in SIGNS if v in other.values()]
    return (
        f"Of {len(first)} claims: {counts}. They rest on {len(tested)} intervals, one for each claim and data set, of "
        f"which {decided} decide. With all of them as one family (Holm), {kept} still do, and "
        f"{len(other) or 'no'} claim{'s' * (len(other) > 1)} would have another verdict"
        + (f": {'; '.join(changed)}." if changed else ".")
    )


def _gain(table: pd.DataFrame) -> str:
    """KD minus hard labels in points of test accuracy on each data set; the intervals hold together."""
    both = table[table["condition"].isin(["kd", "hard"])]
    found = paired.differences(paired.tuned(both), "kd", "hard", "test_accuracy", ["dataset"])
    cells = [
        f"{r['dataset']} {100 * r['difference']:+.1f} [{100 * r['low']:+.1f}, {100 * r['high']:+.1f}]"
        for r in found.to_dict("records")
    ]
    return "; ".join(cells).replace("-", "−") or "KD and hard labels are not both among the runs"


def kd_gains(table: pd.DataFrame, decayed: pd.DataFrame) -> dict[str, str]:
    """KD's gain over hard labels at their best weight decay, at the smallest one, and of KD with a weight decay too.

    In points of test accuracy. `decayed` holds KD with every weight decay that hard labels search.
    """
    lightest = table[table["weight_decay"] == table["weight_decay"].min()]
    both = pd.concat([table[table["condition"] == "hard"], decayed])
    return {"kd-gain": _gain(table), "kd-gain-untuned": _gain(lightest), "kd-gain-decayed": _gain(both)}


def by_level(rows: pd.DataFrame) -> pd.DataFrame:
    """How many claims of each level have which verdict."""
    known, found = {c.id: c.level for c in load()}, by_claim(rows)
    frame = pd.DataFrame({"level": [known[k] for k in found], "verdict": list(found.values())})
    table = pd.crosstab(frame["level"], frame["verdict"]).reindex(columns=list(SIGNS), fill_value=0)
    return table.loc[list(dict.fromkeys(frame["level"]))].rename_axis(columns=None)


def _coloured(verdict: str, text: str) -> str:
    """Text in the colour of a verdict, as the theme has it in light and in dark mode; the text says the verdict too."""
    return f'<span style="white-space:nowrap;color:var(--pst-color-{SHADES[verdict]})">{text}</span>'


def _cell(row: Mapping[str, object], claim: Claim) -> str:
    """The verdict and effect of a claim on one data set; in brackets if one family of all rows would not decide it."""
    sign = SIGNS[row["verdict"]]
    if row["kept"] != row["verdict"]:
        sign = f"({sign})"
    value = f"{100 * row['effect']:+.1f}" if unit(claim) else f"{row['effect']:+.2f}"
    return _coloured(row["verdict"], f"{sign} {value}".replace("-", "−"))


def escaped(text: str) -> str:
    """Text that Markdown leaves as it is, in a table too."""
    return "".join(f"\\{c}" if c in "|*_$<[`" else c for c in text)


def _row(claim: Claim, rows: pd.DataFrame, names: Sequence[str]) -> str:
    """One claim as a row of the table."""
    verdict, cells = overall(list(rows["verdict"])), dict.fromkeys(names, "–")
    if claim.rule == "identity":
        about = f"identity, largest error {rows['effect'].iloc[0]:.1e}"
    else:
        cells |= {r["dataset"]: _cell(r, claim) for r in rows.to_dict("records")}
        per = f" per unit of {claim.over}" if claim.over else ""
        about = ", ".join(filter(None, (measure(claim.measure).label, unit(claim) + per)))
    source = f'<span style="font-size:0.85em;opacity:0.85">{escaped(claim.source)}; {about}</span>'
    statement = f"{escaped(claim.statement)}<br>{source}"
    wide = f'<span style="display:inline-block;min-width:15rem;white-space:normal">{statement}</span>'
    linked = f"[{claim.id}]({claim.chapter}.ipynb)<br>{_coloured(verdict, f'{SIGNS[verdict]} {verdict}')}"
    return " | ".join(("", linked, wide, *cells.values(), "")).strip()


def claims_table(rows: pd.DataFrame) -> str:
    """Markdown: one row for each claim that was judged, linked to its chapter, with its verdict on each data set."""
    if rows.empty:
        return NO_CLAIM
    rows = holm_adjusted(rows)
    names = [d for d in dict.fromkeys(rows["dataset"]) if d != "identity"]
    head = ["claim", "statement", *map(escaped, names)]
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    groups = dict(list(rows.groupby("claim")))
    return "\n".join(lines + [_row(c, groups[c.id], names) for c in load() if c.id in groups])
