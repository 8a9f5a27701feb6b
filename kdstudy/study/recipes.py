"""What is trained on each data set: teacher and student, how many seeds, and who listens to whom."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeVar

from kdstudy.core.spec import Condition, Data, Recipe, Run, require
from kdstudy.data import registry
from kdstudy.distill import conditions

T = TypeVar("T")
Several = T | Sequence[T]

TEACHER_SEED = 10_000  # teacher of seed s has seed 10 000 + s: no initial weights or order in common


@dataclass(frozen=True)
class Setup:
    """Teacher and student of a data set, and how many seeds it is given.

    Their learning rates were chosen for hard labels.
    """

    teacher: Recipe
    student: Recipe
    seeds: int = 10


def images(net: str, epochs: int, lr: float = 0.1, **rest: object) -> Recipe:
    """A convolutional network, computed in bfloat16."""
    return Recipe((), epochs, 64, lr, net=net, dtype="bfloat16", **rest)


CIFAR = Setup(  # the pair of the literature, Tian et al. 2020, by half a cosine in place of three steps
    images("resnet56", 240, 0.05, weight_decay=5e-4, augment=True),
    images("resnet20", 240, 0.05, weight_decay=5e-4, augment=True),
    seeds=3,
)
SETUPS = {
    "synthetic": Setup(Recipe((256,), 20, lr=0.03), Recipe((16,), 30, lr=0.2), seeds=20),
    "digits": Setup(Recipe((256,), 60, batch=64), Recipe((6,), 60, batch=64, lr=0.03), seeds=20),
    "fashion_mnist": Setup(Recipe((128,), 12), Recipe((8,), 10, lr=0.03)),
    "clinc150": Setup(Recipe((512,), 30), Recipe((12,), 30)),
    "fashion_images": Setup(images("cnn64", 8), images("cnn16", 5, lr=0.2), seeds=5),
    "tiny_imagenet": Setup(
        images("resnet20", 10, weight_decay=5e-4, augment=True), images("cnn32", 5, lr=0.2, augment=True), seeds=3
    ),
    "cifar10": CIFAR,
    "cifar100": CIFAR,
}
DEFAULT = Setup(Recipe((256,), 30), Recipe((16,), 30))


def several(value: Several[T]) -> list[T]:
    """A value or a list of values as a list; text may name several, separated by commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return list(value) if isinstance(value, Iterable) else [value]


def seed_list(seeds: Several[int] | None, own: Setup = DEFAULT) -> list[int]:
    """`seeds` as a list: a count n means 0, 1, ..., n - 1; None the data set's own count."""
    if seeds is None:
        seeds = own.seeds
    if isinstance(seeds, int):
        if seeds < 1:
            raise ValueError(f"seeds: found {seeds}, allowed: a count of at least 1, or a list of seeds")
        return list(range(seeds))
    return several(seeds)


def setup(dataset: str, hidden: int | None = None, epochs: int | None = None) -> Setup:
    """The data set's own setup, with the student's width and both numbers of epochs replaced where given.

    It is that of `SETUPS`, or the one it was registered with: `@dataset(setup=Setup(...))`.
    """
    own = SETUPS.get(dataset) or getattr(registry.DATASETS.get(dataset), "setup", DEFAULT)
    teacher, student = own.teacher, own.student
    if hidden is not None:
        student = replace(student, hidden=(hidden,))
    if epochs is not None:
        require(epochs >= 1, "epochs", epochs, "a whole number of at least 1")
        teacher, student = replace(teacher, epochs=epochs), replace(student, epochs=epochs)
    return Setup(teacher, student, own.seeds)


def settings(name: str, **values: Several[float]) -> list[Condition]:
    """A condition at every combination of those given values that it has a parameter for."""
    own = {k: several(v) for k, v in values.items() if k in conditions.parameters(name)}
    return [conditions.make(name, **dict(zip(own, combination))) for combination in product(*own.values())]


def teacher_of(data: Data, recipe: Recipe, seed: int) -> Run:
    """The hard-label teacher that student seed `seed` listens to."""
    return Run(data, recipe, conditions.make("hard"), TEACHER_SEED + seed)


def listened(data: Data, own: Setup, condition: Condition, seed: int) -> Run | None:
    """The teacher of a student: the seed's own, for `random_teacher` as it was drawn, or none."""
    if not conditions.listens(condition.name):
        return None
    recipe = replace(own.teacher, epochs=0) if condition.name == "random_teacher" else own.teacher
    return teacher_of(data, recipe, seed)


def students(data: Data, own: Setup, taught: Iterable[Condition], seeds: Sequence[int]) -> list[Run]:
    """One run for each condition and seed, with the seed's teacher where the condition listens.

    A condition that needs super-classes is left out where the data set has none.
    """
    needs = {c: getattr(conditions.named(c.name), "needs_superclasses", False) for c in taught}
    able = [c for c in needs if not needs[c] or registry.grouped(data)]
    return [Run(data, own.student, c, s, listened(data, own, c, s)) for c, s in product(able, seeds)]


def teachers(runs: Iterable[Run]) -> list[Run]:
    """The trained teachers that these runs listen to."""
    return [t for t in dict.fromkeys(r.teacher for r in runs) if t and t.recipe.epochs]
