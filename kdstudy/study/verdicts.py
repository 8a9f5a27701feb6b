"""Verdicts in words: sentences for a chapter, phrases for other pages, and every claim on one page as a table.

All take the rows of `claims.chapter` or `claims.board`; the rows that vote are one family (Holm 1979).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from kdstudy.core import paths
from kdstudy.core.findings import escaped
from kdstudy.stats import paired
from kdstudy.study import claims
from kdstudy.study.claims import CONTRADICTED, IDENTITY, MIXED, NONE, SUPPORTED, UNDECIDED, Claim
from kdstudy.study.measures import POINTS, measure

SIGNS = {SUPPORTED: "●", CONTRADICTED: "✖", NONE: "■", MIXED: "◐", UNDECIDED: "◆"}
SHADES = {  # of the book's theme
    SUPPORTED: "info", CONTRADICTED: "danger", NONE: "secondary", MIXED: "warning", UNDECIDED: "text-muted",
}  # fmt: skip
SAID = {SUPPORTED: "for", CONTRADICTED: "against", NONE: NONE, UNDECIDED: UNDECIDED}
AT = {claims.OWN: "", "at_kd": "at KD's setting ", "at_hard": "at hard labels' setting "}
MARKS = {
    "holm": ("†", "undecided if all verdicts of the page are one family (Holm)"),
    "edge": ("‡", "rests on a setting at an edge of its search"),
    "search": ("§", "another verdict if settings had no uncertainty"),
}
LEVEL = 0.05
NO_CLAIM = "No claim compares conditions among these runs."


def marked(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with `holm`, their p adjusted over all that vote; `kept`, the verdict that this leaves; and `marks`.

    A vote whose adjusted p is 0.05 or more is undecided; identities have no p and keep theirs.
    """
    votes, holm = rows["votes"].astype(bool), pd.Series(np.nan, rows.index)
    tested = rows["p"].notna() & votes
    holm[tested] = paired.holm(rows.loc[tested, "p"].astype(float))
    kept = rows["verdict"].where(~(holm >= LEVEL), UNDECIDED)
    found = {"holm": kept != rows["verdict"], "edge": rows["edge"].eq(True), "search": rows["search"].eq(True)}
    marks = ["".join(MARKS[name][0] for name, each in found.items() if each[i]) for i in rows.index]
    return rows.assign(holm=holm, kept=kept, marks=pd.Series(marks, rows.index, dtype=str))


def legend(marks: str) -> str:
    """What these marks say, one sentence."""
    said = [f"{sign} {words}" for sign, words in MARKS.values() if sign in marks]
    return f"{'; '.join(said)}." if said else ""


def summary(group: pd.DataFrame) -> tuple[str, str]:
    """A claim's verdict over the beds that vote, with its counts where mixed; and the marks that it carries.

    The verdict rests on an edge if it would be another one without the beds whose settings lie there.
    """
    votes = group[group["votes"].astype(bool)]
    given, firm = (claims.overall(list(votes[c])) for c in ("verdict", "kept"))
    inside = claims.overall(list(votes.loc[~votes["edge"].eq(True), "verdict"]))
    found = {"holm": firm != given, "edge": inside != given, "search": votes["search"].eq(True).any()}
    counts = Counter(votes["verdict"])
    told = ", ".join(f"{counts[v]} {word}" for v, word in SAID.items() if counts[v])
    text = f"{given} ({told})" if given == MIXED else given if len(votes) else f"{UNDECIDED} (no bed votes)"
    return text, "".join(MARKS[name][0] for name, holds in found.items() if holds)


# ---------------------------------------------------------------- numbers


def unit(claim: Claim) -> str:
    """The unit of a claim's effect: "points" for fractions shown as percent, else none."""
    return POINTS if measure(claim.measure).percent else ""


def number(value: float, claim: Claim, sign: str = "+") -> str:
    """An effect in the claim's unit, with a true minus."""
    digits = 1 if unit(claim) else 2
    return f"{measure(claim.measure).scale * value:{sign}z.{digits}f}".replace("-", "−")


def interval(row: Mapping[str, object], claim: Claim) -> str:
    """An effect with its interval and unit."""
    middle, low, high = (number(row[name], claim) for name in ("effect", "low", "high"))
    return f"{middle}{f' {unit(claim)}' if unit(claim) else ''} [{low}, {high}]"


def _tested(row: Mapping[str, object], claim: Claim) -> str:
    """An effect with all that a reader needs to judge it, and its verdict."""
    p = "p < .001" if row["p"] < 0.001 else f"p = {row['p']:.3f}".replace("0.", ".")
    seen = number(row["detectable"], claim, "")
    rests = f"n = {row['n']}, {p}, smallest detectable {seen}"
    return f"{AT[row['at']]}{interval(row, claim)} ({rests}): {row['verdict']}{row['marks']}"


