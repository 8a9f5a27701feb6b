"""Figures of the instance chapter: how examples are weighed, how hard they are, what the teacher's masses do.

w is unbounded below: its axes are symmetric-logarithmic, or show ranks. Arrays are float16 as stored and are
widened before any arithmetic.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from scipy.stats import rankdata, spearmanr

from kdstudy import derived, observe, runs, stats
from kdstudy.style import AXES, NAMES, STYLE, curve, finish, legend, log_ticks, nothing, panels, percent

WATCHED = ("kd", "kd_pt", "label_smoothing_matched", "cwtm")  # whose w is shown
HEATED = ("label_smoothing_matched", "kd_pt", "kd")  # whose w and masses are kept at every temperature
PAIRS = {  # what the teacher's masses change: label -> (masses as they are, control, whose look)
    "uniform shape: KD-pt − matched smoothing": ("kd_pt", "label_smoothing_matched", "kd_pt"),
    "permuted shape: DKPP − matched smoothing": ("example_permuted", "label_smoothing_matched", "example_permuted"),
    "the teacher's shape: KD − instance shape": ("kd", "instance_matched", "kd"),
    "weights alone: CWTM − hard labels": ("cwtm", "hard", "hard"),
}
LOOKS = ("#0072b2", "o"), ("#56b4e9", "s"), ("#e69f00", "D"), ("#d55e00", "^")  # of temperatures
NO_WEIGHTS = "no condition that weighs examples is among the runs"


def wide(frame: pd.DataFrame, name: str) -> dict[str, np.ndarray]:
    """An array of every run by key, in double precision."""
    return {key: a.astype(float) for key, a in runs.arrays(frame, name).items()}


def at_best(table: pd.DataFrame, conditions: Sequence[str] = WATCHED) -> pd.DataFrame:
    """Those conditions of the table, in this order, each at its setting best on validation."""
    best = table[table["condition"].isin(conditions)]
    best = stats.tuned(best) if len(best) else best
    return best.sort_values("condition", key=lambda c: c.map(list(conditions).index), kind="stable")


def heated(table: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """The runs whose arrays are kept at every temperature: `HEATED` with weight `alpha`."""
    return table[table["condition"].isin(HEATED) & (table["alpha"] == alpha)] if "alpha" in table else table[:0]


def tenths(values: Float[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """The tenth, 0 to 9, in which each value lies; fewer groups if there are fewer than ten values."""
    return ((rankdata(values, method="ordinal") - 1) * min(10, len(values)) // len(values)).astype(int)


def by_run(frame: pd.DataFrame, pieces: Mapping[str, Sequence[float]], x: stats.Values) -> pd.DataFrame:
    """Mean and limits over seeds, at each x, of the values in `pieces` of each run."""
    rows = [{"x": at, "value": v} for key in frame["key"] for at, v in zip(x, pieces[key], strict=True)]
    return stats.summary(pd.DataFrame(rows), "value", ["x"])


def binned(values: np.ndarray, group: np.ndarray, how: Callable[[np.ndarray], float] = np.mean) -> list[float]:
    """The mean, or what `how` says, of the values in each group 0, 1, ..."""
    return [float(how(values[group == g])) for g in range(group.max() + 1)]


def symlog(ax: Axes, values: np.ndarray) -> None:
    """A y axis that is linear from -1 to 1 and logarithmic beyond, if values lie far beyond."""
    ax.axhline(0, color="0.3", lw=0.8)
    if (far := np.abs(values).max(initial=0)) < 5:
        return
    top = int(np.ceil(np.log10(far)))
    ax.set_yscale("symlog", linthresh=1)
    ax.set_yticks([0, *(s * 10.0**p for p in range(0, top + 1, 1 + (top > 3)) for s in (-1, 1) if (s, p) != (-1, 0))])
    ax.set_ylim(values.min() * (2 if values.min() < -1 else 1) - 0.3, values.max() * 1.5)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}" if abs(v) < 1000 else f"{v / 1000:g}k"))


def heat(ax: Axes, rows: pd.DataFrame, label: str) -> None:
    """Axes for what is drawn against the temperature, 0 marked."""
    ax.axhline(0, color="0.3", lw=0.8)
    log_ticks(ax, sorted(rows["tau"].unique()), "temperature τ")
    ax.set_ylabel(label)


def spread(frame: pd.DataFrame) -> Figure:
    """Percentiles of w (5, 25, 50, 75, 95) against the epoch, examples of all seeds pooled: a row a data set."""
    if frame.empty:
        return nothing(NO_WEIGHTS)
    weights, names = wide(frame, "w"), list(dict.fromkeys(frame["condition"]))
    cells = [(d, c) for d in dict.fromkeys(frame["dataset"]) for c in names]
    figure, axes = panels([f"{d}|{c}" for d, c in cells], height=1.7, wide=len(names))
    for (dataset, condition), ax in zip(cells, axes.values()):
        rows = frame[(frame["dataset"] == dataset) & (frame["condition"] == condition)]
        ax.set_title(NAMES[condition], fontsize=8)
        ax.tick_params(labelsize=7)
        if condition == names[0]:
            ax.set_ylabel(f"{dataset}\nw", fontsize=8)
        if len(rows):
            ax.set_title(f"{NAMES[condition]}\nτ {rows['tau'].iloc[0]:g}, α {rows['alpha'].iloc[0]:g}", fontsize=8)
            fan(ax, np.concatenate([weights[k] for k in rows["key"]], axis=1), rows)
    return finish(figure, frame, "line: median; bands: 25 to 75 %, 5 to 95 % of the watched examples, seeds pooled")


def fan(ax: Axes, w: Float[np.ndarray, "T N"], rows: pd.DataFrame) -> None:
    """One panel of `spread`."""
    colour, at = STYLE[rows["condition"].iloc[0]][0], observe.checkpoints(int(rows["epochs"].iloc[0]))
    lowest, low, middle, high, highest = shown = np.percentile(w, [5, 25, 50, 75, 95], axis=1)
    ax.fill_between(at, lowest, highest, color=colour, alpha=0.2, lw=0)
    ax.fill_between(at, low, high, color=colour, alpha=0.35, lw=0)
    ax.plot(at, middle, color=colour, lw=1.5, marker="o", ms=2.5)
    symlog(ax, shown)
    first, last = (100 * (w[i] < 0).mean() for i in (0, -1))
    ax.set_xlabel(f"epoch; w < 0: {first:.0f} → {last:.0f} %", fontsize=7.5)


def deciles(frame: pd.DataFrame, tables: derived.Tables) -> Figure:
    """Median w after the last epoch in each tenth of the watched examples by difficulty, over seeds."""
    if frame.empty:
        return nothing(NO_WEIGHTS)
    weights, hard = wide(frame, "w"), derived.difficulty(tables)
    figure, axes = panels(list(dict.fromkeys(frame["dataset"])), height=2.5)
    for dataset, ax in axes.items():
        at, means = tenths(hard[dataset]), []
        for condition, rows in frame[frame["dataset"] == dataset].groupby("condition", sort=False):
            medians = {k: binned(weights[k][-1], at, np.median) for k in rows["key"]}
            means.append(by_run(rows, medians, range(1, at.max() + 2)))
            curve(ax, means[-1], "x", condition, dash="--" if condition == "cwtm" else "-")
        symlog(ax, pd.concat(means)["mean"].to_numpy())
        ax.set(xlabel="tenth of the examples, easy → hard", ylabel="median w")
    legend(figure, next(iter(axes.values())))
    return finish(figure, frame, "bars: 95 % t intervals over seeds · each condition at its setting best on validation")


def ranked(table: pd.DataFrame, tables: derived.Tables, alpha: float) -> pd.DataFrame:
    """Runs at every temperature with more measures of their watched examples.

    `weight_difficulty`, `mass_difficulty`: how w, and the mass m taught, rank them by difficulty. `below_0`, `near_0`:
    shares with w < 0, |w| < 0.1 after the last epoch. `spread`: the standard deviation of m. `lost`: the share with
    m > 1 - 1/C, whose label is not the target's largest class if the shape is uniform. `effective`: the fraction
    (sum w0)^2 / (N sum w0^2) that counts before the first step, w0 = (1 - alpha) + alpha tau (1 - m C / (C - 1)).
    """
    frame, rows = heated(table, alpha), []
    hard, mass, w = derived.difficulty(tables), wide(frame, "mass"), wide(frame, "w")
    for key, dataset, tau in frame[["key", "dataset", "tau"]].itertuples(index=False):
        m, top, last = mass[key][0], 1 - 1 / len(runs.classes(dataset).names), w[key][-1]
        first = (1 - alpha) + alpha * tau * (1 - m / top)
        related = spearmanr(m, hard[dataset]).statistic if np.ptp(m) and np.ptp(hard[dataset]) else np.nan
        rows.append((related, (last < 0).mean(), (abs(last) < 0.1).mean(), m.std(), (m > top).mean(),
                     first.mean() ** 2 / (first**2).mean()))  # fmt: skip
    more = pd.DataFrame(rows, frame.index, ["mass_difficulty", "below_0", "near_0", "spread", "lost", "effective"])
    return frame.join(more).assign(weight_difficulty=derived.weight_difficulty(frame, tables))


def ranks(frame: pd.DataFrame) -> Figure:
    """Rank correlation with difficulty against the temperature: of w by condition, of the teacher's mass (dashed)."""
    if frame.empty:
        return nothing("no condition among the runs has w at every temperature")
    figure, axes = panels(list(dict.fromkeys(frame["dataset"])), sharey=True)
    taught = ("kd_pt", "mass_difficulty", "hard", "mass the teacher takes off the label", "--")
    lines = [(c, "weight_difficulty", c, f"w of {NAMES[c]}", "-") for c in HEATED]
    for dataset, ax in axes.items():
        rows = frame[frame["dataset"] == dataset]
        for condition, measure, look, label, dash in (taught, *lines):
            if len(group := rows[rows["condition"] == condition].dropna(subset=[measure])):
                curve(ax, stats.summary(group, measure, ["tau"]), "tau", look, label, dash)
        heat(ax, rows, "rank correlation\nwith difficulty")
    legend(figure, ax)
    return finish(figure, frame, f"bars: 95 % t intervals over seeds · α = {frame['alpha'].iloc[0]:g}")


