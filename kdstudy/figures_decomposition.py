"""Figures of the decomposition chapter: the grid of mass x shape, the ladder through it, and its effects."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdstudy import factorial, stats
from kdstudy.style import (
    AXES,
    BLUE,
    BROWN,
    GREEN,
    NAMES,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    finish,
    legend,
    log_ticks,
    nothing,
    panels,
    percent,
)  # fmt: skip
from kdstudy.wording import words

MASSES, SHAPES = ("none", "constant", "instance"), ("uniform", "class", "instance")
MAIN, CROSSED = ("universe", "class shape", "instance shape", "instance mass"), ("mass x class", "mass x instance")
LOOKS = {  # of an effect
    "universe": (BLUE, "D"), "class shape": (GREEN, "^"), "instance shape": (ORANGE, "v"),
    "instance mass": (PURPLE, "P"), "mass x class": (SKY, "h"), "mass x instance": (BROWN, "s"), "KD": (RED, "o"),
}  # fmt: skip
PARTS = {  # decoupled KD as a 2 x 2 design: the target part off and on, the non-target part off and on
    "target part": {"hard": -1 / 2, "tckd": 1 / 2, "nckd": -1 / 2, "dkd": 1 / 2},
    "non-target part": {"hard": -1 / 2, "tckd": -1 / 2, "nckd": 1 / 2, "dkd": 1 / 2},
    "target x non-target": {"hard": 1, "tckd": -1, "nckd": -1, "dkd": 1},
    "decoupled KD less KD": {"dkd": 1, "kd": -1},
}
RECOVERED = {  # what partial knowledge loses against all of it
    "KD-sim less KD": {"kd_sim": 1, "kd": -1},
    "KD-pt less KD": {"kd_pt": 1, "kd": -1},
    "KD-pt + sim less KD": {"kd_pt_sim": 1, "kd": -1},
    "KD-pt + class less KD": {"kd_pt_class": 1, "kd": -1},
    "top-3 less KD": {"topk": 1, "kd": -1},
}
SIGNS = {"above": ("C0", "o"), "below": ("C3", "X"), "contains": ("0.5", "D")}
JOINT = "bars: 95 % paired t intervals, jointly over the rows of a panel"


def complete(frame: pd.DataFrame, conditions: Sequence[str] = factorial.CONDITIONS) -> pd.DataFrame:
    """The runs of the data sets that have all of these conditions."""
    held = frame.groupby("dataset")["condition"].agg(set)
    return frame[frame["dataset"].isin([name for name, have in held.items() if {*conditions} <= have])]


def of_grid(fn: Callable[..., pd.DataFrame], frame: pd.DataFrame, measure: str = "test_accuracy") -> pd.DataFrame:
    """`factorial.ladder`, `effects` or `shares` of the data sets that have the whole grid; empty if none has."""
    whole = complete(frame)
    return pd.DataFrame(columns=["dataset"]) if whole.empty else fn(whole, measure)


def contrasts(
    frame: pd.DataFrame, named: Mapping[str, Mapping[str, float]], measure: str = "test_accuracy"
) -> pd.DataFrame:
    """Weighted sums of conditions, paired by seed, by data set: columns dataset, contrast, mean, low, high, n.

    Those whose conditions a data set lacks are left out; the intervals of a data set hold together (Bonferroni).
    """
    rows = []
    for dataset, group in frame.groupby("dataset", sort=False):
        mine = {name: w for name, w in named.items() if {*w} <= {*group["condition"]}}
        for name, weights in mine.items():
            d = factorial.contrast(factorial.cells(group, measure, list(weights)), weights)
            i = stats.interval(d, family=len(mine))
            rows.append({"dataset": dataset, "contrast": name, "mean": i.mean, "low": i.low, "high": i.high, "n": i.n})
    return pd.DataFrame(rows, columns=["dataset", "contrast", "mean", "low", "high", "n"])


def called(name: str) -> str:
    """The name of a condition, a contrast or an effect in figures."""
    return NAMES.get(name, name).replace(" x ", " × ")


def side(row: Mapping[str, object]) -> str:
    """Where an interval lies: "above" zero, "below" it, or it "contains" zero."""
    return "above" if row["low"] > 0 else "below" if row["high"] < 0 else "contains"


def said(rows: pd.DataFrame) -> str:
    """Markdown: for each data set, which rows have an interval wholly above zero, and which wholly below (points)."""
    lines = []
    for dataset, group in rows.groupby("dataset", sort=False):
        parts = []
        for where in ("above", "below"):
            mine = [r for r in group.to_dict("records") if side(r) == where]
            named = ", ".join(f"{called(r[rows.columns[1]])} ({100 * r['mean']:+.1f})" for r in mine)
            parts.append(f"{where} zero {named or 'none'}")
        lines.append(f"- **{dataset}**: {'; '.join(parts)}")
    return "\n".join(lines) or "No data set has all the conditions that this compares."


def dots(rows: pd.DataFrame, frame: pd.DataFrame, measure: str = "test_accuracy", what: str = "gain in") -> Figure:
    """Paired differences with their intervals, a panel a data set, a row for each name in the second column."""
    if rows.empty:
        return nothing("no data set has all the conditions that this compares")
    column, datasets = rows.columns[1], list(dict.fromkeys(rows["dataset"]))
    names = list(dict.fromkeys(rows[column]))
    figure, axes = panels(datasets, height=0.8 + 0.24 * len(names), sharey=True)
    for dataset, ax in axes.items():
        for row in rows[rows["dataset"] == dataset].to_dict("records"):
            y, (shade, marker) = names.index(row[column]), SIGNS[side(row)]
            if np.isfinite([row["low"], row["high"]]).all():
                ax.plot([row["low"], row["high"]], [y, y], color=shade, lw=1.6)
            ax.plot(row["mean"], y, marker=marker, ms=5, color=shade)
        ax.axvline(0, color="0.3", lw=0.8)
        ax.set_yticks(range(len(names)), [called(n) for n in names])
        ax.set_ylim(len(names) - 0.5, -0.5)
        points(ax, measure, what, "x")
    used = frame[frame["dataset"].isin(datasets)]
    return finish(figure, used, f"{JOINT} · ● above zero, ✖ below, ◆ contains zero")


def points(ax: Axes, measure: str, what: str, which: str) -> None:
    """Label an axis as a difference in a measure, fractions shown as points."""
    percent(ax, measure, which)
    label = AXES.get(measure, words(measure)).replace("(%)", "(points)")
    getattr(ax, f"set_{which}label")(f"{what} {label}".strip(), fontsize=8)


def grid(best: pd.DataFrame, measure: str = "test_accuracy") -> Figure:
    """Each cell of mass x shape: mean with its interval, and the paired gain over hard labels, which colours it."""
    where = {("none", "uniform"): factorial.BASELINE} | factorial.CELLS
    frame = best[best["condition"].isin(where.values())]
    frame = complete(frame, [factorial.BASELINE])
    if frame.empty:
        return nothing("no data set has hard labels")
    figure, axes = panels(list(dict.fromkeys(frame["dataset"])), height=2.5)
    for dataset, ax in axes.items():
        cells(ax, frame[frame["dataset"] == dataset], where, measure)
    return finish(figure, frame, "±: 95 % t intervals · in brackets and as colour: gain over hard labels")


def cells(ax: Axes, frame: pd.DataFrame, where: Mapping[tuple[str, str], str], measure: str) -> None:
    """One panel of `grid`."""
    values = frame.groupby("condition")[measure]
    gain = values.mean() - values.mean()[factorial.BASELINE]
    shades = np.array([[gain.get(where.get((m, s)), np.nan) for s in SHAPES] for m in MASSES])
    top = max(np.nanmax(np.abs(shades)), 1e-9)
    ax.imshow(shades, cmap="PuOr_r", vmin=-2 * top, vmax=2 * top, aspect="auto")
    for (mass, shape), condition in where.items():
        if condition in gain:
            i = stats.interval(values.get_group(condition))
            half = f" ± {100 * (i.high - i.mean):.1f}" if np.isfinite(i.high) else ""
            text = f"{NAMES[condition]}\n{100 * i.mean:.1f}{half}\n({100 * gain[condition]:+.1f})"
            ax.text(SHAPES.index(shape), MASSES.index(mass), text, ha="center", va="center", fontsize=6.6, color="0.1")
    ax.grid(False)
    ax.set_xticks(range(3), SHAPES, fontsize=8)
    ax.set_yticks(range(3), MASSES, fontsize=8)
    ax.set_xlabel("shape", fontsize=8)
    ax.set_ylabel("mass off the label", fontsize=8)


def equal(table: pd.DataFrame, alpha: float, measure: str = "test_accuracy") -> pd.DataFrame:
    """`factorial.effects` with every cell at the same tau and `alpha`, hard labels at their best: a column tau too."""
    table = complete(table)
    hard = table[table["condition"] == factorial.BASELINE]
    hard = stats.tuned(hard) if len(hard) else hard
    others = table[table["condition"].isin(factorial.CELLS.values())]
    others = others[others["alpha"] == alpha] if len(others) else others.assign(tau=[])
    each = [(tau, complete(pd.concat([hard, group]))) for tau, group in others.groupby("tau")]
    found = [factorial.effects(f, measure).assign(tau=tau) for tau, f in each if len(f)]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["dataset", "effect", "tau"])


def sensitivity(table: pd.DataFrame, alpha: float, names: Sequence[str], measure: str = "test_accuracy") -> Figure:
    """The named effects against tau, every cell at that tau and at `alpha`; a panel a data set."""
    rows = equal(table, alpha, measure)
    if rows.empty:
        return nothing(f"no data set has the whole grid at α = {alpha:g}")
    figure, axes = panels(list(dict.fromkeys(rows["dataset"])))
    taus = sorted(rows["tau"].unique())
    for dataset, ax in axes.items():
        mine = rows[rows["dataset"] == dataset]
        for k, name in enumerate(names):
            each, (colour, marker) = mine[mine["effect"] == name].sort_values("tau"), LOOKS[name]
            at = each["tau"] * 1.05 ** (k - (len(names) - 1) / 2)
            error = np.nan_to_num([each["mean"] - each["low"], each["high"] - each["mean"]], posinf=0)
            ax.errorbar(
                at, each["mean"], error, color=colour, marker=marker, ms=4, lw=1.1, elinewidth=1, label=called(name)
            )
        ax.axhline(0, color="0.3", lw=0.8)
        log_ticks(ax, taus, "temperature τ")
        points(ax, measure, "effect on", "y")
    legend(figure, ax)
    used = table[table["dataset"].isin(axes) & table["condition"].isin(factorial.CONDITIONS)]
    return finish(figure, used, f"bars: 95 % paired t intervals, jointly over a temperature's effects · α = {alpha:g}")


def with_decay(table: pd.DataFrame, decayed: pd.DataFrame, measure: str = "test_accuracy") -> pd.DataFrame:
    """Paired differences where both sides search a weight decay: `decayed` holds KD and matched smoothing with one.

    Each condition at its setting best on validation; the intervals of a pair hold jointly over data sets.
    """
    best = stats.tuned(pd.concat([table[table["condition"] == "hard"], decayed]))
    pairs = (("kd", "hard"), ("label_smoothing_matched", "hard"), ("kd", "label_smoothing_matched"))
    found = [
        stats.contrasts(best, a, b, measure, ["dataset"]).assign(pair=f"{NAMES[a]} less {NAMES[b]}") for a, b in pairs
    ]
    columns = ["pair", "dataset", "difference", "low", "high", "n"]
    return pd.concat(found, ignore_index=True)[columns]
