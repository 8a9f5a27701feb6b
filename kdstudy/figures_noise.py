"""Noisy labels: what students gain over hard labels, tuned and not, and what other teachers are worth."""

import json

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from kdstudy import derived, stats
from kdstudy.style import BLUE, ORANGE, RED, SKY, finish, legend, nothing, panels, percent

LINES = {  # what is drawn: label, colour, marker, dash, filled
    "hard": ("hard labels", "0.25", "s", "-", True),
    "untuned": ("hard labels, untuned", "0.25", "s", "--", False),
    "label_smoothing_matched": ("matched smoothing", BLUE, "D", "-", True),
    "kd": ("KD", RED, "o", "-", True),
    "crossfitted": ("KD, cross-fitted teacher", ORANGE, "v", "-", False),
    "exact": ("KD of the exact law", SKY, "*", "-", True),
}
PAIRS = {  # differences that are drawn: look, dashed
    ("kd", "hard"): ("kd", "-"),
    ("label_smoothing_matched", "hard"): ("label_smoothing_matched", "-"),
    ("kd", "untuned"): ("kd", "--"),
    ("label_smoothing_matched", "untuned"): ("label_smoothing_matched", "--"),
}
GAPS = ["dataset", "noise", "pair", "difference", "low", "high", "n"]
TWO = {"wide": 2, "height": 2.7}


