"""Tables and sentences of the book: how a table looks, which differences lie above or below zero."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from kdstudy.figures.style import condition_name
from kdstudy.stats import factorial, paired
from kdstudy.study.measures import measure


def listing(frame: pd.DataFrame, digits: int = 4) -> Styler:
    """A table for a page: floats to `digits` significant digits, nothing where a value does not apply."""
    shown = frame.reset_index() if any(frame.index.names) else frame
    styled = shown.rename(columns=lambda name: measure(name).label).style.hide(axis="index")
    return styled.format(
        lambda v: "" if pd.isna(v) else f"{v:.{digits}g}" if isinstance(v, float) else condition_name(v)
    )


def points(value: float, low: float | None = None, high: float | None = None, digits: int = 1) -> str:
    """A difference of fractions in points, with its interval if given: "+3.1 [+1.9, +4.3]"."""
    first, *limits = (f"{100 * v:+.{digits}f}".replace("-", "−") for v in (value, low, high) if v is not None)
    return f"{first} [{', '.join(limits)}]" if limits else first


def in_order(values: Iterable[object]) -> list:
    """Each value once, in the order in which it first appears."""
    return list(dict.fromkeys(values))


def by_dataset(rows: pd.DataFrame, order: Iterable[str]) -> pd.DataFrame:
    """The rows with data sets in the order in which they first appear in `order`."""
    names = in_order(order)
    return rows.sort_values("dataset", key=lambda d: d.map(names.index), kind="stable", ignore_index=True)


def complete(frame: pd.DataFrame, conditions: Sequence[str] = factorial.CONDITIONS) -> pd.DataFrame:
    """The runs of the data sets that have all of these conditions."""
    have = frame.groupby("dataset")["condition"].agg(set)
    return frame[frame["dataset"].isin([name for name, found in have.items() if {*conditions} <= found])]


def sign(row: Mapping[str, object]) -> str:
    """Where an interval lies: "above" zero, "below" it, or it "contains" zero."""
    return "above" if row["low"] > 0 else "below" if row["high"] < 0 else "contains"


def count_signs(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """How many of the differences lie, interval and all, below and above 0, for each combination of `by`."""
    signs = rows.assign(cells=1, below_0=rows["high"] < 0, above_0=rows["low"] > 0)
    return signs.groupby(list(by), sort=False)[["cells", "below_0", "above_0"]].sum()


def bullets(lines: Mapping[str, str], empty: str) -> str:
    """Markdown: a bullet for each name in bold and what is said of it; `empty` if there is none."""
    return "\n".join(f"- **{name}**: {text}" for name, text in lines.items()) or empty


def at_weight(frame: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """The runs with this alpha; none where no condition has a weight and a temperature."""
    return frame[frame["alpha"] == alpha] if {"alpha", "tau"} <= {*frame} else frame.iloc[:0].assign(tau=np.nan)


def with_hard(table: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """The runs with this alpha, and beside each temperature hard labels at their best weight decay."""
    taught, hard = at_weight(table, alpha), table[table["condition"] == factorial.BASELINE]
    hard = paired.tuned(hard) if len(hard) else hard
    return pd.concat([taught, *(hard.assign(tau=t) for t in sorted(taught["tau"].unique()))])
