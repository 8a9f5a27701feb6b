"""Admission: whether a bed may vote on why KD works, decided on seeds that are used for nothing else.

It may if there is something to explain, and training is not what explains it: the teacher beats tuned hard labels by at
least `ADVANTAGE`; twice the epochs raise tuned hard labels by less than `CONVERGED`, for else KD might only fit faster
(that more training overfits is no reason: a setting is chosen for the epochs it is given); and the interval of KD minus
tuned hard labels lies above 0. All in fractions of test accuracy.
"""

from collections.abc import Sequence

import pandas as pd

from kdstudy.stats import headline
from kdstudy.study.beds import TEACHER_SEED
from kdstudy.study.experiment import BASELINE, TEACHER, TREATMENT, Experiment, Study

ADVANTAGE, CONVERGED = 0.02, 0.003
MEASURE = "test_accuracy"
COLUMNS = ["dataset", "hard", "teacher − hard", "epochs doubled", "KD − hard", "low", "high", "n", "admitted",
           "why not"]  # fmt: skip


def of(experiment: Experiment) -> dict[str, object]:
    """One bed's row of COLUMNS."""
    table, twice = experiment.tables["admission"], experiment.tables["doubled"]
    table = table.assign(seed=table["seed"] % TEACHER_SEED)  # a teacher is of its student's seed
    by = table.pivot(index="seed", columns="condition", values=MEASURE)
    ahead = float((by[TEACHER] - by[BASELINE]).mean())
    moved = float((twice.set_index("seed")[MEASURE] - by[BASELINE]).mean())
    gain = headline.over_seeds((by[TREATMENT] - by[BASELINE]).to_numpy())
    refused = {
        f"the teacher is ahead by less than {100 * ADVANTAGE:g} points": ahead < ADVANTAGE,
        "the teacher's test accuracy is not known": ahead != ahead,
        f"twice the epochs raise hard labels by {100 * CONVERGED:g} points or more": moved >= CONVERGED,
        "KD has no sure gain": gain.low <= 0,
    }
    why = "; ".join(reason for reason, holds in refused.items() if holds)
    given = (gain.mean, gain.low, gain.high, gain.n)
    return dict(zip(COLUMNS, (experiment.name, float(by[BASELINE].mean()), ahead, moved, *given, not why, why)))


def table(study: Study | Sequence[Experiment]) -> pd.DataFrame:
    """The rows of all beds that were evaluated."""
    experiments = study.experiments if isinstance(study, Study) else study
    return pd.DataFrame([of(e) for e in experiments if "admission" in e.tables], columns=COLUMNS)


def admitted(study: Study | Sequence[Experiment]) -> list[str]:
    """The names of the beds that may vote."""
    found = table(study)
    return list(found.loc[found["admitted"].astype(bool), "dataset"])
