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
from scipy.stats import rankdata, spearmanr

from kdstudy.engine import ask
from kdstudy.figures.primitives import lines, reference
from kdstudy.figures.style import (
    DARK,
    Look,
    as_percent,
    condition_name,
    finish,
    look,
    nothing,
    panels,
    tau_looks,
)
from kdstudy.figures.tables import at_weight, in_order
from kdstudy.stats import paired
from kdstudy.study import array_metrics
from kdstudy.study.contrasts import against, contrasts, minus
from kdstudy.train import probe

WATCHED = ("kd", "kd_pt", "label_smoothing_matched", "cwtm")  # whose w is shown
HEATED = ("label_smoothing_matched", "kd_pt", "kd")  # whose w and masses are kept at every temperature
PAIRS = {  # what the teacher's masses change: label -> (masses as they are, control, whose look)
    "uniform shape: KD-pt − matched smoothing": ("kd_pt", "label_smoothing_matched", "kd_pt"),
    "permuted shape: DKPP − matched smoothing": ("example_permuted", "label_smoothing_matched", "example_permuted"),
    "the teacher's shape: KD − instance shape": ("kd", "instance_matched", "kd"),
    "weights alone: CWTM − hard labels": ("cwtm", "hard", "hard"),
}
NO_WEIGHTS = "no condition that weighs examples is among the runs"


def _arrays(frame: pd.DataFrame, name: str) -> dict[str, np.ndarray]:
    """An array of every run by key, in double precision."""
    return {key: a.astype(float) for key, a in ask.arrays(frame, name).items()}


def at_best(table: pd.DataFrame, conditions: Sequence[str] = WATCHED) -> pd.DataFrame:
    """Those conditions of the table, in this order, each at its setting best on validation."""
    best = table[table["condition"].isin(conditions)]
    best = paired.tuned(best) if len(best) else best
    return best.sort_values("condition", key=lambda c: c.map(list(conditions).index), kind="stable")


