"""An experiment, stage by stage: teachers tuned, sides tuned, choices evaluated on fresh seeds, the bed admitted.

A side is a condition taught on a bed: most are conditions of one bed, some have another teacher or other data. Each
stage asks for runs that follow from the answers of the one before it. `PARTS` says what they are called.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import pandas as pd

from kdstudy.core.spec import Pairs, Run
from kdstudy.distill import conditions
from kdstudy.engine import ask
from kdstudy.engine.outline import outline
from kdstudy.study import search
from kdstudy.study.beds import SHARED, TEACHER_SEED, Bed
from kdstudy.study.search import Choice, Protocol, Setting

BASELINE, TREATMENT, TEACHER = "hard", "kd", "teacher"
AT = {"at_kd": TREATMENT, "at_hard": BASELINE}  # mechanism parts, and whose learning rate and weight decay they have
PARTS = {
    "teacher_tuning": "every teacher at every setting, on tuning seeds",
    "teachers": "the tuned teachers of the evaluated students, as these hear them",
    "tuning": "every side at every setting, on tuning seeds",
    "practical": "every side at its choice, on evaluation seeds",
    "instead": "the choices that other tuning seeds would have made, on half of the evaluation seeds",
    "at_kd": "every side at KD's choice, its own parameters only where KD has none, on evaluation seeds",
    "at_hard": "the same with hard labels' learning rate and weight decay",
    "admission": "hard labels and KD at their choices and their teacher, on seeds used for nothing else",
    "doubled": "hard labels trained twice as long, on the same seeds",
}
QUARTER = 4


@dataclass(frozen=True)
class Side:
    """A condition as it is taught on a bed; parameters that are `fixed` are not searched."""

    bed: Bed
    condition: str
    fixed: Pairs = ()

    def run(self, setting: Setting, seed: int) -> Run:
        """Its student at a setting."""
        return self.bed.run(setting.condition, seed, lr=setting.lr, weight_decay=setting.weight_decay)


Sides = Mapping[str, Side]


def sides(bed: Bed, names: Iterable[str]) -> dict[str, Side]:
    """Conditions as sides of one bed, without those that it lacks super-classes for."""
    return {n: Side(bed, n) for n in names if bed.able(n)}


@dataclass(frozen=True)
class Design:
    """What is compared on a bed: sides by name, among them hard labels and KD, by which the bed is admitted.

    Without `mechanism` sides are evaluated at their own choices alone.
    """

    bed: Bed
    sides: Sides
    mechanism: bool = True


Labelled = Sequence[tuple[str, Run]]  # the side that a run stands for


@dataclass(frozen=True)
class Experiment:
    """A design with tuned teachers, every side's choice, and the answered tables by part.

    In a table `dataset` is the bed's name and `condition` the side's.
    """

    design: Design
    protocol: Protocol
    choices: Mapping[str, Choice]
    tables: Mapping[str, pd.DataFrame]

    @property
    def name(self) -> str:
        """The bed's name."""
        return self.design.bed.name


