"""Types are checked in tests: beartype checks every function of the package, shapes agree within each call of one.

An int is welcome where a float is asked. `jaxtyping.jaxtyped` would check all arguments twice, and compile a check
whenever a function is defined inside another: that took more time than half of the tests themselves.
"""

import inspect
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import cache, wraps
from types import SimpleNamespace
from typing import get_type_hints

import jaxtyping
from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
scope = jaxtyping.jaxtyped("context")  # of the letters in shapes


def checked(thing: Callable | type) -> Callable | type:
    """A function, or the making of a data class, with its types checked; what is local is as it is."""
    if inspect.isclass(thing):
        if is_dataclass(thing):
            thing.__init__ = checked(thing.__init__)
        return thing
    if "<locals>" in thing.__qualname__:
        return thing
    types = SimpleNamespace(__annotations__=inspect.get_annotations(thing))  # beartype changes those of the function
    typed, shaped = check(thing), "jaxtyping" in str(types)
    known = cache(lambda: _known(types, thing.__globals__))

    @wraps(thing)
    def call(*args: object, **options: object) -> object:
        if jaxtyping.config.jaxtyping_disable or not known():
            return thing(*args, **options)
        if not shaped:
            return typed(*args, **options)
        with scope:
            return typed(*args, **options)

    return call


def _known(types: SimpleNamespace, names: dict[str, object]) -> bool:
    """Whether all types of a function have their names when it is called: what only type checkers import has none."""
    try:
        get_type_hints(types, names)
    except NameError:
        return False
    return True


jaxtyping.jaxtyped = lambda typechecker: checked  # which the import hook applies
