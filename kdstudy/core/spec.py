"""What a run is, as frozen values: equal meaning, equal key.

A `Run` names a data set, a recipe (network and optimiser), a condition (what the student is
taught), a seed and, where the condition listens to one, the teacher, itself a `Run`.
`Run.key` is a hash of exactly that, so the same question asked twice has the same address.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import PurePath

RECIPE_VERSION = 1  # part of every key: raise it when the meaning of a field below changes
NEWER = {"net": "mlp", "augment": False}  # fields added since: at these values no part of a key or row

Pairs = tuple[tuple[str, object], ...]


def pairs(options: Mapping[str, object]) -> Pairs:
    """Sorted (name, value) pairs: a hashable mapping whose order carries no meaning."""
    return tuple(sorted(options.items()))


def require(ok: bool, what: str, found: object, allowed: str) -> None:
    """ValueError that names what was asked, found and allowed, unless `ok`."""
    if not ok:
        raise ValueError(f"{what}: found {found!r}, allowed: {allowed}")


def _counts(value: float) -> bool:
    return value >= 1 and value == int(value)


def meant(items: Iterable[tuple[str, object]]) -> dict[str, object]:
    """Fields by name, without those of `NEWER` that say nothing new: what is older keeps its key."""
    return {name: value for name, value in items if name not in NEWER or value != NEWER[name]}


def _fields(value: object) -> dict[str, object]:
    """A frozen value's fields as its key means them."""
    return meant((f.name, getattr(value, f.name)) for f in fields(value))


@dataclass(frozen=True)
class Data:
    """A named data set, or a path to a user's own, and the options that differ from its defaults."""

    name: str
    options: Pairs = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(sorted(self.options)))

    @property
    def label(self) -> str:
        """What tables and figures call it: the name, of a path the last part."""
        return PurePath(self.name).name


@dataclass(frozen=True)
class Recipe:
    """A network and how it is trained: `net` "mlp" with its `hidden` layers, or one of `train.networks` for images.

    SGD with Nesterov momentum, learning rate `lr` falling to 0 by a half cosine, `weight_decay`
    added to the gradient, batches of `batch` examples drawn without replacement each epoch. Without
    epochs it stays as it was drawn. `augment` shows each image shifted by up to 4 pixels and mirrored at random.
    `dtype` "bfloat16" computes in bfloat16 on weights kept in float32; only networks for images can.
    """

    hidden: tuple[int, ...]
    epochs: int
    batch: int = 128
    lr: float = 0.1
    weight_decay: float = 0.0
    momentum: float = 0.9
    dtype: str = "float32"
    net: str = "mlp"
    augment: bool = False

    def __post_init__(self) -> None:
        for name in ("lr", "weight_decay", "momentum"):
            object.__setattr__(self, name, float(getattr(self, name)))
        require(all(map(_counts, self.hidden)), "hidden", self.hidden, "positive whole numbers")
        object.__setattr__(self, "hidden", tuple(int(h) for h in self.hidden))
        for name, low in {"epochs": 0, "batch": 1}.items():
            value = getattr(self, name)
            require(value >= low and value == int(value), name, value, f"a whole number of at least {low}")
            object.__setattr__(self, name, int(value))
        require(self.lr > 0, "lr", self.lr, "a number above 0")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "a number of at least 0")
        require(0 <= self.momentum < 1, "momentum", self.momentum, "0 <= momentum < 1")
        plain = self.net == "mlp"
        types = ("float32", "float64") if plain else ("bfloat16", "float32", "float64")
        require(self.dtype in types, "dtype", self.dtype, ", ".join(map(repr, types)))
        require(plain or not self.hidden, f"hidden of net {self.net!r}", self.hidden, "(), it has its own layers")
        require(not (plain and self.augment), "augment of net 'mlp'", self.augment, "False")


@dataclass(frozen=True)
class Condition:
    """The name of a function in `kdstudy.distill.conditions` and the values of its keyword arguments."""

    name: str
    params: Pairs = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "params", tuple(sorted(self.params)))

    @property
    def tau(self) -> float:
        """Temperature of the soft term; 1 where the condition has none."""
        return float(dict(self.params).get("tau", 1.0))


@dataclass(frozen=True)
class Run:
    """One network to train. Runs of equal seed share initial weights and data order."""

    data: Data
    recipe: Recipe
    condition: Condition
    seed: int
    teacher: "Run | None" = None

    def __post_init__(self) -> None:
        require(self.seed >= 0, "seed", self.seed, "a whole number of at least 0")

    @cached_property
    def key(self) -> str:
        """First 20 hex digits of the SHA-256 of the run's canonical JSON."""
        text = json.dumps([RECIPE_VERSION, self], default=_fields, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    @property
    def columns(self) -> dict[str, object]:
        """The run as one flat row: data options, recipe, condition, seed, teacher's key."""
        recipe = _fields(self.recipe)
        recipe["hidden"] = "x".join(map(str, self.recipe.hidden)) or "0"
        recipe |= {"augment": 1} if self.recipe.augment else {}
        return {
            "key": self.key,
            "dataset": self.data.label,
            "condition": self.condition.name,
            **dict(self.condition.params),
            "seed": self.seed,
            **recipe,
            "options": json.dumps(dict(self.data.options), sort_keys=True),
            "teacher": self.teacher.key if self.teacher else "",
        }