def heated(table: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """The runs whose arrays are kept at every temperature: `HEATED` with weight `alpha`."""
    return at_weight(table[table["condition"].isin(HEATED)], alpha)


def tenths(values: Float[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """The tenth, 0 to 9, in which each value lies; fewer groups if there are fewer than ten values."""
    return ((rankdata(values, method="ordinal") - 1) * min(10, len(values)) // len(values)).astype(int)


def _by_run(frame: pd.DataFrame, pieces: Mapping[str, Sequence[float]], x: paired.Values) -> pd.DataFrame:
    """Mean and limits over seeds, at each x, of the values in `pieces` of each run, with data set and condition."""
    rows = [{"x": at, "value": v} for key in frame["key"] for at, v in zip(x, pieces[key], strict=True)]
    return paired.summary(pd.DataFrame(rows), "value", ["x"]).assign(**frame.iloc[0][["dataset", "condition"]])


def _binned(values: np.ndarray, group: np.ndarray, how: Callable[[np.ndarray], float] = np.mean) -> list[float]:
    """The mean, or what `how` says, of the values in each group 0, 1, ..."""
    return [float(how(values[group == g])) for g in range(group.max() + 1)]


def _symlog(ax: Axes, values: np.ndarray) -> None:
    """A y axis that is linear from -1 to 1 and logarithmic beyond, if values lie far beyond."""
    ax.axhline(0, color="0.3", lw=0.8)
    if (far := np.abs(values).max(initial=0)) < 5:
        return
    top = int(np.ceil(np.log10(far)))
    ax.set_yscale("symlog", linthresh=1)
    ax.set_yticks([0, *(s * 10.0**p for p in range(0, top + 1, 1 + (top > 3)) for s in (-1, 1) if (s, p) != (-1, 0))])
    ax.set_ylim(values.min() * (2 if values.min() < -1 else 1) - 0.3, values.max() * 1.5)
    ax.yaxis.set_major_formatter(lambda v, _: f"{v:g}" if abs(v) < 1000 else f"{v / 1000:g}k")


# ---------------------------------------------------------------- the weights of examples


def spread(frame: pd.DataFrame) -> Figure:
    """Percentiles of w (5, 25, 50, 75, 95) against the epoch, examples of all seeds pooled: a row a data set."""
    if frame.empty:
        return nothing(NO_WEIGHTS)
    weights, names = _arrays(frame, "w"), in_order(frame["condition"])
    cells = [(d, c) for d in in_order(frame["dataset"]) for c in names]
    figure, axes = panels([f"{d}|{c}" for d, c in cells], height=1.7, wide=len(names))
    for (dataset, condition), ax in zip(cells, axes.values()):
        rows = frame[(frame["dataset"] == dataset) & (frame["condition"] == condition)]
        title = condition_name(condition)
        ax.tick_params(labelsize=7)
        if condition == names[0]:
            ax.set_ylabel(f"{dataset}\nw", fontsize=8)
        if len(rows):
            title += f"\nτ {rows['tau'].iloc[0]:g}, α {rows['alpha'].iloc[0]:g}"
            _fan(ax, np.concatenate([weights[k] for k in rows["key"]], axis=1), rows)
        ax.set_title(title, fontsize=8)
    return finish(figure, frame, "line: median; bands: 25 to 75 %, 5 to 95 % of the watched examples, seeds pooled")


def _fan(ax: Axes, w: Float[np.ndarray, "T N"], rows: pd.DataFrame) -> None:
    """One panel of `spread`."""
    colour, at = look(rows["condition"].iloc[0]).colour, probe.checkpoints(int(rows["epochs"].iloc[0]))
    lowest, low, middle, high, highest = shown = np.percentile(w, [5, 25, 50, 75, 95], axis=1)
    ax.fill_between(at, lowest, highest, color=colour, alpha=0.2, lw=0)
    ax.fill_between(at, low, high, color=colour, alpha=0.35, lw=0)
    ax.plot(at, middle, color=colour, lw=1.5, marker="o", ms=2.5)
    _symlog(ax, shown)
    first, last = (100 * (w[i] < 0).mean() for i in (0, -1))
    ax.set_xlabel(f"epoch; w < 0: {first:.0f} → {last:.0f} %", fontsize=7.5)


def deciles(frame: pd.DataFrame, tables: array_metrics.Tables) -> Figure:
    """Median w after the last epoch in each tenth of the watched examples by difficulty, over seeds."""
    if frame.empty:
        return nothing(NO_WEIGHTS)
    weights, hard, rows = _arrays(frame, "w"), array_metrics.difficulty(tables), []
    for (dataset, _), group in frame.groupby(["dataset", "condition"], sort=False):
        at = tenths(hard[dataset])
        medians = {k: _binned(weights[k][-1], at, np.median) for k in group["key"]}
        rows.append(_by_run(group, medians, range(1, at.max() + 2)))
    rows = pd.concat(rows)

    def axes(ax: Axes, dataset: str) -> None:
        _symlog(ax, rows.loc[rows["dataset"] == dataset, "mean"].to_numpy())
        ax.set(xlabel="tenth of the examples, easy → hard", ylabel="median w")

    note = "bars: 95 % t intervals over seeds · each condition at its setting best on validation"
    return lines(rows, frame, "x", measure="w", dodge=False, decorate=axes, note=note, height=2.5)


def ranked(table: pd.DataFrame, tables: array_metrics.Tables, alpha: float) -> pd.DataFrame:
    """Runs at every temperature with more measures of their watched examples.

    `weight_difficulty`, `mass_difficulty`: how w, and the mass m taught, rank them by difficulty. `below_0`, `near_0`:
    shares with w < 0, |w| < 0.1 after the last epoch. `spread`: the standard deviation of m. `lost`: the share with
    m > 1 - 1/C, whose label is not the target's largest class if the shape is uniform. `effective`: the fraction
    (sum w0)^2 / (N sum w0^2) that counts before the first step, w0 = (1 - alpha) + alpha tau (1 - m C / (C - 1)).
    """
    frame, rows = heated(table, alpha), []
    hard, mass, w = array_metrics.difficulty(tables), _arrays(frame, "mass"), _arrays(frame, "w")
    for key, dataset, tau in frame[["key", "dataset", "tau"]].itertuples(index=False):
        m, top, last = mass[key][0], 1 - 1 / len(ask.classes(dataset, frame).names), w[key][-1]
        first = (1 - alpha) + alpha * tau * (1 - m / top)
        related = spearmanr(m, hard[dataset]).statistic if np.ptp(m) and np.ptp(hard[dataset]) else np.nan
        rows.append((related, (last < 0).mean(), (abs(last) < 0.1).mean(), m.std(), (m > top).mean(),
                     first.mean() ** 2 / (first**2).mean()))  # fmt: skip
    more = pd.DataFrame(rows, frame.index, ["mass_difficulty", "below_0", "near_0", "spread", "lost", "effective"])
    return frame.join(more).assign(weight_difficulty=array_metrics.weight_difficulty(frame, tables))


def ranks(frame: pd.DataFrame) -> Figure:
    """Rank correlation with difficulty against the temperature: of w by condition, of the teacher's mass (dashed)."""
    if frame.empty:
        return nothing("no condition among the runs has w at every temperature")
    looks = {"taught": Look(DARK, "s", "mass the teacher takes off the label", "--")}
    looks |= {c: look(c)._replace(name=f"w of {condition_name(c)}") for c in HEATED}
    taught = frame[frame["condition"] == "kd_pt"].assign(line="taught", rank=lambda f: f["mass_difficulty"])
    each = pd.concat([taught, frame.assign(line=frame["condition"], rank=frame["weight_difficulty"])])
    rows = paired.summary(each.dropna(subset=["rank"]), "rank", ["dataset", "line", "tau"])

    def axes(ax: Axes, dataset: str) -> None:
        ax.axhline(0, color="0.3", lw=0.8)
        ax.set_ylabel("rank correlation\nwith difficulty", fontsize=8)

    note = f"bars: 95 % t intervals over seeds · α = {frame['alpha'].iloc[0]:g}"
    return lines(rows, frame, "tau", looks, by="line", measure="rank", decorate=axes, note=note, sharey=True)


# ---------------------------------------------------------------- what the teacher's masses change


def masses(table: pd.DataFrame, measure: str, alpha: float) -> pd.DataFrame:
    """Paired differences of each of `PAIRS` by data set and temperature; those of a pair hold together.

    Hard labels stand at the weight decay of the others, untuned, and beside every temperature.
    """
    taught, hard = at_weight(table, alpha), table[table["condition"] == "hard"]
    untuned = hard[hard["weight_decay"] == taught["weight_decay"].min()]
    both = pd.concat([taught, *(untuned.assign(tau=t) for t in taught["tau"].unique())])
    sums = minus({label: pair for label, (*pair, _) in PAIRS.items()})
    return contrasts(both, sums, measure, ["dataset", "tau"], "masses", ["masses"])


def gaps(table: pd.DataFrame, measure: str, alpha: float) -> Figure:
    """What the teacher's masses, instead of their mean, do to a measure, by where the mass goes, against tau."""
    looks = {label: look(c)._replace(name=label) for label, (*_, c) in PAIRS.items()}
    used = table[table["condition"].isin({c for one, other, _ in PAIRS.values() for c in (one, other)})]
    return lines(masses(table, measure, alpha), used, "tau", looks, by="masses", measure=measure, ncols=2,
                 difference="difference in", why="no pair of conditions among the runs differs in the masses alone",
                 note=f"bars: 95 % paired t intervals, jointly over each line · α = {alpha:g}")  # fmt: skip


def doses(frame: pd.DataFrame, alpha: float) -> Figure:
    """Test accuracy of KD-pt minus that at the smallest dose, paired by seed, against the dose; a line a τ."""
    frame, by = frame[frame["alpha"] == alpha].sort_values("dose", kind="stable"), ["dataset", "tau", "seed"]
    if frame.empty or frame["dose"].nunique() < 2:
        return nothing("the runs hold fewer than two doses")
    least = frame.groupby(by)["test_accuracy"].transform("first")
    rows = paired.summary(frame.assign(gain=frame["test_accuracy"] - least), "gain", ["dataset", "tau", "dose"])
    note = f"bars: 95 % paired t intervals over seeds · α = {alpha:g}"
    return lines(rows, frame, "dose", tau_looks(frame["tau"]), by="tau", difference="difference in",
                 note=note)  # fmt: skip


def learnt(table: pd.DataFrame, alpha: float) -> Figure:
    """The mass a student takes off the label against the teacher's, by tenths of the latter, where KD-pt loses most."""
    lost = masses(table[table["condition"].isin(HEATED)], "test_accuracy", alpha)
    worst = lost.loc[lost.groupby("dataset", sort=False)["difference"].idxmin()].set_index("dataset")["tau"]
    if worst.empty:
        return nothing("KD-pt and matched smoothing are not both among the runs")
    frame = heated(table, alpha)
    frame, rows = frame[frame["tau"] == frame["dataset"].map(worst)], []
    mass, taught = _arrays(frame, "mass"), frame[frame["condition"] == "kd_pt"].set_index(["dataset", "seed"])["key"]
    for (dataset, _), group in frame.groupby(["dataset", "condition"], sort=False):
        teacher = {k: mass[taught[dataset, s]][0] for k, s in zip(group["key"], group["seed"])}
        x = np.mean([_binned(m, tenths(m)) for m in teacher.values()], axis=0)
        student = {k: _binned(mass[k][1], tenths(m)) for k, m in teacher.items()}
        rows.append(_by_run(group, student, x).assign(panel=f"{dataset}, τ = {worst[dataset]:g}"))
    rows = pd.concat(rows)

    def axes(ax: Axes, panel: str) -> None:
        ends = max(0, min(*ax.get_xlim(), *ax.get_ylim())), max(*ax.get_xlim(), *ax.get_ylim())
        reference(ax, ends, ends, colour="0.6")
        dataset = rows.loc[rows["panel"] == panel, "dataset"].iloc[0]
        ax.axhline(1 - 1 / len(ask.classes(dataset, frame).names), color="0.3", lw=0.8, ls=":")
        ax.xaxis.set_major_formatter(as_percent)
        ax.set(xlabel="mass the teacher takes off the label (%)", ylabel="mass the student\ntakes off it (%)")

    note = "means over tenths of the watched examples · bars: 95 % t intervals over seeds"
    return lines(rows, frame, "x", panel="panel", measure="target_mass", dodge=False, decorate=axes, note=note,
                 height=2.7)  # fmt: skip


# ---------------------------------------------------------------- students of several widths


def gains_by_width(frame: pd.DataFrame, treatment: str, control: str) -> pd.DataFrame:
    """Paired differences in test accuracy at each data set, temperature and width; their intervals hold together."""
    rows = contrasts(frame, against([treatment], control), by=["dataset", "tau", "hidden"])
    return rows.assign(hidden_units=rows["hidden"].map(lambda text: int(str(text).rpartition("x")[2])))


def widths(frame: pd.DataFrame, treatment: str, control: str) -> Figure:
    """The difference of two conditions against the student's hidden units, a line a temperature, a panel a data set."""
    rows = gains_by_width(frame, treatment, control) if len(frame) else frame
    one, other = condition_name(treatment), condition_name(control)
    alpha = f"{frame['alpha'].max():g}" if len(frame) else ""
    note = f"{one} less {other} · bars: 95 % paired t intervals, jointly over all points · α = {alpha}"
    return lines(rows, frame, "hidden_units", tau_looks(rows["tau"]), by="tau", difference="difference in", note=note,
                 why=f"{one} and {other} are not both among the runs")  # fmt: skip
