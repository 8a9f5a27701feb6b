"""What a diagnosis draws: mass, shares, class similarity and weights of a teacher, over temperatures."""

from collections.abc import Iterable
from functools import cache

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from matplotlib.ft2font import FT2Font

from kdstudy.diagnosis.api import DiagnosisReport
from kdstudy.figures.primitives import LIKENESS, frame_cell, heat, legend, line, log_ticks, strongest
from kdstudy.figures.shared.geometry import ROOM, class_order, superclass_edges
from kdstudy.figures.style import DARK, GREEN, LEVELS, PINK, PURPLE, RED, Look, as_percent, finish_with, nothing, panels

MOST = 200  # classes of a heat map: more are no longer told apart
EMPTY = "no row of logits is finite"


def leaves(d: DiagnosisReport) -> Figure:
    """What leaves the label over τ: mean mass, entropy over its maximum log C, and how often the label is largest."""
    level = d.levels["universe"]
    if not level["tau"]:
        return nothing(EMPTY)
    figure, axes = panels([""], height=2.7)
    ax = axes[""]
    curves = (
        (level["mass"], LEVELS["universe"]._replace(name="mean mass off the label")),
        (np.array(level["entropy"]) / np.log(d.facts["classes"]), Look(PINK, "P", "entropy / log C")),
        (level["label_largest"], Look(DARK, "s", "label is the largest target", "--")),
    )
    for values, how in curves:
        _over_tau(ax, d, how, values)
    _tau_axis(ax, d, "percent, mean over examples", share=True)
    legend(figure)
    return _finish(figure, d, grey=True)


def shares(d: DiagnosisReport) -> Figure:
    """Shares of the three levels in what separates targets from labels, with 95 % intervals, over τ."""
    if not any(s is not None for level in LEVELS for s in d.levels[level]["share"]):
        return nothing("the targets are the labels at every τ" if d.levels["universe"]["tau"] else EMPTY)
    figure, axes = panels([""], height=2.7)
    ax = axes[""]
    for name, how in LEVELS.items():
        level = d.levels[name]
        _over_tau(ax, d, how, level["share"])
        low, high = (_numbers(level[k]) for k in ("share_low", "share_high"))
        ax.fill_between(level["tau"], low, high, color=how.colour, alpha=0.18, lw=0)
    _tau_axis(ax, d, "share of E‖ρ − e‖² (%)", share=True)
    legend(figure)
    return _finish(figure, d, "bands: 95 % jackknife intervals over examples", grey=True)


def weights(d: DiagnosisReport) -> Figure:
    """Left: w over τ, median and 5 to 95 %. Right: effective fraction of examples, and masses against difficulty."""
    level = d.levels["instance"]
    if not level["tau"]:
        return nothing(EMPTY)
    figure, axes = panels(["", " "], height=2.9)
    left, right = axes.values()
    kinds = {"at the start": (level["weights"], PURPLE, "o"), "now": (level["student_weights"], RED, "s")}
    kinds = {name: how for name, how in kinds.items() if how[0] is not None}
    for name, (w, colour, marker) in kinds.items():
        _over_tau(left, d, Look(colour, marker, f"w of the student, {name}"), w["median"], w["low"], w["high"])
        _over_tau(right, d, Look(colour, marker, f"effective fraction, {name}"), w["effective"])
    if any(rank is not None for rank in level["difficulty"]["rank"]):
        _over_tau(right, d, Look(GREEN, "^", "rank of mass by difficulty"), level["difficulty"]["rank"])
    limits = [v for w, *_ in kinds.values() for k in ("low", "high") for v in w[k] if v is not None]
    if limits and max(map(abs, limits)) > 20:
        left.set_yscale("symlog", linthresh=1)
    left.axhline(0, color="0.4", lw=0.8)
    for ax, label in ((left, "w"), (right, "fraction, or rank correlation")):
        _tau_axis(ax, d, label)
        if ax.get_legend_handles_labels()[0]:
            ax.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    right.set_ylim(min(right.get_ylim()[0], -0.03), 1.03)
    return _finish(figure, d, f"α = {level['alpha']:g} · bars: 5 to 95 % of the examples", grey=True)


