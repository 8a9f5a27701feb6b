"""Parameters of chapters and plans: type, range, default and help of each, and the one check of values for them.

A parameter is described once, by a plan's signature or by a notebook's cell; both say its range in the help, as a
mathematician would: "in [0, 1]", "in (0, 1000]".

    labels: int | None = None  # labelled examples of each class, in [1, inf)
"""

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import NoneType
from typing import Annotated, Literal, TypeVar, get_args, get_origin, get_type_hints

from kdstudy.core.registry import unknown
from kdstudy.core.spec import Data

T = TypeVar("T")
Several = T | Sequence[T]
RANGE = re.compile(r"in ([\[(])(\S+), (\S+)([\])])")


@dataclass(frozen=True)
class Parameter:
    """`name: annotation = default  # help`; the range in the help holds for each of several values."""

    name: str
    annotation: str
    default: object
    help: str = ""

    def __str__(self) -> str:
        default = f'"{self.default}"' if isinstance(self.default, str) else repr(self.default)
        return f"{self.name}: {self.annotation} = {default}" + f"  # {self.help}" * bool(self.help)

    def value(self, given: object) -> object:
        """`given` as this parameter's value; text is read as on the command line unless it may be text.

        ValueError that names what was found and what is allowed.
        """
        if isinstance(given, str) and not re.search(r"\bstr\b|Literal", self.annotation):
            given = parse(self.name, given)
        given = given.item() if hasattr(given, "item") and not getattr(given, "ndim", 0) else given  # NumPy's
        several = isinstance(given, Iterable) and not isinstance(given, str | Mapping)
        given = list(given) if several else given
        named = [_name(v) for v in given] if several else _name(given)
        if _fits(named, self.annotation) and all(map(self._within, given if several else [given])):
            return given
        within = RANGE.search(self.help)
        finite = f", each {within[0]}" if within and "list" in self.annotation else f" {within[0]}" if within else ""
        allowed = f"{self.annotation}{finite}, such as {self.default!r}"
        raise ValueError(f"parameter {self.name}: found {given!r}, allowed: {allowed}")

    def _within(self, value: object) -> bool:
        """Whether a number is finite and in the range that the help names."""
        if not isinstance(value, int | float):
            return True
        if not (within := RANGE.search(self.help)):
            return math.isfinite(value)
        low, high = float(within[2]), float(within[3])
        inside = low <= value <= high and (value != low or within[1] == "[") and (value != high or within[4] == "]")
        return inside and math.isfinite(value)


def _name(value: object) -> object:
    """What stands for a value of Python alone, a data set or a function: its name; any other value."""
    return value.name if isinstance(value, Data) else getattr(value, "__name__", value)


def check(what: str, given: Mapping[str, object], known: Mapping[str, Parameter]) -> dict[str, object]:
    """The values given for `known` parameters; `what` begins the sentence of the ValueError: "chapter universe"."""
    for name in given:
        if name not in known:
            raise unknown(f"{what} has no parameter {name!r}; it has", name, known)
    try:
        return {name: known[name].value(value) for name, value in given.items()}
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error


@cache
def of(*functions: Callable[..., object]) -> dict[str, Parameter]:
    """What functions take, by name, as their signatures say it: `Annotated[type, help]`, or by a default alone.

    Arguments without a default are left out.
    """
    found = {}
    for function in functions:
        hints = get_type_hints(function, include_extras=True)
        for name, p in inspect.signature(function).parameters.items():
            if p.default is not p.empty:
                default, several = p.default, isinstance(p.default, tuple)
                hint = hints.get(name) or (Several[type(default[0])] if several else type(default))
                if several:  # names as one text, numbers as a list
                    default = ", ".join(default) if isinstance(default[0], str) else list(default)
                found[name] = Parameter(name, _worded(hint), default, "".join(getattr(hint, "__metadata__", ())))
    return found


def _worded(hint: object) -> str:
    """A type as a notebook's cell says it."""
    if get_origin(hint) is Annotated:
        return _worded(hint.__origin__)
    if get_origin(hint) is Sequence:
        return f"list[{_worded(get_args(hint)[0])}]"
    if args := get_args(hint):
        return " | ".join(dict.fromkeys(_worded(a) for a in args if a not in (Data, Callable)))
    return "None" if hint is NoneType else hint.__name__


@cache
def _loader() -> type:
    """YAML 1.1, but 1e-3 is a number."""
    import yaml

    loader = type("Loader", (yaml.SafeLoader,), {})
    number = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
    loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+.0123456789"))
    return loader


def parse(name: str, text: str) -> object:
    """A parameter's value as it is typed: YAML, in which `a,b` is a list too. Raises ValueError."""
    import yaml

    several = "," in text and text.lstrip()[:1] not in tuple("[{\"'")
    try:
        return yaml.load(f"[{text}]" if several else text, _loader())
    except yaml.YAMLError:
        raise ValueError(f"parameter {name}: found {text!r}, allowed: YAML such as 3, 0.5, kd or [1, 2]") from None


def _fits(value: object, annotation: str) -> bool:
    """Whether a value is of the annotated type: an int is a float too, a bool is neither."""
    from beartype import BeartypeConf
    from beartype.door import is_bearable

    items = value if isinstance(value, list) else [value]
    if not items or ("bool" not in annotation and any(isinstance(v, bool) for v in items)):
        return False
    try:
        hint, tower = eval(annotation, {"Literal": Literal}), BeartypeConf(is_pep484_tower=True)
    except (NameError, SyntaxError, TypeError, AttributeError):  # a type of the notebook's own
        return True
    each = [[v] for v in items] if isinstance(value, list) else items  # of a list, beartype looks at one item
    return all(is_bearable(v, hint, conf=tower) for v in each)