def masses(table: pd.DataFrame, measure: str, alpha: float) -> pd.DataFrame:
    """Paired differences of each of `PAIRS` by data set and temperature; those of a pair hold together.

    Hard labels stand at the weight decay of the others, untuned, and beside every temperature.
    """
    rows = []
    for label, (treatment, control, _) in PAIRS.items():
        one, other = (table[table["condition"] == c] for c in (treatment, control))
        if one.empty or other.empty:
            continue
        one = one[one["alpha"] == alpha]
        if control == "hard":
            plain = other[other["weight_decay"] == one["weight_decay"].min()]
            other = pd.concat([plain.assign(tau=t, alpha=alpha) for t in one["tau"].unique()])
        both = pd.concat([one, other[other["alpha"] == alpha]])
        rows.append(stats.contrasts(both, treatment, control, measure, ["dataset", "tau"]).assign(masses=label))
    columns = ["dataset", "tau", "difference", "low", "high", "n", "masses"]
    return pd.concat(rows or [pd.DataFrame(columns=columns)], ignore_index=True)


def gaps(table: pd.DataFrame, measure: str, alpha: float) -> Figure:
    """What the teacher's masses, instead of their mean, do to a measure, by where the mass goes, against tau."""
    found = masses(table, measure, alpha).rename(columns={"difference": "mean"})
    if found.empty:
        return nothing("no pair of conditions among the runs differs in the masses alone")
    figure, axes = panels(list(dict.fromkeys(found["dataset"])))
    for dataset, ax in axes.items():
        rows = found[found["dataset"] == dataset]
        for i, (label, group) in enumerate(rows.groupby("masses", sort=False)):
            curve(ax, group.assign(tau=group["tau"] * 1.05 ** (i - 1.5)), "tau", PAIRS[label][2], label)
        percent(ax, measure)
        heat(ax, rows, "difference in\n" + AXES[measure].replace("(%)", "(points)"))
    names = ax.get_legend_handles_labels()
    figure.legend(*names, loc="lower center", bbox_to_anchor=(0.5, 0.995), ncols=2, fontsize=8)
    used = table[table["condition"].isin({c for one, other, _ in PAIRS.values() for c in (one, other)})]
    return finish(figure, used, f"bars: 95 % paired t intervals, jointly over each line · α = {alpha:g}")


