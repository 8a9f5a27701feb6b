"""Types are checked in tests: beartype checks every function of the package, shapes agree within each call of one.

An int is welcome where a float is asked. `jaxtyping.jaxtyped` would check all arguments twice, and compile a check
whenever a function is defined inside another: that took more time than half of the tests themselves.
"""

import inspect
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import wraps

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
    typed, shaped = check(thing), "jaxtyping" in str(inspect.get_annotations(thing))

    @wraps(thing)
    def call(*args: object, **options: object) -> object:
        if jaxtyping.config.jaxtyping_disable:
            return thing(*args, **options)
        if not shaped:
            return typed(*args, **options)
        with scope:
            return typed(*args, **options)

    return call


jaxtyping.jaxtyped = lambda typechecker: checked  # which the import hook applies
