"""The chapters on regimes and on beds: the map of where KD pays, and how much of its gain is a saved search."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from kdstudy.engine.outline import outline
from kdstudy.figures.primitives import colour_bar, dots, heat, lines, strongest
from kdstudy.figures.style import BLUE, DARK, ORANGE, RED, Look, finish, nothing, panels
from kdstudy.figures.tables import bullets, in_order, points, sign
from kdstudy.study import admission, budget, claims
from kdstudy.study.experiment import Study

SAW = {  # regime of the map -> what its column is called
    "same_labels": "the students'\nlabels",
    "all_labels": "all labels",
    "transfer_set": "all labels;\nstudents: more\nexamples",
}
ALL = "all"  # the row of students with all labels, to whom the three columns are one
EFFECT = ["effect", "low", "high", "n"]


# ---------------------------------------------------------------- the map


def cells(study: Study) -> pd.DataFrame:
    """KD minus hard labels by data set, labels of each class, and what the teacher saw (the regimes of `SAW`)."""
    found = []
    for name in in_order(n for e in study.experiments for n in e.choices if n.endswith(":kd")):
        cell = name.removesuffix(":kd")
        regime, labels = cell.split()
        rows = claims.described(study, {name: 1, f"{cell}:hard": -1})
        found.append(rows.assign(labels=int(labels), saw=regime)[["dataset", "labels", "saw", *EFFECT]])
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["dataset", "labels", "saw", *EFFECT])


def cell_table(study: Study) -> pd.DataFrame:
    """`cells` for a page: test accuracy of both sides in percent, and what KD gains in points."""
    means = study.tables["practical"].groupby(["dataset", "condition"])["test_accuracy"].mean()
    rows = []
    for r in cells(study).to_dict("records"):
        hard, kd = (means[r["dataset"], f"{r['saw']} {r['labels']}:{c}"] for c in ("hard", "kd"))
        gain = points(r["effect"], r["low"], r["high"])
        rows.append(
            (r["dataset"], str(r["labels"] or ALL), _column(r["saw"]), f"{100 * hard:.1f}", f"{100 * kd:.1f}", gain)
        )
    names = ["bed", "labels of each class", "the teacher saw", "hard labels (%)", "KD (%)", "KD − hard"]
    return pd.DataFrame(rows, columns=names)


def regime_map(study: Study) -> Figure:
    """`cells` as a heat map for each data set; in brackets where the interval contains 0."""
    rows = cells(study)
    if rows.empty:
        return nothing("no data set has a map")
    counts = sorted(set(rows["labels"].tolist()), key=lambda n: n or float("inf"))
    figure, axes = panels(in_order(rows["dataset"]), 1.1 + 0.42 * len(counts), 3, sharey=True)
    top = strongest(100 * rows["effect"], 0.9, 0.1)
    images = [_drawn(ax, rows[rows["dataset"] == name], counts, top) for name, ax in axes.items()]
    next(iter(axes.values())).set_ylabel("labels of each class\nthat students have", fontsize=8)
    runs = study.tables["practical"]
    note = "each side at its own choice · (in brackets): the 95 % interval over seeds, examples and search contains 0"
    finished = finish(figure, runs[runs["condition"].str.contains(":")], note)
    return colour_bar(finished, images[0], "KD − hard labels (points)")


def _drawn(ax: Axes, rows: pd.DataFrame, counts: list[int], top: float) -> AxesImage:
    """One data set's cells."""
    rows = rows.assign(points=100 * rows["effect"], text=[_written(r) for r in rows.to_dict("records")])
    wide = rows.pivot(index="labels", columns="saw").reindex(counts)
    numbers, text = (wide[value].reindex(columns=list(SAW)) for value in ("points", "text"))
    image = heat(
        ax, numbers.set_axis([str(c or ALL) for c in counts]).set_axis(list(SAW.values()), axis=1), top, text=text
    )
    ax.set_xlabel("what the teacher saw", fontsize=8)
    ax.tick_params(axis="x", labelsize=6.5)
    return image


def _column(regime: str) -> str:
    return SAW[regime].replace("\n", " ")


def _written(row: Mapping[str, object]) -> str:
    text = f"{100 * row['effect']:+.1f}".replace("-", "−")
    return f"({text})" if sign(row) == "contains" else text


# ---------------------------------------------------------------- the search


BUDGETS = {budget.EQUAL: Look(RED, "o", budget.EQUAL), budget.FULL: Look(BLUE, "s", budget.FULL, "--", False)}
SEARCHED = {  # comparison -> (side, the side it is compared with), its look
    "neither searched": (("kd, untuned", "hard, untuned"), Look(ORANGE, "v", "neither searched", filled=False)),
    "KD searched": (("kd", "hard, untuned"), Look(BLUE, "s", "KD searched, hard labels not", filled=False)),
    "both searched": (("kd", "hard"), Look(DARK, "o", "both searched")),
}


def budget_curves(study: Study) -> Figure:
    """KD minus hard labels against the number of settings that each may try (`budget.gains`)."""
    note = "tuning runs alone · bars: range over tuning seeds, not an interval"
    return lines(budget.gains(study), study.tables["tuning"], "budget", BUDGETS, by="line", difference="difference in",
                 wide=3, height=2.3, note=note, why="no bed was tuned")  # fmt: skip


