"""How every figure looks: names, colours and markers, axes, panels, and the line below that says data, n and device."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdstudy.distill.conditions import CONDITIONS as REGISTERED
from kdstudy.study.beds import TEACHER_SEED
from kdstudy.study.measures import measure

WIDTH = 7.6  # inches: the book's text width
NAMED = 3  # beds that the line below a figure names; of more it says how many
BLUE, ORANGE, GREEN, RED, PURPLE, BROWN, PINK, GREY, YELLOW, SKY = sns.color_palette("colorblind", 10)
DARK, PALE = "0.25", "0.55"


class Look(NamedTuple):
    """How one thing is drawn: colour, marker, name in a legend, dash of its line, and whether its marker is filled."""

    colour: object
    marker: str = "o"
    name: str = ""
    dash: str = "-"
    filled: bool = True


# ---------------------------------------------------------------- palettes

CONDITIONS = {  # no two share both colour and marker
    "hard": Look(DARK, "s", "hard labels"),
    "label_smoothing": Look(SKY, "o", "label smoothing"),
    "label_smoothing_matched": Look(BLUE, "D", "matched smoothing"),
    "pseudo_label": Look(DARK, "p", "pseudo-labels"),
    "pseudo_smoothing": Look(SKY, "p", "smoothed pseudo-labels"),
    "class_matched": Look(GREEN, "^", "class shape"),
    "instance_matched": Look(YELLOW, "v", "instance shape"),
    "kd_pt": Look(PURPLE, "P", "KD-pt"),
    "kd_pt_class": Look(PINK, "h", "KD-pt + class"),
    "kd": Look(RED, "o", "KD"),
    "class_mean": Look(GREEN, ">", "class means", "--"),
    "kd_sim": Look(ORANGE, "v", "KD-sim"),
    "kd_pt_sim": Look(ORANGE, "h", "KD-pt + sim"),
    "kd_rel": Look(BROWN, "<", "KD-rel"),
    "topk": Look(RED, "d", "top-3"),
    "class_permuted": Look(GREY, "X", "classes permuted"),
    "example_permuted": Look(PINK, "X", "DKPP"),
    "cwtm": Look(BROWN, "*", "CWTM", "--"),
    "shuffled_teacher": Look(GREY, "1", "shuffled teacher"),
    "random_teacher": Look(GREY, "2", "random teacher"),
    "dkd": Look(BROWN, "o", "decoupled KD"),
    "tckd": Look(BROWN, "s", "target part"),
    "nckd": Look(BROWN, "^", "non-target part"),
    "fault_class_mean": Look(BLUE, "X", "mean over classes"),
    "fault_no_tau2": Look(SKY, "X", "no τ²"),
    "fault_softmax_twice": Look(GREEN, "X", "softmax twice"),
    "fault_detached": Look(ORANGE, "X", "student detached"),
    "fault_class_offset": Look(PURPLE, "X", "classes off by one"),
    "fault_student_cooled": Look(YELLOW, "X", "τ on student only"),
    "fault_argmax": Look(RED, "X", "teacher's argmax"),
}
LEVELS = {  # of knowledge, everywhere
    "universe": Look("0.5", "D", "universe"),
    "domain": Look(GREEN, "^", "domain"),
    "instance": Look(PURPLE, "o", "instance"),
}
SIGNS = {  # where an interval lies: told by the marker, not by a hue
    "above": Look("0.15", "o", "above zero"),
    "below": Look("0.15", "X", "below zero"),
    "contains": Look(PALE, "D", "contains zero"),
}
VERDICTS = {  # of claims: the markers of `verdicts.SIGNS`, which a figure's note explains
    "supported": Look("0.15", "o"),
    "contradicted": Look("0.15", "X"),
    "practically none": Look("0.15", "s"),
    "undecided": Look("0.15", "D"),
}
MARKERS = "osD^vP"


def look(condition: str) -> Look:
    """How a condition is drawn; one registered elsewhere in brown-grey, by its own name, unless it says how: with
    `@condition(look=("teal", "o", "mine"))`, its colour, marker and name.
    """
    own = getattr(REGISTERED.get(condition), "look", ("#8c7b6b", "p", condition))
    return CONDITIONS.get(condition) or Look(*own)


def looks(conditions: Iterable[str]) -> dict[str, Look]:
    """`look` of each of these conditions, once each, in this order."""
    return {c: look(c) for c in conditions}


def condition_name(condition: object) -> object:
    """What figures and tables call a condition, or a side "where:condition"; anything else as it is."""
    where, colon, last = condition.rpartition(":") if isinstance(condition, str) else ("", "", condition)
    return f"{where}{colon}{' ' * bool(colon)}{look(last).name}" if last in REGISTERED else condition


def tau_looks(taus: Iterable[float]) -> dict[float, Look]:
    """Temperatures on one ramp from cold to hot, by log τ between 1/2 and 16: each is of one colour in every figure."""
    values = sorted(set(taus))
    places = np.clip((np.log2(values) + 1) / 5, 0, 1) if values else []
    return _ramped(values, places, "τ = {:g}")


def ramp(values: Iterable[float], name: str = "{:g}") -> dict[float, Look]:
    """Values of any other setting on the same ramp, evenly, named by this format."""
    values = sorted(set(values))
    return _ramped(values, np.linspace(0, 1, len(values)), name)


def _ramped(values: Sequence[float], places: Iterable[float], name: str) -> dict[float, Look]:
    colours = mpl.colormaps["plasma"](0.05 + 0.8 * np.asarray(places))
    return {v: Look(c, MARKERS[i % len(MARKERS)], name.format(v)) for i, (v, c) in enumerate(zip(values, colours))}


# ---------------------------------------------------------------- what axes say

SETTINGS = {  # column -> what an axis of it says, whether it is logarithmic
    "tau": ("temperature τ", True),
    "epsilon": ("ε", True),
    "hidden_units": ("hidden units", True),
    "classes": ("classes", True),
    "budget": ("settings that each side may try", True),
    "teacher_epsilon": ("teacher's label smoothing ε", False),
    "alpha": ("weight α of the distillation term", False),
    "noise": ("training labels drawn anew (%)", False),
    "dose": ("dose of the teacher's spread of masses", False),
    "similarity": ("cosine similarity of classes within a super-class", False),
}


def measure_label(name: str, difference: str = "") -> str:
    """A measure with its unit; as `difference` ("difference in", "effect on", ...) in points where it is in percent."""
    label = measure(name).axis_label
    if not difference:
        return label
    label = label.partition(" with ")[0] if label.startswith("rank correlation") else label
    return f"{difference} {label.replace('(%)', '(points)')}"


def as_percent(value: float, _: object = None) -> str:
    """A fraction as percent, for a reader or as the formatter of an axis."""
    return f"{100 * value:g}"


# ---------------------------------------------------------------- a figure's frame


def use_style() -> None:
    """Figures as SVG in a notebook, with the study's fonts and grid."""
    sns.set_theme(context="paper", style="whitegrid", palette="colorblind", font="DejaVu Sans")
    plt.rcParams.update({"svg.fonttype": "path", "figure.dpi": 120, "savefig.bbox": "tight",
                         "axes.titlesize": 10, "axes.labelsize": 9, "legend.frameon": False})  # fmt: skip
    try:
        from IPython import get_ipython
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:  # not in a notebook
        return
    set_matplotlib_formats("svg")
    if shell := get_ipython():
        words = shell.display_formatter.formatters["text/plain"]
        words.for_type(Figure, lambda figure, printer, _: printer.text(described(figure)))


