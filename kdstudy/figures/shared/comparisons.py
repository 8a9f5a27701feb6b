"""From an answered table to a figure: a measure over a search, and the effects of claims."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdstudy.figures.primitives import band, dots, lines, value_axis
from kdstudy.figures.style import VERDICTS, Look, look, nothing
from kdstudy.figures.tables import in_order
from kdstudy.stats import paired
from kdstudy.study import claims

JUDGED = "bars: 95 % paired t intervals, jointly over data sets · ● supported, ✖ contradicted, ◆ undecided"


def sweep(frame: pd.DataFrame, x: str, measure: str, alpha: float | None = None) -> Figure:
    """A measure against a setting (`epsilon` or `tau`), one panel a data set, hard labels as a band."""
    if x not in frame or frame[x].isna().all():
        return nothing(f"no condition among the runs has {x}")
    varied = frame[frame[x].notna() & ((frame["alpha"] == alpha) if alpha is not None else True)]
    rows = paired.summary(varied, measure, ["dataset", "condition", x])
    hard = frame[frame["condition"] == "hard"]
    hard = paired.tuned(hard) if len(hard) else hard

    def baseline(ax: Axes, dataset: str) -> None:
        if len(mine := hard[hard["dataset"] == dataset]):
            band(ax, mine[measure], look("hard"))

    setting = "hard labels at their best weight decay" + (f" · α = {alpha:g}" if alpha is not None else "")
    note = f"bars and band: 95 % t intervals · {setting}"
    return lines(rows, frame, x, measure=measure, decorate=baseline, dodge=False, note=note)


def verdict_look(row: Mapping[str, object]) -> Look:
    """How a claim's effect is drawn."""
    return VERDICTS[row["verdict"]]


def forest(rows: pd.DataFrame, tables: Mapping[str, pd.DataFrame] | pd.DataFrame, wide: int = 3) -> Figure:
    """Paired effects of claims of one measure: a panel a claim, a row a data set, 0 marked."""
    if rows.empty:
        return nothing("no claim compares conditions among the runs")
    tables = {"study": tables} if isinstance(tables, pd.DataFrame) else tables
    by_claim, known = in_order(rows["claim"]), {c.id: c for c in claims.load()}
    compared = pd.concat([claims.compared(known[k], tables) for k in by_claim]).drop_duplicates("key")

    def measured(ax: Axes, claim: str) -> None:
        difference = "" if len(known[claim].contrast) == 1 else "difference in"
        value_axis(ax, known[claim].measure, difference, "x")

    return dots(rows, compared, "dataset", verdict_look, panel="claim", wide=min(wide, len(by_claim)), sharex=True,
                decorate=measured, note=JUDGED)  # fmt: skip
