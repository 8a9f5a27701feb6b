"""What the domain chapter draws: what a teacher knows of classes, whether a student takes it over, what it gains."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdstudy.figures import primitives
from kdstudy.figures.primitives import condition_look, lines
from kdstudy.figures.shared.comparisons import JUDGED, sweep, verdict_look
from kdstudy.figures.style import LEVELS, condition_name, looks, nothing, tau_looks
from kdstudy.figures.tables import at_weight, by_dataset, in_order
from kdstudy.stats import paired
from kdstudy.study import array_metrics, claims
from kdstudy.study.contrasts import against, contrasts

Tables = Mapping[str, pd.DataFrame]

FOLLOWED = ("label_smoothing_matched", "class_matched", "kd")  # whose geometry is followed over temperatures
GEOMETRY = ("geometry_teacher", "means_teacher")  # rank correlations with the teacher's


def measured(frame: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """The table with `geometry_teacher` and `means_teacher`, NaN where a rank correlation is not defined."""
    if not len(tables["teachers"]):
        return frame.assign(**dict.fromkeys(GEOMETRY, np.nan))
    return frame.assign(**{name: array_metrics.DERIVED[name](frame, tables) for name in GEOMETRY})


def followed_geometry(frame: pd.DataFrame, tables: Tables, alpha: float) -> Figure:
    """Likeness of the logit layer to the teacher's by temperature: of `FOLLOWED`, and of hard labels at their best."""
    rows = at_weight(frame[frame["condition"].isin(FOLLOWED)], alpha)
    hard = frame[frame["condition"] == "hard"]
    rows = pd.concat([paired.tuned(hard), rows]) if len(hard) else rows
    return sweep(measured(rows, tables).dropna(subset=["geometry_teacher"]), "tau", "geometry_teacher", alpha)


def shares(frame: pd.DataFrame, alpha: float) -> Figure:
    """Shares of the three levels in KD's targets by temperature, on a logarithmic axis; a panel a data set."""
    kd = at_weight(frame[frame["condition"] == "kd"], alpha)
    if kd.empty:
        return nothing("KD is not among the runs")
    total = sum(kd[f"target_{level}"] for level in LEVELS)
    each = [kd.assign(share=kd[f"target_{level}"] / total, level=level) for level in LEVELS]
    rows = paired.summary(pd.concat(each), "share", ["dataset", "level", "tau"])

    def logarithmic(ax: Axes, dataset: str) -> None:
        ax.set_yscale("log")
        ax.set_ylabel("share of what the targets say", fontsize=8)

    note = "bars: 95 % t intervals over seeds, most narrower than a marker"
    return lines(rows, kd, "tau", LEVELS, by="level", measure="share", dodge=False, decorate=logarithmic, note=note)


# ---------------------------------------------------------------- levels and differences by condition


def dots(frame: pd.DataFrame, measure: str, control: str = "") -> Figure:
    """A measure by condition, a panel a data set: levels, or with `control` differences from it, paired by seed."""
    known = frame.dropna(subset=[measure])
    if control:
        known = known[known["dataset"].isin(known.loc[known["condition"] == control, "dataset"])]
    if control:
        sums = against(in_order(known["condition"]), control)
        rows = by_dataset(contrasts(known, sums, measure, name="condition", jointly=["dataset"]), known["dataset"])
    else:
        rows = paired.summary(known, measure, ["dataset", "condition"])
    name, why = condition_name(control), f"no condition to show {measure} of"
    if measure in GEOMETRY:
        why = "a rank correlation needs 3 classes, a teacher" + (f" and {name}" if control else "")
    note = f"bars: 95 % paired t intervals of the difference from {name}, jointly over a panel's rows"
    return primitives.dots(rows, known, "condition", condition_look, measure=measure, why=why,
                           difference="difference in" if control else "",
                           note=note if control else "bars: 95 % t intervals over seeds")  # fmt: skip


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


