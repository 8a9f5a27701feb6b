"""What the domain chapter draws: what a teacher knows of classes, whether a student takes it over, what it gains."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdstudy import claims, derived, figures, stats, style
from kdstudy.figures.primitives import row_dots
from kdstudy.figures.shared.comparisons import verdict_look
from kdstudy.figures_geometry import heatmaps, mantel_table, siblings

__all__ = ["alike", "both_ways", "dots", "followed_geometry", "forest", "gaps", "heatmaps", "mantel_table", "measured",
           "restated", "restatements", "shares", "siblings", "turned"]  # fmt: skip

Tables = Mapping[str, pd.DataFrame]

FOLLOWED = ("label_smoothing_matched", "class_matched", "kd")  # whose geometry is followed over temperatures
SHARES = {"universe": (style.BLUE, "D"), "domain": (style.GREEN, "^"), "instance": (style.RED, "o")}
LABELS = dict.fromkeys(("geometry_teacher", "means_teacher"), "rank correlation with the teacher's")


def measured(frame: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """The table with `geometry_teacher` and `means_teacher`, NaN where a rank correlation is not defined."""
    if not len(tables["teachers"]):
        return frame.assign(geometry_teacher=np.nan, means_teacher=np.nan)
    return frame.assign(**{name: derived.DERIVED[name](frame, tables) for name in LABELS})


def followed(frame: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Hard labels at their best, and the conditions of `FOLLOWED` at every temperature and this weight."""
    plain = frame[frame["condition"] == "hard"]
    rest = weighted(frame[frame["condition"].isin(FOLLOWED)], alpha)
    return pd.concat([stats.tuned(plain), rest]) if len(plain) else rest


def followed_geometry(frame: pd.DataFrame, tables: Tables, alpha: float) -> Figure:
    """Likeness of the logit layer to the teacher's by temperature: the rows of `followed`."""
    found = measured(followed(frame, alpha), tables).dropna(subset=["geometry_teacher"])
    figure = figures.sweep(found, "tau", "geometry_teacher", alpha)
    for ax in figure.axes:
        if ax.get_ylabel():
            ax.set_ylabel(LABELS["geometry_teacher"], fontsize=8)
    return figure


# ---------------------------------------------------------------- what the teacher has to give


def shares(frame: pd.DataFrame, alpha: float) -> Figure:
    """Shares of the three levels in KD's targets by temperature, on a logarithmic axis; a panel a data set."""
    kd = weighted(frame, alpha)
    kd = kd[kd["condition"] == "kd"]
    if kd.empty:
        return style.nothing("KD is not among the runs")
    total = sum(kd[f"target_{level}"] for level in SHARES)
    figure, axes = style.panels(list(dict.fromkeys(kd["dataset"])))
    for name, ax in axes.items():
        for level, (colour, marker) in SHARES.items():
            share = kd.assign(share=kd[f"target_{level}"] / total)[kd["dataset"] == name]
            rows = stats.summary(share, "share", ["tau"]).sort_values("tau")
            ax.plot(rows["tau"], rows["mean"], color=colour, marker=marker, ms=4, lw=1.3, label=level)
            ax.fill_between(rows["tau"], rows["low"], rows["high"], color=colour, alpha=0.2, lw=0)
        ax.set_yscale("log")
        style.log_ticks(ax, sorted(rows["tau"]), "temperature τ")
        ax.set_ylabel("share of what the targets say")
    style.legend(figure, ax)
    return style.finish(figure, kd, "bands: 95 % t intervals over seeds, most narrower than a line")


# ---------------------------------------------------------------- levels and differences by condition


def dots(frame: pd.DataFrame, measure: str, control: str = "") -> Figure:
    """A measure by condition, a panel a data set: levels, or with `control` differences from it, paired by seed."""
    known = frame.dropna(subset=[measure])
    if control:
        with_control = known.loc[known["condition"] == control, "dataset"].unique()
        known = known[known["dataset"].isin(with_control)]
    conditions = [c for c in dict.fromkeys(known["condition"]) if c != control]
    if not conditions:
        why = "a rank correlation needs 3 classes, a teacher" + (f" and {style.NAMES[control]}" if control else "")
        return style.nothing(why if measure in LABELS else f"no condition to show {measure} of")
    height = 0.75 + 0.2 * len(conditions)
    figure, axes = style.panels(list(dict.fromkeys(known["dataset"])), height=height, sharey=True)
    for name, ax in axes.items():
        group = known[known["dataset"] == name]
        mine = [c for c in conditions if (group["condition"] == c).any()]
        for c in mine:
            x = group.loc[group["condition"] == c, measure]
            if control:
                x = stats.difference(group, {"condition": c}, {"condition": control}, measure)
            dot(ax, conditions.index(c), stats.interval(x, family=len(mine) if control else 1), c)
        axis(ax, conditions, measure, bool(control))
        if control:
            ax.axvline(0, color="0.3", lw=0.8)
    note = (
        f"bars: 95 % paired t intervals of the difference from {style.NAMES[control]}, jointly over a panel's rows"
        if control
        else ""
    )
    return style.finish(figure, known, note or "bars: 95 % t intervals over seeds")