def searched(study: Study) -> pd.DataFrame:
    """KD minus hard labels on each bed, with and without a search: the comparisons of `SEARCHED`."""
    found = [
        claims.described(study, {one: 1, other: -1}).assign(search=name) for name, ((one, other), _) in SEARCHED.items()
    ]
    rows, order = pd.concat(found, ignore_index=True), [e.name for e in study.experiments]
    return rows.sort_values("dataset", key=lambda d: d.map(order.index), kind="stable", ignore_index=True)


def searched_dots(study: Study) -> Figure:
    """`searched` drawn, the three comparisons of a bed below each other, and how much of the gap KD closes."""
    rows, runs = searched(study).assign(panel=""), study.tables["practical"]
    note = "untuned: learning rate 0.1, no weight decay, τ = 4, α = 0.9 · bars: 95 % intervals · ◂ ▸: beyond it · "
    note += "right: how far KD, both searched, closes the gap between hard labels and teacher (bold: the bed votes)"
    return dots(rows, runs[runs["dataset"].isin(rows["dataset"])], "dataset", lambda row: SEARCHED[row["search"]][1],
                panel="panel", side_by_side="search", named=True, wide=1, note=note,
                decorate=lambda ax, _: _closed(ax, rows, admission.table(study)))  # fmt: skip


def _closed(ax: Axes, rows: pd.DataFrame, beds: pd.DataFrame) -> None:
    """An axis around the gains of two searches; those of none beyond it in numbers; at the right the gap closed."""
    names, lower = in_order(rows["dataset"]), 0.3
    fair = rows.loc[rows["search"] == "both searched", ["low", "effect", "high"]].to_numpy()
    fair = fair[np.isfinite(fair)]  # of one seed there is no interval
    least, most = min(0.0, *fair), max(0.0, *fair)
    room = 0.35 * ((most - least) or 1)
    low, high = least - room, most + room
    for row in rows[~rows["effect"].between(low, high)].to_dict("records"):
        text, y = points(row["effect"]), names.index(row["dataset"]) + lower * ([*SEARCHED].index(row["search"]) - 1)
        below = row["effect"] < low
        ax.text(low if below else high, y, f" ◂ {text}" if below else f"{text} ▸ ", fontsize=7, va="center",
                ha="left" if below else "right", color=SEARCHED[row["search"]][1].colour)  # fmt: skip
    ax.set_xlim(low, high)
    for bed in beds[beds["dataset"].isin(names)].to_dict("records"):
        gap = bed["teacher − hard"]
        share = f"{100 * bed['KD − hard'] / gap:.0f} % of {100 * gap:.1f}" if gap >= admission.ADVANTAGE else "no gap"
        ax.text(1.01, names.index(bed["dataset"]), share, transform=ax.get_yaxis_transform(), fontsize=8, va="center",
                weight="bold" if bed["admitted"] else "normal")  # fmt: skip


def saved(study: Study) -> pd.DataFrame:
    """`budget.saved` in points."""
    rows = budget.saved(study).rename(columns={"dataset": "bed"})
    return rows.assign(**{c: rows[c].map(points) for c in rows.columns[2:]})


def search_share(study: Study) -> str:
    """Markdown: for each bed, how much of the gain over hard labels without a search is the search's."""
    said = {}
    for name, group in searched(study).groupby("dataset", sort=False):
        effect = 100 * group.set_index("search")["effect"].astype(float)
        naive, fair = effect["KD searched"], effect["both searched"]
        share = f", {100 * (1 - fair / naive):.0f} % of it the search's" if 0 <= fair <= naive and naive > 0 else ""
        text = f"{naive:+.1f} points over hard labels without a search, {fair:+.1f} over searched ones{share}"
        said[name] = text.replace("-", "−")
    return bullets(said, "No bed has these sides.")


# ---------------------------------------------------------------- beds


def described(study: Study) -> pd.DataFrame:
    """What each bed is: how many examples its teacher saw, how many its students see with labels and without, of how
    many features and classes, and for how many epochs both are trained.
    """
    rows = []
    for bed in (e.design.bed for e in study.experiments):
        school, own, more = (outline(d) for d in (bed.school().seen("hard", 0), bed.seen("hard", 0), bed.seen("kd", 0)))
        n, labelled, every = (len(d.train.y) for d in (school, own, more))
        features = [d.train.x.shape[1] for d in (school, own)]
        rows.append((bed.name, len(own.classes), " → ".join(map(str, dict.fromkeys(features))), n, labelled,
                     every - labelled, f"{bed.teacher.epochs}, {bed.student.epochs}"))  # fmt: skip
    names = ["bed", "classes", "features", "teacher saw", "students: labelled", "unlabelled", "teacher, student epochs"]
    return pd.DataFrame(rows, columns=names)


def refusals(study: Study) -> str:
    """Markdown: each bed that is not admitted, why, and what KD gains there."""
    rows = admission.table(study)
    rows = rows[~rows["admitted"].astype(bool)]
    said = {r["dataset"]: f"{r['why not']}. KD − hard labels: {points(r['KD − hard'], r['low'], r['high'])} points"
            for r in rows.to_dict("records")}  # fmt: skip
    return bullets(said, "Every bed is admitted.")
