"""Things by name: conditions, data sets, measures, claims' plans and whatever else a user may add to.

A `Registry` is a dictionary that registers functions by their own name, answers an unknown name with those there are,
and knows which of its entries come from outside this package (they must travel to worker processes).
"""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import partial
from typing import ClassVar, TypeVar

PACKAGE = __name__.partition(".")[0]
T = TypeVar("T")
Fn = TypeVar("Fn", bound=Callable[..., object])


def unknown(what: str, name: str, there: Iterable[str], other: str = "") -> ValueError:
    """The error that says that `name` is none of those `there`, and which of them is nearly it.

    `what` begins the sentence, for example "condition 'kdd' is unknown; there are"; `other` ends the list.
    """
    there = list(there)
    near = get_close_matches(name.lower(), lower := {word.lower(): word for word in there}, 1)
    hint = f"; did you mean {lower[near[0]]!r}?" if near else ""
    return ValueError(f"{what}: {', '.join(there) or 'none'}{other}{hint}")


class Registry(dict[str, T]):
    """Entries by name. `registry[name]` raises ValueError with the names there are.

    `kind` is the word for one entry in errors, and no two registries share it; `other` is appended to the names there
    are, for what is allowed besides them; `in_workers` says whether processes that train need the entries. What a name
    means that is none of theirs, a path for example, `found` says (None: nothing); `made` is what `register` does with
    what is no function.

        CONDITIONS = Registry("condition")

        @CONDITIONS.register
        def hard(label, ctx): ...
    """

    every: ClassVar[dict[str, "Registry"]] = {}

    def __init__(self, kind: str, other: str = "", in_workers: bool = True) -> None:
        super().__init__()
        self.kind, self.other, self.in_workers = kind, other, in_workers
        self.found: Callable[[str], T | None] = lambda name: None
        self.made: Callable[..., object] | None = None
        Registry.every[kind] = self

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or self.found(name) is not None

    def __missing__(self, name: str) -> T:
        if (found := self.found(name)) is not None:
            return found
        raise unknown(f"{self.kind} {name!r} is unknown; there are", name, self, self.other)

    def register(self, entry: Fn | object = None, *more: object, **facts: object) -> Fn | object:
        """Add a function under its own name and return it: a decorator. A function registered again replaces itself.

        `facts` become its attributes: `@DATASETS.register(grouped=True)`. ValueError for the name of one of this
        package's own entries, if `entry` comes from outside.
        """
        if entry is None:
            return partial(self.register, **facts)
        if self.made and (more or not callable(entry)):
            return self.made(entry, *more, **facts)
        name = entry.__name__
        if name in self and is_outside(entry) and not is_outside(dict.__getitem__(self, name)):
            raise ValueError(f"{self.kind} {name!r} is {PACKAGE}'s own: give yours another name")
        vars(entry).update(facts)
        self[name] = entry
        return entry

    def outside(self) -> dict[str, T]:
        """The entries that come from outside this package: a script, a notebook, a plugin."""
        return {name: entry for name, entry in self.items() if is_outside(entry)}


def is_outside(entry: object) -> bool:
    """Whether code was defined outside this package."""
    return getattr(entry, "__module__", PACKAGE).partition(".")[0] != PACKAGE
