"""Which code gave a result its meaning: a digest that comments and docstrings do not change."""

import ast
import hashlib
import inspect
import textwrap
import types
from collections.abc import Iterable
from functools import cache

PACKAGE = __name__.partition(".")[0]


def _tree(source: str) -> ast.Module:
    """The source's syntax tree without decorators, docstrings and the annotations of functions."""
    tree = ast.parse(textwrap.dedent(source))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            node.decorator_list = []
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
    return tree


@cache
def _parsed(thing: object) -> ast.Module:
    return _tree(inspect.getsource(thing))


def _named(tree: ast.Module, scope: dict[str, object]) -> dict[str, object]:
    """What the names of a tree stand for in their module: `name`, and `module.name` of this package."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in scope:
            found[node.id] = scope[node.id]
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = scope.get(node.value.id)
            if isinstance(module, types.ModuleType) and module.__name__.startswith(PACKAGE):
                found[f"{node.value.id}.{node.attr}"] = getattr(module, node.attr, None)
    return found


def _ours(thing: object) -> bool:
    return (inspect.isfunction(thing) or inspect.isclass(thing)) and thing.__module__.startswith(PACKAGE)


def reachable(roots: Iterable[object]) -> tuple[list[object], dict[str, str]]:
    """Functions and classes of this package reachable from `roots`, and the constants they name."""
    seen, constants, queue = [], {}, list(roots)
    while queue:
        thing = inspect.unwrap(queue.pop())
        if thing in seen:
            continue
        seen.append(thing)
        for name, used in _named(_parsed(thing), vars(inspect.getmodule(thing))).items():
            if _ours(used):
                queue.append(used)
            elif isinstance(used, int | float | str | tuple):
                constants[name] = repr(used)
    return seen, constants


def digest(*roots: object) -> str:
    """12 hex digits over all code and constants of this package reachable from `roots`."""
    things, constants = reachable(roots)
    parts = sorted(ast.dump(_parsed(t)) for t in things) + sorted(f"{k}={v}" for k, v in constants.items())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