def described(figure: Figure) -> str:
    """What a figure shows, in a sentence: what stands for it where it cannot be seen."""
    axes = [ax for ax in figure.axes if ax.get_visible() and ax.axison and ax.has_data()]
    if not axes:
        return " ".join(t.get_text() for t in figure.texts)
    titles = [" ".join(ax.get_title().split()) for ax in axes if ax.get_title()]
    said = [f"{len(axes)} panel{'s' * (len(axes) != 1)}" + f" ({'; '.join(titles)})" * bool(titles)]
    for which in "xy":
        label = next(filter(None, (" ".join(getattr(ax, f"get_{which}label")().split()) for ax in axes)), "")
        formatters = [getattr(ax, f"{which}axis").get_major_formatter() for ax in axes]
        scale = 100 if getattr(formatters[0], "func", None) is as_percent else 1
        low, high = (scale * end([getattr(ax.dataLim, f"interval{which}") for ax in axes]) for end in (np.min, np.max))
        said += [f"{which}: {label}, from {low:.3g} to {high:.3g}".replace(" -", " −")] * bool(label)
    names = dict.fromkeys(name for ax in axes for name in ax.get_legend_handles_labels()[1])
    rows = dict.fromkeys(t.get_text() for ax in axes[:1] for t in ax.get_yticklabels() if len(t.get_text()) > 5)
    said += [f"drawn: {', '.join(names)}"] * bool(names) + [f"rows: {', '.join(rows)}"] * bool(rows)
    return f"Seen: {'; '.join(said)}."


