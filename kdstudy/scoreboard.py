"""Every claim on one page: a table of verdicts, what multiplicity leaves of them, and their effects side by side."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import stats as scipy_stats

from kdstudy import claims, stats
from kdstudy.claims import CONTRADICTED, MIXED, SUPPORTED, UNDECIDED, Claim, Tables
from kdstudy.style import PERCENT, finish, nothing, panels
from kdstudy.wording import words

SIGNS = {SUPPORTED: "●", CONTRADICTED: "✖", MIXED: "◐", UNDECIDED: "◆"}
SHADES = {SUPPORTED: "info", CONTRADICTED: "danger", MIXED: "warning", UNDECIDED: "text-muted"}  # of the book's theme
MARKERS = "os^Dv<>ph*"
LEVEL = 0.05
UNIT = {"points": 100.0, "": 1.0}


def unit(claim: Claim) -> str:
    """The unit of a claim's effect: "points" for fractions shown as percent, else none."""
    return "points" if claim.measure in PERCENT else ""


def p_values(rows: pd.DataFrame) -> np.ndarray:
    """Two-sided p of each row against its claim's margin, unadjusted; NaN for identities.

    The standard error is that of the row's own interval, half = t(1 - 0.05 / (2 family), n - 1) x error with the
    claim's number of rows as family: p x family < 0.05 if and only if the row has a verdict.
    """
    known, family = {c.id: c for c in claims.load()}, rows.groupby("claim")["claim"].transform("size")
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


