"""The search of each condition: its accuracy over the whole grid of settings, and what validation chose."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from kdstudy import factorial, stats
from kdstudy.style import NAMES, finish, nothing, panels

LOWEST, HIGHEST = "↓", "↑"
SHORT = {"tau": "τ", "alpha": "α", "epsilon": "ε", "weight_decay": "weight decay", "nontarget": "non-target"}
SATURATED = 0.75  # a fourth of the gains may have the strongest colours: a few failures would leave the rest white


def surfaces(table: pd.DataFrame, conditions: Sequence[str], measure: str = "test_accuracy") -> Figure:
    """Mean gain over hard labels at every tau and alpha: a row a data set, a column a condition."""
    best = stats.tuned(table)
    plain = best[best["condition"] == factorial.BASELINE].groupby("dataset")[measure].mean()
    frame = table[table["condition"].isin(conditions) & table["dataset"].isin(plain.index)]
    frame = frame.dropna(subset=["tau", "alpha"]) if {"tau", "alpha"} <= {*frame} else frame.iloc[:0]
    if frame.empty:
        return nothing("no data set has hard labels and a condition searched over τ and α")
    datasets, shown = list(dict.fromkeys(frame["dataset"])), [c for c in conditions if c in set(frame["condition"])]
    names = [f"{d} {c}" for d in datasets for c in (*shown, "scale")]
    widths = {"width_ratios": [1] * len(shown) + [0.15]}
    figure, axes = panels(names, height=1.0, wide=len(shown) + 1, gridspec_kw=widths)
    for dataset in datasets:
        mine = frame[frame["dataset"] == dataset]
        gain = mine.groupby(["condition", "alpha", "tau"])[measure].mean() - plain[dataset]
        for condition in shown:
            ax = axes[f"{dataset} {condition}"]
            image = surface(ax, 100 * gain, condition, best[best["dataset"] == dataset], condition == shown[0]) or image
            ax.set_title(NAMES[condition].replace(" ", "\n", 1) if dataset == datasets[0] else "", fontsize=7.5)
        axes[f"{dataset} scale"].set_title("")
        figure.colorbar(image, cax=axes[f"{dataset} scale"], extend="both").ax.tick_params(labelsize=7)
        axes[f"{dataset} {shown[0]}"].set_ylabel(f"{dataset}\nα", fontsize=8)
    note = "colour: points over hard labels, the strongest: or more · frame: chosen on validation · dot: best on test"
    return finish(figure, frame, note)


def surface(ax: Axes, gain: pd.Series, condition: str, best: pd.DataFrame, named: bool) -> AxesImage | None:
    """One condition's gains, all on the scale of the data set; None where it has no run. `named`: with its alphas."""
    ax.grid(False)
    ax.tick_params(labelsize=7, length=0, pad=1)
    if condition not in gain.index.get_level_values(0):
        ax.set_axis_off()
        return None
    table, top = gain[condition].unstack("tau"), max(float(gain.abs().quantile(SATURATED)), 1e-9)
    image = ax.imshow(table, cmap="PuOr_r", vmin=-top, vmax=top, aspect="auto", origin="lower")
    ax.set_xticks(range(table.shape[1]), [f"{v:g}" for v in table.columns])
    ax.set_yticks(range(table.shape[0]), [f"{v:g}" for v in table.index] if named else [])
    chosen = best[best["condition"] == condition].iloc[0]
    at = table.columns.get_loc(chosen["tau"]), table.index.get_loc(chosen["alpha"])
    ax.add_patch(Rectangle((at[0] - 0.46, at[1] - 0.46), 0.92, 0.92, fill=False, ec="black", lw=1.4))
    y, x = np.unravel_index(np.nanargmax(table.to_numpy()), table.shape)
    ax.plot(x, y, "o", ms=3, color="black")
    return image


def settings(table: pd.DataFrame) -> pd.DataFrame:
    """The setting chosen for each data set and condition; an arrow where it is at an end of more than two."""
    rows = []
    for (dataset, condition), group in table.groupby(["dataset", "condition"], sort=False):
        best, row = stats.tuned(group).iloc[0], {"dataset": dataset, "condition": condition}
        for name in stats.searched(table):
            tried = group[name].dropna().unique()
            value, ends = best[name], (tried.min(), tried.max()) if len(tried) > 2 else ()
            arrow = f" {LOWEST if value == ends[0] else HIGHEST}" if value in ends else ""
            row[name] = f"{value:g}{arrow}" if len(tried) > 1 or (len(tried) and name != "weight_decay") else ""
        rows.append(row)
    return pd.DataFrame(rows).sort_values("dataset", key=lambda s: s.map(list(dict.fromkeys(s)).index), kind="stable")


def beside(chosen: pd.DataFrame) -> pd.DataFrame:
    """The same with a row for each condition and a column for each data set, settings in words."""
    names = [c for c in chosen if c not in ("dataset", "condition")]
    said = [", ".join(f"{SHORT.get(n, n)} {row[n]}" for n in names if row[n]) for row in chosen.to_dict("records")]
    wide = chosen.assign(said=said).pivot(index="condition", columns="dataset", values="said")
    order = [list(dict.fromkeys(chosen[c])) for c in ("condition", "dataset")]
    return wide.loc[order[0], order[1]].rename_axis(columns=None)


def edges(chosen: pd.DataFrame) -> str:
    """One sentence: how many of the settings chosen stand at an end of their search."""
    text = chosen.drop(columns=["dataset", "condition"])
    highest, lowest = (int(text.map(lambda v, a=arrow: a in str(v)).to_numpy().sum()) for arrow in (HIGHEST, LOWEST))
    every = int((text != "").to_numpy().sum())
    return (
        f"Of {every} values chosen, {highest} are the highest ({HIGHEST}) and {lowest} the lowest ({LOWEST}) "
        "that were searched: there a wider search might have chosen another."
    )
