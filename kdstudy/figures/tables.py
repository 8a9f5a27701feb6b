"""Tables and sentences of the book: how a table looks, which differences lie above or below zero."""

from collections.abc import Iterable, Mapping
from html import escape

import pandas as pd
from pandas.io.formats.style import Styler

from kdstudy.core.findings import escaped
from kdstudy.figures.style import condition_name
from kdstudy.study.measures import measure


def listing(frame: pd.DataFrame, digits: int = 4) -> Styler:
    """A table for a page: floats to `digits` significant digits, nothing where a value does not apply."""
    shown = frame.reset_index() if any(frame.index.names) else frame
    styled = shown.rename(columns=lambda name: escape(str(measure(name).label))).style.hide(axis="index")
    return styled.format(
        lambda v: "" if pd.isna(v) else f"{v:.{digits}g}" if isinstance(v, float) else escape(str(condition_name(v)))
    )


def shared_table(name: str, frame: pd.DataFrame) -> Styler:
    """A table for this page that other pages show too: `{glue:any} name`, in a `{div} shared-table` for its look."""
    from myst_nb import glue

    table = listing(frame)
    glue(name, table, display=False)
    return table


def points(value: float, low: float | None = None, high: float | None = None, digits: int = 1) -> str:
    """A difference of fractions in points, with its interval if given: "+3.1 [+1.9, +4.3]"."""
    first, *limits = (f"{100 * v:+z.{digits}f}".replace("-", "−") for v in (value, low, high) if v is not None)
    return f"{first} [{', '.join(limits)}]" if limits else first


def in_order(values: Iterable[object]) -> list:
    """Each value once, in the order in which it first appears."""
    return list(dict.fromkeys(values))


def sign(row: Mapping[str, object]) -> str:
    """Where an interval lies: "above" zero, "below" it, or it "contains" zero."""
    return "above" if row["low"] > 0 else "below" if row["high"] < 0 else "contains"


def bullets(lines: Mapping[str, str], empty: str) -> str:
    """Markdown: a bullet for each name in bold and what is said of it; `empty` if there is none."""
    return "\n".join(f"- **{escaped(name)}**: {text}" for name, text in lines.items()) or empty
