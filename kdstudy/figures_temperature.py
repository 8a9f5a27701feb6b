"""Figures of the temperature chapter: what each level gives along τ, who fails at the hot end, what a search hides."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdstudy import factorial, runs, stats
from kdstudy.figures_decomposition import complete
from kdstudy.style import BLUE, GREEN, PURPLE, RED, finish, legend, log_ticks, nothing, panels, percent

LEVELS = {  # a level of knowledge -> (the condition that has it, the one that lacks it)
    "universe": ("label_smoothing_matched", "hard"),
    "domain": ("class_matched", "label_smoothing_matched"),
    "instance": ("kd_pt", "label_smoothing_matched"),
    "all: KD": ("kd", "hard"),
}
LOOKS = {"universe": (BLUE, "D"), "domain": (GREEN, "^"), "instance": (PURPLE, "P"), "all: KD": (RED, "o")}
HEATS = ("#0072b2", "o"), ("#56b4e9", "s"), ("#e69f00", "D"), ("#d55e00", "^"), ("#882255", "v"), ("0.3", "P")
WIDE = 8  # times the median interval
SHOWN = ("label_smoothing_matched", "class_matched", "kd_pt", "kd")
HALF = 0.005  # half a point of accuracy


def at(table: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """All conditions at the weight `alpha`, and beside each temperature hard labels at their best weight decay."""
    if "tau" not in table or table.empty:
        return table.iloc[:0].assign(tau=[])
    plain, others = table[table["condition"] == "hard"], table[table["alpha"] == alpha]
    plain = stats.tuned(plain) if len(plain) else plain
    return pd.concat([others, *(plain.assign(tau=t) for t in sorted(others["tau"].unique()))])


def effects(frame: pd.DataFrame, by: Sequence[str], measure: str = "test_accuracy") -> pd.DataFrame:
    """Paired differences of `LEVELS` at each combination of `by`: columns of `by`, level, mean, low, high, n.

    The intervals of a level hold together. Each combination has one run of a condition and seed.
    """
    rows = [stats.contrasts(frame, *pair, measure, by).assign(level=name) for name, pair in LEVELS.items()]
    return pd.concat(rows, ignore_index=True).rename(columns={"difference": "mean"})


def shares(table: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """`factorial.shares` of test accuracy at each temperature; the intervals of a data set hold together."""
    frame, rows = at(table, alpha), []
    taus = sorted(frame["tau"].unique())
    for tau, group in frame.groupby("tau"):
        whole = complete(group, list(dict.fromkeys(factorial.LEVELS.values())))
        if len(whole):
            found = factorial.shares(whole, "test_accuracy", level=1 - 0.05 / len(taus))
            rows.append(found.assign(tau=tau))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=["dataset", "tau", "level"])


def said(rows: pd.DataFrame, x: str, sign: str) -> str:
    """Markdown: for each data set and level, at which x its interval lies wholly above zero, and at which below."""
    lines = []
    for dataset, group in rows.groupby("dataset", sort=False):
        parts = []
        for level, mine in group.groupby("level", sort=False):
            places = {"above": mine[mine["low"] > 0], "below": mine[mine["high"] < 0]}
            told = [f"{w} at {sign} = {', '.join(f'{v:g}' for v in sorted(p[x]))}" for w, p in places.items() if len(p)]
            parts.append(f"{level} {' and '.join(told) or 'nowhere apart from zero'}")
        lines.append(f"- **{dataset}**: {'; '.join(parts)}")
    return "\n".join(lines) or "No data set has the conditions that this compares."


def draw(ax: Axes, rows: pd.DataFrame, x: str, looks: Mapping[str, tuple[object, str]]) -> None:
    """Means with intervals against x, a line for each level, side by side."""
    names = [name for name in looks if name in set(rows["level"])]
    for k, name in enumerate(names):
        mine, (colour, marker) = rows[rows["level"] == name].sort_values(x), looks[name]
        error = np.nan_to_num([mine["mean"] - mine["low"], mine["high"] - mine["mean"]], posinf=0)
        place = mine[x] * 1.04 ** (k - (len(names) - 1) / 2)
        ax.errorbar(place, mine["mean"], error, color=colour, marker=marker, ms=4, lw=1.2, elinewidth=1, label=name)


def bound(ax: Axes, rows: pd.DataFrame) -> bool:
    """Keep a few intervals far wider than the others from hiding all else; whether there are any to leave the panel."""
    half = (rows["high"] - rows["mean"]).where(lambda h: np.isfinite(h), 0)
    usual = WIDE * half[half > 0].median()
    if wider := bool((half > usual).any()):
        shown = half.clip(upper=usual)
        ends = min(0, (rows["mean"] - shown).min()), max(0, (rows["mean"] + shown).max())
        ax.set_ylim(ends[0] - 0.05 * (ends[1] - ends[0]), ends[1] + 0.05 * (ends[1] - ends[0]))
    return wider


def lines(
    rows: pd.DataFrame, frame: pd.DataFrame, x: str, axis: str, what: str, note: str,
    looks: Mapping[str, tuple[object, str]] = LOOKS, measure: str = "test_accuracy",
) -> Figure:  # fmt: skip
    """Rows of `effects`, or of their form, against x: a panel a data set, a line a level, zero marked.

    `frame` holds the runs they rest on, `axis` names x, `what` y; a logarithmic axis with a tick at each x. Intervals
    of more than eight times the panel's median may leave it (`bound`).
    """
    if rows.empty:
        return nothing("no data set has the conditions that this compares")
    figure, axes = panels(list(dict.fromkeys(rows["dataset"])))
    cut = False
    for dataset, ax in axes.items():
        mine = rows[rows["dataset"] == dataset]
        draw(ax, mine, x, looks)
        cut = bound(ax, mine) or cut
        ax.axhline(0, color="0.3", lw=0.8)
        log_ticks(ax, sorted(map(float, mine[x].unique())), axis)
        percent(ax, measure)
        ax.set_ylabel(what, fontsize=8)
    full = max(axes.values(), key=lambda ax: len(ax.get_legend_handles_labels()[1]))
    legend(figure, full)
    note += " · intervals far wider than the others leave the panel" if cut else ""
    return finish(figure, frame[frame["dataset"].isin(axes)], note)


def penalties(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Test accuracy of KD at the highest temperature less that at the cooler one best on validation, paired by seed,
    for each combination of `by` (which names the data set): columns difference, low, high, n; all hold together.
    """
    kd = frame[frame["condition"] == "kd"]
    hot = kd[kd["tau"] == kd["tau"].max()].assign(condition="hot")
    warm = [stats.tuned(g) for _, g in kd[kd["tau"] < kd["tau"].max()].groupby(list(by), sort=False)]
    both = pd.concat([hot, *(w.assign(condition="warm") for w in warm)])
    found, names = stats.contrasts(both, "hot", "warm", "test_accuracy", by), list(dict.fromkeys(kd["dataset"]))
    return found.sort_values("dataset", key=lambda column: column.map(names.index), kind="stable", ignore_index=True)