def similarity(d: DiagnosisReport) -> Figure:
    """What the classes have in common in the teacher's view, ordered by super-class, else by clustering."""
    if (found := d.similarity) is None:
        return nothing(d.levels["domain"]["structure"]["reason"] or "no class structure was measured")
    if len(found) > MOST:
        return nothing(f"{len(found)} classes are too many to be told apart ({MOST} at most)")
    at = class_order(found / max(np.abs(found).max(), 1e-300), d.superclass)
    diagonal = np.eye(len(found), dtype=bool)
    figure, axes = panels([""], height=4.2)
    ax = axes[""]
    shown = pd.DataFrame(np.where(diagonal, np.nan, found)[np.ix_(at, at)])
    image = heat(ax, shown, strongest(found[~diagonal], 0.99, 1e-6), colours=LIKENESS, ticks=False)
    ax.set_aspect("equal")
    bar = figure.colorbar(image, ax=ax, extend="both", fraction=0.046)
    bar.set_label("standardised logit, class mean", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    if d.superclass is not None:
        superclass_edges(ax, np.asarray(d.superclass)[at])
    if len(at) <= 2 * ROOM:
        names = d.facts["class_names"] or [str(c) for c in range(d.facts["classes"])]
        ax.set_yticks(range(len(at)), [_drawable(names[c]) for c in at], fontsize=7)
    by = "clustering" if d.superclass is None else "super-class"
    return _finish(figure, d, f"classes by {by} · red: the teacher takes one for the other more than others")


def _drawable(name: str) -> str:
    """A name that can be drawn: short, no formula between dollar signs, on one line, ? for what the font has not."""
    name = name if len(name) <= 20 else f"{name[:19]}…"
    return "".join(c if c.isprintable() and ord(c) in _font() else "?" for c in name).replace("$", r"\$")


@cache
def _font() -> frozenset[int]:
    """Code points that the figures' font has."""
    return frozenset(FT2Font(findfont("DejaVu Sans")).get_charmap())


def _numbers(values: Iterable[float | None]) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], dtype=float)


def _over_tau(ax: Axes, d: DiagnosisReport, how: Look, *values: Iterable[float | None]) -> None:
    """Values, with their limits if there are any, at the temperatures of a diagnosis."""
    columns = dict(zip(("mean", "low", "high"), map(_numbers, values)))
    line(ax, pd.DataFrame({"tau": d.levels["universe"]["tau"], **columns}), "tau", how)


def _tau_axis(ax: Axes, d: DiagnosisReport, label: str, share: bool = False) -> None:
    """A logarithmic axis of temperatures with the recommended range shaded; y from 0 to 100 % if it is a `share`."""
    taus = d.levels["universe"]["tau"]
    log_ticks(ax, taus, "temperature τ")
    ax.set_xlim(taus[0] / 1.15, taus[-1] * 1.15)
    ax.set_ylabel(label)
    if share:
        ax.yaxis.set_major_formatter(as_percent)
        ax.set_ylim(-0.03, 1.03)
    low, high = d.tau["low"], d.tau["high"]
    if low is not None and low == high:
        ax.axvline(low, color="0.5", lw=4, alpha=0.3)
    elif low is not None:
        ax.axvspan(max(low, taus[0] / 1.15), min(high, taus[-1] * 1.15), color="0.5", alpha=0.12, lw=0)


def _finish(figure: Figure, d: DiagnosisReport, note: str = "", grey: bool = False) -> Figure:
    """`finish_with` what the figure rests on, what is drawn, and, where it is, that grey is the recommended range."""
    size = f"{d.facts['examples']} examples, {d.facts['classes']} classes"
    shaded = "grey: recommended τ" if grey and d.tau["low"] is not None else ""
    return finish_with(figure, " · ".join(filter(None, [size, note, shaded])))


# ---------------------------------------------------------------- calibration


def by_code(rates: pd.DataFrame) -> pd.DataFrame:
    """Of `fit.rates`, code by code: teachers that should have it and do, and healthy ones that have it."""
    plain, rows = rates[rates["kind"] == "healthy"], []
    for code, meant in rates.groupby("meant", sort=False):
        if code != "healthy" and code in rates:
            rows.append({"code": code, "kinds": ", ".join(meant["kind"]), "n": int(meant["n"].sum()),
                         "true": meant[code].sum() / meant["n"].sum(), "healthy n": int(plain["n"].sum()),
                         "false": plain[code].sum() / plain["n"].sum()})  # fmt: skip
    return pd.DataFrame(rows)


def alarms(rates: pd.DataFrame) -> Figure:
    """Of `fit.rates`, kind by code: percent of a kind's teachers that have a code; what is meant is framed."""
    kinds = [f"{kind.replace('_', ' ')} ({n})" for kind, n in zip(rates["kind"], rates["n"])]
    codes = [c for c in rates.columns if c not in ("kind", "n", "meant")]
    share = rates[codes].div(rates["n"], axis=0).set_axis(kinds)
    figure, axes = panels([""], height=0.9 + 0.27 * len(rates))
    ax = axes[""]
    text = (100 * share).map("{:.0f}".format).where(share > 0)
    heat(ax, share, 1, bottom=0, colours="Blues", text=text, fontsize=7)
    for y, (kind, code) in enumerate(zip(rates["kind"], rates["meant"])):
        if code in codes and kind != "untypical":
            frame_cell(ax, codes.index(code), y, RED)
    ax.set_xticks(range(len(codes)), codes, rotation=35, ha="right", rotation_mode="anchor", fontsize=7)
    return finish_with(figure, "")