def _about(claim: Claim) -> str:
    """What a claim's effect is in: of accuracy nothing need be said."""
    return "" if claim.measure == "test_accuracy" else f", {measure(claim.measure).label}"


def sentences(rows: pd.DataFrame) -> str:
    """Markdown: each claim with its verdict, below it a line for each bed, with the numbers that it rests on."""
    if rows.empty:
        return NO_CLAIM
    rows, by_id, lines = marked(rows), {c.id: c for c in claims.load()}, []
    for key, group in rows.groupby("claim", sort=False):
        claim, (verdict, marks) = by_id[key], summary(group)
        lines.append(
            f"- **{claim.id}: {verdict}{marks}.** {claim.statement} ({claim.kind}{_about(claim)}; {claim.source})"
        )
        if claim.kind == IDENTITY:
            lines.append(f"    - largest error {group['effect'].iloc[0]:.1e} over {group['n'].iloc[0]} random cases")
            continue
        for bed, each in group.groupby("dataset", sort=False):
            silent = "" if each["votes"].any() else " (does not vote)"
            tested = "; ".join(_tested(r, claim) for r in each.to_dict("records"))
            lines.append(f"    - {escaped(bed)}{silent}: {tested}")
    return "\n".join(lines) + f"\n\n{legend(''.join(lines))}"


def _extent(claim: Claim, votes: pd.DataFrame) -> str:
    """From the least effect to the greatest; nothing without votes."""
    ends = (votes["effect"].min(), votes["effect"].max()) if len(votes) else ()
    return " to ".join(dict.fromkeys(number(e, claim) for e in ends))


def phrases(rows: pd.DataFrame) -> dict[str, str]:
    """Of each claim: its verdict as "<id>", the numbers of its votes as "<id>-numbers", from the least to the greatest
    as "<id>-range"; of a claim that has no rows "not judged".
    """
    found, by_id = defaultdict(lambda: "not judged"), {c.id: c for c in claims.load()}
    for key, group in marked(rows).groupby("claim", sort=False):
        claim, votes = by_id[key], group[group["votes"].astype(bool)]
        if claim.kind == IDENTITY:
            numbers = extent = f"largest error {group['effect'].iloc[0]:.1e}"
        else:
            numbers = "; ".join(f"{escaped(r['dataset'])} {interval(r, claim)}" for r in votes.to_dict("records"))
            extent = _extent(claim, votes)
        found |= {key: "".join(summary(group)), f"{key}-numbers": numbers or "no bed votes",
                  f"{key}-range": extent or "unknown"}  # fmt: skip
    return found


def glue(rows: pd.DataFrame, more: Mapping[str, str] | None = None) -> None:
    """Make the phrases, the number of seeds as "seeds", and `more` available to other pages of the book."""
    from myst_nb import glue as paste

    counts = sorted(rows.loc[rows["p"].notna(), "n"].unique())
    seeds = " to ".join(f"{n:.0f}" for n in dict.fromkeys((*counts[:1], *counts[-1:])))
    for name, text in (phrases(rows) | {"seeds": seeds or "no"} | dict(more or {})).items():
        paste(name, text, display=False)


# ---------------------------------------------------------------- every claim on one page


def tallied(rows: pd.DataFrame, column: str = "verdict") -> str:
    """How many claims have which verdict, identities apart."""
    found = Counter(claims.by_claim(rows[rows["dataset"] != IDENTITY], column).values())
    return ", ".join(f"**{found[v]} {v}**" for v in SIGNS)


def claims_summary(rows: pd.DataFrame) -> str:
    """Markdown: how many claims have which verdict, and how many would if all votes were one family."""
    if rows.empty:
        return NO_CLAIM
    rows = marked(rows)
    tested = rows[rows["holm"].notna()]
    first, firm = claims.by_claim(rows), claims.by_claim(rows, "kept")
    other = {k: v for k, v in firm.items() if v != first[k]}
    changed = [f"{v} would be {', '.join(k for k in other if other[k] == v)}" for v in SIGNS if v in other.values()]
    decided, kept = (int((tested[c] != UNDECIDED).sum()) for c in ("verdict", "kept"))
    identities = rows[rows["dataset"] == IDENTITY]
    return (
        f"Of {len(first) - len(identities)} claims: {tallied(rows)}. They rest on {len(tested)} votes, one for each "
        f"claim and admitted bed, of which {decided} decide. With all votes as one family (Holm), {kept} still do, and "
        f"{len(other) or 'no'} claim{'s' * (len(other) != 1)} would have another verdict"
        + (f": {'; '.join(changed)}." if changed else ".")
        + f" {len(identities)} identities are counted with none."
    )


