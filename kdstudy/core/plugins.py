"""Modules of a user's own that add conditions, data sets, claims: named in KDSTUDY_PLUGINS, imported with `kdstudy`.

KDSTUDY_PLUGINS=mine.py kdstudy run universe -p conditions "hard, kd, mine"
"""

import importlib
import importlib.util
import os
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType

VARIABLE = "KDSTUDY_PLUGINS"
_begun: set[str] = set()  # a plugin's own imports lead here again


def named() -> list[str]:
    """What KDSTUDY_PLUGINS names: files that end in .py and names of modules, separated as in PATH."""
    return [name for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]


def load() -> None:
    """Import every plugin once in this process. Raises ValueError, with the plugin's own error, if one fails."""
    names = [str(Path(n).expanduser().absolute()) if n.endswith(".py") else n for n in named()]
    for name in names:
        if name not in _begun:
            _begun.add(name)
            _load(name)
    if names:
        os.environ[VARIABLE] = os.pathsep.join(names)  # a chapter is executed in another folder


def load_first() -> None:
    """`load`, before any module of the package is half imported; an error waits for `load`, whose caller reports it."""
    with suppress(ValueError):
        load()


def sources() -> list[Path]:
    """The file of every plugin. Raises ValueError for what is neither a file nor a module."""
    return [_source(name) for name in named()]


def claims() -> list[Path]:
    """The claims of plugins: those of mine.py are in mine.toml beside it, if there is such a file."""
    return [path for source in sources() if (path := source.with_suffix(".toml")).is_file()]


def _source(name: str) -> Path:
    module = None if name.endswith(".py") else importlib.util.find_spec(name)
    path = Path(module.origin if module and module.origin else name).expanduser()
    if not path.is_file():
        raise ValueError(f"{VARIABLE}: found {name!r}, allowed: .py files and modules that can be imported")
    return path


def _load(name: str) -> None:
    try:
        imported(name)
    except (Exception, SystemExit) as error:
        _begun.discard(name)
        allowed = f"files that end in .py and names of modules, separated by {os.pathsep!r}"
        why = f"{type(error).__name__}: {error}"
        raise ValueError(f"{VARIABLE}: {name!r} cannot be imported ({why}); allowed: {allowed}") from error


def imported(name: str) -> ModuleType:
    """The module of that name, or of a file that ends in .py, which is read anew."""
    if not name.endswith(".py"):
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(f"plugin_{Path(name).stem}", name)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