def dot(ax: Axes, y: float, i: stats.Interval, condition: str) -> None:
    """One mean with its interval, in the condition's colour and marker."""
    colour, marker = style.STYLE[condition]
    if np.isfinite([i.low, i.high]).all():
        ax.plot([i.low, i.high], [y, y], color=colour, lw=1.6)
    ax.plot(i.mean, y, marker=marker, ms=5, color=colour)


def axis(ax: Axes, conditions: Sequence[str], measure: str, differences: bool) -> None:
    """One row for each condition, the first on top, and the measure along the bottom."""
    ax.set_yticks(range(len(conditions)), [style.NAMES[c] for c in conditions])
    ax.set_ylim(len(conditions) - 0.5, -0.5)
    style.percent(ax, measure, "x")
    label = LABELS.get(measure, style.AXES.get(measure, measure))
    ax.set_xlabel(f"difference in {label.replace('(%)', '(points)')}" if differences else label, fontsize=8)


def forest(judged: pd.DataFrame, tables: Tables) -> Figure:
    """`figures.forest` of claims about geometry, whose names are too long for axes side by side."""
    figure = figures.forest(judged, tables)
    for ax in figure.axes:
        if ax.get_xlabel():
            ax.set_xlabel("difference in rank correlation", fontsize=8)
    return figure


# ---------------------------------------------------------------- a claim restated


def restated(name: str, tables: Tables, measure: str) -> pd.DataFrame:
    """A claim as judged, on another measure, and with hard labels at the smallest weight decay, by `variant`."""
    (claim,) = [c for c in claims.load() if c.id == name]
    frame = tables[claim.part]
    if not {*claim.contrast} <= {*frame["condition"]} or not len(tables["teachers"]):
        return pd.DataFrame(columns=["variant", *claims.COLUMNS])
    light = dict(tables) | {claim.part: frame[frame["weight_decay"] == frame["weight_decay"].min()]}
    asked = {"as judged": (claim, tables), "class means": (replace(claim, measure=measure), tables),
             "hard labels untuned": (claim, light)}  # fmt: skip
    return pd.concat([claims.effects(c, t).assign(variant=v) for v, (c, t) in asked.items()], ignore_index=True)


def turned(judged: pd.DataFrame) -> str:
    """Markdown: the data sets on which the verdicts of `restated` differ, with their numbers."""
    lines = []
    for name, group in judged.groupby("dataset", sort=False):
        if group["verdict"].nunique() > 1:
            each = [f"{r['variant']} {r['effect']:+.3f} [{r['low']:+.3f}, {r['high']:+.3f}], {r['verdict']}"
                    for r in group.to_dict("records")]  # fmt: skip
            lines.append(f"- {name}: {'; '.join(each)}.")
    return "\n".join(["The verdicts differ on", "", *lines] if lines else ["On no data set do the verdicts differ."])


def restatements(judged: pd.DataFrame, tables: Tables) -> Figure:
    """What `restated` found: a panel a data set, a row a variant."""
    if judged.empty:
        return style.nothing("the claim's conditions, or a geometry to compare, are not among the runs")
    names, variants = list(dict.fromkeys(judged["dataset"])), list(dict.fromkeys(judged["variant"]))
    figure, axes = style.panels(names, height=1.35, sharey=True)
    for name, ax in axes.items():
        row_dots(ax, judged[judged["dataset"] == name], "variant", variants, verdict_look)
        ax.set_xlabel("difference in rank correlation", fontsize=8)
    used = tables["study"][tables["study"]["condition"].isin(["hard", "kd"])]
    note = "bars: 95 % paired t intervals, jointly over data sets · ● supported, ✖ contradicted, ◆ undecided"
    return style.finish(figure, used[used["dataset"].isin(names)], note)


# ---------------------------------------------------------------- gains


