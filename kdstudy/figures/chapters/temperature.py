"""The temperature chapter: what each level gives along τ, who fails at the hot end, what a search hides."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from kdstudy.figures.primitives import lines
from kdstudy.figures.shared.effects import effect_lines, level_effects
from kdstudy.figures.style import ramp
from kdstudy.figures.tables import complete, in_order, with_hard
from kdstudy.stats import factorial, paired
from kdstudy.study import theory

SHOWN = ("label_smoothing_matched", "class_matched", "kd_pt", "kd")
HALF = 0.005  # half a point of accuracy


def gain_shares(table: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """`factorial.shares` of test accuracy at each temperature; the intervals of a data set hold together."""
    frame, rows = with_hard(table, alpha), []
    taus = sorted(frame["tau"].unique())
    for tau, group in frame.groupby("tau"):
        whole = complete(group, in_order(factorial.LEVELS.values()))
        if len(whole):
            found = factorial.shares(whole, "test_accuracy", level=1 - 0.05 / len(taus))
            rows.append(found.assign(tau=tau))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=["dataset", "tau", "level"])


def effects(fixed: pd.DataFrame, alpha: float) -> Figure:
    """What each level is worth at each temperature, of a table as `with_hard` gives it."""
    note = f"bars: 95 % paired t intervals, jointly over each line and all data sets · α = {alpha:g}"
    return effect_lines(level_effects(fixed, ["dataset", "tau"]), fixed, "tau", note)


def shares(table: pd.DataFrame, alpha: float) -> Figure:
    """Each level's share of KD's gain at each temperature."""
    note = f"bars: 95 % paired t intervals, jointly over a panel · α = {alpha:g}"
    rows = gain_shares(table, alpha)
    return effect_lines(rows, with_hard(table, alpha), "tau", note, difference="share of KD's gain in")


def collapses(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """`theory.collapses` in words: a row for each combination of `by`, a column a temperature."""
    rows = theory.collapses(table, by)
    cells = [f"{r.step:.2g}" + (f", {r.collapsed} of {r.n} collapsed" if r.collapsed else "")
             for r in rows.itertuples()]  # fmt: skip
    wide = pd.Series(cells, rows.index, dtype=object).unstack("tau")[
        sorted(in_order(rows.index.get_level_values("tau")))
    ]
    wide = wide.loc[in_order(i[:-1] if len(i) > 2 else i[0] for i in rows.index)]
    return wide.rename(columns=lambda t: f"τ = {t:g}").rename_axis(columns=None)


def plateau(table: pd.DataFrame, alpha: float, conditions: Sequence[str] = SHOWN) -> pd.DataFrame:
    """For each data set and condition at this weight: the temperature best on validation, and the range of those whose
    mean test accuracy is at most half a point below it, the mean mass off the label there, and test accuracy at the
    lowest temperature, the best and the highest.
    """
    rows, frame = [], with_hard(table, alpha)
    frame = frame[frame["condition"].isin(conditions)]
    for (dataset, condition), group in frame.groupby(["dataset", "condition"], sort=False):
        mean = group.groupby("tau")[["test_accuracy", "target_mass"]].mean()
        best = paired.tuned(group)["tau"].iloc[0]
        near = mean[mean["test_accuracy"] >= mean["test_accuracy"][best] - HALF]
        rows.append({
            "dataset": dataset, "condition": condition, "best τ": best,
            "τ near it": _span(near.index.to_numpy(), "g"), "mass": _span(near["target_mass"], ".2g"),
            "lowest τ": mean["test_accuracy"].iloc[0], "at best": mean["test_accuracy"][best],
            "highest τ": mean["test_accuracy"].iloc[-1],
        })  # fmt: skip
    return pd.DataFrame(rows)


def _span(values: paired.Values, form: str) -> str:
    """The smallest and the largest value in words."""
    return "–".join(dict.fromkeys((f"{min(values):{form}}", f"{max(values):{form}}")))


def widths(wide: pd.DataFrame) -> Figure:
    """Test accuracy of KD against the temperature, a line for each width of the student over the least."""
    rows, note = wide, ""
    if len(wide):
        units = wide["hidden"].map(lambda h: sum(map(int, h.split("x"))) if h[0].isdigit() else 1)
        width = units / units.groupby(wide["dataset"]).transform("min")
        rows = paired.summary(wide.assign(width=width), "test_accuracy", ["dataset", "width", "tau"])
        note = f"bars: 95 % t intervals over seeds · α = {wide['alpha'].iloc[0]:g}"
    looks = ramp(rows.get("width", ()), "student's width × {:g}")
    return lines(rows, wide, "tau", looks, by="width", note=note, why="KD is not among the runs")


def reach(table: pd.DataFrame) -> pd.DataFrame:
    """`level_effects` with every condition at its best within a search of τ that ends at `top`, for each end."""
    ends = sorted(table["tau"].dropna().unique()) if "tau" in table else []
    best = [paired.tuned(table[table["tau"].isna() | (table["tau"] <= top)]).assign(top=top) for top in ends]
    if not best:
        return pd.DataFrame(columns=["dataset", "top", "level"])
    return level_effects(pd.concat(best), ["dataset", "top"])


def reached(table: pd.DataFrame) -> Figure:
    """What each level is worth against the highest temperature searched."""
    note = "each condition at its setting best on validation · bars: 95 % paired t intervals, jointly over each line"
    return effect_lines(reach(table), table, "top", f"{note} and all data sets")
