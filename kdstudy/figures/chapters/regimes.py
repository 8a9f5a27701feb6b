"""The chapters on regimes and on beds: the map of where KD pays, and how much of its gain is a saved search."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from kdstudy.figures.primitives import colour_bar, dots, heat, lines, strongest
from kdstudy.figures.style import BLUE, DARK, ORANGE, RED, Look, finish, nothing, panels
from kdstudy.figures.tables import bullets, in_order, sign
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


def regime_map(study: Study) -> Figure:
    """`cells` as a heat map for each data set; in brackets where the interval contains 0."""
    rows = cells(study)
    if rows.empty:
        return nothing("no data set has a map")
    counts = sorted(set(rows["labels"]) - {0}) + [0] * bool((rows["labels"] == 0).any())
    figure, axes = panels(in_order(rows["dataset"]), 1.1 + 0.42 * len(counts), 3, sharey=True)
    top = strongest(100 * rows["effect"], 0.9)
    for name, ax in axes.items():
        mine = rows[rows["dataset"] == name].assign(text=lambda t: [_cell(r) for r in t.to_dict("records")])
        wide = {v: mine.pivot(index="labels", columns="saw", values=v).reindex(counts, columns=list(SAW)) for v in ("effect", "text")}
        table = (100 * wide["effect"].astype(float)).set_axis([str(c or ALL) for c in counts]).set_axis(list(SAW.values()), axis=1)
        image = heat(ax, table, top, text=wide["text"], fontsize=8)
        ax.set(xlabel="what the teacher saw")
        ax.tick_params(axis="x", labelsize=6.5)
    next(iter(axes.values())).set_ylabel("labels of each class\nthat the students have")
    runs = study.tables["practical"]
    note = "KD − hard labels, each at its own choice · (in brackets): the 95 % interval over seeds and examples contains 0"
    return colour_bar(finish(figure, runs[runs["condition"].str.contains(":")], note), image, "KD − hard labels (points)")


def _cell(row: Mapping[str, object]) -> str:
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
    found = [claims.described(study, {one: 1, other: -1}).assign(search=name) for name, ((one, other), _) in SEARCHED.items()]
    rows, order = pd.concat(found, ignore_index=True), [e.name for e in study.experiments]
    return rows.sort_values("dataset", key=lambda d: d.map(order.index), kind="stable", ignore_index=True)


def searched_dots(study: Study) -> Figure:
    """`searched` drawn, the three comparisons of a bed below each other."""
    rows, runs = searched(study).assign(panel=""), study.tables["practical"]
    note = "untuned: learning rate 0.1, no weight decay, τ = 4, α = 0.9 · bars: 95 % intervals over seeds and examples"
    return dots(rows, runs[runs["dataset"].isin(rows["dataset"])], "dataset", lambda row: SEARCHED[row["search"]][1],
                panel="panel", side_by_side="search", named=True, wide=1, note=note)  # fmt: skip


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


# ---------------------------------------------------------------- beds that give nothing


def refusals(study: Study) -> str:
    """Markdown: each bed that is not admitted, why, and what KD gains there."""
    rows = admission.table(study)
    rows = rows[~rows["admitted"].astype(bool)]
    said = {
        r["dataset"]: f"{r['why not']} (KD − hard labels {100 * r['KD − hard']:+.1f} points, 95 % interval "
        f"{100 * r['low']:+.1f} to {100 * r['high']:+.1f})".replace("-", "−")
        for r in rows.to_dict("records")
    }
    return bullets(said, "Every bed is admitted.")