def counted(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with a column `classes`: how many are left, all where none were merged."""
    left = [json.loads(text).get("merge") for text in frame["options"]]
    whole = {name: len(runs.classes(name).names) for name in frame["dataset"].unique()}
    return frame.assign(classes=[int(c or whole[d]) for c, d in zip(left, frame["dataset"])])


def steps(frame: pd.DataFrame) -> pd.DataFrame:
    """`counted` with a column `step`: the size of the first gradient of a table of students against cross-entropy's.

    A student that knows nothing has q = u. At the logits its gradient is then g = (1 - a)(u - e_t) + a tau (u - rho),
    a the weight, that of cross-entropy u - e_t, and step = sqrt(E|g|^2 / E|u - e_t|^2). With D = E|rho - e_t|^2, the
    sum of the target's parts, and m = E[1 - rho_t]: E|rho|^2 = D + 1 - 2 m, (u - e_t)(u - rho) = rho_t - 1/C.
    """
    frame = counted(frame)
    far, m, u = (
        frame[[f"target_{p}" for p in factorial.PLAYERS]].sum(axis=1),
        frame["target_mass"],
        1 / frame["classes"],
    )
    a, b = 1 - frame["alpha"], frame["alpha"] * frame["tau"]
    square = a**2 * (1 - u) + 2 * a * b * (1 - m - u) + b**2 * (far + 1 - 2 * m - u)
    return frame.assign(step=np.sqrt(square.clip(lower=0) / (1 - u)))


def collapses(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """KD's first step, and how many runs collapsed, in words: a row for each combination of `by`, a column a tau.

    Collapsed: training accuracy below the middle of chance 1/C and that of the data set's hard labels.
    """
    hard = stats.tuned(table[table["condition"] == "hard"]).groupby(["dataset", "options"])["train_accuracy"].mean()
    kd = steps(table[table["condition"] == "kd"])
    plain = [hard.get(place, np.nan) for place in zip(kd["dataset"], kd["options"])]
    lost = kd["train_accuracy"] < (1 / kd["classes"] + plain) / 2
    rows = kd.assign(lost=lost).groupby([*by, "tau"], sort=False).agg(step=("step", "mean"), lost=("lost", "sum"),
                                                                     n=("seed", "size"))  # fmt: skip
    told = [f"{r.step:.2g}" + (f", {r.lost} of {r.n} collapsed" if r.lost else "") for r in rows.itertuples()]
    wide = pd.Series(told, rows.index, dtype=object).unstack("tau")[sorted(kd["tau"].unique())]
    wide = wide.loc[list(dict.fromkeys(i[:-1] if len(i) > 2 else i[0] for i in rows.index))]
    return wide.rename(columns=lambda t: f"τ = {t:g}").rename_axis(columns=None)


def plateau(table: pd.DataFrame, alpha: float, conditions: Sequence[str] = SHOWN) -> pd.DataFrame:
    """For each data set and condition at this weight: the temperature best on validation, and the range of those whose
    mean test accuracy is at most half a point below it, the mean mass off the label there, and test accuracy at the
    lowest temperature, the best and the highest.
    """
    rows, frame = [], at(table, alpha)
    frame = frame[frame["condition"].isin(conditions)]
    for (dataset, condition), group in frame.groupby(["dataset", "condition"], sort=False):
        mean = group.groupby("tau")[["test_accuracy", "target_mass"]].mean()
        best = stats.tuned(group)["tau"].iloc[0]
        near = mean[mean["test_accuracy"] >= mean["test_accuracy"][best] - HALF]
        rows.append({
            "dataset": dataset, "condition": condition, "best τ": best,
            "τ near it": span(near.index.to_numpy(), "g"), "mass": span(near["target_mass"], ".2g"),
            "lowest τ": mean["test_accuracy"].iloc[0], "at best": mean["test_accuracy"][best],
            "highest τ": mean["test_accuracy"].iloc[-1],
        })  # fmt: skip
    return pd.DataFrame(rows)


def span(values: stats.Values, form: str) -> str:
    """The smallest and the largest value in words."""
    ends = dict.fromkeys((f"{min(values):{form}}", f"{max(values):{form}}"))
    return "–".join(ends)


def widths(wide: pd.DataFrame) -> Figure:
    """Test accuracy of KD against the temperature, a line for each number of hidden units of the student."""
    if wide.empty:
        return nothing("KD is not among the runs")
    figure, axes = panels(list(dict.fromkeys(wide["dataset"])))
    for dataset, ax in axes.items():
        mine = wide[wide["dataset"] == dataset]
        units = sorted(mine["hidden"].unique(), key=lambda h: (len(h), h))
        rows = stats.summary(mine, "test_accuracy", ["hidden", "tau"]).rename(columns={"hidden": "level"})
        draw(ax, rows, "tau", {h: HEATS[i % len(HEATS)] for i, h in enumerate(units)})
        log_ticks(ax, sorted(mine["tau"].unique()), "temperature τ")
        percent(ax, "test_accuracy")
        ax.legend(title="hidden units", fontsize=7, title_fontsize=7, loc="best")
    return finish(figure, wide, f"bars: 95 % t intervals over seeds · α = {wide['alpha'].iloc[0]:g}")


def reach(table: pd.DataFrame) -> pd.DataFrame:
    """`effects` with every condition at its best within a search of τ that ends at `top`, for each end there is."""
    ends = sorted(table["tau"].dropna().unique()) if "tau" in table else []
    best = [stats.tuned(table[table["tau"].isna() | (table["tau"] <= top)]).assign(top=top) for top in ends]
    return effects(pd.concat(best), ["dataset", "top"]) if best else pd.DataFrame(columns=["dataset", "top", "level"])
