"""What a study costs before anything is trained: its runs, counted, and the core-hours that such runs took.

Its runs follow from answers. Where these are stored, so are the choices that rest on them; where they are not, runs are
counted as if every side chose another setting, none at an edge of its range.
"""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from kdstudy.core import parameters
from kdstudy.core.spec import Run
from kdstudy.engine import ask, teachers
from kdstudy.engine.local import chosen
from kdstudy.engine.progress import progress
from kdstudy.store.results import Results
from kdstudy.study import plans, search
from kdstudy.study.beds import TEACHER_SEED
from kdstudy.study.experiment import BASELINE, TREATMENT, Design, Labelled, Laboratory, Sides
from kdstudy.study.search import Choice, Protocol

GUESS, GUESS_IMAGES = 2.0, 60.0  # seconds of a run, where none like it is stored; of networks for images
OTHERS = 3  # settings that other tuning seeds would have chosen
COLUMNS = ["chapter", "runs", "more", "core-hours", "to train", "core-hours to train"]


class _Count(Laboratory):
    """A laboratory that trains nothing."""

    def __init__(self, design: Design, protocol: Protocol) -> None:
        super().__init__(design, search.of_network(protocol, design.bed.student.net), "stored")
        self.runs: dict[Run, None] = {}

    def table(self, labelled: Labelled, part: str) -> pd.DataFrame:
        """The answers, if there are all; the runs are counted. Unanswered if there are not."""
        self.runs |= dict.fromkeys(run for _, run in labelled)
        return super().table(labelled, part)

    def tuned(
        self, sides: Sides, decisive: Iterable[str], seeds: Sequence[int], part: str = "tuning"
    ) -> tuple[dict[str, Choice], pd.DataFrame]:
        """Every side's choice; where answers are lacking side i chooses the i-th setting."""
        try:
            return super().tuned(sides, decisive, seeds, part)
        except ask.Unanswered:
            points = search.points(self.protocol.settings)
        choices = {}
        for i, (name, side) in enumerate(sides.items()):
            given = [search.at(side.condition, {**p, **dict(side.fixed)}) for p in points]
            around = [given[(i + k) % len(given)] for k in range(1 + OTHERS)]
            choices[name] = Choice(around[0], (), {(i,): s for i, s in enumerate(around)})
        return choices, pd.DataFrame()


def runs(design: Design, protocol: Protocol) -> list[Run]:
    """All runs that a design asks for, each once."""
    lab = _Count(design, protocol)
    sides, _ = lab.schooled()
    choices, _ = lab.tuned(sides, (BASELINE, TREATMENT), lab.protocol.seeds("tuning"))
    parts = lab.planned(sides, choices)
    return list(lab.runs | dict.fromkeys(run for part in parts.values() for _, run in part))


def with_teachers(asked: Iterable[Run]) -> list[Run]:
    """Runs and all that has to be trained before them; composed teachers, which cost nothing, are left out."""
    known = dict.fromkeys(asked)
    waiting = list(known)
    while waiting := [r for r in ask.before(waiting) if r not in known]:
        known |= dict.fromkeys(waiting)
    return [r for r in known if not teachers.kind(r)]


def role(dataset: str, seed: int, net: str) -> tuple[str, str, str]:
    """What a run's seconds depend on: its data set, whether it is a teacher, its kind of network."""
    return dataset, "teacher" if seed >= TEACHER_SEED else "student", net


def seconds(stored: pd.DataFrame) -> dict[tuple[str, str, str], float]:
    """Mean seconds of a core for each role among stored runs; rows that this package did not write have none."""
    if not {"dataset", "seed", "seconds"} <= {*stored}:
        return {}
    nets = stored["net"].fillna("mlp") if "net" in stored else ["mlp"] * len(stored)
    seeds, spent = (pd.to_numeric(stored[c], "coerce") for c in ("seed", "seconds"))
    roles = [role(*map(str, row[:1]), *row[1:]) for row in zip(stored["dataset"], seeds, nets)]
    return spent.groupby(pd.Series(roles, stored.index)).mean().dropna().to_dict()


def hours(of: Iterable[Run], known: Mapping[tuple[str, str, str], float]) -> float:
    """Core-hours of these runs."""
    return (
        sum(known.get(role(r.data.label, r.seed, r.recipe.net), GUESS if r.recipe.hidden else GUESS_IMAGES) for r in of)
        / 3600
    )


def table(chapters: Iterable[str], protocol: Protocol = search.DEFAULT, **given: object) -> pd.DataFrame:
    """One row for each chapter with these parameters of its plan: its runs, those that no chapter above has and their
    core-hours, and what of these has to be trained, teachers whose logits are not stored too.
    """
    results, done, rows = Results(), set(), []
    known, asker = seconds(results.frame()), ask.Asker(results, chosen("stored"), progress())
    for chapter in chapters:
        taken = {name: value for name, value in given.items() if name in plans.known(chapter)}
        asked = dict.fromkeys(run for design in plans.PLANS[chapter](**taken) for run in runs(design, protocol))
        every, keys = with_teachers(asked), asker.outstanding(list(asked))
        more = [r for r in every if r not in done]
        lacking = [r for r in more if r.key in keys]
        done |= {*more}
        rows.append([chapter, len(every), len(more), hours(more, known), len(lacking), hours(lacking, known)])
    return pd.DataFrame(rows, columns=COLUMNS)


def of(chapter: str, /, **given: object) -> pd.DataFrame:
    """`table` of a page's plans with the parameters of its notebook."""
    protocol, _ = plans.protocol(**{k: given.pop(k) for k in parameters.of(plans.protocol) if k in given})
    return table(plans.planned(chapter), protocol, **given)
