"""Differences of two sides against what was changed: a panel for each bed, a line for each pair that is compared."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from kdstudy.figures.primitives import lines
from kdstudy.figures.style import Look
from kdstudy.study import claims
from kdstudy.study.experiment import Study

Pairs = Mapping[tuple[str, float], tuple[str, str]]  # (line, x) -> (side, the one it is compared with)
BARS = "bars: 95 % intervals, each on its own, over seeds and test examples"
NOTE = f"each side at its own choice · {BARS}, and the choice of settings"


def differences(study: Study, pairs: Pairs, x: str, part: str = "practical") -> pd.DataFrame:
    """A row for each pair and each bed that has both: `line`, the column `x`, and those of `claims.described`."""
    found = [claims.described(study, {one: 1, other: -1}, part).assign(line=line, **{x: float(at)})
             for (line, at), (one, other) in pairs.items()]  # fmt: skip
    rows, order = pd.concat(found, ignore_index=True), [e.name for e in study.experiments]
    return rows.sort_values("dataset", key=lambda d: d.map(order.index), kind="stable", ignore_index=True)


def series(
    study: Study, rows: pd.DataFrame, x: str, looks: Mapping[str, Look], why: str, part: str = "practical"
) -> Figure:
    """The rows of `differences` drawn; without any the figure says `why`."""
    if rows.empty:
        return lines(rows, rows, x, why=why)
    runs, where = study.tables[part], "each side at its own choice" if part == "practical" else "all at KD's setting"
    return lines(rows, runs[runs["dataset"].isin(rows["dataset"])], x, looks, by="line", difference="difference in",
                 wide=3, note=f"{where} · {BARS}", why=why)  # fmt: skip
