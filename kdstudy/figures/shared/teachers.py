"""What the teachers of several sides are, and what their targets hold: one table for all chapters on teachers."""

from collections.abc import Sequence

import pandas as pd

from kdstudy.stats import paired
from kdstudy.study import array_metrics
from kdstudy.study.experiment import TREATMENT, Study

TAUGHT = ["target_mass", "domain_share", "instance_share"]
HEARD = ["teacher_accuracy", "sure_train", "sure_test", "between_train"]


def sides_of(study: Study, condition: str = TREATMENT) -> list[str]:
    """The sides that are taught a condition, "kd" or "...:kd", in the order of the designs."""
    return list(dict.fromkeys(n for e in study.experiments for n in e.choices if f":{n}".endswith(f":{condition}")))


def taught(study: Study, sides: Sequence[str], heard: Sequence[str] = HEARD) -> pd.DataFrame:
    """What sides are taught at KD's setting, and by whom: means over seeds, a row for each bed and side.

    Of a side's targets the mass off the label and the shares of the levels; of its teacher the measures `heard`, on the
    examples that its students see.
    """
    rows = study.tables["at_kd"]
    rows = rows[rows["condition"].isin(sides)]
    for share in TAUGHT[1:]:
        rows = array_metrics.measured(rows, share, study.tables)
    own = study.tables["teachers"].drop_duplicates("key").rename(columns={"test_accuracy": "teacher_accuracy"})
    own = own[own["key"].isin(rows["teacher"])]
    own = own.join(array_metrics.anatomies(own)) if {*heard} - {*own} else own
    joined = rows.assign(**{m: rows["teacher"].map(own.set_index("key")[m]) for m in heard})
    joined = joined.rename(columns={"condition": "taught"})
    return paired.levels(joined, [*heard, *TAUGHT], ["dataset", "taught"])
