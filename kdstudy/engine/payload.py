"""What a task takes along to a worker: the version it expects there, and what was registered outside the package.

A worker imports kdstudy, but neither the script nor the notebook whose runs it trains. So the functions registered
there travel by value, all at once, with the globals they use.
"""

import io
import pickle
import sys
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.metadata import version
from types import ModuleType

import cloudpickle

from kdstudy.core.registry import Registry

PROCESS = uuid.uuid4().hex  # of this process: what it packed itself, it has


@dataclass(frozen=True)
class Payload:
    """The version of kdstudy, and pickled entries from outside it, of the process that asks."""

    version: str
    process: str
    registered: bytes

    def unpack(self) -> None:
        """Make this process know what the other one knows. RuntimeError if it has another version of kdstudy."""
        if self.process == PROCESS:
            return
        if (here := version("kdstudy")) != self.version:
            raise RuntimeError(
                f"a worker has kdstudy {here}, the process that asks has {self.version}: install the same everywhere"
            )
        _adopt(self.registered)


class _Pickler(cloudpickle.Pickler):
    """Modules of a class of their own go by name too: code that says `ctx.classes` is thought to need torch.classes."""

    def reducer_override(self, obj: object) -> object:
        """How an object is taken apart."""
        if isinstance(obj, ModuleType) and type(obj) is not ModuleType:
            return import_module, (obj.__name__,)
        return super().reducer_override(obj)


@lru_cache(maxsize=1)
def _adopt(registered: bytes) -> None:
    for kind, entries in pickle.loads(registered).items():
        Registry.every[kind].update(entries)


def pack() -> Payload:
    """What this process has registered from outside the package.

    Raises ValueError if that cannot be pickled, for example because it holds an open file.
    """
    own = {kind: found for kind, r in Registry.every.items() if r.in_workers and (found := r.outside())}
    return Payload(version("kdstudy"), PROCESS, _by_value(own))


def _by_value(own: dict[str, dict[str, object]]) -> bytes:
    """Pickled with the code of the modules that the entries come from; __main__ is always pickled so."""
    homes = {entry.__module__.partition(".")[0] for entries in own.values() for entry in entries.values()}
    with ExitStack() as after:
        for module in (sys.modules[name] for name in homes - {"__main__"} if name in sys.modules):
            if module.__name__ not in cloudpickle.list_registry_pickle_by_value():
                cloudpickle.register_pickle_by_value(module)
                after.callback(cloudpickle.unregister_pickle_by_value, module)
        try:
            file = io.BytesIO()
            _Pickler(file).dump(own)
            return file.getvalue()
        except (TypeError, pickle.PicklingError) as error:
            names = "; ".join(f"{kind} {', '.join(entries)}" for kind, entries in own.items())
            raise ValueError(
                f"of {names}, something cannot be sent to other processes ({error}): create it inside the function, "
                "or train with KDSTUDY_WORKERS=1"
            ) from error