def at(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with the share of training labels drawn anew, `noise`, and what composed a run, `composed`."""
    given = [json.loads(text) for text in frame["options"]]
    noise, composed = ([o.get(name, none) for o in given] for name, none in (("noise", 0.0), ("composed", "")))
    return frame.assign(noise=np.array(noise, float), composed=composed)


def tuned(frame: pd.DataFrame, name: str | None = None) -> pd.DataFrame:
    """Each condition at its setting best on validation, called `name` if one is given; of no run, none."""
    best = at(stats.tuned(frame) if len(frame) else frame)
    return best if name is None else best.assign(condition=name)


def untuned(frame: pd.DataFrame) -> pd.DataFrame:
    """Hard labels at the least weight decay, that of the other conditions."""
    plain = frame[frame["condition"] == "hard"]
    return tuned(plain[plain["weight_decay"] == plain["weight_decay"].min()], "untuned")


def compared(tables: derived.Tables) -> pd.DataFrame:
    """Students by noise, each at its best on validation: of labels, of their teacher and of two others."""
    rows = [tuned(tables["noise"]), untuned(tables["noise"])]
    rows += [tuned(tables[part], name) for part, name in (("crossfitted", "crossfitted"), ("law", "exact"))]
    return pd.concat([r for r in rows if len(r)], ignore_index=True)


def draw(ax: Axes, x: pd.Series, rows: pd.DataFrame, look: str, dash: str | None = None, label: str = "") -> None:
    """Values `mean` with limits against x as `LINES` has it; one seed has no limits."""
    name, colour, marker, line, filled = LINES[look]
    error = np.abs(rows[["low", "high"]].to_numpy(float).T - rows["mean"].to_numpy(float))
    ax.errorbar(x, rows["mean"], np.where(np.isfinite(error), error, 0), color=colour, marker=marker, lw=1.3,
                ms=8 if marker == "*" else 4.5, mfc=colour if filled else "white", elinewidth=1, capsize=0,
                ls=line if dash is None else dash, label=label or name)  # fmt: skip


def against_noise(ax: Axes, frame: pd.DataFrame) -> None:
    """The axis of the noise."""
    ax.set_xticks(sorted(frame["noise"].unique()))
    ax.xaxis.set_major_formatter(FuncFormatter(points))
    ax.set_xlabel("training labels drawn anew (%)")


def points(value: float, _: object = None) -> str:
    """A fraction as percent."""
    return f"{100 * value:g}"


def levels(tables: derived.Tables) -> Figure:
    """Students' test accuracy against the noise."""
    frame = compared(tables)
    if frame["noise"].nunique() < 2:
        return nothing("the runs hold one amount of noise")
    figure, axes = panels(list(dict.fromkeys(frame["dataset"])), **TWO)
    for dataset, ax in axes.items():
        mine = frame[frame["dataset"] == dataset]
        names = [n for n in LINES if n in set(mine["condition"])]
        for i, name in enumerate(names):
            rows = stats.summary(mine[mine["condition"] == name].sort_values("noise"), "test_accuracy", ["noise"])
            draw(ax, rows["noise"] + 0.008 * (i - 2), rows, name)
        against_noise(ax, mine)
        percent(ax, "test_accuracy")
    legend(figure, next(iter(axes.values())))
    return finish(figure, frame, "bars: 95 % t intervals over seeds · each at its setting best on validation")


def gaps(tables: derived.Tables) -> pd.DataFrame:
    """Paired differences in test accuracy of `PAIRS` by data set and noise: the columns GAPS.

    The intervals of a pair hold together.
    """
    frame, found = compared(tables).sort_values("noise", kind="stable"), []
    for pair in PAIRS:
        found.append(stats.contrasts(frame, *pair, "test_accuracy", ["dataset", "noise"]).assign(pair=" − ".join(pair)))
    return pd.concat(found, ignore_index=True)[GAPS]


def gains(tables: derived.Tables) -> Figure:
    """What matched smoothing and KD gain over hard labels, tuned and not, against the noise."""
    found = gaps(tables).rename(columns={"difference": "mean"})
    if found["noise"].nunique() < 2:
        return nothing("it needs hard labels, another condition and two amounts of noise")
    figure, axes = panels(list(dict.fromkeys(found["dataset"])), **TWO)
    for dataset, ax in axes.items():
        mine = found[found["dataset"] == dataset]
        for i, ((one, other), (look, dash)) in enumerate(PAIRS.items()):
            rows = mine[mine["pair"] == f"{one} − {other}"]
            if len(rows):
                label = f"{LINES[one][0]} − {'tuned' if other == 'hard' else 'untuned'}"
                draw(ax, rows["noise"] + 0.008 * (i - 1.5), rows, look, dash, label)
        against_noise(ax, mine)
        difference(ax)
    legend(figure, next(iter(axes.values())))
    return finish(
        figure,
        compared(tables),
        "less hard labels, tuned or not · bars: 95 % paired t intervals, jointly over each line",
    )


def difference(ax: Axes) -> None:
    """The axis of a difference in accuracy, 0 marked."""
    ax.axhline(0, color="0.3", lw=0.8)
    ax.set_ylabel("difference in\ntest accuracy (points)")
    ax.yaxis.set_major_formatter(FuncFormatter(points))


def weighed(tables: derived.Tables) -> pd.DataFrame:
    """The claimed noise's KD students of each teacher, for each alpha at the temperature best on validation."""
    rows = []
    for part, name in (("noisy", "kd"), ("crossfitted", "crossfitted"), ("exact", "exact")):
        kd = tables[part][tables[part]["condition"] == "kd"]
        rows += [tuned(group, name) for _, group in kd.groupby("alpha")] if len(kd) else []
    return pd.concat(rows, ignore_index=True) if rows else tables["noisy"].iloc[:0]


def alphas(frame: pd.DataFrame) -> pd.DataFrame:
    """Paired differences in test accuracy of every alpha less the least, each at its own best temperature.

    By data set and `condition`; all intervals hold together.
    """
    least, parts = frame["alpha"].min() if len(frame) else np.nan, []
    for alpha in sorted(set(frame["alpha"]) - {least} if len(frame) else ()):
        sides = ((alpha, "more"), (least, "less"))
        both = [frame[frame["alpha"] == a].assign(side=s, teacher_of=frame["condition"]) for a, s in sides]
        parts.append(pd.concat(both).assign(condition=lambda f: f["side"], **{"more alpha": alpha}))
    by = ["dataset", "teacher_of", "more alpha"]
    if not parts:
        return pd.DataFrame(columns=["dataset", "teacher", "alpha", "less", "difference", "low", "high", "n"])
    found = stats.contrasts(pd.concat(parts, ignore_index=True), "more", "less", "test_accuracy", by).assign(less=least)
    found = found.rename(columns={"teacher_of": "teacher", "more alpha": "alpha"})
    return found[["dataset", "teacher", "alpha", "less", "difference", "low", "high", "n"]]


def remedies(tables: derived.Tables) -> Figure:
    """Test accuracy at the claimed noise against alpha, a line a teacher; hard labels at their best as a band."""
    frame = weighed(tables)
    if frame.empty:
        return nothing("KD is not among the runs")
    figure, axes = panels(list(dict.fromkeys(frame["dataset"])), **TWO)
    hard = tuned(tables["noisy"][tables["noisy"]["condition"] == "hard"])
    for dataset, ax in axes.items():
        mine = frame[frame["dataset"] == dataset]
        for name, group in mine.groupby("condition", sort=False):
            rows = stats.summary(group.sort_values("alpha"), "test_accuracy", ["alpha"])
            draw(ax, rows["alpha"], rows, name)
        if len(plain := hard[hard["dataset"] == dataset]):
            i = stats.interval(plain["test_accuracy"])
            ax.axhline(i.mean, color="0.25", lw=1.2, ls=":", label=LINES["hard"][0])
            if i.n > 1:
                ax.axhspan(i.low, i.high, color="0.25", alpha=0.12, lw=0)
        ax.set_xticks(sorted(mine["alpha"].unique()))
        ax.set_xlabel("weight α of the distillation term")
        percent(ax, "test_accuracy")
    legend(figure, next(iter(axes.values())))
    note = f"{points(frame['noise'].max())} % of the training labels drawn anew · τ best on validation for each α"
    return finish(figure, frame, f"bars and band: 95 % t intervals · {note}")
