"""What a diagnosis draws: mass, shares, class similarity and weights of a teacher, over temperatures."""

from functools import cache

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from matplotlib.ft2font import FT2Font
from matplotlib.patches import Rectangle

from kdstudy import style
from kdstudy.diagnosis.api import Diagnosis
from kdstudy.figures_geometry import ROOM, order

SHADES = {"universe": style.BLUE, "domain": style.GREEN, "instance": style.ORANGE}
MOST = 200  # classes of a heat map: more are no longer told apart
EMPTY = "no row of logits is finite"


def leaves(d: Diagnosis) -> Figure:
    """What leaves the label over τ: mean mass, entropy over its maximum log C, and how often the label is largest."""
    level = d.levels["universe"]
    if not level["tau"]:
        return style.nothing(EMPTY)
    figure, axes = style.panels([""], height=2.7)
    ax = axes[""]
    curves = {
        "mean mass off the label": (level["mass"], style.BLUE, "o"),
        "entropy / log C": (np.array(level["entropy"]) / np.log(d.facts["classes"]), style.PURPLE, "D"),
        "label is the largest target": (level["label_largest"], "0.25", "s"),
    }
    for name, (values, colour, marker) in curves.items():
        _line(ax, level["tau"], values, colour, marker, name)
    _over_tau(ax, d, "percent, mean over examples", percent=True)
    ax.set_ylim(-0.03, 1.03)
    return _finish(figure, ax, d)


def shares(d: Diagnosis) -> Figure:
    """Shares of the three levels in what separates targets from labels, with 95 % intervals, over τ."""
    if not any(s is not None for level in SHADES for s in d.levels[level]["share"]):
        return style.nothing("the targets are the labels at every τ" if d.levels["universe"]["tau"] else EMPTY)
    figure, axes = style.panels([""], height=2.7)
    ax = axes[""]
    for (name, colour), marker in zip(SHADES.items(), "Do^"):
        level = d.levels[name]
        share, low, high = (_numbers(level[k]) for k in ("share", "share_low", "share_high"))
        _line(ax, level["tau"], share, colour, marker, name)
        ax.fill_between(level["tau"], low, high, color=colour, alpha=0.18, lw=0)
    _over_tau(ax, d, "share of E‖ρ − e‖² (%)", percent=True)
    ax.set_ylim(-0.03, 1.03)
    return _finish(figure, ax, d, "bands: 95 % jackknife intervals over examples")


def weights(d: Diagnosis) -> Figure:
    """Left: w over τ, median and 5 to 95 %. Right: effective fraction of examples, and masses against difficulty."""
    level = d.levels["instance"]
    if not level["tau"]:
        return style.nothing(EMPTY)
    figure, axes = style.panels(["", " "], height=2.9)
    left, right = axes.values()
    kinds = {"at the start": (level["weights"], style.ORANGE, "o"), "now": (level["student_weights"], style.RED, "s")}
    for name, (w, colour, marker) in kinds.items():
        if w is not None:
            spread = np.abs(np.stack([_numbers(w[k]) for k in ("low", "high")]) - _numbers(w["median"]))
            left.errorbar(level["tau"], _numbers(w["median"]), spread, color=colour, marker=marker, ms=4, lw=1.3,
                          elinewidth=1, label=f"w of the student, {name}")  # fmt: skip
            _line(right, level["tau"], _numbers(w["effective"]), colour, marker, f"effective fraction, {name}")
    if any(rank is not None for rank in level["difficulty"]["rank"]):
        _line(
            right, level["tau"], _numbers(level["difficulty"]["rank"]), style.GREEN, "^", "rank of mass by difficulty"
        )
    values = [v for w, *_ in kinds.values() if w is not None for k in ("low", "high") for v in w[k] if v is not None]
    if values and max(map(abs, values)) > 20:
        left.set_yscale("symlog", linthresh=1)
    left.axhline(0, color="0.4", lw=0.8)
    for ax, label in ((left, "w"), (right, "fraction, or rank correlation")):
        _over_tau(ax, d, label)
        if ax.get_legend_handles_labels()[0]:
            ax.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    right.set_ylim(min(right.get_ylim()[0], -0.03), 1.03)
    return _finish(figure, None, d, f"α = {level['alpha']:g} · bars: 5 to 95 % of the examples")


