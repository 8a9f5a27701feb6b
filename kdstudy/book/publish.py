"""From the working store to the published results: every chapter's runs, and the arrays that its page reads."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from kdstudy.core import paths
from kdstudy.core.spec import Data
from kdstudy.data.registry import load
from kdstudy.engine import ask, outline
from kdstudy.figures import use_style
from kdstudy.figures.shared import gains
from kdstudy.store.provenance import code, stale
from kdstudy.store.published import Classes, Published
from kdstudy.store.results import Results
from kdstudy.store.working import Record
from kdstudy.study import difficulty, plans
from kdstudy.study.experiment import Study
from kdstudy.study.plans import levels

FIGURE = paths.ROOT / "book/_static/gains.png"  # the README's
BRIEF = ("teacher_tuning", "tuning", "admission", "doubled")  # parts of which accuracies are all that is read
SPLITS = ("train", "validation", "test")


def everything(executor: str = "local") -> Iterator[Path]:
    """Publish every chapter's study at its default parameters, once all are performed: what is neither stored nor
    published is trained first.
    """
    studies, done = {chapter: plans.study(chapter, executor=executor) for chapter in plans.PLANS}, {}
    names = {r.data.name for study in studies.values() for r in study.runs}
    for chapter, study in studies.items():
        yield one(chapter, study, done)
    known = {name: load(Data(name)) for name in sorted(names)}
    Published().publish_classes({name: Classes.of(data) for name, data in known.items()})
    outline.publish({n: difficulty.computed(d) for n, d in known.items() if n not in outline.EMBEDDED}, Published())


def one(chapter: str, study: Study, done: dict[str, set[str]]) -> Path:
    """Publish a chapter: rows as they are stored, and the arrays it reads, without those of chapters before it.

    `done` holds the names of arrays by key, of all runs that are published.
    """
    results, rows, arrays = Results(), {}, {}
    for part in sorted(study.tables, key=BRIEF.__contains__):  # whole rows come first
        table = study.tables[part]
        for key, row in results.rows(table["key"]).items():
            rows.setdefault(key, brief(row) if part in BRIEF else row)
        for name, seeds in plans.shown(chapter).get(part, {}).items():
            for key, array in ask.arrays(_first(table, seeds), name).items():
                if name not in done.get(key, ()):
                    arrays.setdefault(key, {})[name] = array
    held = {key: set(by_name) for key, by_name in arrays.items()}
    new = [Record(row, arrays.pop(key, {})) for key, row in rows.items() if key not in done]
    done |= {key: done.get(key, set()) | held.get(key, set()) for key in rows}
    return Published().publish(chapter, new, arrays)


def brief(row: Mapping[str, object]) -> dict[str, object]:
    """A row without measures other than the accuracies, by which settings are chosen, budgets compared and beds
    admitted; its digest of code is that of what is left.
    """
    measures = {n for n in row if n.startswith((*(f"{s}_" for s in SPLITS), "target_", "student_"))}
    kept = {n: v for n, v in row.items() if n not in measures or n.endswith("_accuracy")}
    return kept if stale(row) else kept | {"code": code(kept)}


def _first(table: pd.DataFrame, seeds: int | Sequence[str] | None) -> pd.DataFrame:
    """The runs of the first `seeds` seeds (None: of all), or of the sides that it names, that did not diverge."""
    table = table[table["diverged"] != 1] if "diverged" in table else table
    if isinstance(seeds, Sequence):
        return table[table["condition"].isin(seeds)]
    return table if seeds is None else table[table["seed"].isin(np.unique(table["seed"])[:seeds])]


def picture() -> Path:
    """The README's figure, from the published results."""
    use_style()
    gains.gains(plans.study("decomposition"), levels.GRID).savefig(FIGURE, dpi=150, facecolor="white")
    return FIGURE
