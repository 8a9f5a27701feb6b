"""Which classes a condition changes: accuracy by class against hard labels, the false discovery rate controlled."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdstudy.engine import ask
from kdstudy.figures.primitives import value_axis
from kdstudy.figures.style import finish, nothing, panels
from kdstudy.figures.tables import in_order
from kdstudy.stats import factorial

COLUMNS = ["dataset", "condition", "class", "difference", "q", "significant", "n"]
FEW, EXTREMES = 12, 3  # up to so many classes all are named; of more, so many at each end
LIMIT = 20  # letters of a class's name


def class_changes(
    best: pd.DataFrame, counts: Mapping[str, Int[np.ndarray, "2 C"]], treatments: Sequence[str] = ("kd",),
    level: float = 0.05,
) -> pd.DataFrame:  # fmt: skip
    """Each class's change in test accuracy from hard labels to each treatment, by data set: the columns COLUMNS.

    `counts` holds right answers and examples of each class by key. Classes without a test example have no accuracy
    and are left out; of those with q <= `level` in one comparison a fraction of at most `level` is expected to be
    unchanged (`factorial.per_class`).
    """
    found = []
    for dataset, group in best.groupby("dataset", sort=False):
        for treatment in (t for t in treatments if {t, factorial.BASELINE} <= {*group["condition"]}):
            both = group[group["condition"].isin([treatment, factorial.BASELINE])]
            kept = np.flatnonzero(np.min([counts[k][1] for k in both["key"]], axis=0))
            values = {k: counts[k][0, kept] / counts[k][1, kept] for k in both["key"]}
            names = ask.classes(dataset, both).names
            rows = factorial.per_class(both, values, treatment, factorial.BASELINE, level)
            found.append(rows.assign(dataset=dataset, condition=treatment, **{"class": [names[i] for i in kept]}))
    return pd.concat(found, ignore_index=True)[COLUMNS] if found else pd.DataFrame(columns=COLUMNS)


def count_classes(rows: pd.DataFrame) -> pd.DataFrame:
    """How many classes gain and how many lose significantly, by data set and condition."""
    found = []
    for (dataset, condition), group in rows.groupby(["dataset", "condition"], sort=False):
        signs = np.sign(group["difference"]) * group["significant"].astype(bool)
        best, worst = group["difference"].max(), group["difference"].min()
        found.append({"dataset": dataset, "condition": condition, "classes": len(group), "gain": int((signs > 0).sum()),
                      "lose": int((signs < 0).sum()), "largest gain": best, "largest loss": worst,
                      "n": group["n"].iloc[0]})  # fmt: skip
    return pd.DataFrame(found)


def sorted_classes(rows: pd.DataFrame, frame: pd.DataFrame, condition: str = "kd") -> Figure:
    """Each class's change under one condition, sorted, a panel a data set; significant ones stand out."""
    rows = rows[rows["condition"] == condition]
    if rows.empty:
        return nothing("the comparison needs hard labels and this condition on one data set")
    datasets = in_order(rows["dataset"])
    figure, axes = panels(datasets, height=2.7)
    for dataset, ax in axes.items():
        mine = rows[rows["dataset"] == dataset].sort_values("difference", kind="stable", ignore_index=True)
        _sorted(ax, mine)
    used = frame[frame["condition"].isin([condition, factorial.BASELINE]) & frame["dataset"].isin(datasets)]
    note = "means over seeds · ● gains, ✖ loses at a false discovery rate of 5 % · ○ no change can be told"
    return finish(figure, used, note)


def _sorted(ax: Axes, rows: pd.DataFrame) -> None:
    """One data set's classes in ascending order of their change."""
    up, down = (rows["significant"].astype(bool) & (s * rows["difference"] > 0) for s in (1, -1))
    for chosen, marker, face in ((~(up | down), "o", "none"), (up, "o", "0.15"), (down, "X", "0.15")):
        edge = "0.55" if face == "none" else face
        ax.scatter(rows.index[chosen], rows.loc[chosen, "difference"], s=22, marker=marker, ec=edge, fc=face, lw=0.9)
    value_axis(ax, "test_accuracy", "change in")
    ax.axhline(rows["difference"].mean(), color="0.3", lw=0.8, ls=":")
    names = [name if len(name) <= LIMIT else f"{name[: LIMIT - 1]}…" for name in rows["class"].map(str)]
    if len(rows) <= FEW:
        slant = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if max(map(len, names)) > 3 else {}
        ax.set_xticks(rows.index, names, fontsize=7.5, **slant)
        return
    ax.set_xticks([])
    ax.set_xlabel(f"{len(rows)} classes, sorted", fontsize=8)
    highest, lowest = (["highest:", *names[: -EXTREMES - 1 : -1]], ["lowest:", *names[:EXTREMES]])
    ax.text(0.03, 0.96, "\n".join(highest), transform=ax.transAxes, va="top", fontsize=7)
    ax.text(0.97, 0.05, "\n".join(lowest), transform=ax.transAxes, ha="right", fontsize=7)
