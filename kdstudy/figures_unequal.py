"""Classes of unequal size: what a condition gains or loses where training examples are few."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from kdstudy import derived, runs, stats
from kdstudy.figures_noise import LINES, PAIRS, TWO, difference, draw, tuned, untuned
from kdstudy.style import finish, legend, nothing, panels

THIRDS = ("rarest", "middle", "commonest")


def thirds(frame: pd.DataFrame, tables: derived.Tables) -> pd.DataFrame:
    """Runs with `third` and `third_accuracy`, the mean test accuracy of a third of the classes by training examples.

    Three rows for each run, two where there are two classes; the rarest as in `derived.tail_accuracy`. Classes
    without a test example are left out. `frame` may hold students and teachers of the tables' part "imbalanced".
    """
    first = tables["teachers"].drop_duplicates(["dataset", "options"])
    seen = dict(zip(zip(first["dataset"], first["options"]), first["key"]))
    counts, held = runs.arrays(first, "counts"), runs.arrays(frame, "per_class")
    rows = []
    for row in frame.to_dict("records"):
        order = np.argsort(counts[seen[row["dataset"], row["options"]]], kind="stable")
        size = max(1, len(order) // 3)
        right, examples = held[row["key"]][:, order]
        for third, part in zip(THIRDS, np.split(np.arange(len(order)), [size, len(order) - size])):
            tested = part[examples[part] > 0]
            if len(tested):
                rows.append(row | {"third": third, "third_accuracy": float((right / examples)[tested].mean())})
    return pd.DataFrame(rows)


def unequal(tables: derived.Tables) -> pd.DataFrame:
    """Students and teachers of the classes of unequal size, by thirds of the classes."""
    skewed, every = tables["imbalanced"], tables["teachers"]
    heard = every[every["key"].isin(skewed["teacher"])].assign(condition="teacher")
    rows = [r for r in (tuned(skewed), untuned(skewed), heard) if len(r)]
    return thirds(pd.concat(rows, ignore_index=True), tables)


def by_third(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of the accuracy on each third, by data set and condition, of a table as `unequal` gives it."""
    means = rows.groupby(["dataset", "condition", "third"], sort=False)["third_accuracy"].mean().unstack()
    return means[[t for t in THIRDS if t in means]].assign(n=rows.groupby(["dataset", "condition"])["seed"].nunique())


def third_gains(rows: pd.DataFrame, pairs: Mapping[tuple[str, str], object] = PAIRS) -> pd.DataFrame:
    """Paired differences of `pairs` on each third; all intervals of a pair hold together."""
    found = []
    for pair in pairs:
        part = stats.contrasts(rows, *pair, "third_accuracy", ["dataset", "third"])
        found.append(part.assign(pair=" − ".join(pair)))
    return pd.concat(found, ignore_index=True)


def tails(rows: pd.DataFrame) -> Figure:
    """What matched smoothing and KD gain over hard labels on each third of the classes."""
    found = third_gains(rows).rename(columns={"difference": "mean"})
    if found.empty:
        return nothing("hard labels and another condition are not both among the runs")
    figure, axes = panels(list(dict.fromkeys(found["dataset"])), **TWO)
    for dataset, ax in axes.items():
        mine = found[found["dataset"] == dataset]
        for i, ((one, other), (look, dash)) in enumerate(PAIRS.items()):
            part = mine[mine["pair"] == f"{one} − {other}"]
            if len(part):
                label = f"{LINES[one][0]} − {'tuned' if other == 'hard' else 'untuned'}"
                draw(ax, part["third"].map(THIRDS.index) + 0.07 * (i - 1.5), part, look, dash, label)
        ax.set_xticks(range(len(THIRDS)), THIRDS)
        ax.set_xlabel("third of the classes by training examples")
        difference(ax)
    legend(figure, next(iter(axes.values())))
    used = rows[rows["condition"] != "teacher"]
    return finish(
        figure, used, "less hard labels, tuned or not · bars: 95 % paired t intervals, jointly over each line"
    )


def sizes(tables: derived.Tables) -> pd.DataFrame:
    """How many training examples the classes of unequal size have, by data set."""
    skewed, every = tables["imbalanced"], tables["teachers"]
    heard = every[every["key"].isin(skewed["teacher"])].drop_duplicates(["dataset", "options"])
    held, rows = runs.arrays(heard, "counts"), []
    for key, dataset in zip(heard["key"], heard["dataset"]):
        count = np.sort(held[key])
        third = max(1, len(count) // 3)
        rows.append({"dataset": dataset, "classes": len(count), "examples": int(count.sum()),
                     "in the rarest third": int(count[:third].sum()), "rarest": int(count[0]),
                     "median": float(np.median(count)), "commonest": int(count[-1])})  # fmt: skip
    return pd.DataFrame(rows)