def adjusted(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with `holm`, their p adjusted over all rows of the page, and `kept`, the verdict that this leaves.

    A verdict whose adjusted p is 0.05 or more is undecided; identities have no p and keep theirs. Holm 1979.
    """
    p = pd.Series(p_values(rows), rows.index)
    holm = pd.Series(np.nan, rows.index)
    holm[p.notna()] = stats.holm(p.dropna())
    return rows.assign(holm=holm, kept=rows["verdict"].where((holm < LEVEL) | p.isna(), UNDECIDED))


def overall(rows: pd.DataFrame, column: str = "verdict") -> dict[str, str]:
    """Each claim's verdict over its data sets."""
    return {key: claims.overall(list(group[column])) for key, group in rows.groupby("claim", sort=False)}


def summary(rows: pd.DataFrame) -> str:
    """Markdown: how many claims have which verdict, and how many would if all rows were one family."""
    if rows.empty:
        return "No claim compares conditions among these runs."
    rows, first = adjusted(rows), overall(rows)
    counts = ", ".join(f"**{list(first.values()).count(v)} {v}**" for v in SIGNS)
    tested = rows[rows["holm"].notna()]
    decided, kept = (int((tested[c] != UNDECIDED).sum()) for c in ("verdict", "kept"))
    other = {k: v for k, v in overall(rows, "kept").items() if v != first[k]}
    changed = [f"{v} would be {', '.join(k for k in other if other[k] == v)}" for v in SIGNS if v in other.values()]
    return (
        f"Of {len(first)} claims: {counts}. They rest on {len(tested)} intervals, one for each claim and data set, of "
        f"which {decided} decide. With all of them as one family (Holm), {kept} still do, and "
        f"{len(other) or 'no'} claim{'s' * (len(other) > 1)} would have another verdict"
        + (f": {'; '.join(changed)}." if changed else ".")
    )


def gain(table: pd.DataFrame) -> str:
    """KD less hard labels in points of test accuracy on each data set; the intervals hold together."""
    both = table[table["condition"].isin(["kd", "hard"])]
    found = stats.contrasts(stats.tuned(both), "kd", "hard", "test_accuracy", ["dataset"])
    cells = [
        f"{r['dataset']} {100 * r['difference']:+.1f} [{100 * r['low']:+.1f}, {100 * r['high']:+.1f}]"
        for r in found.to_dict("records")
    ]
    return "; ".join(cells).replace("-", "−") or "KD and hard labels are not both among the runs"


def gains(table: pd.DataFrame, decayed: pd.DataFrame) -> dict[str, str]:
    """`gain` over hard labels at their best weight decay, at the smallest one, and of KD with a weight decay too.

    `decayed` holds KD with every weight decay that hard labels search.
    """
    lightest = table[table["weight_decay"] == table["weight_decay"].min()]
    both = pd.concat([table[table["condition"] == "hard"], decayed])
    return {"kd-gain": gain(table), "kd-gain-untuned": gain(lightest), "kd-gain-decayed": gain(both)}


def by_level(rows: pd.DataFrame) -> pd.DataFrame:
    """How many claims of each level have which verdict."""
    known, found = {c.id: c.level for c in claims.load()}, overall(rows)
    frame = pd.DataFrame({"level": [known[k] for k in found], "verdict": list(found.values())})
    table = pd.crosstab(frame["level"], frame["verdict"]).reindex(columns=list(SIGNS), fill_value=0)
    return table.loc[list(dict.fromkeys(frame["level"]))].rename_axis(columns=None)


def coloured(verdict: str, text: str) -> str:
    """Text in the colour of a verdict, as the theme has it in light and in dark mode; the text says the verdict too."""
    return f'<span style="white-space:nowrap;color:var(--pst-color-{SHADES[verdict]})">{text}</span>'


def cell(row: Mapping[str, object], claim: Claim) -> str:
    """The verdict and effect of a claim on one data set; in brackets if one family of all rows would not decide it."""
    sign = SIGNS[row["verdict"]]
    if row["kept"] != row["verdict"]:
        sign = f"({sign})"
    value = f"{100 * row['effect']:+.1f}" if unit(claim) else f"{row['effect']:+.2f}"
    return coloured(row["verdict"], f"{sign} {value}".replace("-", "−"))


def escaped(text: str) -> str:
    """Text that Markdown leaves as it is, in a table too."""
    return "".join(f"\\{c}" if c in "|*_$<[`" else c for c in text)


def line(claim: Claim, rows: pd.DataFrame, names: Sequence[str]) -> str:
    """One claim as a row of the table."""
    verdict, cells = claims.overall(list(rows["verdict"])), dict.fromkeys(names, "–")
    if claim.rule == "identity":
        about = f"identity, largest error {rows['effect'].iloc[0]:.1e}"
    else:
        cells |= {r["dataset"]: cell(r, claim) for r in rows.to_dict("records")}
        per = f" per unit of {claim.over}" if claim.over else ""
        about = ", ".join(filter(None, (words(claim.measure), unit(claim) + per)))
    source = f'<span style="font-size:0.85em;opacity:0.85">{escaped(claim.source)}; {about}</span>'
    said = f"{escaped(claim.statement)}<br>{source}"
    wide = f'<span style="display:inline-block;min-width:15rem;white-space:normal">{said}</span>'
    named = f"[{claim.id}]({claim.chapter}.ipynb)<br>{coloured(verdict, f'{SIGNS[verdict]} {verdict}')}"
    return " | ".join(("", named, wide, *cells.values(), "")).strip()


def table(rows: pd.DataFrame) -> str:
    """Markdown: one row for each claim that was judged, linked to its chapter, with its verdict on each data set."""
    if rows.empty:
        return "No claim compares conditions among these runs."
    rows = adjusted(rows)
    names = [d for d in dict.fromkeys(rows["dataset"]) if d != "identity"]
    head = ["claim", "statement", *map(escaped, names)]
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    mine = dict(list(rows.groupby("claim")))
    return "\n".join(lines + [line(c, mine[c.id], names) for c in claims.load() if c.id in mine])


# ---------------------------------------------------------------- the figure


def panel_of(claim: Claim) -> str:
    """Which panel a claim's effect belongs on: what all claims there measure, at least in kind."""
    if claim.over:
        return f"slope on {claim.over}"
    if claim.measure == "test_accuracy":
        return "accuracy"
    return "points" if unit(claim) else "correlation"


def axis_label(mine: Sequence[Claim]) -> str:
    """What the effects of these claims, all of one panel, are measured in."""
    named = ", ".join(dict.fromkeys(words(c.measure) for c in mine))
    kind = unit(mine[0]) or "rank correlation or a difference of two"
    per = f" per unit of {mine[0].over}" if mine[0].over else ""
    return f"{'slope' if per else 'difference'} in {named} ({kind}{per})"


def strips(rows: pd.DataFrame, tables: Mapping[str, Tables]) -> Figure:
    """Every claim's effect on every data set: a panel a unit, a row a claim, a colour and marker a data set."""
    rows = rows[rows["dataset"] != "identity"]
    if rows.empty:
        return nothing("no claim compares conditions among the runs")
    known = {c.id: c for c in claims.load()}
    axis = {k: panel_of(known[k]) for k in dict.fromkeys(rows["claim"])}
    names, counts = list(dict.fromkeys(rows["dataset"])), pd.Series(axis).value_counts(sort=False)
    step = 0.11 * len(names) + 0.1
    tall = (counts * step + 0.55).to_numpy()
    figure, axes = panels(list(counts.index), tall.mean(), 1, gridspec_kw={"height_ratios": tall})
    looks = dict(zip(names, zip(sns.color_palette("colorblind", len(names)), MARKERS * len(names))))
    for label, ax in axes.items():
        ax.set_title("")
        ax.set_xlabel(axis_label([known[k] for k in axis if axis[k] == label]), fontsize=8)
        strip(ax, rows[rows["claim"].map(axis) == label], known, looks)
    keys = [Line2D([], [], color=c, marker=m, ls="", ms=5, label=name) for name, (c, m) in looks.items()]
    figure.legend(handles=keys, loc="lower center", bbox_to_anchor=(0.5, 0.995), ncols=min(5, len(keys)), fontsize=8)
    note = (
        "bars: 95 % t intervals, jointly over a claim's data sets · filled: supported or contradicted, open: undecided"
    )
    return finish(figure, compared(rows, tables), f"{note} · ▲ ▼ direction claimed · short line: its margin")


def compared(rows: pd.DataFrame, tables: Mapping[str, Tables]) -> pd.DataFrame:
    """The runs that these claims compare, each once."""
    found = []
    for claim in (c for c in claims.load() if c.id in set(rows["claim"])):
        frame = claims.compared(claim, tables[claim.chapter])
        found.append(frame[frame["dataset"].isin(rows["dataset"])])
    return pd.concat(found).drop_duplicates("key")


def strip(ax: Axes, rows: pd.DataFrame, known: Mapping[str, Claim], looks: Mapping[str, tuple]) -> None:
    """One panel of `strips`."""
    order, names = list(dict.fromkeys(rows["claim"])), list(looks)
    for row in rows.to_dict("records"):
        claim, (colour, marker) = known[row["claim"]], looks[row["dataset"]]
        scale = UNIT[unit(claim)]
        y = order.index(row["claim"]) + 0.72 * ((names.index(row["dataset"]) + 0.5) / len(names) - 0.5)
        if np.isfinite([row["low"], row["high"]]).all():
            ax.plot([scale * row["low"], scale * row["high"]], [y, y], color=colour, lw=1.2)
        face = "white" if row["verdict"] == UNDECIDED else colour
        ax.plot(scale * row["effect"], y, marker=marker, ms=4, color=colour, mfc=face)
        if claim.margin:
            at, middle = scale * claim.direction * claim.margin, order.index(row["claim"])
            ax.plot([at, at], [middle - 0.4, middle + 0.4], color="0.3", lw=0.8)
    ax.axvline(0, color="0.3", lw=0.8)
    ax.set_yticks(range(len(order)), [f"{k} {'▲' if known[k].direction > 0 else '▼'}" for k in order], fontsize=8)
    ax.set_ylim(len(order) - 0.5, -0.5)
    ax.grid(False, axis="y")
    for edge in range(1, len(order)):
        other = known[order[edge]].level != known[order[edge - 1]].level
        ax.axhline(edge - 0.5, color="0.5" if other else "0.88", lw=1.0 if other else 0.6, zorder=0)
