"""What conditions gain over a control: a panel for each bed, a dot with its interval for each condition."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from kdstudy.figures import primitives
from kdstudy.figures.style import Look, condition_name, look
from kdstudy.study import admission, claims
from kdstudy.study.experiment import BASELINE, Study
from kdstudy.study.plans.levels import several

PARTS = {"practical": "each at its own choice", "at_kd": "at KD's setting", "at_hard": "at hard labels' setting"}
PALER = 0.45  # of the way to white, for the second of two parts


def gain_table(
    study: Study, conditions: str | Sequence[str], part: str | Sequence[str] = "practical",
    measure: str = "test_accuracy", control: str = BASELINE,
) -> pd.DataFrame:  # fmt: skip
    """Each condition minus the control on each bed that has both, estimated as a claim's effect is.

    Columns: dataset, condition, part, effect, low, high, n, detectable, edge, and whether the bed is admitted.
    """
    voters, found = admission.admitted(study), []
    for name, place in ((c, p) for p in several(part) for c in several(conditions) if c != control):
        rows = claims.described(study, {name: 1, control: -1}, place, measure)
        found.append(rows.assign(condition=name, part=place, admitted=rows["dataset"].isin(voters)))
    rows = pd.concat(found, ignore_index=True)
    order = {e.name: i for i, e in enumerate(study.experiments)}
    return rows.sort_values("dataset", key=lambda d: d.map(order), kind="stable", ignore_index=True)


def gains(
    study: Study, conditions: str | Sequence[str], part: str | Sequence[str] = "practical",
    measure: str = "test_accuracy", control: str = BASELINE, wide: int = 3,
) -> Figure:  # fmt: skip
    """`gain_table` drawn. Markers are filled on beds that are admitted; of two parts the second is below, and paler."""
    parts, rows = several(part), gain_table(study, conditions, part, measure, control)
    used = study.tables[parts[0]]
    used = used[used["dataset"].isin(rows["dataset"]) & used["condition"].isin([control, *rows["condition"]])]

    def how(row: Mapping[str, object]) -> Look:
        found = look(str(row["condition"]).rpartition(":")[2])._replace(filled=bool(row["admitted"]), name="")
        return found._replace(colour=_paler(found.colour)) if parts.index(row["part"]) else found

    what = " · ".join(f"{'below' if i else 'above'}, {PARTS[p]}" for i, p in enumerate(parts))
    note = f"minus {condition_name(control)} · {what if len(parts) > 1 else PARTS[parts[0]]} · bars: 95 % intervals, "
    note += "each on its own, over seeds" + (" and test examples" if measure == "test_accuracy" else "")
    note += " · hollow: the bed is not admitted"
    why = f"no bed has {condition_name(control)} and one of these conditions"
    return primitives.dots(
        rows, used, "condition", how, measure=measure, wide=wide, side_by_side="part", why=why, note=note
    )


def _paler(colour: object) -> tuple[float, ...]:
    return tuple(v + PALER * (1 - v) for v in to_rgb(colour))
