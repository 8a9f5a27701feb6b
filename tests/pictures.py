"""Runs of tiny networks on tiny pictures, for tests."""

import torch
from conftest import teacher_of

from kdstudy.core.spec import Data, Recipe, Run
from kdstudy.data.dataset import Dataset, Images
from kdstudy.distill import conditions
from kdstudy.train import cnn

PICTURES = Data("pictures")


def split(examples: int, seed: int) -> Images:
    """Images of noise around one pattern for each class."""
    g = torch.Generator().manual_seed(seed)
    pattern = torch.randn(6, 2, 10, 8, generator=torch.Generator().manual_seed(99))
    y = torch.arange(examples) % 6
    return Images((pattern[y] + torch.randn(examples, 2, 10, 8, generator=g)).half(), y)


def pictures() -> Dataset:
    """Six classes in two super-classes, two channels, 10 x 8 pixels."""
    parts = {"train": split(96, 0), "validation": split(48, 1), "test": split(54, 2)}
    return Dataset(
        "pictures",
        **parts,
        classes=tuple("abcdef"),
        digest="0",
        superclass=torch.arange(6) // 3,
        superclasses=("l", "r"),
    )


def run(name: str = "hard", seed: int = 0, teacher: str | None = "cnn3", **changes: object) -> Run:
    """A run of a second; `changes` may hold condition parameters and recipe fields."""
    params = {k: v for k, v in changes.items() if k in conditions.parameters(name)}
    fields = {"hidden": (), "epochs": 2, "batch": 16, "lr": 0.05, "net": "cnn2", "dtype": "float64", "augment": True}
    recipe = Recipe(**fields | {k: v for k, v in changes.items() if k not in params})
    other = Recipe((), 2, 16, 0.05, net=teacher, dtype="float32") if conditions.listens(name) and teacher else None
    return Run(PICTURES, recipe, conditions.make(name, **params), seed, other and teacher_of(PICTURES, other, seed))


def mixed(**fixed: object) -> list[Run]:
    """Every condition, with mixed temperatures, weights, learning rates and weight decays."""
    runs = []
    for i, name in enumerate(conditions.CONDITIONS):
        knobs = {"tau": 1.0 + 1.5 * (i % 4), "alpha": 0.4 + 0.1 * (i % 7), "epsilon": 0.3, "dose": 0.6}
        known = {k: v for k, v in knobs.items() if k in conditions.parameters(name)}
        runs.append(run(name, lr=0.02 * (1 + i % 3), weight_decay=0.01 * (i % 2), **known, **fixed))
    return runs


def teach(runs: list[Run], data: Dataset) -> dict[str, dict[str, torch.Tensor]]:
    """What all teachers of `runs` leave."""
    left = {}
    for teacher in dict.fromkeys(r.teacher for r in runs if r.teacher):
        arrays = cnn.train([teacher], data, {}, keep_logits=True)[0].arrays
        names = [n for n in arrays if n.startswith("logits_") or n in ("rows", "weights")]
        left[teacher.key] = {n.removeprefix("logits_"): torch.from_numpy(arrays[n]) for n in names}
    return left
