"""How a chapter opens: its beds and which of them vote, what every side chose, and how many runs it rests on."""

import pandas as pd
from IPython.display import HTML, Markdown, display

from kdstudy.figures.style import condition_name
from kdstudy.figures.tables import listing, points
from kdstudy.study import admission
from kdstudy.study.experiment import PARTS, Study

ARROWS = {-1: "↓", 1: "↑"}
SHORT = {"lr": "learning rate", "weight_decay": "weight decay", "tau": "τ", "alpha": "α", "epsilon": "ε"}
BEDS = (
    "**Which beds vote.** A bed votes on why KD works if its teacher is ahead of tuned hard labels, training has "
    "converged and KD gains, on seeds used for nothing else. Differences are in points of test accuracy."
)
SETTINGS = "What every side chose on validation, of how many settings. ↓ and ↑: at an edge of what was tried."
COUNTS = "How many runs, and what for; a run that serves two parts is counted in each."


def beds(study: Study) -> pd.DataFrame:
    """The admission of every bed, in percent and points: its vote, how far the teacher is ahead, training is from its
    end, and KD's gain.
    """
    rows = []
    networks = {e.name: e.design.bed for e in study.experiments}
    for row in admission.table(study).to_dict("records"):
        bed = networks[row["dataset"]]
        rows.append({
            "bed": row["dataset"],
            "vote": "yes" if row["admitted"] else f"no: {row['why not']}",
            "teacher → student": " → ".join(_units(r.hidden) for r in (bed.teacher, bed.student)),
            "hard labels (%)": f"{100 * row['hard']:.1f}",
            "teacher": points(row["teacher − hard"]),
            "epochs doubled": points(row["epochs doubled"], digits=2),
            "KD": points(row["KD − hard"], row["low"], row["high"]),
            "n": row["n"],
        })  # fmt: skip
    return pd.DataFrame(rows)


def _units(hidden: object) -> str:
    """A network's hidden units, or its name."""
    return "-".join(map(str, hidden)) if isinstance(hidden, tuple) else str(hidden)


def settings(study: Study) -> pd.DataFrame:
    """What every side chose: its values, with an arrow at an edge, and how many settings it tried."""
    rows = []
    for e in study.experiments:
        tuning = e.tables["tuning"]
        tried = tuning.groupby("condition").size() // tuning["seed"].nunique()
        for side, choice in e.choices.items():
            arrows = {name: ARROWS[way] for name, way in choice.edges}
            values = {SHORT.get(k, k): f"{v:.3g} {arrows.get(k, '')}".strip() for k, v in choice.setting.values.items()}
            rows.append({"bed": e.name, "side": condition_name(side), **values, "settings": int(tried[side])})
    table = pd.DataFrame(rows)
    return table[[c for c in table if c != "settings"] + ["settings"]].fillna("")


def counts(study: Study) -> pd.DataFrame:
    """How many runs each part has, and all of them; how many of these are stale."""
    every = {name: table.drop_duplicates("key") for name, table in study.tables.items()}
    whole = pd.concat(every.values()).drop_duplicates("key")
    rows = [(n.replace("_", " "), PARTS[n], len(t), int(t["stale"].sum())) for n, t in every.items()]
    rows.append(("all", "each run once", len(whole), int(whole["stale"].sum())))
    return pd.DataFrame(rows, columns=["part", "what", "runs", "stale"])


def opening(study: Study) -> None:
    """Show these three in a notebook, the last two folded."""
    display(Markdown(BEDS), listing(beds(study)))
    for title, said, table in (
        ("The settings chosen", SETTINGS, settings(study)),
        ("The runs", COUNTS, counts(study)),
    ):
        display(HTML(f"<details><summary>{title}</summary><p>{said}</p>{listing(table).to_html()}</details>"))
