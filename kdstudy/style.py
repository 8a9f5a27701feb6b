"""How every figure and table looks: names, colours, axes, and the line below that says data, student, n and device."""

import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from pandas.io.formats.style import Styler

from kdstudy import stats
from kdstudy.setups import TEACHER_SEED
from kdstudy.wording import PERCENT, words

BLUE, ORANGE, GREEN, RED, PURPLE, BROWN, PINK, GREY, YELLOW, SKY = sns.color_palette("colorblind", 10)
LOOKS = {  # name, colour, marker: no two conditions share both colour and marker
    "hard": ("hard labels", "0.25", "s"),
    "label_smoothing": ("label smoothing", SKY, "o"),
    "label_smoothing_matched": ("matched smoothing", BLUE, "D"),
    "class_matched": ("class shape", GREEN, "^"),
    "instance_matched": ("instance shape", YELLOW, "v"),
    "kd_pt": ("KD-pt", PURPLE, "P"),
    "kd_pt_class": ("KD-pt + class", PINK, "h"),
    "kd": ("KD", RED, "o"),
    "class_mean": ("class means", GREEN, ">"),
    "kd_sim": ("KD-sim", ORANGE, "v"),
    "kd_pt_sim": ("KD-pt + sim", ORANGE, "h"),
    "kd_rel": ("KD-rel", BROWN, "<"),
    "topk": ("top-3", RED, "d"),
    "class_permuted": ("classes permuted", GREY, "X"),
    "example_permuted": ("DKPP", PINK, "X"),
    "cwtm": ("CWTM", BROWN, "*"),
    "shuffled_teacher": ("shuffled teacher", GREY, "1"),
    "random_teacher": ("random teacher", GREY, "2"),
    "dkd": ("decoupled KD", BROWN, "o"),
    "tckd": ("target part", BROWN, "s"),
    "nckd": ("non-target part", BROWN, "^"),
    "fault_class_mean": ("mean over classes", BLUE, "X"),
    "fault_no_tau2": ("no τ²", SKY, "X"),
    "fault_softmax_twice": ("softmax twice", GREEN, "X"),
    "fault_detached": ("student detached", ORANGE, "X"),
    "fault_class_offset": ("classes off by one", PURPLE, "X"),
    "fault_student_cooled": ("τ on student only", YELLOW, "X"),
    "fault_argmax": ("teacher's argmax", RED, "X"),
}
NAMES = {condition: name for condition, (name, *_) in LOOKS.items()}
STYLE = {condition: tuple(look) for condition, (_, *look) in LOOKS.items()}
WIDTH = 7.6  # inches: the book's text width
AXES = {
    "test_accuracy": "test accuracy (%)",
    "train_accuracy": "train accuracy (%)",
    "test_nll": "test NLL (nats)",
    "test_ece": "test ECE (%)",
    "test_confidence": "mean test confidence (%)",
    "test_agreement": "agreement with the teacher (%)",
    "target_mass": "mass off the label (%)",
    "target_entropy": "entropy of the targets (nats)",
    "geometry_teacher": "rank correlation with the teacher's",
    "means_teacher": "rank correlation with the teacher's",
    "geometry_superclass": "rank correlation with the super-classes",
    "weight_difficulty": "rank correlation of w with difficulty",
    "mass_learnt": "rank correlation of mass taught and learnt",
    "instance_share": "instance share of the targets (%)",
    "domain_share": "domain share of the targets (%)",
    "between_train": "variance between classes, training set (%)",
    "between_test": "variance between classes, test set (%)",
    "tail_accuracy": "test accuracy, rarest third of classes (%)",
    "sure_train": "confidence in the label, training set (%)",
    "sure_test": "confidence in the label, test set (%)",
    "teacher_kl": "KL of student from teacher (nats)",
}


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
    groups = dict(iter(frame.groupby("dataset", sort=False)))
    widths = ", ".join(f"{d} ({_students(g['hidden'])})" for d, g in groups.items())
    n = [(g["seed"] % TEACHER_SEED).nunique() for g in groups.values()]  # a teacher is of its student's seed
    seeds = f"n = {', '.join(map(str, n if len(set(n)) > 1 else n[:1]))}"
    old = int(frame["stale"].sum())
    return f"{widths} · {seeds} seeds · {', '.join(sorted(frame['device'].unique()))}" + (
        f" · {old} stale runs" if old else ""
    )


def _students(hidden: pd.Series) -> str:
    """The students' networks, once each: perceptrons by their hidden layers from narrow to wide, others by name."""
    names = sorted(hidden.unique(), key=lambda h: (len(h), h))
    layers = [h.replace("x", "-") for h in names if h[0].isdigit()]
    mlps = [f"MLP, {', '.join(layers)} hidden"] if layers else []
    return ", ".join(mlps + [h for h in names if not h[0].isdigit()])


def finish(figure: Figure, frame: pd.DataFrame, note: str = "bars: 95 % t intervals over seeds") -> Figure:
    """Lay out, add the line of facts, and close (a notebook shows the returned figure once)."""
    figure.tight_layout()
    words, lines = f"{facts(frame)} · {note}".split(" · "), [""]
    for word in words:
        joined = f"{lines[-1]} · {word}".removeprefix(" · ")
        lines = lines + [word] if len(joined) > 105 else lines[:-1] + [joined]
    lines = [part for line in lines for part in textwrap.wrap(line, 115)]
    figure.text(0.5, -0.01, "\n".join(lines), ha="center", va="top", fontsize=7.5, color="0.25")
    plt.close(figure)
    return figure


def panels(names: Sequence[str], height: float = 2.6, wide: int = 2, **kw: object) -> tuple[Figure, dict[str, Axes]]:
    """One panel for each name, titled with it, at most `wide` in a row."""
    cols = min(wide, len(names))
    rows = -(-len(names) // cols)
    figure, axes = plt.subplots(rows, cols, figsize=(WIDTH, height * rows), squeeze=False, **kw)
    for i in range(len(names), rows * cols):
        axes.flat[i].set_visible(False)
        axes.flat[i - cols].xaxis.set_tick_params(labelbottom=True)  # now the lowest of its column
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