def weighted(frame: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """The runs at this weight; none where no condition has a weight and a temperature."""
    return frame[frame["alpha"] == alpha] if {"alpha", "tau"} <= {*frame} else frame.iloc[:0].assign(tau=np.nan)


def gaps(frame: pd.DataFrame, treatments: Sequence[str], control: str, measure: str, alpha: float) -> Figure:
    """Differences from a control at equal temperature and weight, paired by seed, by temperature."""
    chosen = weighted(frame, alpha)
    found = {c: stats.contrasts(chosen, c, control, measure, ["dataset", "tau"]) for c in treatments}
    found = {c: rows for c, rows in found.items() if len(rows)}
    if not found:
        return style.nothing(f"no condition to compare with {style.NAMES[control]} at weight {alpha:g}")
    figure, axes = style.panels(list(dict.fromkeys(chosen["dataset"])))
    for name, ax in axes.items():
        for c, rows in found.items():
            mine = rows[rows["dataset"] == name].rename(columns={"difference": "mean"})
            if len(mine):
                style.curve(ax, mine, "tau", c, dash="--" if c == "class_mean" else "-")
        finish_gaps(ax, measure)
        style.log_ticks(ax, sorted(chosen["tau"].dropna().unique()), "temperature τ")
    style.legend(figure, max(axes.values(), key=lambda ax: len(ax.get_legend_handles_labels()[1])))
    note = f"bars: 95 % paired t intervals, jointly over a condition's points · α = {alpha:g}"
    return style.finish(figure, chosen[chosen["condition"].isin([control, *found])], note)


def both_ways(frame: pd.DataFrame, treatments: Sequence[str], control: str, alpha: float) -> pd.DataFrame:
    """Do differences in train and in test accuracy from a control, at equal temperature and weight, share their sign?

    For each data set: points (a condition at a temperature), those where neither interval holds 0, and of
    those the ones whose signs are equal.
    """
    chosen = weighted(frame, alpha)
    found, by = [], ["dataset", "tau"]
    for c in treatments:
        train, test = (stats.contrasts(chosen, c, control, f"{s}_accuracy", by) for s in ("train", "test"))
        found.append(train.merge(test, on=by, suffixes=("_train", "_test")))
    points = pd.concat(found)
    clear = np.logical_and(*(points[f"low_{s}"] * points[f"high_{s}"] > 0 for s in ("train", "test")))
    same = clear & (points["difference_train"] * points["difference_test"] > 0)
    counted = points.assign(points=1, clear=clear, same=same).groupby("dataset", sort=False)
    named = {"clear": "both differ from 0", "same": "with the same sign"}
    return counted[["points", "clear", "same"]].sum().astype(int).rename(columns=named)


def finish_gaps(ax: Axes, measure: str) -> None:
    """The axis of a difference, in points, and its zero."""
    style.percent(ax, measure)
    ax.set_ylabel("difference in " + style.AXES.get(measure, measure).replace("(%)", "(points)"), fontsize=8)
    ax.axhline(0, color="0.3", lw=0.8)


def alike(frame: pd.DataFrame, alpha: float) -> Figure:
    """Gain over matched smoothing against the similarity of classes: each at its best, and class shape at equal tau."""
    control, treatments = "label_smoothing_matched", ["class_matched", "class_permuted"]
    at = frame.assign(similarity=[stats.option(text, "similarity") for text in frame["options"]])
    if control not in set(frame["condition"]) or not set(treatments) & set(frame["condition"]):
        return style.nothing("matched smoothing and class shape are not among the runs of this part")
    figure, axes = style.panels(["each at its best", f"class shape, equal τ, α = {alpha:g}"], sharey=True)
    left, right = axes.values()
    best = stats.tuned(at)
    for c in treatments:
        rows = stats.contrasts(best, c, control, "test_accuracy", ["similarity"])
        style.curve(left, rows.rename(columns={"difference": "mean"}), "similarity", c)
    left.legend(fontsize=8)
    equal = stats.contrasts(at[at["alpha"] == alpha], treatments[0], control, "test_accuracy", ["tau", "similarity"])
    shades = sns.color_palette("viridis", equal["tau"].nunique())
    for (tau, rows), shade in zip(equal.groupby("tau"), shades):
        ends = np.abs(rows[["low", "high"]].to_numpy().T - rows["difference"].to_numpy())
        right.errorbar(rows["similarity"], rows["difference"], ends, color=shade, marker="^", ms=4, lw=1.3,
                       elinewidth=1, label=f"τ = {tau:g}")  # fmt: skip
    right.legend(fontsize=8)
    for ax in axes.values():
        finish_gaps(ax, "test_accuracy")
        ax.set_xlabel("cosine similarity of classes within a super-class")
    return style.finish(figure, frame, "bars: 95 % paired t intervals, jointly over the points of a line or panel")
