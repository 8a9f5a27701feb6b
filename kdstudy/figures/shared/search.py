"""The search of each condition: its accuracy over the whole grid of settings, and what validation chose."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from kdstudy.figures.primitives import frame_cell, heat, strongest
from kdstudy.figures.style import condition_name, finish, nothing, panels
from kdstudy.figures.tables import in_order
from kdstudy.stats import factorial, paired

LOWEST, HIGHEST = "↓", "↑"
SHORT = {"tau": "τ", "alpha": "α", "epsilon": "ε", "weight_decay": "weight decay", "nontarget": "non-target"}


def surfaces(table: pd.DataFrame, conditions: Sequence[str], measure: str = "test_accuracy") -> Figure:
    """Mean gain over hard labels at every tau and alpha: a row a data set, a column a condition."""
    best = paired.tuned(table)
    hard = best[best["condition"] == factorial.BASELINE].groupby("dataset")[measure].mean()
    frame = table[table["condition"].isin(conditions) & table["dataset"].isin(hard.index)]
    frame = frame.dropna(subset=["tau", "alpha"]) if {"tau", "alpha"} <= {*frame} else frame.iloc[:0]
    if frame.empty:
        return nothing("no data set has hard labels and a condition searched over τ and α")
    datasets, shown = in_order(frame["dataset"]), [c for c in conditions if c in set(frame["condition"])]
    names, widths = [f"{d} {c}" for d in datasets for c in (*shown, "scale")], [1] * len(shown) + [0.15]
    figure, axes = panels(names, height=1.0, wide=len(shown) + 1, gridspec_kw={"width_ratios": widths})
    for dataset in datasets:
        gain = frame[frame["dataset"] == dataset].groupby(["condition", "alpha", "tau"])[measure].mean() - hard[dataset]
        for condition in shown:
            ax = axes[f"{dataset} {condition}"]
            chosen = best[(best["dataset"] == dataset) & (best["condition"] == condition)]
            image = _surface(ax, 100 * gain, chosen, condition, condition == shown[0]) or image
            title = condition_name(condition).replace(" ", "\n", 1)
            ax.set_title(title if dataset == datasets[0] else "", fontsize=7.5)
        axes[f"{dataset} scale"].set_title("")
        figure.colorbar(image, cax=axes[f"{dataset} scale"], extend="both").ax.tick_params(labelsize=7)
        axes[f"{dataset} {shown[0]}"].set_ylabel(f"{dataset}\nα", fontsize=8)
    note = "colour: points over hard labels, the strongest: or more · frame: chosen on validation · dot: best on test"
    return finish(figure, frame, note)


def _surface(ax: Axes, gain: pd.Series, chosen: pd.DataFrame, condition: str, named: bool) -> AxesImage | None:
    """One condition's gains, all on the scale of the data set; None where it has no run. `named`: with its alphas."""
    if condition not in gain.index.get_level_values(0):
        ax.set_axis_off()
        return None
    table = gain[condition].unstack("tau")
    image = heat(ax, table, strongest(gain, least=1e-9), upward=True, fontsize=7)
    ax.tick_params(length=0, pad=1, labelleft=named)
    frame_cell(ax, table.columns.get_loc(chosen["tau"].iloc[0]), table.index.get_loc(chosen["alpha"].iloc[0]))
    y, x = np.unravel_index(np.nanargmax(table.to_numpy()), table.shape)
    ax.plot(x, y, "o", ms=3, color="black")
    return image


def settings(table: pd.DataFrame) -> pd.DataFrame:
    """The setting chosen for each data set and condition; an arrow where it is at an end of more than two."""
    rows = []
    for (dataset, condition), group in table.groupby(["dataset", "condition"], sort=False):
        best, row = paired.tuned(group).iloc[0], {"dataset": dataset, "condition": condition}
        for name in paired.searched(table):
            tried = group[name].dropna().unique()
            value, ends = best[name], (tried.min(), tried.max()) if len(tried) > 2 else ()
            arrow = f" {LOWEST if value == ends[0] else HIGHEST}" if value in ends else ""
            row[name] = f"{value:g}{arrow}" if len(tried) > 1 or (len(tried) and name != "weight_decay") else ""
        rows.append(row)
    return pd.DataFrame(rows).sort_values("dataset", key=lambda s: s.map(in_order(s).index), kind="stable")


def settings_by_condition(chosen: pd.DataFrame) -> pd.DataFrame:
    """`settings` with a row for each condition and a column for each data set, settings in words."""
    names = [c for c in chosen if c not in ("dataset", "condition")]
    text = [", ".join(f"{SHORT.get(n, n)} {row[n]}" for n in names if row[n]) for row in chosen.to_dict("records")]
    wide = chosen.assign(text=text).pivot(index="condition", columns="dataset", values="text")
    return wide.loc[in_order(chosen["condition"]), in_order(chosen["dataset"])].rename_axis(columns=None)


def edges(chosen: pd.DataFrame) -> str:
    """One sentence: how many of the settings chosen stand at an end of their search."""
    text = chosen.drop(columns=["dataset", "condition"])
    highest, lowest = (int(text.map(lambda v, a=arrow: a in str(v)).to_numpy().sum()) for arrow in (HIGHEST, LOWEST))
    every = int((text != "").to_numpy().sum())
    return (
        f"Of {every} values chosen, {highest} are the highest ({HIGHEST}) and {lowest} the lowest ({LOWEST}) "
        "that were searched: there a wider search might have chosen another."
    )
