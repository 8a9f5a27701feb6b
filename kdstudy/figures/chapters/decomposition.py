"""The decomposition chapter: the ladder through the grid, its effects, and which level carries KD's gain."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure

from kdstudy.figures.primitives import dots, sign_look
from kdstudy.figures.style import Look
from kdstudy.figures.tables import bullets
from kdstudy.stats import factorial, headline
from kdstudy.study import admission, claims
from kdstudy.study.experiment import AT, BASELINE, Experiment, Study

Sums = Mapping[str, Mapping[str, float]]  # a name -> weights of conditions

PSEUDO = "pseudo_label"  # what stands for hard labels where the teacher labels a transfer set
AT_NAMES = dict(zip(AT, ("at KD's setting", "at hard labels' setting")))
AT_LOOKS = dict(zip(AT_NAMES.values(), (Look("0.15", "o"), Look("0.45", "D", filled=False))))
LABELS = {"teacher's labels": {PSEUDO: 1.0, BASELINE: -1.0}}
LADDER = {c: {c: 1.0, BASELINE: -1.0} for c in factorial.CELLS.values()}
PARTS = {  # decoupled KD as a 2 x 2 design: the target part off and on, the non-target part off and on
    "target part": {"hard": -1 / 2, "tckd": 1 / 2, "nckd": -1 / 2, "dkd": 1 / 2},
    "non-target part": {"hard": -1 / 2, "tckd": -1 / 2, "nckd": 1 / 2, "dkd": 1 / 2},
    "target × non-target": {"hard": 1, "tckd": -1, "nckd": -1, "dkd": 1},
    "decoupled KD − KD": {"dkd": 1, "kd": -1},
}
NOTE = "bars: 95 % intervals over seeds and test examples"
PARTIAL = {c: {c: 1, "kd": -1} for c in ("kd_sim", "kd_pt", "kd_pt_sim", "kd_pt_class", "topk")}


def _answers(frame: pd.DataFrame, conditions: Iterable[str]) -> dict[str, np.ndarray]:
    """By condition of one bed: 1 where a seed (row) classified a test example (column) rightly, else 0."""
    return {c: claims.correctness({c: 1.0}, frame[frame["condition"] == c]) for c in conditions}


def sums_of(experiment: Experiment, sums: Sums, part: str) -> dict[str, Float[np.ndarray, "S N"]]:
    """Each weighted sum whose conditions a bed has: a row for each seed, a column for each test example.

    Where a teacher labels a transfer set, these labels stand for hard labels, and what they give is a sum of its own.
    """
    have = {*experiment.choices}
    sums = LABELS | factorial.based_on(PSEUDO, sums) if PSEUDO in have else sums
    sums = {name: weights for name, weights in sums.items() if {*weights} <= have}
    right = _answers(experiment.tables[part], {c for weights in sums.values() for c in weights})
    return {name: sum(w * right[c] for c, w in weights.items()) for name, weights in sums.items()}


def _table(found: Iterable[tuple[str, str, str, headline.Estimate]]) -> pd.DataFrame:
    """Estimates as rows: data set, effect, part."""
    rows = [(d, name, AT_NAMES.get(part, part), e.mean, e.low, e.high, e.n) for d, name, part, e in found]
    return pd.DataFrame(rows, columns=["dataset", "effect", "at", "mean", "low", "high", "n"])


def effects(study: Study, sums: Sums, parts: Sequence[str] = tuple(AT)) -> pd.DataFrame:
    """Weighted sums of accuracies on each bed that has their conditions, with intervals over seeds and test examples.

    Columns: dataset, effect, at, mean, low, high, n.
    """
    return _table(
        (e.name, name, part, headline.over_seeds_and_examples(x))
        for e in study.experiments for part in parts for name, x in sums_of(e, sums, part).items()
    )  # fmt: skip


def ratio(part: Float[np.ndarray, "S N"], whole: Float[np.ndarray, "S N"]) -> headline.Estimate:
    """mean(part) / mean(whole) with the interval of its linearisation, (part - ratio x whole) / mean(whole): the delta
    method, for a whole that is clearly not 0.
    """
    value = float(part.mean() / whole.mean())
    rest = headline.over_seeds_and_examples((part - value * whole) / whole.mean())
    return headline.Estimate(value, rest.error, rest.n)


def shares(study: Study) -> pd.DataFrame:
    """Each level's share of KD's gain over hard labels on the admitted beds; rows as `effects` has them.

    At a setting where the gain's interval does not lie above 0 there is none: a share of nothing means nothing.
    """
    found, voters = [], admission.admitted(study)
    for experiment in (e for e in study.experiments if e.name in voters):
        for part in AT:
            sums = sums_of(experiment, factorial.shares(), part)
            gain = sum(sums.values())
            if headline.over_seeds_and_examples(gain).low > 0:
                found += [(experiment.name, name, part, ratio(x, gain)) for name, x in sums.items()]
    return _table(found)


def shares_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Shares in percent with their intervals: a row for each bed and setting, a column for each level."""
    text = [f"{100 * r.mean:.0f} [{100 * r.low:.0f}, {100 * r.high:.0f}]" for r in rows.itertuples()]
    wide = rows.assign(text=text).pivot(index=["dataset", "at"], columns="effect", values="text")
    wide = wide.reindex(index=pd.MultiIndex.from_frame(rows[["dataset", "at"]].drop_duplicates()))
    return wide[[c for c in (*LABELS, *factorial.PLAYERS) if c in wide]].rename_axis(columns=None)


def carriers(rows: pd.DataFrame) -> str:
    """Markdown: which level has the largest share on which beds, at KD's setting, and where hard labels' says another."""
    first = {at: g.loc[g.groupby("dataset", sort=False)["mean"].idxmax()].set_index("dataset")["effect"]
             for at, g in rows.groupby("at", sort=False)}  # fmt: skip
    at_kd, at_hard = (first.get(name, pd.Series(dtype=object)) for name in AT_NAMES.values())
    told = {}
    for level, names in at_kd.groupby(at_kd, sort=False).groups.items():
        other = [f"{d} (at hard labels' setting: {at_hard[d]})" if at_hard.get(d, level) != level else d for d in names]
        told[f"the largest share is that of {_the(level)}"] = "; ".join(other)
    return bullets(told, "No bed was admitted: KD gains nothing here whose shares could be told.")


def _the(level: str) -> str:
    return f"the {level}" + " level" * (level in factorial.PLAYERS)


def effect_dots(rows: pd.DataFrame, frame: pd.DataFrame, what: str = "gain in") -> Figure:
    """Effects with their intervals: a panel for each bed, a row for each effect, settings side by side on it."""
    used = frame[frame["dataset"].isin(rows["dataset"])]
    return dots(rows, used, "effect", lambda row: AT_LOOKS.get(row["at"], sign_look(row)), difference=what,
                side_by_side="at", named=rows["at"].isin(AT_LOOKS).all(), note=NOTE)  # fmt: skip
