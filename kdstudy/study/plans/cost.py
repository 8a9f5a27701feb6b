"""What a study costs before anything is trained: its runs, counted, and the core-hours that such runs took.

Its runs follow from answers, so they are counted as if every side chose another setting, none at an edge of its range.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from kdstudy.core.spec import Run
from kdstudy.engine import ask, teachers
from kdstudy.study import plans, search
from kdstudy.study.beds import TEACHER_SEED
from kdstudy.study.experiment import Design, Labelled, Laboratory, Sides
from kdstudy.study.search import Choice, Protocol

GUESS = 2.0  # seconds of a run, where none like it is published
OTHERS = 3  # settings that other tuning seeds would have chosen
COLUMNS = ["chapter", "runs", "more", "core-hours"]


@dataclass
class _Count(Laboratory):
    """A laboratory that trains nothing."""

    design: Design
    protocol: Protocol
    runs: dict[Run, None] = field(default_factory=dict)

    def table(self, labelled: Labelled, part: str) -> pd.DataFrame:
        """No answers; the runs are counted."""
        self.runs |= dict.fromkeys(run for _, run in labelled)
        return pd.DataFrame()

    def tuned(
        self, sides: Sides, decisive: Iterable[str], seeds: Sequence[int], part: str = "tuning"
    ) -> tuple[dict[str, Choice], pd.DataFrame]:
        """Side i chooses the i-th setting."""
        points = search.points(self.protocol.settings)
        choices = {}
        for i, (name, side) in enumerate(sides.items()):
            given = [search.at(side.condition, {**p, **dict(side.fixed)}) for p in points]
            around = [given[(i + k) % len(given)] for k in range(1 + OTHERS)]
            choices[name] = Choice(around[0], (), {(i,): s for i, s in enumerate(around)})
        return choices, self.tried(sides, points, seeds, part)


def runs(design: Design, protocol: Protocol) -> list[Run]:
    """All runs of a design, teachers included, each once; those of composed teachers, which cost nothing, are not."""
    lab = _Count(design, protocol)
    sides, _ = lab.schooled()
    choices, _ = lab.tuned(sides, (), protocol.seeds("tuning"))
    parts = lab.planned(sides, choices)
    known = lab.runs | dict.fromkeys(run for part in parts.values() for _, run in part)
    waiting = list(known)
    while waiting := [r for r in ask.before(waiting) if r not in known]:
        known |= dict.fromkeys(waiting)
    return [r for r in known if not teachers.kind(r)]


def role(dataset: str, seed: int, net: str) -> tuple[str, str, str]:
    """What a run's seconds depend on: its data set, whether it is a teacher, its kind of network."""
    return dataset, "teacher" if seed >= TEACHER_SEED else "student", net


def seconds(published: pd.DataFrame) -> dict[tuple[str, str, str], float]:
    """Mean seconds of a core for each role among published runs."""
    if published.empty:
        return {}
    nets = published["net"].fillna("mlp") if "net" in published else ["mlp"] * len(published)
    roles = [role(*row) for row in zip(published["dataset"], published["seed"], nets)]
    return published["seconds"].groupby(pd.Series(roles, published.index)).mean().to_dict()


def table(protocol: Protocol, known: Mapping[tuple[str, str, str], float]) -> pd.DataFrame:
    """One row for each chapter: its runs, those that no chapter above has, and the core-hours of these."""
    done: set[Run] = set()
    rows = []
    for chapter, plan in plans.PLANS.items():
        asked = dict.fromkeys(run for design in plan() for run in runs(design, protocol))
        more = [r for r in asked if r not in done]
        done |= asked.keys()
        hours = sum(known.get(role(r.data.label, r.seed, r.recipe.net), GUESS) for r in more) / 3600
        rows.append([chapter, len(asked), len(more), hours])
    return pd.DataFrame(rows, columns=COLUMNS)