def doses(frame: pd.DataFrame, alpha: float) -> Figure:
    """Test accuracy of KD-pt less that at the smallest dose, paired by seed, against the dose; a line a temperature."""
    frame = frame[frame["alpha"] == alpha]
    if frame.empty or frame["dose"].nunique() < 2:
        return nothing("the runs hold fewer than two doses")
    figure, axes = panels(list(dict.fromkeys(frame["dataset"])))
    for dataset, ax in axes.items():
        for i, (tau, group) in enumerate(frame[frame["dataset"] == dataset].groupby("tau")):
            by, (colour, marker) = group.pivot(index="seed", columns="dose", values="test_accuracy"), LOOKS[i % 4]
            found = [stats.interval(by[d] - by.iloc[:, 0]) for d in by]
            mean, high = (np.array([getattr(x, part) for x in found]) for part in ("mean", "high"))
            ax.errorbar(by.columns + 0.012 * (i - 1.5), mean, high - mean, color=colour, marker=marker, ms=4, lw=1.3,
                        elinewidth=1, label=f"τ = {tau:g}")  # fmt: skip
        ax.axhline(0, color="0.3", lw=0.8)
        percent(ax, "test_accuracy")
        ax.set(xlabel="dose of the teacher's spread of masses", ylabel="difference in\ntest accuracy (points)")
    legend(figure, next(iter(axes.values())))
    return finish(figure, frame, f"bars: 95 % paired t intervals over seeds · α = {alpha:g}")


