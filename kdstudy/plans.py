"""From a chapter's parameters to the runs it needs.

A plan is a function of the chapter's parameters that returns a list of runs; `PLANS` names them.
Arguments may be single values or lists; `seeds` is a count (seeds 0, 1, ...) or a list of seeds.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeVar

from kdstudy import datasets, targets
from kdstudy.spec import Data, Recipe, Run

T = TypeVar("T")
Several = T | Sequence[T]

TEACHER_SEED = 10_000  # teacher of seed s has seed 10 000 + s: no initial weights or order in common
DATASETS = ("synthetic", "digits", "fashion_mnist", "clinc150")
WEIGHT_DECAYS = (0.0, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)  # the baseline's own search

NOT_PLANNED = ("executor",)  # chapter parameters that do not change which runs are asked

PLANS: dict[str, Callable[..., list[Run]]] = {}


@dataclass(frozen=True)
class Setup:
    """Teacher and student of a data set. Their learning rates were chosen for hard labels."""

    teacher: Recipe
    student: Recipe


SETUPS = {
    "synthetic": Setup(Recipe((256,), 20, lr=0.03), Recipe((16,), 30, lr=0.2)),
    "digits": Setup(Recipe((256,), 60, batch=64), Recipe((6,), 60, batch=64, lr=0.03)),
    "fashion_mnist": Setup(Recipe((128,), 12), Recipe((8,), 10, lr=0.03)),
    "clinc150": Setup(Recipe((512,), 30), Recipe((12,), 30)),
}
DEFAULT = Setup(Recipe((256,), 30), Recipe((16,), 30))


def plan(fn: Callable[..., list[Run]]) -> Callable[..., list[Run]]:
    """Register the plan of the chapter of the same name."""
    PLANS[fn.__name__] = fn
    return fn


def several(value: Several[T]) -> list[T]:
    """A value or a list of values as a list; text may name several, separated by commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return list(value) if isinstance(value, Iterable) else [value]


def seed_list(seeds: Several[int]) -> list[int]:
    """`seeds` as a list: a count n means 0, 1, ..., n - 1."""
    if isinstance(seeds, int):
        if seeds < 1:
            raise ValueError(f"seeds: found {seeds}, allowed: a count of at least 1, or a list of seeds")
        return list(range(seeds))
    return several(seeds)


def setup(dataset: str, hidden: int | None = None, epochs: int | None = None) -> Setup:
    """The data set's own setup, with the student's width and both numbers of epochs replaced where given."""
    own = SETUPS.get(dataset, DEFAULT)
    teacher, student = own.teacher, own.student
    if hidden is not None:
        student = replace(student, hidden=(hidden,))
    if epochs is not None:
        teacher, student = replace(teacher, epochs=epochs), replace(student, epochs=epochs)
    return Setup(teacher, student)


def settings(name: str, **values: Several[float]) -> list[targets.Condition]:
    """A condition at every combination of those given values that it has a parameter for."""
    own = {k: several(v) for k, v in values.items() if k in targets.parameters(name)}
    return [targets.make(name, **dict(zip(own, combination))) for combination in product(*own.values())]


def teacher_of(data: Data, recipe: Recipe, seed: int) -> Run:
    """The hard-label teacher that student seed `seed` listens to."""
    return Run(data, recipe, targets.make("hard"), TEACHER_SEED + seed)


def students(data: Data, own: Setup, conditions: Iterable[targets.Condition], seeds: Sequence[int]) -> list[Run]:
    """One run for each condition and seed, with the seed's teacher where the condition listens."""
    return [
        Run(data, own.student, c, s, teacher_of(data, own.teacher, s) if targets.listens(c.name) else None)
        for c, s in product(conditions, seeds)
    ]


@plan
def universe(
    dataset: Several[str] = DATASETS,
    conditions: Several[str] = ("hard", "label_smoothing", "label_smoothing_matched", "kd"),
    tau: Several[float] = (1.0, 2.0, 4.0, 8.0),
    alpha: Several[float] = (0.5, 0.9),
    epsilon: Several[float] = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8),
    weight_decay: Several[float] = WEIGHT_DECAYS,
    seeds: Several[int] = 10,
    hidden: int | None = None,
    epochs: int | None = None,
) -> list[Run]:
    """Hard labels over `weight_decay`, label smoothing over `epsilon`, the others over `tau` x `alpha`."""
    wanted = [c for name in several(conditions) for c in settings(name, tau=tau, alpha=alpha, epsilon=epsilon)]
    runs = []
    for name in several(dataset):
        datasets.check(Data(name))
        own = setup(name, hidden, epochs)
        runs += students(Data(name), own, wanted, seed_list(seeds))
        baseline = [r for r in runs if r.condition.name == "hard" and r.data.name == name]
        runs += [
            replace(r, recipe=replace(r.recipe, weight_decay=float(w))) for r in baseline for w in several(weight_decay)
        ]
    return list(dict.fromkeys(runs))
