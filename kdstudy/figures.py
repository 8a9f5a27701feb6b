"""From an answered table to a figure. Every figure says data, student, n and device below itself."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from pandas.io.formats.style import Styler

from kdstudy import stats
from kdstudy.claims import words

NAMES = {
    "hard": "hard labels",
    "label_smoothing": "label smoothing",
    "label_smoothing_matched": "matched smoothing",
    "kd": "KD",
}
STYLE = dict(zip(NAMES, zip(sns.color_palette("colorblind", len(NAMES)), "soD^vPX*<>")))  # colour, marker
WIDTH = 7.6  # inches: the book's text width
AXES = {
    "test_accuracy": "test accuracy (%)",
    "test_nll": "test NLL (nats)",
    "test_ece": "test ECE (%)",
    "test_confidence": "mean test confidence (%)",
    "target_mass": "mass off the label (%)",
    "target_entropy": "entropy of the targets (nats)",
}
PERCENT = {"test_accuracy", "test_ece", "test_confidence", "target_mass"}


def use_style() -> None:
    """Figures as SVG in a notebook, with the study's fonts and grid."""
    sns.set_theme(context="paper", style="whitegrid", palette="colorblind", font="DejaVu Sans")
    plt.rcParams.update({"svg.fonttype": "path", "figure.dpi": 120, "savefig.bbox": "tight",
                         "axes.titlesize": 10, "axes.labelsize": 9, "legend.frameon": False})  # fmt: skip
    try:
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:  # not in a notebook
        return
    set_matplotlib_formats("svg")


def facts(frame: pd.DataFrame) -> str:
    """What a figure rests on: data, student, n, device, and stale runs if any."""
    students = frame[["dataset", "hidden"]].drop_duplicates()
    widths = ", ".join(f"{d} (MLP, {h.replace('x', '-')} hidden)" for d, h in students.itertuples(index=False))
    n = sorted(frame.groupby(["dataset", "condition"])["seed"].nunique().unique())
    seeds = f"n = {n[0]}" if len(n) == 1 else f"n = {n[0]}–{n[-1]}"
    old = int(frame["stale"].sum())
    return f"{widths} · {seeds} seeds · {', '.join(sorted(frame['device'].unique()))}" + (
        f" · {old} stale runs" if old else ""
    )


def finish(figure: Figure, frame: pd.DataFrame, note: str = "bars: 95 % t intervals over seeds") -> Figure:
    """Lay out, add the line of facts, and close (a notebook shows the returned figure once)."""
    figure.tight_layout()
    words, lines = f"{facts(frame)} · {note}".split(" · "), [""]
    for word in words:
        joined = f"{lines[-1]} · {word}".removeprefix(" · ")
        lines = lines + [word] if len(joined) > 105 else lines[:-1] + [joined]
    figure.text(0.5, -0.01, "\n".join(lines), ha="center", va="top", fontsize=7.5, color="0.25")
    plt.close(figure)
    return figure


def panels(names: Sequence[str], height: float = 2.6, wide: int = 2, **kw: object) -> tuple[Figure, dict[str, Axes]]:
    """One panel for each name, titled with it, at most `wide` in a row."""
    cols = min(wide, len(names))
    rows = -(-len(names) // cols)
    figure, axes = plt.subplots(rows, cols, figsize=(WIDTH, height * rows), squeeze=False, **kw)
    for ax in axes.flat[len(names) :]:
        ax.set_visible(False)
    for name, ax in zip(names, axes.flat):
        ax.set_title(name)
    return figure, dict(zip(names, axes.flat))


def percent(ax: Axes, measure: str, which: str = "y") -> None:
    """Label an axis with its measure, fractions shown as percent."""
    getattr(ax, f"set_{which}label")(AXES.get(measure, measure))
    if measure in PERCENT:
        getattr(ax, f"{which}axis").set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g}"))


def log_ticks(ax: Axes, values: Sequence[float], label: str) -> None:
    """A logarithmic x axis with a tick at each value, named where there is room."""
    ax.set_xscale("log")
    names, last = [], 0.0
    for v in values:
        names.append(f"{v:g}" if v > 1.6 * last else "")
        last = v if names[-1] else last
    ax.set_xticks(values, names)
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel(label)


def curve(ax: Axes, rows: pd.DataFrame, x: str, condition: str, label: str | None = None, dash: str = "-") -> None:
    """Means with intervals over seeds against x, in the condition's colour and marker."""
    colour, marker = STYLE[condition]
    rows = rows.sort_values(x)
    error = np.abs(rows[["low", "high"]].to_numpy().T - rows["mean"].to_numpy())
    ax.errorbar(rows[x], rows["mean"], error, color=colour, marker=marker, ms=4, lw=1.3, ls=dash,
                elinewidth=1, capsize=0, label=label or NAMES[condition])  # fmt: skip


def band(ax: Axes, frame: pd.DataFrame, condition: str, measure: str) -> None:
    """Mean and interval of a condition without a setting, as a horizontal line and band."""
    i, colour = stats.interval(frame[measure]), STYLE[condition][0]
    ax.axhline(i.mean, color=colour, lw=1.2, ls=":", label=NAMES[condition])
    if np.isfinite([i.low, i.high]).all():  # one seed has no interval
        ax.axhspan(i.low, i.high, color=colour, alpha=0.15, lw=0)