def learnt(table: pd.DataFrame, alpha: float) -> Figure:
    """The mass a student takes off the label against the teacher's, by tenths of the latter, where KD-pt loses most."""
    lost = masses(table[table["condition"].isin(HEATED)], "test_accuracy", alpha)
    at = lost.loc[lost.groupby("dataset", sort=False)["difference"].idxmin()].set_index("dataset")["tau"]
    if at.empty:
        return nothing("KD-pt and matched smoothing are not both among the runs")
    frame = heated(table, alpha)
    frame = frame[frame["tau"] == frame["dataset"].map(at)]
    held, taught = wide(frame, "mass"), frame[frame["condition"] == "kd_pt"].set_index(["dataset", "seed"])["key"]
    figure, axes = panels([f"{d}, τ = {t:g}" for d, t in at.items()], height=2.7)
    for dataset, ax in zip(at.index, axes.values()):
        for condition, rows in frame[frame["dataset"] == dataset].groupby("condition", sort=False):
            own = {k: held[taught[dataset, s]][0] for k, s in zip(rows["key"], rows["seed"])}
            x = np.mean([binned(m, tenths(m)) for m in own.values()], axis=0)
            curve(ax, by_run(rows, {k: binned(held[k][1], tenths(m)) for k, m in own.items()}, x), "x", condition)
        ends = max(0, min(*ax.get_xlim(), *ax.get_ylim())), max(*ax.get_xlim(), *ax.get_ylim())
        ax.plot(ends, ends, color="0.6", lw=1, ls="--", zorder=0)
        ax.axhline(1 - 1 / len(runs.classes(dataset).names), color="0.3", lw=0.8, ls=":")
        percent(ax, "target_mass", "x")
        percent(ax, "target_mass")
        ax.set(xlabel="mass the teacher takes off the label (%)", ylabel="mass the student\ntakes off it (%)")
    legend(figure, ax)
    return finish(figure, frame, "means over tenths of the watched examples · bars: 95 % t intervals over seeds")
