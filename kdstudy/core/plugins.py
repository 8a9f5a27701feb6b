"""Modules of a user's own that add conditions, measures or data sets: named in KDSTUDY_PLUGINS, imported at the start.

KDSTUDY_PLUGINS=mine.py kdstudy run universe -p conditions "hard, kd, mine"
"""

import importlib
import importlib.util
import os
import sys
from functools import cache
from pathlib import Path

VARIABLE = "KDSTUDY_PLUGINS"


def named() -> list[str]:
    """What KDSTUDY_PLUGINS names: files that end in .py and names of modules, separated as in PATH."""
    return [name for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]


def load() -> None:
    """Import every plugin once in this process. Raises ValueError, with the plugin's own error, if one fails."""
    for name in (names := [_from_root(name) for name in named()]):
        _load(name)
    if names:
        os.environ[VARIABLE] = os.pathsep.join(names)  # a chapter is executed in another folder


def _from_root(name: str) -> str:
    """A file's absolute path; the name of a module as it is."""
    return str(Path(name).expanduser().absolute()) if name.endswith(".py") else name


@cache
def _load(name: str) -> None:
    try:
        _import(name)
    except Exception as error:
        allowed = f"files that end in .py and names of modules, separated by {os.pathsep!r}"
        raise ValueError(
            f"{VARIABLE}: {name!r} cannot be imported ({type(error).__name__}: {error}); allowed: {allowed}"
        ) from error


def _import(name: str) -> None:
    if not name.endswith(".py"):
        importlib.import_module(name)
        return
    spec = importlib.util.spec_from_file_location(f"plugin_{Path(name).stem}", name)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
