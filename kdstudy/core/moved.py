"""Names that have moved: their old place answers for one release more, with a warning."""

import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path


def moved(old: str, *places: str) -> Callable[[str], object]:
    """A module's `__getattr__`: finds a name of `old` in the first of `places` that has it, and says where it is now.

    Modules of a package `old` are no names that have moved.
    """

    def find(name: str) -> object:
        own = any(
            any(Path(p).glob(f"{name}{end}")) for end in ("", ".py") for p in vars(sys.modules[old]).get("__path__", ())
        )
        for place in places if not own and not name.startswith("__") else ():
            if hasattr(module := import_module(place), name):
                warnings.warn(f"{old}.{name} has moved to {place}", DeprecationWarning, stacklevel=2)
                return getattr(module, name)
        raise AttributeError(f"module {old!r} has no attribute {name!r}")

    return find
