"""Figures of the decomposition chapter: the grid of mass x shape, the ladder through it, and its effects."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdstudy.figures.primitives import dots, heat, lines
from kdstudy.figures.style import BROWN, LEVELS, SKY, condition_name, finish, look, nothing, panels
from kdstudy.figures.tables import bullets, by_dataset, complete, in_order, sign, with_hard
from kdstudy.stats import factorial, paired
from kdstudy.study.contrasts import LIMITS, contrasts, minus

MASSES, SHAPES = ("none", "constant", "instance"), ("uniform", "class", "instance")
MAIN, CROSSED = ("universe", "class shape", "instance shape", "instance mass"), ("mass x class", "mass x instance")
EFFECTS = {  # how each is drawn
    "universe": LEVELS["universe"],
    "class shape": LEVELS["domain"],
    "instance shape": LEVELS["instance"],
    "instance mass": LEVELS["instance"]._replace(marker="P", dash="--", filled=False),
    "mass x class": LEVELS["domain"]._replace(colour=SKY, marker="h"),
    "mass x instance": LEVELS["instance"]._replace(colour=BROWN, marker="s"),
    "KD": look("kd"),
}
PARTS = {  # decoupled KD as a 2 x 2 design: the target part off and on, the non-target part off and on
    "target part": {"hard": -1 / 2, "tckd": 1 / 2, "nckd": -1 / 2, "dkd": 1 / 2},
    "non-target part": {"hard": -1 / 2, "tckd": -1 / 2, "nckd": 1 / 2, "dkd": 1 / 2},
    "target x non-target": {"hard": 1, "tckd": -1, "nckd": -1, "dkd": 1},
    "decoupled KD less KD": {"dkd": 1, "kd": -1},
}
RECOVERED = minus({  # what partial knowledge loses against all of it
    f"{condition_name(c)} less KD": (c, "kd") for c in ("kd_sim", "kd_pt", "kd_pt_sim", "kd_pt_class", "topk")
})  # fmt: skip
ABSENT = "no data set has all the conditions that this compares"


def of_grid(fn: Callable[..., pd.DataFrame], frame: pd.DataFrame, measure: str = "test_accuracy") -> pd.DataFrame:
    """`factorial.ladder`, `effects` or `shares` of the data sets that have the whole grid; empty if none has."""
    whole = complete(frame, factorial.CONDITIONS)
    return pd.DataFrame(columns=["dataset"]) if whole.empty else fn(whole, measure)


def weighted_sums(
    frame: pd.DataFrame, sums: Mapping[str, Mapping[str, float]], measure: str = "test_accuracy"
) -> pd.DataFrame:
    """`contrasts` of each data set, those whose conditions it has; its intervals hold together."""
    return by_dataset(contrasts(frame, sums, measure, jointly=["dataset"]), frame["dataset"])


def signs(rows: pd.DataFrame) -> str:
    """Markdown: for each data set, which rows have an interval wholly above zero, and which wholly below (points)."""
    told = {}
    for dataset, group in rows.groupby("dataset", sort=False):
        sides = {"above": [], "below": [], "contains": []}
        for r in group.to_dict("records"):
            name = condition_name(r[rows.columns[1]]).replace(" x ", " × ")
            sides[sign(r)].append(f"{name} ({100 * r.get('mean', r.get('difference')):+.1f})")
        told[dataset] = "; ".join(f"{where} zero {', '.join(sides[where]) or 'none'}" for where in ("above", "below"))
    return bullets(told, f"{ABSENT.capitalize()}.")


def effect_dots(
    rows: pd.DataFrame, frame: pd.DataFrame, measure: str = "test_accuracy", what: str = "gain in"
) -> Figure:
    """Paired differences with their intervals, a panel a data set, a row for each name in the second column."""
    if rows.empty:
        return nothing(ABSENT)
    joint = "bars: 95 % paired t intervals, jointly over the rows of a panel"
    return dots(rows, frame[frame["dataset"].isin(rows["dataset"])], rows.columns[1], measure=measure, difference=what,
                note=f"{joint} · ● above zero, ✖ below, ◆ contains zero")  # fmt: skip


def grid(best: pd.DataFrame, measure: str = "test_accuracy") -> Figure:
    """Each cell of mass x shape: mean with its interval, and the paired gain over hard labels, which colours it."""
    where = {("none", "uniform"): factorial.BASELINE} | factorial.CELLS
    frame = complete(best[best["condition"].isin(where.values())], [factorial.BASELINE])
    if frame.empty:
        return nothing("no data set has hard labels")
    figure, axes = panels(in_order(frame["dataset"]), height=2.5)
    for dataset, ax in axes.items():
        _cells(ax, frame[frame["dataset"] == dataset], where, measure)
    return finish(figure, frame, "±: 95 % t intervals · in brackets and as colour: gain over hard labels")


def _cells(ax: Axes, frame: pd.DataFrame, where: Mapping[tuple[str, str], str], measure: str) -> None:
    """One panel of `grid`."""
    values = frame.groupby("condition")[measure]
    gain = values.mean() - values.mean()[factorial.BASELINE]
    table = pd.DataFrame(index=MASSES, columns=SHAPES, dtype=float)
    text = pd.DataFrame(index=MASSES, columns=SHAPES, dtype=object)
    for cell, condition in where.items():
        if condition in gain:
            i = paired.interval(values.get_group(condition))
            half = f" ± {100 * (i.high - i.mean):.1f}" if i.n > 1 else ""
            table.loc[cell] = gain[condition]
            text.loc[cell] = f"{condition_name(condition)}\n{100 * i.mean:.1f}{half}\n({100 * gain[condition]:+.1f})"
    heat(ax, table, 2 * max(gain.abs().max(), 1e-9), text=text, fontsize=6.6)
    ax.set_xlabel("shape", fontsize=8)
    ax.set_ylabel("mass off the label", fontsize=8)


def effects_by_temperature(table: pd.DataFrame, alpha: float, measure: str = "test_accuracy") -> pd.DataFrame:
    """`factorial.effects` with every cell at the same tau and `alpha`, hard labels at their best: a column tau too."""
    each = [(tau, of_grid(factorial.effects, f, measure)) for tau, f in with_hard(table, alpha).groupby("tau")]
    return pd.concat([f.assign(tau=tau) for tau, f in each] or [pd.DataFrame(columns=["dataset", "effect", "tau"])])


def sensitivity(table: pd.DataFrame, alpha: float, names: Sequence[str], measure: str = "test_accuracy") -> Figure:
    """The named effects against tau, every cell at that tau and at `alpha`; a panel a data set."""
    rows = effects_by_temperature(table, alpha, measure)
    used = table[table["dataset"].isin(rows["dataset"]) & table["condition"].isin(factorial.CONDITIONS)]
    looks = {name: EFFECTS[name]._replace(name=name.replace(" x ", " × ")) for name in names}
    return lines(rows, used, "tau", looks, by="effect", measure=measure, difference="effect on",
                 note=f"bars: 95 % paired t intervals, jointly over a temperature's effects · α = {alpha:g}",
                 why=f"no data set has the whole grid at α = {alpha:g}")  # fmt: skip


def with_decay(table: pd.DataFrame, decayed: pd.DataFrame, measure: str = "test_accuracy") -> pd.DataFrame:
    """Paired differences where both sides search a weight decay: `decayed` holds KD and matched smoothing with one.

    Each condition at its setting best on validation; the intervals of a pair hold jointly over data sets.
    """
    best = paired.tuned(pd.concat([table[table["condition"] == "hard"], decayed]))
    pairs = (("kd", "hard"), ("label_smoothing_matched", "hard"), ("kd", "label_smoothing_matched"))
    sums = minus({" less ".join(map(condition_name, pair)): pair for pair in pairs})
    return contrasts(best, sums, measure, name="pair", jointly=["pair"])[["pair", "dataset", *LIMITS]]