@dataclass(frozen=True)
class Study:
    """Experiments on several beds."""

    experiments: Sequence[Experiment]

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables of all beds by part, below each other."""
        names = dict.fromkeys(part for e in self.experiments for part in e.tables)
        return {
            n: pd.concat([e.tables[n] for e in self.experiments if n in e.tables], ignore_index=True) for n in names
        }

    @property
    def runs(self) -> list[Run]:
        """Every run, each once."""
        return list(dict.fromkeys(r for table in self.tables.values() for r in table["run"]))


class Laboratory:
    """Answers questions for the experiments of one bed."""

    def __init__(self, design: Design, protocol: Protocol, executor: str) -> None:
        self.design, self.protocol, self.executor = design, protocol, executor
        fixed = json.dumps(dict(design.bed.data.options), sort_keys=True)
        self.told = {"dataset": design.bed.name, "options": fixed}

    def ask(self, runs: Iterable[Run], part: str) -> pd.DataFrame:
        """The answered runs; progress names the bed and the part."""
        return ask.ask(dict.fromkeys(runs), self.executor, diverged="keep", words=f"{self.design.bed.name}, {part}")

    def table(self, labelled: Labelled, part: str) -> pd.DataFrame:
        """A row for each side's run; what several sides share is trained once."""
        return self.of(labelled, self.ask([r for _, r in labelled], part))

    def of(self, labelled: Labelled, answered: pd.DataFrame) -> pd.DataFrame:
        """The rows of these runs in an answered table, under the names of their sides."""
        labelled, row = list(dict.fromkeys(labelled)), {run: i for i, run in enumerate(answered["run"])}
        found = answered.iloc[[row[r] for _, r in labelled]]
        return found.assign(condition=[name for name, _ in labelled], **self.told).reset_index(drop=True)

    def tried(
        self, sides: Sides, points: Iterable[Mapping[str, float]], seeds: Iterable[int], part: str
    ) -> pd.DataFrame:
        """Every side at every point and seed."""
        settings = {
            n: dict.fromkeys(search.at(s.condition, {**p, **dict(s.fixed)}) for p in points) for n, s in sides.items()
        }
        asked = [(n, s.run(x, seed)) for n, s in sides.items() for x, seed in product(settings[n], seeds)]
        return self.table(asked, part)

    def tuned(
        self, sides: Sides, decisive: Iterable[str], seeds: Sequence[int], part: str = "tuning"
    ) -> tuple[dict[str, Choice], pd.DataFrame]:
        """Every side's choice, and the table it rests on.

        Where a `decisive` side chose an edge, all sides try more settings beyond it: a quarter of those before.
        """
        points = search.points(self.protocol.settings)
        table = self.tried(sides, points, seeds, part)
        choices = search.choose(table)
        edges = {e for n in decisive if n in choices for e in choices[n].edges}
        if edges:
            more = max(1, self.protocol.settings // QUARTER)
            points = [*points, *search.beyond(search.RANGES, edges, more, self.protocol.settings)]
            table = self.tried(sides, points, seeds, part)
            choices = search.choose(table)
        return choices, table

    def schooled(self) -> tuple[Sides, pd.DataFrame]:
        """The sides with every teacher at its best setting, searched as the sides are; an assistant's teacher first. A
        user's own teacher and those that seeds share are as they are.
        """
        beds = list(
            dict.fromkeys(
                side.bed for side in self.design.sides.values() if not side.bed.given and side.bed.composed != SHARED
            )
        )
        if not beds:
            return self.design.sides, pd.DataFrame()
        tuned, table = self.taught([b.school() if b.above else b for b in beds], "teacher")
        helped = {b: replace(b, above=tuned[b.school()].teacher) for b in beds if b.above}
        if helped:
            assistants, more = self.taught(list(helped.values()), "assistant")
            tuned |= {b: assistants[mine] for b, mine in helped.items()}
            table = pd.concat([table, more], ignore_index=True)
        return {n: replace(s, bed=tuned.get(s.bed, s.bed)) for n, s in self.design.sides.items()}, table

    def taught(self, beds: Sequence[Bed], role: str) -> tuple[dict[Bed, Bed], pd.DataFrame]:
        """Each bed with its teacher at its best setting, and the table that rests on. The first teacher is decisive.

        What a lesson without a teacher has for parameters is not searched.
        """
        lessons = {b: Side(b.school(), b.lesson.name, () if b.above else b.lesson.params) for b in beds}
        names = {lesson: f"{role} {i}" for i, lesson in enumerate(dict.fromkeys(lessons.values()))}
        seeds = [TEACHER_SEED + s for s in self.protocol.seeds("tuning")]
        choices, table = self.tuned({v: k for k, v in names.items()}, [f"{role} 0"], seeds, f"tuning of {role}s")
        best = {b: choices[names[lesson]].setting for b, lesson in lessons.items()}
        return {b: b.with_teacher(s.lr, s.weight_decay, s.condition) for b, s in best.items()}, table

    def evaluated(self, sides: Sides, choices: Mapping[str, Choice]) -> dict[str, pd.DataFrame]:
        """The parts on fresh seeds."""
        parts = self.planned(sides, choices)
        answered = self.ask((r for part in parts.values() for _, r in part), "evaluation")
        return {name: self.of(part, answered) for name, part in parts.items()}

    def planned(self, sides: Sides, choices: Mapping[str, Choice]) -> dict[str, Labelled]:
        """The runs on fresh seeds by part."""
        seeds, fresh = self.protocol.seeds("evaluation"), self.protocol.seeds("admission")
        few = seeds[: max(2, len(seeds) // 2)]

        def each(settings: Mapping[str, Iterable[Setting]], seeds: Sequence[int]) -> Labelled:
            return [(n, sides[n].run(x, seed)) for n, some in settings.items() for x, seed in product(some, seeds)]

        best = {n: [c.setting] for n, c in choices.items()}
        parts = {
            "practical": each(best, seeds),
            "instead": each({n: dict.fromkeys(c.instead.values()) for n, c in choices.items()}, few),
        }
        parts["teachers"] = [(n, r.teacher) for n, r in parts["practical"] if r.teacher]
        if {BASELINE, TREATMENT} <= choices.keys():
            moved = {p: alike(choices, whose, sides) for p, whose in (AT.items() if self.design.mechanism else ())}
            parts |= {part: each({n: [x] for n, x in settings.items()}, seeds) for part, settings in moved.items()}
            parts["admission"] = each({n: best[n] for n in (BASELINE, TREATMENT)}, fresh)
            parts["admission"] += [(TEACHER, r.teacher) for _, r in parts["admission"] if r.teacher]
            long = replace(sides[BASELINE], bed=sides[BASELINE].bed.longer(2))
            parts["doubled"] = [(BASELINE, long.run(best[BASELINE][0], e)) for e in fresh]
        return parts


def alike(choices: Mapping[str, Choice], whose: str, sides: Sides) -> dict[str, Setting]:
    """Every side with `whose` learning rate and weight decay, and KD's parameters where it has them not fixed."""
    at, own = choices[whose].setting, dict(choices[TREATMENT].setting.condition.params)

    def moved(mine: Setting, fixed: Pairs) -> Setting:
        values = dict(mine.condition.params)
        values |= {k: v for k, v in own.items() if k in values and k not in dict(fixed)}
        return Setting(conditions.make(mine.condition.name, **values), at.lr, at.weight_decay)

    return {n: moved(c.setting, sides[n].fixed) for n, c in choices.items()}


def perform(
    design: Design, protocol: Protocol = search.DEFAULT, executor: str = "local", evaluate: bool = True
) -> Experiment:
    """The experiment of a design; without `evaluate` it ends when settings are chosen."""
    protocol = search.of_network(protocol, design.bed.student.net)
    lab = Laboratory(design, protocol, executor)
    sides, school = lab.schooled()
    choices, table = lab.tuned(sides, (BASELINE, TREATMENT), protocol.seeds("tuning"))
    tables = {"teacher_tuning": school, "tuning": table} if len(school) else {"tuning": table}
    return Experiment(design, protocol, choices, tables | (lab.evaluated(sides, choices) if evaluate else {}))


def study(designs: Iterable[Design], protocol: Protocol = search.DEFAULT, executor: str = "local") -> Study:
    """The experiments of all designs. ValueError, before anything is trained, where a side cannot have its data."""
    designs = list(designs)
    for own, side in ((d.bed.data, s) for d in designs for s in d.sides.values()):
        seen, _ = side.bed.seen(side.condition, 0), side.bed.informant(side.condition, 0)
        if side.bed.data != own:  # a bed's own are looked at where it is made
            outline(seen)
    return Study([perform(d, protocol, executor) for d in designs])
