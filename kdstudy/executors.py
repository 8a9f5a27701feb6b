"""Which code gave a stored row its meaning, and whether that has changed since."""

from collections.abc import Callable, Iterable
from functools import cache

from kdstudy import convolution, lanes, measures, provenance, targets, training
from kdstudy.core.registry import is_outside
from kdstudy.spec import Run


def _measures() -> dict[str, Callable]:
    """The package's own measures; those of a user are no part of what a run is."""
    return {n: fn for n, fn in (measures.MEASURES | measures.WITH_TEACHER).items() if not is_outside(fn)}


@cache
def _digest(condition: Callable, held: tuple[str, ...], plain: bool) -> str:
    known = _measures()
    roots = [training.train] if plain else [convolution.train, *lanes.STEPPERS.values()]
    return provenance.digest(condition, *roots, *(known[n] for n in held))


def code(condition: str, metrics: Iterable[str], net: str = "mlp") -> str:
    """Digest of the code that gives these metrics of a condition their meaning, in networks of that kind."""
    held = tuple(sorted({m.partition("_")[2] for m in metrics} & _measures().keys()))
    return _digest(targets.named(condition), held, net == "mlp")


def code_here(run: Run, metrics: Iterable[str]) -> str:
    """`code` of a run's metrics; empty for a condition from outside, whose source the process that asks has."""
    name = run.condition.name
    return "" if is_outside(targets.named(name)) else code(name, metrics, run.recipe.net)


def stale(row: dict[str, object]) -> bool:
    """Whether a stored row was computed by code that has changed its meaning since."""
    net = row.get("net") or "mlp"
    return row["condition"] not in targets.CONDITIONS or row["code"] != code(row["condition"], row, net)


# Sources are read now, not when a result is stored: a file edited meanwhile is not what ran.
provenance.reachable(
    [
        training.train,
        convolution.train,
        *lanes.STEPPERS.values(),
        *(fn for fn in targets.CONDITIONS.values() if not is_outside(fn)),
        *_measures().values(),
    ]
)
