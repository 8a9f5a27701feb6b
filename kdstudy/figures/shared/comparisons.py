"""The effects of claims, from their rows to a figure."""

import textwrap
from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdstudy.figures.primitives import dots, value_axis
from kdstudy.figures.style import PALE, VERDICTS, Look, condition_name, nothing
from kdstudy.figures.tables import in_order
from kdstudy.study import claims, verdicts
from kdstudy.study.claims import Claim
from kdstudy.study.experiment import Study

BESIDE = "at_hard"  # the setting at which an effect is shown and gives no verdict
JUDGED = "bars: 95 % intervals, shaded: too small to count"
LINE = 0.14  # inches of each further line of a title


def verdict_look(row: Mapping[str, object]) -> Look:
    """How a claim's effect is drawn: hollow if it does not vote, pale at the settings that only stand beside."""
    how = VERDICTS[row["verdict"]]._replace(filled=bool(row["votes"]))
    return how._replace(colour=PALE) if row["at"] == BESIDE else how


def forest(rows: pd.DataFrame, study: Study, wide: int = 3) -> Figure:
    """Effects of claims: a panel a claim with its margin shaded, a row a bed with its marks, below each other where an
    effect is shown at two settings.
    """
    rows = verdicts.marked(rows[rows["dataset"] != claims.IDENTITY]) if len(rows) else rows
    if rows.empty:
        return nothing("no claim compares conditions among the runs")
    by_claim, known = in_order(rows["claim"]), {c.id: c for c in claims.load()}
    beds, sides = in_order(rows["dataset"]), {c for k in by_claim for c in known[k].contrast}
    runs, both = study.tables["practical"], bool((rows["at"] == BESIDE).any())

    wide = min(wide, len(by_claim))
    titles = {claim: _titled(known[claim], 84 // wide) for claim in by_claim}
    head = LINE * max(title.count("\n") for title in titles.values())

    def judged(ax: Axes, claim: str) -> None:
        ax.set_title(titles[claim], fontsize=8)
        difference = "" if len(known[claim].contrast) == 1 else "difference in"
        value_axis(ax, known[claim].measure, difference, "x")
        ax.axvspan(-known[claim].margin, known[claim].margin, color="0.9", zorder=0)
        for row in rows[(rows["claim"] == claim) & (rows["marks"] != "")].to_dict("records"):
            y = beds.index(row["dataset"]) + (0.15 if row["at"] == BESIDE else -0.15) * both
            ax.annotate(row["marks"], (row["effect"], y), (3, 1), textcoords="offset points", fontsize=8)

    shown = "".join(verdicts.SIGNS[v] + f" {v}, " for v in VERDICTS) + "hollow: does not vote"
    shown += " · dark: at KD's setting, pale: at hard labels'" * both
    marks = verdicts.legend("".join(rows["marks"])).removesuffix(".").replace("; ", " · ")
    note = f"{JUDGED} · {shown}" + (f" · {marks}" if marks else "")
    compared = runs[runs["condition"].isin(sides) & runs["dataset"].isin(beds)]
    return dots(rows.assign(beside=rows["at"] == BESIDE), compared, "dataset", verdict_look, panel="claim",
                side_by_side="beside", wide=wide, head=head, decorate=judged, note=note)  # fmt: skip


def _titled(claim: Claim, width: int) -> str:
    """A claim's id, and its contrast in words, wrapped, where it is a difference of two sides."""
    sides = {w: condition_name(c) for c, w in claim.contrast.items()}
    if sorted(claim.contrast.values()) != [-1, 1]:
        return claim.id
    return f"{claim.id}\n{textwrap.fill(f'{sides[1]} − {sides[-1]}', width)}"