def by_level(rows: pd.DataFrame) -> pd.DataFrame:
    """How many claims of each level have which verdict; identities are not counted."""
    known, found = {c.id: c.level for c in claims.load()}, claims.by_claim(rows[rows["dataset"] != IDENTITY])
    frame = pd.DataFrame({"level": [known[k] for k in found], "verdict": list(found.values())})
    table = pd.crosstab(frame["level"], frame["verdict"]).reindex(columns=list(SIGNS), fill_value=0)
    return table.loc[list(dict.fromkeys(frame["level"]))].rename_axis(columns=None)


def _coloured(verdict: str, text: str) -> str:
    """Text in the colour of a verdict, as the theme has it in light and in dark mode; the text says the verdict too."""
    return f'<span style="white-space:nowrap;color:var(--pst-color-{SHADES[verdict]})">{text}</span>'


def _votes(claim: Claim, rows: pd.DataFrame) -> str:
    """The beds of a claim, folded under the range of its effects; in brackets those that do not vote."""
    if claim.kind == IDENTITY:
        return f"largest error {rows['effect'].iloc[0]:.1e}"
    lines = []
    for row in rows[rows["at"] == claims.places(claim)[0]].to_dict("records"):
        text = f"{SIGNS[row['verdict']]} {interval(row, claim)}{row['marks']} {escaped(row['dataset'])}"
        lines.append(_coloured(row["verdict"], text if row["votes"] else f"({text})"))
    extent = _extent(claim, rows[rows["votes"].astype(bool)]) or "no bed votes"
    title = f"{extent} {unit(claim) or measure(claim.measure).label}" if lines else "no bed has its sides"
    return f"<details><summary>{title}</summary>{'<br>'.join(lines)}</details>"


def _row(claim: Claim, rows: pd.DataFrame) -> str:
    """One claim as a row of the table."""
    text, marks = summary(rows)
    verdict = claims.overall(list(rows.loc[rows["votes"].astype(bool), "verdict"]))
    source = f"{escaped(claim.source)}; {claim.kind}, {measure(claim.measure).label}".removesuffix(", test accuracy")
    small = f'<span style="font-size:0.85em;opacity:0.85">{source}</span>'
    told = f"{_coloured(verdict, f'{SIGNS[verdict]} {text}{marks}')}<br>{_votes(claim, rows)}"
    return f"| [{claim.id}]({claim.chapter}.ipynb) | {escaped(claim.statement)}<br>{small} | {told} |"


def claims_table(rows: pd.DataFrame, kinds: Iterable[str] = claims.KINDS) -> str:
    """Markdown: one row for each claim of these kinds, linked to its chapter, with its verdict and that of each bed."""
    if rows.empty:
        return NO_CLAIM
    groups = dict(list(marked(rows).groupby("claim")))
    lines = [_row(c, groups[c.id]) for c in claims.load() if c.kind in tuple(kinds) and c.id in groups]
    return "\n".join(["| claim | statement | verdict |", "| --- | --- | --- |", *lines, "", legend("".join(lines))])


# ---------------------------------------------------------------- what became of former verdicts


def _formerly(group: pd.DataFrame) -> str:
    """What a former verdict rested on: from the least effect to the greatest over its data sets."""
    if group["dataset"].iloc[0] == IDENTITY:
        return group["verdict"].iloc[0]
    percent = all(m.startswith("test acc") or m in ("test ECE", "test confidence") for m in group["measure"])
    ends = [f"{(100 if percent else 1) * group['effect'].agg(end):+.{1 if percent else 2}f}" for end in ("min", "max")]
    counts = Counter(group["bed_verdict"])
    told = ", ".join(f"{counts[v]} {word}" for v, word in SAID.items() if counts[v])
    return f"{group['verdict'].iloc[0]} ({told}): {' to '.join(dict.fromkeys(ends))}".replace("-", "−")


def former() -> pd.DataFrame:
    """The verdicts of the former protocol: `book/former_verdicts.csv`."""
    return pd.read_csv(paths.published("book") / "former_verdicts.csv")


def changes(rows: pd.DataFrame, former: pd.DataFrame) -> pd.DataFrame:
    """Each former claim that has another verdict now, both with their effects; one that is not judged any more too.

    `former`: a row for each claim and data set, with claim, statement, verdict, dataset, measure, effect, bed_verdict.
    """
    known, said = {c.id: c for c in claims.load()}, phrases(rows)
    given, found = claims.by_claim(rows), []
    for key, group in former.groupby("claim", sort=False):
        before, claim = group["verdict"].iloc[0], known.get(key)
        if given.get(key) == before:
            continue
        after = f"{said[key]}: {said[f'{key}-range']}" if key in given else "dropped" if claim is None else "not judged"
        reworded = claim is not None and claim.statement != group["statement"].iloc[0]
        found.append({"claim": key, "statement": group["statement"].iloc[0], "former protocol": _formerly(group),
                      "this protocol": after, "stated anew": claim.statement if reworded else ""})  # fmt: skip
    return pd.DataFrame(found, columns=["claim", "statement", "former protocol", "this protocol", "stated anew"])
