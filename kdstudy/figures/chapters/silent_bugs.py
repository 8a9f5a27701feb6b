"""Silent bugs: what each planted fault costs beside KD as it is meant, and what it leaves of the teacher."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from kdstudy.core.spec import Data
from kdstudy.data import registry
from kdstudy.distill import faults
from kdstudy.figures.primitives import dots
from kdstudy.figures.style import BLUE, RED, Look, as_percent, condition_name
from kdstudy.figures.tables import by_dataset
from kdstudy.stats import paired
from kdstudy.study import array_metrics
from kdstudy.study.contrasts import LIMITS, against, contrasts
from kdstudy.study.known_bugs import KNOWN_BUGS

BEST, FIXED = "each at its best", "all at one setting"
LOOKS = {BEST: Look(BLUE, "o", BEST), FIXED: Look(RED, "s", FIXED)}
COLUMNS = ["dataset", "condition", "setting", *LIMITS]
TAUGHT = ["target_mass", "domain_share", "instance_share", "test_agreement", "test_teacher_kl"]


def bugs_seen() -> pd.DataFrame:
    """The known bugs as a table: fault, where it was seen, what it did there, and which level of knowledge it takes."""
    return pd.DataFrame(
        {"fault": b.name, "seen in": b.seen, "consequence there": b.consequence, "takes": b.takes} for b in KNOWN_BUGS
    )


def at_setting(study: pd.DataFrame, tau: float, alpha: float) -> pd.DataFrame:
    """All conditions of a teacher at one setting, and hard labels at the least weight decay, which is theirs."""
    plain = study["condition"] == "hard"
    least = plain & (study["weight_decay"] == study.loc[plain, "weight_decay"].min())
    taught = (study["tau"] == tau) & (study["alpha"] == alpha) if "tau" in study else ~plain
    return study[least | taught]


def differences(frame: pd.DataFrame, control: str, treatments: Sequence[str], measure: str) -> pd.DataFrame:
    """Paired differences of each treatment from the control on each data set; all intervals hold together."""
    return contrasts(frame, against(treatments, control), measure, name="condition")


def costs(study: pd.DataFrame, tau: float, alpha: float, measure: str = "test_accuracy") -> pd.DataFrame:
    """Each fault minus KD, each at its setting best on validation and all at one setting: the columns COLUMNS.

    The intervals of a setting hold together over faults and data sets.
    """
    if study.empty:
        return pd.DataFrame(columns=COLUMNS)
    frames = ((BEST, paired.tuned(study)), (FIXED, at_setting(study, tau, alpha)))
    parts = [differences(frame, "kd", faults.FAULTS, measure).assign(setting=name) for name, frame in frames]
    return pd.concat([p for p in parts if len(p)] or parts, ignore_index=True)[COLUMNS]


def cost(study: pd.DataFrame, tau: float, alpha: float, measure: str = "test_accuracy") -> Figure:
    """What each fault costs beside KD, at its best and at one setting: a panel a data set, a row a fault."""
    found = costs(study, tau, alpha, measure)
    found = found.sort_values("condition", key=lambda c: c.map(list(faults.FAULTS).index), kind="stable")
    note = "less KD, paired by seed · bars: 95 % t intervals, jointly over each colour"
    used = study[study["condition"].isin([*found["condition"], "kd"])]
    return dots(by_dataset(found, study["dataset"]), used, "condition", lambda row: LOOKS[row["setting"]],
                measure=measure, side_by_side="setting", named=True,
                decorate=lambda ax, _: _far(ax, found["difference"].abs().max()),
                note=f"{note} · one setting: τ = {tau:g}, α = {alpha:g}",
                why="it needs KD and a planted fault")  # fmt: skip


def _far(ax: Axes, largest: float) -> None:
    """An axis of differences that is linear to 2 points on each side, logarithmic beyond if some lie far beyond."""
    if largest > 0.2:
        ax.set_xscale("symlog", linthresh=0.02)
        ax.set_xticks([-1, -0.1, -0.02, 0, 0.02])
        ax.set_xlim(-1.2 * max(largest, 0.5), 0.06)
        ax.xaxis.set_major_formatter(as_percent)


def taught(frame: pd.DataFrame, tables: array_metrics.Tables) -> pd.DataFrame:
    """What a table of one setting was taught and how like its teacher it became, means over seeds.

    The mass off the label and the shares of two levels in the targets, whatever the weight of the soft part; agreement
    with the teacher, KL from it; and the rank correlation of their class geometries.
    """
    frame = frame[frame["condition"].isin(["kd", *faults.FAULTS])]
    if frame.empty:
        return frame
    ready = frame.assign(
        **{name: array_metrics.DERIVED[name](frame, tables) for name in ("domain_share", "instance_share")}
    )
    ready = ready.assign(geometry=array_metrics.geometry_teacher(frame, tables))
    return paired.levels(ready, [*TAUGHT, "geometry", "train_accuracy"])


def costs_in_words(rows: pd.DataFrame) -> str:
    """Which faults cost accuracy, which gain, and which can be told from neither, by setting and data set: Markdown."""
    lines = []
    for (setting, dataset), group in rows.groupby(["setting", "dataset"], sort=False):
        signs = np.select([group["high"] < 0, group["low"] > 0], ["cost", "gain"], "neither can be told")
        parts = [f"{sign}: {', '.join(map(condition_name, group['condition'][signs == sign]))}"
                 for sign in dict.fromkeys(signs)]  # fmt: skip
        lines.append(f"- {dataset}, {setting}: {'; '.join(parts)}")
    return "\n".join(lines) or "No fault is among the runs."


def example() -> tuple[Float[np.ndarray, "N C"], Int[np.ndarray, " N"]]:
    """Somebody's logits to plant bugs into, and their labels: logistic regression on the digits, by held-out folds."""
    train = registry.load(Data("digits")).train
    x, y = train.x.double().numpy(), train.y.numpy()
    return cross_val_predict(LogisticRegression(max_iter=1000), x, y, cv=5, method="decision_function"), y
