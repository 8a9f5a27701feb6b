"""What conditions gain over a control: a panel for each bed, a dot with its interval for each condition."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from kdstudy.figures import primitives
from kdstudy.figures.style import Look, condition_name, look
from kdstudy.figures.tables import in_order
from kdstudy.study import admission, claims, measures
from kdstudy.study.experiment import BASELINE, Study
from kdstudy.study.plans.levels import several

PARTS = {"practical": "each at its own choice", "at_kd": "at KD's setting", "at_hard": "at hard labels' setting"}
PALER = 0.45  # of the way to white, for the second of two parts
FAR = 1.0  # times the width of the first part's intervals: beyond it an effect is a number at the edge of its panel


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
    if not found:
        return pd.DataFrame(columns=["dataset", "condition", "part", *claims.COLUMNS[3:], "admitted"])
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
    note += "each on its own, over seeds" + ", test examples" * (measure == "test_accuracy")
    note += " and the choice of settings" * ("practical" in parts)
    note += " · hollow: the bed is not admitted"
    why = f"no bed has {condition_name(control)} and one of these conditions"
    return primitives.dots(rows, used, "condition", how, measure=measure, wide=wide, side_by_side="part", why=why,
                           decorate=lambda ax, bed: _focus(ax, rows, bed, measure), note=note)  # fmt: skip


def _focus(ax: Axes, rows: pd.DataFrame, bed: str, measure: str) -> None:
    """A panel around the effects of the first part; those of the second that lie far from them in numbers."""
    names, mine = in_order(rows["condition"]), rows[rows["dataset"] == bed]
    first = mine[mine["part"] == mine["part"].iloc[0]].replace([np.inf, -np.inf], np.nan)
    low, high = min(0, first[["low", "effect"]].min().min()), max(0, first[["high", "effect"]].max().max())
    room = FAR * ((high - low) or 1)
    low, high = low - room, high + room
    for row in (far := mine[~mine["effect"].between(low, high)]).to_dict("records"):
        below, number = bool(row["effect"] < low), measures.measure(measure).scale * row["effect"]
        text, at = f"{'◂ ' * below}{number:.3g}{' ▸' * (not below)}".replace("-", "−"), 0.02 if below else 0.98
        ax.text(at, names.index(row["condition"]) + 0.15, text, transform=ax.get_yaxis_transform(), fontsize=7,
                va="center", ha="left" if below else "right")  # fmt: skip
    if len(far):
        ax.set_xlim(low, high)


def _paler(colour: object) -> tuple[float, ...]:
    return tuple(v + PALER * (1 - v) for v in to_rgb(colour))
