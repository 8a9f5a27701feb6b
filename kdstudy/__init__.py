"""A reproducible study of why knowledge distillation works and when it fails.

    from kdstudy import difference, interval
    from kdstudy.study import plans

    study = plans.study("universe", dataset="digits", settings=4, tuning=2, seeds=3, admission=2)
    table = study.tables["practical"]  # each condition at its own choice, on fresh seeds
    print(interval(difference(table, {"condition": "kd"}, {"condition": "hard"}, "test_accuracy")))

Each name below is imported when it is first used, so that `import kdstudy` costs nothing.
"""

import ast
import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # read by type checkers, and by `__getattr__`, which finds each name where it is defined
    from kdstudy.core.spec import Condition, Data, Recipe, Run
    from kdstudy.data import load
    from kdstudy.data.registry import dataset
    from kdstudy.diagnosis import diagnose
    from kdstudy.diagnosis.running import Diagnosis
    from kdstudy.diagnosis.watch import Watch
    from kdstudy.distill.conditions import Target, condition, loss
    from kdstudy.engine.ask import arrays, ask
    from kdstudy.engine.teachers import compose
    from kdstudy.losscheck import check_loss
    from kdstudy.stats.paired import difference, interval
    from kdstudy.study.claims import verdict
    from kdstudy.train.metrics import measure

    __version__: str

__all__ = [
    "Condition",
    "Data",
    "Diagnosis",
    "Recipe",
    "Run",
    "Target",
    "Watch",
    "__version__",
    "arrays",
    "ask",
    "check_loss",
    "compose",
    "condition",
    "dataset",
    "diagnose",
    "difference",
    "interval",
    "load",
    "loss",
    "measure",
    "verdict",
]


def _home(name: str) -> str:
    """The module that a public name is imported from in the block above."""
    tree = ast.walk(ast.parse(__loader__.get_source(__name__)))
    homes = {alias.name: node.module for node in tree if isinstance(node, ast.ImportFrom) for alias in node.names}
    return homes[name]


def _version() -> str:
    """The version that is installed; "unknown" for a source tree that is not."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("kdstudy")
    except PackageNotFoundError:
        return "unknown"


def __getattr__(name: str) -> object:
    """A public name, imported now; or the version, read from what is installed."""
    if name not in __all__:
        raise AttributeError(f"module 'kdstudy' has no attribute {name!r}")
    value = _version() if name == "__version__" else getattr(importlib.import_module(_home(name)), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


from kdstudy.core import plugins as _plugins  # noqa: E402  last: what they import is there

_plugins.load_first()