def legend(figure: Figure, ax: Axes) -> None:
    """One legend above all panels."""
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="lower center", bbox_to_anchor=(0.5, 0.995), ncols=min(4, len(labels)), fontsize=8
    )


def listing(frame: pd.DataFrame, digits: int = 4) -> Styler:
    """A table for a page: floats to `digits` significant digits, nothing where a value does not apply."""
    shown = frame.reset_index() if any(frame.index.names) else frame
    styled = shown.rename(columns=words).style.hide(axis="index")
    return styled.format(lambda v: "" if pd.isna(v) else f"{v:.{digits}g}" if isinstance(v, float) else NAMES.get(v, v))


def nothing(why: str) -> Figure:
    """An empty figure that says why it is empty."""
    figure, ax = plt.subplots(figsize=(WIDTH, 0.5))  # a notebook shows no figure without axes
    ax.set_axis_off()
    figure.text(0.5, 0.5, f"nothing to draw: {why}", ha="center", va="center", fontsize=9, color="0.35")
    plt.close(figure)
    return figure


def sweep(frame: pd.DataFrame, x: str, measure: str, alpha: float | None = None) -> Figure:
    """A measure against a setting (`epsilon` or `tau`), one panel a data set, hard labels as a band."""
    if x not in frame or frame[x].isna().all():
        return nothing(f"no condition among the runs has {x}")
    names = list(dict.fromkeys(frame["dataset"]))
    figure, axes = panels(names)
    for name, ax in axes.items():
        rows = frame[frame["dataset"] == name]
        if (plain := rows[rows["condition"] == "hard"]).size:
            band(ax, stats.tuned(plain), "hard", measure)
        varied = rows[rows[x].notna() & ((rows["alpha"] == alpha) if alpha is not None else True)]
        for condition, group in varied.groupby("condition", sort=False):
            curve(ax, stats.summary(group, measure, [x]), x, condition)
        log_ticks(ax, sorted(varied[x].unique()), {"tau": "temperature τ", "epsilon": "ε"}[x])
        percent(ax, measure)
    legend(figure, ax)
    setting = "hard labels at their best weight decay" + (f" · α = {alpha:g}" if alpha is not None else "")
    return finish(figure, frame, f"bars and band: 95 % t intervals · {setting}")


def forest(rows: pd.DataFrame, measure: str, frame: pd.DataFrame) -> Figure:
    """Paired differences (a table of claims' effects), one row a contrast and data set, 0 marked."""
    if rows.empty:
        return nothing("no claim compares two of the conditions among the runs")
    by_claim = list(dict.fromkeys(rows["claim"]))
    names = list(dict.fromkeys(rows["dataset"]))
    figure, axes = panels(by_claim, height=0.75 + 0.28 * len(names), wide=len(by_claim), sharey=True, sharex=True)
    looks = {"supported": ("C0", "o"), "contradicted": ("C3", "X"), "undecided": ("0.5", "D")}
    for claim, ax in axes.items():
        group = rows[rows["claim"] == claim].set_index("dataset").loc[names]
        for y, row in enumerate(group.to_dict("records")):
            shade, marker = looks[row["verdict"]]
            ax.plot([row["low"], row["high"]], [y, y], color=shade, lw=1.6)
            ax.plot(row["effect"], y, marker=marker, ms=5, color=shade)
        ax.axvline(0, color="0.3", lw=0.8)
        ax.set_yticks(range(len(names)), names)
        ax.set_ylim(len(names) - 0.5, -0.5)
        percent(ax, measure, "x")
        ax.set_xlabel("difference in " + AXES[measure].replace("(%)", "(points)"), fontsize=8)
    return finish(
        figure,
        frame,
        "bars: 95 % paired t intervals, jointly over data sets · ● supported, ✖ contradicted, ◆ undecided",
    )


def pooled(bins: Mapping[str, np.ndarray], keys: Sequence[str]) -> pd.DataFrame:
    """Reliability bins (count, confidence, correctness) added over runs; bins under 0.5 % left out."""
    count, sure, right = sum(bins[k] for k in keys)
    kept = count > 0.005 * count.sum()
    return pd.DataFrame({"confidence": sure[kept] / count[kept], "accuracy": right[kept] / count[kept]})


def reliability(frame: pd.DataFrame, bins: Mapping[str, np.ndarray]) -> Figure:
    """Reliability diagrams: accuracy against confidence in 15 bins, examples of all seeds pooled."""
    names = list(dict.fromkeys(frame["dataset"]))
    figure, axes = panels(names, height=2.9)
    for name, ax in axes.items():
        ax.plot([0, 1], [0, 1], color="0.6", lw=1, ls="--", label="perfect calibration")
        for condition, group in frame[frame["dataset"] == name].groupby("condition", sort=False):
            colour, marker = STYLE[condition]
            points = pooled(bins, group["key"])
            ax.plot(points["confidence"], points["accuracy"], color=colour, marker=marker, ms=3.5, lw=1.2,
                    label=NAMES[condition])  # fmt: skip
        for which in ("x", "y"):
            getattr(ax, f"{which}axis").set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g}"))
        ax.set_xlabel("confidence (%)")
        ax.set_ylabel("accuracy (%)")
    legend(figure, ax)
    return finish(
        figure,
        frame,
        "15 equal bins, those under 0.5 % of examples left out · each condition at its setting best on validation",
    )