def similarity(d: Diagnosis) -> Figure:
    """What the classes have in common in the teacher's view, ordered by super-class, else by clustering."""
    if (found := d.similarity) is None:
        return style.nothing(d.levels["domain"]["structure"]["reason"] or "no class structure was measured")
    if len(found) > MOST:
        return style.nothing(f"{len(found)} classes are too many to be told apart ({MOST} at most)")
    at = order(found / max(np.abs(found).max(), 1e-300), d.superclass)
    off = found[~np.eye(len(found), dtype=bool)]
    limit = max(1e-6, float(np.quantile(np.abs(off), 0.99)))
    figure, axes = style.panels([""], height=4.2)
    ax = axes[""]
    shown = np.where(np.eye(len(found), dtype=bool), np.nan, found)[np.ix_(at, at)]
    image = ax.imshow(shown, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    bar = figure.colorbar(image, ax=ax, extend="both", fraction=0.046)
    bar.set_label("standardised logit, class mean", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    _names(ax, d, at)
    sorted_by = "clustering" if d.superclass is None else "super-class"
    return _finish(
        figure, None, d, f"classes by {sorted_by} · red: the teacher takes one for the other more than others"
    )


def _names(ax: Axes, d: Diagnosis, at: np.ndarray) -> None:
    """Boundaries of the super-classes, and the classes' names where there is room."""
    ax.grid(False)
    ax.set_xticks([])
    if d.superclass is not None:
        for edge in np.flatnonzero(np.diff(np.asarray(d.superclass)[at])) + 0.5:
            ax.axhline(edge, color="0.2", lw=0.5)
            ax.axvline(edge, color="0.2", lw=0.5)
    names = d.facts["class_names"] or [str(c) for c in range(d.facts["classes"])]
    short = [_plain(names[c] if len(names[c]) <= 20 else f"{names[c][:19]}…") for c in at]
    fits = len(at) <= 2 * ROOM
    ax.set_yticks(range(len(at)) if fits else [], short if fits else [], fontsize=7)


def _plain(name: str) -> str:
    """A name that can be drawn: no formula between dollar signs, on one line, ? for what the font has not."""
    return "".join(c if c.isprintable() and ord(c) in _font() else "?" for c in name).replace("$", r"\$")


@cache
def _font() -> frozenset[int]:
    """Code points that the figures' font has."""
    return frozenset(FT2Font(findfont("DejaVu Sans")).get_charmap())


def _numbers(values: list[float | None]) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], dtype=float)


def _line(ax: Axes, tau: list[float], values: object, colour: object, marker: str, name: str) -> None:
    ax.plot(tau, values, color=colour, marker=marker, ms=4, lw=1.3, label=name)


def _over_tau(ax: Axes, d: Diagnosis, label: str, percent: bool = False) -> None:
    """A logarithmic axis of temperatures with the recommended range shaded."""
    taus = d.levels["universe"]["tau"]
    style.log_ticks(ax, taus, "temperature τ")
    ax.set_xlim(taus[0] / 1.15, taus[-1] * 1.15)
    ax.set_ylabel(label)
    if percent:
        ax.yaxis.set_major_formatter(lambda v, _: f"{100 * v:g}")
    low, high = d.tau["low"], d.tau["high"]
    if low is not None and low == high:
        ax.axvline(low, color="0.5", lw=4, alpha=0.3)
    elif low is not None:
        ax.axvspan(max(low, taus[0] / 1.15), min(high, taus[-1] * 1.15), color="0.5", alpha=0.12, lw=0)


def _finish(figure: Figure, ax: Axes | None, d: Diagnosis, note: str = "") -> Figure:
    """Lay out, add the legend and the line that says what the figure rests on, and close."""
    figure.tight_layout()
    if ax is not None:
        style.legend(figure, ax)
    grey = "grey: recommended τ" if ax is not None or "α" in note else ""
    size = f"{d.facts['examples']} examples, {d.facts['classes']} classes"
    words = " · ".join(filter(None, [size, note, grey if d.tau["low"] is not None else ""]))
    figure.text(0.5, -0.01, words, ha="center", va="top", fontsize=7.5, color="0.25")
    style.plt.close(figure)
    return figure


def by_code(rates: pd.DataFrame) -> pd.DataFrame:
    """Of `fit.rates`, code by code: teachers that should have it and do, and healthy ones that have it."""
    plain, rows = rates[rates["kind"] == "healthy"], []
    for code in dict.fromkeys(rates["meant"]):
        mine = rates[rates["meant"] == code]
        if code != "healthy" and code in rates:
            rows.append({"code": code, "kinds": ", ".join(mine["kind"]), "n": int(mine["n"].sum()),
                         "true": mine[code].sum() / mine["n"].sum(), "healthy n": int(plain["n"].sum()),
                         "false": plain[code].sum() / plain["n"].sum()})  # fmt: skip
    return pd.DataFrame(rows)


def alarms(rates: pd.DataFrame) -> Figure:
    """Of `fit.rates`, kind by code: percent of a kind's teachers that have a code; what is meant is framed."""
    codes = [c for c in rates.columns if c not in ("kind", "n", "meant")]
    share = rates[codes].to_numpy(dtype=float) / rates[["n"]].to_numpy()
    figure, axes = style.panels([""], height=0.9 + 0.27 * len(rates))
    ax = axes[""]
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    ax.grid(False)
    for i, j in np.argwhere(share > 0):
        ax.text(j, i, f"{100 * share[i, j]:.0f}", ha="center", va="center", fontsize=7,
                color="white" if share[i, j] > 0.6 else "0.2")  # fmt: skip
    for i, (kind, code) in enumerate(zip(rates["kind"], rates["meant"])):
        if code in codes and kind != "untypical":
            ax.add_patch(Rectangle((codes.index(code) - 0.5, i - 0.5), 1, 1, fill=False, ec=style.RED, lw=1.3))
    kinds = [f"{kind.replace('_', ' ')} ({n})" for kind, n in zip(rates["kind"], rates["n"])]
    ax.set_yticks(range(len(rates)), kinds, fontsize=7)
    ax.set_xticks(range(len(codes)), codes, rotation=35, ha="right", rotation_mode="anchor", fontsize=7)
    figure.tight_layout()
    style.plt.close(figure)
    return figure