def drawn(text: object) -> str:
    """Text as it is drawn: what stands between dollar signs is no formula."""
    return str(text).replace("$", r"\$")


def panels(names: Sequence[str], height: float = 2.6, wide: int = 2, **kw: object) -> tuple[Figure, dict[str, Axes]]:
    """One panel for each name, titled with it, at most `wide` in a row."""
    cols = min(wide, len(names))
    rows = -(-len(names) // cols)
    figure, axes = plt.subplots(rows, cols, figsize=(WIDTH, height * rows), squeeze=False, **kw)
    for i in range(len(names), rows * cols):
        axes.flat[i].set_visible(False)
        axes.flat[i - cols].xaxis.set_tick_params(labelbottom=True)  # now the lowest of its column
    for name, ax in zip(names, axes.flat):
        ax.set_title(textwrap.fill(drawn(name), 78 // cols))
    return figure, dict(zip(names, axes.flat))


def finish(figure: Figure, frame: pd.DataFrame, note: str = "bars: 95 % t intervals over seeds") -> Figure:
    """Lay out, add the line of facts, and close (a notebook shows the returned figure once)."""
    return finish_with(figure, f"{facts(frame)} · {note}")


def finish_with(figure: Figure, text: str) -> Figure:
    """`finish` with this text below, broken at its dots."""
    figure.tight_layout()
    lines = [""]
    for word in text.split(" · "):
        joined = f"{lines[-1]} · {word}".removeprefix(" · ")
        lines = lines + [word] if len(joined) > 105 else lines[:-1] + [joined]
    wrapped = "\n".join(part for line in lines for part in textwrap.wrap(line, 115))
    figure.text(0.5, -0.01, drawn(wrapped), ha="center", va="top", fontsize=7.5, color=DARK)
    plt.close(figure)
    return figure


def nothing(why: str) -> Figure:
    """An empty figure that says why it is empty."""
    figure, ax = plt.subplots(figsize=(WIDTH, 0.5))  # a notebook shows no figure without axes
    ax.set_axis_off()
    figure.text(0.5, 0.5, f"nothing to draw: {drawn(why)}", ha="center", va="center", fontsize=9, color="0.35")
    plt.close(figure)
    return figure


def facts(frame: pd.DataFrame) -> str:
    """What a figure rests on: data, student, n, device, and stale runs if any."""
    groups, alike = dict(iter(frame.groupby("dataset", sort=False))), {}
    for name, group in groups.items():
        alike.setdefault(_students(group["hidden"]), []).append(name)
    several = {s: ", ".join(names) if len(names) <= NAMED else f"{len(names)} beds" for s, names in alike.items()}
    widths = " · ".join(f"{names} ({students})" for students, names in several.items())
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
