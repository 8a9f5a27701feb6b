"""One search for all: the settings that every condition of a bed tries, and which of them it keeps.

Setting i is point i of one scrambled Sobol sequence (Sobol 1967; Owen 1998), whose first coordinates are the learning
rate and the weight decay, the same for every condition, and whose others are the conditions' own parameters, the same
for all that have them. Settings are chosen by the mean accuracy on validation over tuning seeds. A choice lies at an
edge if it is the outermost value tried of a parameter and beats the best that is not by more than a standard error:
then all conditions try more settings beyond that edge.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cache
from itertools import product
from math import factorial, log2, prod

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import qmc

from kdstudy.core.spec import Condition, Run
from kdstudy.distill import conditions

NUISANCE = ("lr", "weight_decay")
RANGES = {  # (low, high) by parameter, log-uniform but for those in LINEAR; a parameter without one is not searched
    "lr": (0.01, 0.5),
    "weight_decay": (1e-6, 3e-2),
    "tau": (1.0, 16.0),
    "alpha": (0.1, 1.0),
    "epsilon": (0.01, 0.8),
    "target": (0.25, 4.0),
    "nontarget": (0.25, 8.0),
    "power": (0.1, 1.0),
    "sharpness": (0.1, 1.0),
    "k": (2, 32),
}
LINEAR = ("alpha",)
WHOLE = ("k",)
BOUNDS = {"alpha": (0.0, 1.0), "epsilon": (0.0, 1.0), "tau": (0.25, 256.0), "k": (1, 1024), "lr": (1e-4, 1.0)}
DIMENSIONS = 16  # of the sequence: a parameter keeps its coordinates when another one is added
WIDER = 4.0  # times as far beyond an edge


@dataclass(frozen=True)
class Protocol:
    """How many settings each condition tries, and the seeds: to tune, to evaluate, to admit a bed."""

    settings: int = 24
    tuning: int = 3
    evaluation: int = 20
    admission: int = 10

    def seeds(self, role: str) -> list[int]:
        """The seeds of a role; roles have none in common."""
        first = {"tuning": 0, "evaluation": 1000, "admission": 2000}[role]
        return list(range(first, first + getattr(self, role)))


DEFAULT = Protocol()
IMAGES = Protocol(settings=12, tuning=2, evaluation=10, admission=6)  # where a run costs minutes


def of_network(asked: Protocol, net: str) -> Protocol:
    """What is asked; of networks for images `IMAGES` in all that is left at its default."""
    if net == "mlp" or net.startswith("own:"):
        return asked
    return Protocol(*(i if a == d else a for a, d, i in zip(astuple(asked), astuple(DEFAULT), astuple(IMAGES))))


@dataclass(frozen=True)
class Setting:
    """A condition with its parameters, learning rate and weight decay."""

    condition: Condition
    lr: float
    weight_decay: float

    @property
    def values(self) -> dict[str, float]:
        """Every parameter by name."""
        return {"lr": self.lr, "weight_decay": self.weight_decay, **dict(self.condition.params)}


Box = Mapping[str, tuple[float, float]]


@cache
def _sobol(count: int, skip: int = 0) -> Float[np.ndarray, "count dimensions"]:
    """Points `skip` and on of the scrambled sequence, in the unit cube."""
    whole = max(1, int(np.ceil(log2(count + skip))))
    return qmc.Sobol(DIMENSIONS, rng=0).random_base2(whole)[skip : skip + count]


def _scaled(name: str, at: float, low: float, high: float) -> float:
    """The value at a coordinate, to three digits."""
    value = low + at * (high - low) if name in LINEAR else low * (high / low) ** at
    return float(round(value) if name in WHOLE else f"{value:.3g}")


def points(count: int, skip: int = 0, box: Box = RANGES) -> list[dict[str, float]]:
    """Settings `skip` and on: every parameter by name."""
    return [{n: _scaled(n, u, *box[n]) for n, u in zip(RANGES, row)} for row in _sobol(count, skip)]


def at(name: str, point: Mapping[str, float]) -> Setting:
    """A condition at a point: parameters that are not searched keep their defaults."""
    own = {k: point[k] for k in conditions.parameters(name) if k in point}
    return Setting(conditions.make(name, **own), point["lr"], point["weight_decay"])


def beyond(box: Box, edges: Iterable[tuple[str, int]], count: int, skip: int) -> list[dict[str, float]]:
    """`count` points beyond each edge (parameter, side), all other parameters as they were."""
    out = []
    for i, (name, side) in enumerate(sorted(edges)):
        out += points(count, skip + i * count, {**box, name: _extended(name, box[name], side)})
    return out


def _extended(name: str, range_: tuple[float, float], side: int) -> tuple[float, float]:
    (low, high), (least, most) = range_, BOUNDS.get(name, (0.0, np.inf))
    if name in LINEAR:
        return (max(least, low - (high - low) / WIDER), low) if side < 0 else (high, most)
    return (max(least, low / WIDER), low) if side < 0 else (high, min(most, high * WIDER))


def setting(run: Run) -> Setting:
    """The setting of a run."""
    return Setting(run.condition, run.recipe.lr, run.recipe.weight_decay)


def scores(table: pd.DataFrame, measure: str = "validation_accuracy") -> dict[str, pd.DataFrame]:
    """By side: a row for each setting in the order asked, a column for each tuning seed; NaN for runs that diverged."""
    frame = table.assign(setting=[setting(r) for r in table["run"]])
    if "diverged" in table:
        frame[measure] = table[measure].mask(table["diverged"] == 1)
    groups = frame.groupby("condition", sort=False)
    return {
        str(n): g.pivot(index="setting", columns="seed", values=measure).loc[g["setting"].unique()] for n, g in groups
    }


@dataclass(frozen=True)
class Choice:
    """What a condition chose: the setting, the edges it lies at (parameter, side), and what it would have chosen had
    the tuning seeds been others: settings with their probabilities in a bootstrap over tuning seeds.
    """

    setting: Setting
    edges: tuple[tuple[str, int], ...]
    instead: Mapping[tuple[int, ...], Setting]  # by how often each tuning seed is drawn


def resamples(seeds: int) -> dict[tuple[int, ...], float]:
    """Every way to draw as many seeds as there are with replacement, as counts, and its probability."""
    ways = (c for c in product(range(seeds + 1), repeat=seeds) if sum(c) == seeds)
    return {c: factorial(seeds) / prod(map(factorial, c)) / seeds**seeds for c in ways}


def choose(table: pd.DataFrame) -> dict[str, Choice]:
    """The choice of every condition of a table of tuning runs; a setting that diverged is never chosen."""
    return {name: _choice(wide) for name, wide in scores(table).items()}


def _choice(wide: pd.DataFrame) -> Choice:
    values = wide.fillna(-1).to_numpy()
    best = int(values.mean(1).argmax())
    instead = {c: wide.index[int((values @ c).argmax())] for c in resamples(values.shape[1])}
    return Choice(wide.index[best], tuple(_edges(list(wide.index), values, best)), instead)


def _edges(
    tried: Sequence[Setting], values: Float[np.ndarray, "settings seeds"], best: int
) -> Iterable[tuple[str, int]]:
    for name in tried[best].values:
        column = np.array([s.values[name] for s in tried])
        for side in (-1, 1):
            outermost = side * column == (side * column).max()
            if not outermost[best] or outermost.all() or column[best] in BOUNDS.get(name, ()):
                continue
            inside = values[np.flatnonzero(~outermost)[values[~outermost].mean(1).argmax()]]
            gap = values[best] - inside
            if gap.mean() > gap.std(ddof=min(1, len(gap) - 1)) / len(gap) ** 0.5:
                yield name, side
