"""How much of a gain is a saved search: what sides are expected to reach if each may try b of its settings.

It needs tuning runs alone: a side that tries b settings drawn at random keeps the one that is best on validation, and
what that one has on test is known. Settings beyond an edge were chosen by looking, and are left out.
"""

from collections.abc import Iterable

import pandas as pd

from kdstudy.stats import headline
from kdstudy.study import search
from kdstudy.study.experiment import BASELINE, TREATMENT, Experiment, Study

EQUAL, FULL = "both with b settings", "hard labels with all"  # what KD with b settings is compared with
COLUMNS = ["dataset", "line", "budget", "mean", "low", "high"]


def curves(experiment: Experiment, sides: Iterable[str] = (BASELINE, TREATMENT)) -> dict[str, pd.DataFrame]:
    """By side: expected test accuracy, a row for each budget b = 1, ..., S and a column for each tuning seed.

    Runs that diverged have no accuracy: none of their answers is right.
    """
    table, tried = experiment.tables["tuning"], slice(experiment.protocol.settings)
    valid, test = (search.scores(table, f"{split}_accuracy") for split in ("validation", "test"))
    return {name: _expected(valid[name].iloc[tried].fillna(-1), test[name].iloc[tried].fillna(0)) for name in sides}


def _expected(valid: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    frame = pd.DataFrame({s: headline.expected_best(valid[s].to_numpy(), test[s].to_numpy()) for s in valid})
    return frame.set_axis(pd.RangeIndex(1, len(frame) + 1, name="budget"))


def gains(study: Study) -> pd.DataFrame:
    """KD minus hard labels by bed, line (EQUAL or FULL) and budget b = 1, 2, 4, ..., S: mean and range over seeds."""
    rows = []
    for experiment in study.experiments:
        by_side = curves(experiment)
        hard, kd = by_side[BASELINE], by_side[TREATMENT]
        for line, gain in ((EQUAL, kd - hard), (FULL, kd - hard.iloc[-1])):
            for b in doubling(len(gain)):
                rows.append((experiment.name, line, b, gain.loc[b].mean(), gain.loc[b].min(), gain.loc[b].max()))
    return pd.DataFrame(rows, columns=COLUMNS)


def doubling(most: int) -> list[int]:
    """1, 2, 4, ... and `most`."""
    return sorted({2**i for i in range(most.bit_length())} | {most})


def saved(study: Study) -> pd.DataFrame:
    """KD minus hard labels with one setting each and with all, what one adds to the other, and what the search adds to
    hard labels: means over tuning seeds, a row for each bed.
    """
    rows = []
    for experiment in study.experiments:
        hard, kd = (c.mean(axis=1) for c in curves(experiment).values())
        one, every = (kd.iloc[i] - hard.iloc[i] for i in (0, -1))
        rows.append((experiment.name, len(hard), one, every, one - every, hard.iloc[-1] - hard.iloc[0]))
    names = ["dataset", "settings", "gain with 1", "gain with all", "saved search", "search adds to hard"]
    return pd.DataFrame(rows, columns=names)
