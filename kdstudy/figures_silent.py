"""Silent bugs: what each planted fault costs beside KD as it is meant, and what it leaves of the teacher."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from kdstudy import datasets, derived, faults, stats
from kdstudy.known_bugs import KNOWN_BUGS
from kdstudy.spec import Data
from kdstudy.style import AXES, BLUE, NAMES, RED, finish, nothing, panels
from kdstudy.wording import words

BEST, FIXED = "each at its best", "all at one setting"
LOOKS = {BEST: (BLUE, "o", -0.15), FIXED: (RED, "s", 0.15)}
COLUMNS = ["dataset", "condition", "setting", "difference", "low", "high", "n"]
TAUGHT = ["target_mass", "domain_share", "instance_share", "test_agreement", "test_teacher_kl"]


def known() -> pd.DataFrame:
    """The catalogue as a table: fault, where it was seen, what it did there, and which level of knowledge it takes."""
    return pd.DataFrame(
        {"fault": b.name, "seen in": b.seen, "consequence there": b.consequence, "takes": b.takes} for b in KNOWN_BUGS
    )


def fixed(study: pd.DataFrame, tau: float, alpha: float) -> pd.DataFrame:
    """All conditions of a teacher at one setting, and hard labels at the least weight decay, which is theirs."""
    plain = study["condition"] == "hard"
    least = plain & (study["weight_decay"] == study.loc[plain, "weight_decay"].min())
    taught = (study["tau"] == tau) & (study["alpha"] == alpha) if "tau" in study else ~plain
    return study[least | taught]


def against(frame: pd.DataFrame, control: str, treatments: Sequence[str], measure: str) -> pd.DataFrame:
    """Paired differences of each treatment from the control on each data set; all intervals hold together."""
    names = [c for c in treatments if c in set(frame["condition"])]
    sides = [frame[frame["condition"].isin([c, control])].assign(treatment=c) for c in names]
    sides = [s.assign(condition=np.where(s["condition"] == control, "control", "treatment")) for s in sides]
    if not sides or control not in set(frame["condition"]):
        return pd.DataFrame(columns=["dataset", "condition", "difference", "low", "high", "n"])
    found = stats.contrasts(pd.concat(sides), "treatment", "control", measure, ["dataset", "treatment"])
    return found.rename(columns={"treatment": "condition"})


def costs(study: pd.DataFrame, tau: float, alpha: float, measure: str = "test_accuracy") -> pd.DataFrame:
    """Each fault less KD, each at its setting best on validation and all at one setting: the columns COLUMNS.

    The intervals of a setting hold together over faults and data sets.
    """
    if study.empty:
        return pd.DataFrame(columns=COLUMNS)
    frames = ((BEST, stats.tuned(study)), (FIXED, fixed(study, tau, alpha)))
    parts = [against(frame, "kd", faults.FAULTS, measure).assign(setting=name) for name, frame in frames]
    return pd.concat([p for p in parts if len(p)] or parts, ignore_index=True)[COLUMNS]


def cost(study: pd.DataFrame, tau: float, alpha: float, measure: str = "test_accuracy") -> Figure:
    """What each fault costs beside KD, at its best and at one setting: a panel a data set, a row a fault."""
    found = costs(study, tau, alpha, measure)
    if found.empty:
        return nothing("it needs KD and a planted fault")
    rows = [c for c in faults.FAULTS if c in set(found["condition"])]
    figure, axes = panels(list(dict.fromkeys(found["dataset"])), height=1.1 + 0.24 * len(rows), sharey=True)
    for dataset, ax in axes.items():
        for setting, (colour, marker, shift) in LOOKS.items():
            mine = found[(found["dataset"] == dataset) & (found["setting"] == setting)]
            dots(ax, mine, np.array([rows.index(c) for c in mine["condition"]]) + shift, colour, marker, setting)
        scale(ax, found, measure)
        ax.set_yticks(range(len(rows)), [NAMES[c] for c in rows])
        ax.set_ylim(len(rows) - 0.5, -0.5)
    handles, labels = next(iter(axes.values())).get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", bbox_to_anchor=(0.5, 0.995), ncols=2, fontsize=8)
    used = study[study["condition"].isin([*rows, "kd"])]
    note = f"jointly over each colour · one setting: τ = {tau:g}, α = {alpha:g}"
    return finish(figure, used, f"less KD, paired by seed · bars: 95 % t intervals, {note}")


def dots(ax: Axes, rows: pd.DataFrame, y: np.ndarray, colour: object, marker: str, label: str) -> None:
    """Differences with their intervals; one seed has none."""
    error = np.abs(rows[["low", "high"]].to_numpy(float).T - rows["difference"].to_numpy(float))
    ax.errorbar(rows["difference"], y, xerr=np.where(np.isfinite(error), error, 0), color=colour, marker=marker, ms=4,
                ls="", elinewidth=1.2, label=label)  # fmt: skip


def scale(ax: Axes, rows: pd.DataFrame, measure: str) -> None:
    """An axis of differences, 0 marked; linear to 2 points on each side, logarithmic beyond if some lie far beyond."""
    ax.axvline(0, color="0.3", lw=0.8)
    if (far := rows["difference"].abs().max()) > 0.2:
        ax.set_xscale("symlog", linthresh=0.02)
        ax.set_xticks([-1, -0.1, -0.02, 0, 0.02])
        ax.set_xlim(-1.2 * max(far, 0.5), 0.06)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g}"))
    label = AXES.get(measure, words(measure)).replace("(%)", "(points)")
    ax.set_xlabel(f"difference in {label}", fontsize=8)


def taught(frame: pd.DataFrame, tables: derived.Tables) -> pd.DataFrame:
    """What a table of one setting was taught and how like its teacher it became, means over seeds.

    The mass off the label and the shares of two levels in the targets, whatever the weight of the soft part; agreement
    with the teacher, KL from it; and the rank correlation of their class geometries.
    """
    frame = frame[frame["condition"].isin(["kd", *faults.FAULTS])]
    if frame.empty:
        return frame
    ready = frame.assign(**{name: derived.DERIVED[name](frame, tables) for name in ("domain_share", "instance_share")})
    ready = ready.assign(geometry=derived.geometry_teacher(frame, tables))
    return stats.levels(ready, [*TAUGHT, "geometry", "train_accuracy"])


def told(rows: pd.DataFrame) -> str:
    """Which faults cost accuracy, which gain, and which cannot be told from none, by setting and data set: Markdown."""
    lines = []
    for (setting, dataset), group in rows.groupby(["setting", "dataset"], sort=False):
        signs = np.select([group["high"] < 0, group["low"] > 0], ["cost", "gain"], "neither can be told")
        parts = [
            f"{sign}: {', '.join(NAMES[c] for c in group['condition'][signs == sign])}" for sign in dict.fromkeys(signs)
        ]
        lines.append(f"- {dataset}, {setting}: {'; '.join(parts)}")
    return "\n".join(lines) or "No fault is among the runs."


def example() -> tuple[Float[np.ndarray, "N C"], Int[np.ndarray, " N"]]:
    """Somebody's logits to plant bugs into, and their labels: logistic regression on the digits, by held-out folds."""
    train = datasets.load(Data("digits")).train
    x, y = train.x.double().numpy(), train.y.numpy()
    return cross_val_predict(LogisticRegression(max_iter=1000), x, y, cv=5, method="decision_function"), y
