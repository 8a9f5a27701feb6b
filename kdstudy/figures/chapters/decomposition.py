"""The decomposition chapter: the ladder through the grid, its effects, and which level carries KD's gain."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure

from kdstudy.figures.primitives import dots, sign_look
from kdstudy.figures.style import DARK, PALE, Look
from kdstudy.stats import factorial, headline
from kdstudy.study import admission, claims
from kdstudy.study.experiment import AT, BASELINE, Experiment, Study

Sums = Mapping[str, Mapping[str, float]]  # a name -> weights of conditions

PSEUDO = "pseudo_label"  # what stands for hard labels where the teacher labels a transfer set
AT_NAMES = dict(zip(AT, ("at KD's setting", "at hard labels' setting")))
AT_LOOKS = {n: Look(c, m, n, filled=c == DARK) for n, c, m in zip(AT_NAMES.values(), (DARK, PALE), "oD")}
LABELS = {"teacher's labels": {PSEUDO: 1.0, BASELINE: -1.0}}
PARTS = {  # decoupled KD as a 2 x 2 design: the target part off and on, the non-target part off and on
    "target part": {"hard": -1 / 2, "tckd": 1 / 2, "nckd": -1 / 2, "dkd": 1 / 2},
    "non-target part": {"hard": -1 / 2, "tckd": -1 / 2, "nckd": 1 / 2, "dkd": 1 / 2},
    "target × non-target": {"hard": 1, "tckd": -1, "nckd": -1, "dkd": 1},
    "decoupled KD − KD": {"dkd": 1, "kd": -1},
}
NOTE = "bars: 95 % intervals over seeds and test examples"
PARTIAL = ("kd_sim", "kd_pt", "kd_pt_sim", "kd_pt_class", "topk")


def sums_of(experiment: Experiment, sums: Sums) -> dict[str, Mapping[str, float]]:
    """The weighted sums whose conditions a bed has.

    Where a teacher labels a transfer set, these labels stand for hard labels, and what they give is a sum of its own.
    """
    have = {*experiment.choices}
    sums = LABELS | factorial.based_on(PSEUDO, sums) if PSEUDO in have else sums
    return {name: weights for name, weights in sums.items() if {*weights} <= have}


def effects(study: Study, sums: Sums, parts: Sequence[str] = tuple(AT)) -> pd.DataFrame:
    """Weighted sums of accuracies on each bed that has their conditions, estimated as a claim's effect is."""
    found = [
        claims.described(Study([e]), weights, part).assign(contrast=name, at=AT_NAMES.get(part, part))
        for e in study.experiments for part in parts for name, weights in sums_of(e, sums).items()
    ]  # fmt: skip
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["dataset", "contrast", "at"])


def ratio(part: Float[np.ndarray, "S N"], whole: Float[np.ndarray, "S N"]) -> headline.Estimate:
    """mean(part) / mean(whole) with the interval of its linearisation, (part - ratio x whole) / mean(whole): the delta
    method, for a whole that is clearly not 0.
    """
    value = float(part.mean() / whole.mean())
    rest = headline.over_seeds_and_examples((part - value * whole) / whole.mean())
    return replace(rest, mean=value)


def shares(study: Study) -> pd.DataFrame:
    """Each level's share of KD's gain over hard labels on the admitted beds: dataset, at, level, mean, low, high, n.

    At a setting where the gain's interval does not lie above 0 there is none: a share of nothing means nothing.
    """
    rows, voters = [], admission.admitted(study)
    for experiment, part in product((e for e in study.experiments if e.name in voters), AT):
        sums, table = sums_of(experiment, factorial.shares()), experiment.tables[part]
        table = claims.converged(table[table["condition"].isin({c for w in sums.values() for c in w})])
        right = {name: claims.correctness(w, table[table["condition"].isin(w)]) for name, w in sums.items()}
        gain = sum(right.values())
        if {*factorial.PLAYERS} <= sums.keys() and headline.over_seeds_and_examples(gain).low > 0:
            each = ((name, ratio(x, gain)) for name, x in right.items())
            rows += [(experiment.name, AT_NAMES[part], name, e.mean, e.low, e.high, e.n) for name, e in each]
    return pd.DataFrame(rows, columns=["dataset", "at", "level", "mean", "low", "high", "n"])


def shares_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Shares in percent with their intervals: a row for each bed and setting, a column for each level."""
    text = [f"{100 * r.mean:.0f} [{100 * r.low:.0f}, {100 * r.high:.0f}]" for r in rows.itertuples()]
    wide = rows.assign(text=text).pivot(index=["dataset", "at"], columns="level", values="text")
    wide = wide.reindex(index=pd.MultiIndex.from_frame(rows[["dataset", "at"]].drop_duplicates()))
    return wide[[c for c in (*LABELS, *factorial.PLAYERS) if c in wide]].rename_axis(columns=None)


def effect_dots(rows: pd.DataFrame, study: Study) -> Figure:
    """Effects with their intervals: a panel for each bed, a row for each effect, settings one below the other."""
    used = study.tables["practical"]
    return dots(rows, used[used["dataset"].isin(rows["dataset"])], "contrast", how=_look, difference="effect on",
                side_by_side="at", named=bool(rows["at"].isin(AT_LOOKS).all()), wide=3, note=NOTE)  # fmt: skip


def _look(row: Mapping[str, object]) -> Look:
    return AT_LOOKS.get(row["at"]) or sign_look(row)
