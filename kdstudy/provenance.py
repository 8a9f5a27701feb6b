"""Which code gave a result its meaning: a digest that comments, docstrings, annotations and errors do not change."""

import ast
import hashlib
import inspect
import textwrap
import types
from collections.abc import Iterable
from functools import cache

PACKAGE = __name__.partition(".")[0]


class _Meaning(ast.NodeTransformer):
    """Takes away what changes no number: docstrings, decorators, annotations, guards that only raise."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """A function's body alone."""
        node.returns = None
        return self.visit_ClassDef(node)

    def visit_ClassDef(self, node: ast.ClassDef | ast.FunctionDef) -> ast.AST:
        """A class or function without docstring and decorators."""
        node.decorator_list = []
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:]
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        """An argument's name."""
        return ast.arg(node.arg)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        """Nothing, if all it does is raise."""
        guard = all(isinstance(n, ast.Raise) for n in node.body) and not node.orelse
        return None if guard else self.generic_visit(node)


@cache
def _parsed(thing: object) -> ast.Module:
    return _Meaning().visit(ast.parse(textwrap.dedent(inspect.getsource(thing))))


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
    """Whether `thing` is code of this package; what a run is has a version of its own (`spec`)."""
    code = inspect.isfunction(thing) or inspect.isclass(thing)
    return code and thing.__module__.startswith(PACKAGE) and thing.__module__ != f"{PACKAGE}.spec"


def reachable(roots: Iterable[object]) -> tuple[list[object], set[str]]:
    """Functions and classes of this package reachable from `roots`, and "name=value" of constants they name."""
    seen, constants, queue = [], set(), list(roots)
    while queue:
        thing = inspect.unwrap(queue.pop())
        if thing in seen:
            continue
        seen.append(thing)
        for name, used in _named(_parsed(thing), vars(inspect.getmodule(thing))).items():
            if _ours(code := inspect.unwrap(used)):
                queue.append(code)
            elif isinstance(used, int | float | str | tuple):
                constants.add(f"{name}={used!r}")
    return seen, constants


def _written(node: object) -> str:
    """The tree as `ast.dump` of Python 3.11 writes it; later versions add fields and omit empty ones."""
    if isinstance(node, list):
        return f"[{', '.join(map(_written, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    given = [(k, v) for k, v in ast.iter_fields(node) if v is not None or getattr(type(node), k, ...) is not None]
    return f"{type(node).__name__}({', '.join(f'{k}={_written(v)}' for k, v in given if k != 'type_params')})"


def digest(*roots: object) -> str:
    """12 hex digits over all code and constants of this package reachable from `roots`."""
    things, constants = reachable(roots)
    parts = sorted(_written(_parsed(t)) for t in things) + sorted(constants)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