def verdict_changes(judged: pd.DataFrame) -> str:
    """Markdown: the data sets on which the verdicts of `restated` differ, with their numbers."""
    told = []
    for name, group in judged.groupby("dataset", sort=False):
        if group["verdict"].nunique() > 1:
            each = [f"{r['variant']} {r['effect']:+.3f} [{r['low']:+.3f}, {r['high']:+.3f}], {r['verdict']}"
                    for r in group.to_dict("records")]  # fmt: skip
            told.append(f"- {name}: {'; '.join(each)}.")
    return "\n".join(["The verdicts differ on", "", *told] if told else ["On no data set do the verdicts differ."])


def restatements(judged: pd.DataFrame, tables: Tables) -> Figure:
    """What `restated` found: a panel a data set, a row a variant."""
    used = tables["study"][tables["study"]["condition"].isin(["hard", "kd"])]
    used = used[used["dataset"].isin(judged["dataset"])]
    why = "the claim's conditions, or a geometry to compare, are not among the runs"
    return primitives.dots(judged, used, "variant", verdict_look, measure="geometry_teacher", note=JUDGED, why=why)


# ---------------------------------------------------------------- gains


def gaps(frame: pd.DataFrame, treatments: Sequence[str], control: str, measure: str, alpha: float) -> Figure:
    """Differences from a control at equal temperature and weight, paired by seed, by temperature."""
    chosen = at_weight(frame, alpha)
    rows = contrasts(chosen, against(treatments, control), measure, ["dataset", "tau"], "condition", ["condition"])
    note = f"bars: 95 % paired t intervals, jointly over a condition's points · α = {alpha:g}"
    why = f"no condition to compare with {condition_name(control)} at weight {alpha:g}"
    used = chosen[chosen["condition"].isin([control, *rows["condition"]])]
    return lines(rows, used, "tau", measure=measure, difference="difference in", note=note, why=why)


def both_ways(frame: pd.DataFrame, treatments: Sequence[str], control: str, alpha: float) -> pd.DataFrame:
    """Do differences in train and in test accuracy from a control, at equal temperature and weight, share their sign?

    For each data set: points (a condition at a temperature), those where neither interval holds 0, and of
    those the ones whose signs are equal.
    """
    sums, by = against(treatments, control), ["dataset", "tau"]
    train, test = (contrasts(at_weight(frame, alpha), sums, f"{s}_accuracy", by, jointly=["contrast"])
                   for s in ("train", "test"))  # fmt: skip
    clear = (train["low"] * train["high"] > 0) & (test["low"] * test["high"] > 0)
    same = clear & (train["difference"] * test["difference"] > 0)
    names = {"points": 1, "both differ from 0": clear, "with the same sign": same}
    return train.assign(**names).groupby("dataset", sort=False)[[*names]].sum().astype(int)


def alike(frame: pd.DataFrame, alpha: float) -> Figure:
    """Gain over matched smoothing against the similarity of classes: each at its best, and class shape at equal tau."""
    control, treatments = "label_smoothing_matched", ["class_matched", "class_permuted"]
    if control not in set(frame["condition"]) or not set(treatments) & set(frame["condition"]):
        return nothing("matched smoothing and class shape are not among the runs of this part")
    at = frame.assign(similarity=[paired.option(text, "similarity") for text in frame["options"]])
    best, by, left = paired.tuned(at), ["tau", "similarity"], "each at its best"
    rows = contrasts(best, against(treatments, control), by=by[1:], name="line", jointly=["line"]).assign(panel=left)
    equal = contrasts(at[at["alpha"] == alpha], against(treatments[:1], control), by=by)
    equal = equal.assign(line=equal["tau"], panel=f"class shape, equal τ, α = {alpha:g}")
    note = "bars: 95 % paired t intervals, jointly over the points of a line or panel"
    return lines(pd.concat([rows, equal]), frame, "similarity", looks(treatments) | tau_looks(equal["tau"]), by="line",
                 panel="panel", difference="difference in", dodge=False, note=note, sharey=True)  # fmt: skip
