"""Code by meaning: a digest of a function in which names stand for what they name (a Merkle tree).

What changes no number is left out: comments, layout, docstrings, annotations, guards that only raise, decorators that
only register or cache, the name of a function and of its local variables. A name of the package is replaced by the
digest of what it stands for, so moving or renaming a function changes nothing, and changing one changes the digest of
all that reach it. Arguments, attributes and methods keep their names. Sources are read, never imported or run.
"""

import ast
import hashlib
import inspect
import sys
import sysconfig
import textwrap
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

DEPTH = 64  # rounds of replacing names by digests: calls deeper than this are refused, cycles are cut there
PLANNED = ("look", "needs_superclasses", "ranges", "setup", "tuned_on")  # facts that say which runs are asked
SILENT = ("cache", "lru_cache", "cached_property", "register")  # decorators that change no number
LIBRARIES = tuple({sysconfig.get_paths()[p] for p in ("stdlib", "platstdlib", "purelib", "platlib")})

Lookup = Callable[[str], str | None]  # a name -> "module:name" of ours, "library.name", or None


class _Meaning(ast.NodeTransformer):
    """Takes away what changes no number."""

    def __init__(self, silent: Callable[[ast.expr], bool]) -> None:
        self.silent = silent

    def _body(self, node: ast.FunctionDef | ast.ClassDef) -> ast.AST:
        node.decorator_list = [kept for d in node.decorator_list for kept in (_facts(d) if self.silent(d) else [d])]
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:]
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self._body(node)

    visit_ClassDef = _body

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(node.arg)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        guard = all(isinstance(n, ast.Raise) for n in node.body) and not node.orelse
        return None if guard else self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        checks = isinstance(node.value, ast.Call) and ast.unparse(node.value.func).split(".")[-1] == "require"
        return None if checks else self.generic_visit(node)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        """Nothing: what it binds is followed where it is used."""

    visit_ImportFrom = visit_Import


def _imports(tree: ast.AST, module: str) -> dict[str, str]:
    """What import statements below `tree` bind: name -> the dotted name it stands for."""
    bound = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            bound |= {a.asname or a.name.partition(".")[0]: a.name if a.asname else a.name.partition(".")[0]
                      for a in node.names}  # fmt: skip
        elif isinstance(node, ast.ImportFrom):
            base = module.rsplit(".", node.level)[0] + "." if node.level else ""
            source = (base + (node.module or "")).rstrip(".")
            bound |= {a.asname or a.name: f"{source}.{a.name}" for a in node.names}
    return bound


@dataclass
class _Writer:
    """A syntax tree as text, the same from every Python, with "\\0" where a name of ours stood, listed in `refs`.

    `deeper` says what an attribute of what a name stands for stands for itself.
    """

    lookup: Lookup
    deeper: Callable[[str, str], str | None]
    root: ast.AST
    refs: list[str] = field(default_factory=list)
    arguments: tuple[str, ...] = ()  # of the functions that one is in
    numbers: Mapping[str, int] = field(default_factory=dict)  # of the local variables there

    def text(self, node: object) -> str:
        """The text of a node."""
        if isinstance(node, list):
            return f"[{', '.join(map(self.text, node))}]"
        if not isinstance(node, ast.AST):
            return repr(node)
        if isinstance(node, ast.Name | ast.Attribute) and (known := self._known(node)):
            return known
        if not isinstance(node, ast.FunctionDef | ast.Lambda):
            return self._fields(node, node._fields)
        head, before = self._fields(node, ("args",)), (self.arguments, self.numbers)
        self.arguments += tuple(_arguments(node.args))
        self.numbers = self.numbers or self._locals(node)
        text = head + self._fields(node, [f for f in node._fields if f != "args"])
        self.arguments, self.numbers = before
        return text

    def _fields(self, node: ast.AST, names: Iterable[str]) -> str:
        """A node's fields but those that later versions of Python add, or omit when they are empty."""
        given = [(k, v) for k in names if (v := getattr(node, k, None)) is not None and k != "type_params"]
        parts = [f"{k}={self.text(self._name(node, v) if k == 'name' else v)}" for k, v in given]
        return f"{type(node).__name__}({', '.join(parts)})"

    def _name(self, node: ast.AST, name: object) -> object:
        """The name of a function or class: none at the root, a local variable's number below."""
        return "" if node is self.root else f"local {self.numbers[name]}" if name in self.numbers else name

    def _known(self, node: ast.Name | ast.Attribute) -> str | None:
        """A name, or a chain of attributes that begins with a name, if it stands for a local, ours or a library's."""
        chain, base = [], node
        while isinstance(base, ast.Attribute):
            chain.insert(0, base.attr)
            base = base.value
        name = base.id if isinstance(base, ast.Name) else ""
        if name in self.numbers and not chain:
            return f"local {self.numbers[name]}"
        if not name or name in self.numbers or name in self.arguments or (found := self.lookup(name)) is None:
            return None
        while chain and (inner := self.deeper(found, chain[0])):
            found, chain = inner, chain[1:]
        if ":" in found:
            self.refs.append(found)
            found = "\0"
        return ".".join([found, *chain])

    def _locals(self, node: ast.AST) -> dict[str, int]:
        """Numbers of a function's local variables in order of appearance; what may be global keeps its name."""
        inside = [n for n in ast.walk(node) if n is not node]
        stored = [n.id for n in inside if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
        stored += [n.name for n in inside if isinstance(n, ast.FunctionDef)]
        arguments = {a for n in ast.walk(node) if isinstance(n, ast.arguments) for a in _arguments(n)}
        fresh = (n for n in dict.fromkeys(stored) if n not in arguments and self.lookup(n) is None)
        return {name: number for number, name in enumerate(fresh)}


def _arguments(node: ast.arguments) -> list[str]:
    """The names of a function's arguments."""
    return [a.arg for a in (*node.posonlyargs, *node.args, node.vararg, *node.kwonlyargs, node.kwarg) if a]


def _stored(node: ast.AST) -> Iterator[str]:
    """The names that a statement of a module binds; what a comprehension or a function binds stays inside."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    if not isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp | ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from _stored(child)


class Sources:
    """The sources of a package by module name, and the digests of what they define.

    `ignored`: modules whose code changes no number; a name of theirs stands for itself.
    """

    def __init__(self, texts: Mapping[str, str], ignored: frozenset[str] = frozenset()) -> None:
        self.texts, self.ignored = dict(texts), ignored
        self.live: dict[str, object] = {}  # functions and classes from outside, by the reference that stands for them
        self._digest = cache(self._uncached_digest)
        self._hash = cache(self._uncached_hash)
        self._parts = cache(self._uncached_parts)
        self._module = cache(self._uncached_module)

    @staticmethod
    def of(folder: Path, ignored: frozenset[str] = frozenset()) -> "Sources":
        """Those below a package's folder, read now."""
        files = {p: p.relative_to(folder.parent).with_suffix("").parts for p in sorted(folder.rglob("*.py"))}
        names = {p: ".".join(parts[:-1] if parts[-1] == "__init__" else parts) for p, parts in files.items()}
        return Sources({name: p.read_text("utf-8") for p, name in names.items()}, ignored)

    @cached_property
    def state(self) -> str:
        """A digest of all the text: it changes with any edit."""
        return hashlib.sha256(repr(sorted(self.texts.items())).encode()).hexdigest()[:16]

    def _uncached_module(self, name: str) -> tuple[dict[str, list[ast.stmt]], dict[str, str]]:
        """What a module defines, statement by statement, and what its imports bind."""
        tree, defined = ast.parse(self.texts[name]), {}
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                defined.setdefault(node.name, []).append(node)
            else:
                for target in dict.fromkeys(_stored(node)):
                    defined.setdefault(target, []).append(node)
        top = ast.Module([n for n in tree.body if not isinstance(n, ast.FunctionDef | ast.ClassDef)], [])
        return defined, _imports(top, name)

    def definition(self, reference: str) -> ast.stmt:
        """The statement that defines "module:name"."""
        module, _, name = reference.partition(":")
        return self._module(module)[0][name][0]

    def _follow(self, dotted: str) -> str:
        """What a dotted name stands for: "module:name" of the package, "module:" itself, or a library's own name."""
        module, rest = dotted, []
        while module and module not in self.texts:
            module, _, last = module.rpartition(".")
            rest.insert(0, last)
        if not module:
            return dotted
        found = f"{module}:"
        for name in rest:
            found = self._deeper(found, name) or f"{found}.{name}"
        return found

    def _deeper(self, found: str, name: str) -> str | None:
        """What an attribute of a module stands for; None if `found` is no module of the package."""
        if ":" not in found:
            return f"{found}.{name}" if not found.startswith("=") else None
        module, _, inside = found.partition(":")
        if inside or found in self.live:
            return None
        if f"{module}.{name}" in self.texts and name not in self._module(module)[0]:
            return f"{module}.{name}:"
        if (known := self._lookup(module)(name)) is None:
            raise ValueError(f"{name!r} of {module} cannot be found in its source; import it from where it is defined")
        return known

    def _lookup(self, module: str) -> Lookup:
        """What the names of a module stand for."""
        defined, bound = self._module(module)

        def lookup(name: str) -> str | None:
            return f"{module}:{name}" if name in defined else self._follow(bound[name]) if name in bound else None

        return lookup

    def _looked(self, value: object) -> str | None:
        """What a value that code from outside names stands for; a constant stands for itself."""
        value = inspect.unwrap(value) if callable(value) else value
        if isinstance(value, types.ModuleType):
            return self._follow(value.__name__)
        if isinstance(value, int | float | str | tuple | bytes | None):
            return f"={value!r}"
        if not callable(value) or not hasattr(value, "__qualname__"):
            return f"={type(value).__name__}"
        if value.__module__ in self.texts:
            return f"{value.__module__}:{value.__qualname__.partition('.')[0]}"
        if not (inspect.isfunction(value) or inspect.isclass(value)) or of_a_library(value):
            return f"{value.__module__}.{value.__qualname__}"
        reference = f"outside:{id(value)}"
        self.live[reference] = value
        return reference

    def _uncached_parts(self, reference: str) -> tuple[str, tuple[str, ...]]:
        """The digest of a thing's own text, and what it refers to."""
        if reference in self.live:
            thing = self.live[reference]
            isclass = inspect.isclass(thing)
            scope = inspect.getmodule(thing).__dict__ if isclass else thing.__globals__
            scope = scope | ({} if isclass else inspect.getclosurevars(thing).nonlocals)
            trees = ast.parse(textwrap.dedent(inspect.getsource(thing))).body
            return self._written(trees, lambda n: self._looked(scope[n]) if n in scope else None, "__main__")
        module, _, name = reference.partition(":")
        if module in self.ignored:
            return name, ()
        defined, _ = self._module(module)
        if name:
            return self._written(defined[name], self._lookup(module), module)
        return "module", tuple(f"{module}:{n}" for n in sorted(defined))

    def _written(self, trees: list[ast.stmt], outer: Lookup, module: str) -> tuple[str, tuple[str, ...]]:
        texts, refs = [], []
        for tree in trees:
            inside = isinstance(tree, ast.FunctionDef | ast.ClassDef)
            bound = _imports(tree, module) if inside else {}

            def lookup(name: str, bound: dict[str, str] = bound) -> str | None:
                return self._follow(bound[name]) if name in bound else outer(name)

            clean = _Meaning(lambda d, lookup=lookup: self._silent(d, lookup)).visit(
                ast.parse(ast.unparse(tree)).body[0]
            )
            alone = isinstance(clean, ast.Assign | ast.AnnAssign) and not _several(clean)
            root = clean.value if alone else clean
            writer = _Writer(lookup, self._deeper, root)
            texts.append(writer.text(root))
            refs += writer.refs
        return hashlib.sha256("\n".join(texts).encode()).hexdigest(), tuple(refs)

    def _silent(self, decorator: ast.expr, lookup: Lookup) -> bool:
        """Whether a decorator changes no number: it caches or registers."""
        call = _called(decorator)
        return ast.unparse(call).split(".")[-1] in SILENT or self._registry(call, lookup) is not None

    def _stands(self, node: ast.expr, lookup: Lookup) -> str:
        """What `name` or `module.name` stands for; empty if it is neither."""
        if isinstance(node, ast.Name):
            return lookup(node.id) or ""
        base = self._stands(node.value, lookup) if isinstance(node, ast.Attribute) else ""
        return (self._deeper(base, node.attr) or "") if base.endswith(":") else ""

    def _registry(self, decorator: ast.expr, lookup: Lookup) -> str | None:
        """The registry that a decorator enters a function in: `REGISTRY.register`, or a name for that."""
        if isinstance(decorator, ast.Attribute) and decorator.attr == "register":
            return self._stands(decorator.value, lookup)
        module, _, name = self._stands(decorator, lookup).partition(":")
        statement = self._module(module)[0].get(name, [None])[0] if module in self.texts else None
        return self._registry(statement.value, self._lookup(module)) if isinstance(statement, ast.Assign) else None

    def _uncached_hash(self, reference: str, rounds: int) -> str:
        """The digest of a thing whose names are replaced by digests, `rounds` deep."""
        own, refs = self._parts(reference)
        below = [self._hash(r, rounds - 1) for r in refs] if rounds else []
        return hashlib.sha256("\n".join([own, *below]).encode()).hexdigest()

    def reference(self, thing: object) -> str:
        """How a function is referred to: "module:name"."""
        return thing if isinstance(thing, str) else self._looked(thing)

    def digest(self, thing: object) -> str:
        """12 hex digits of the meaning of a function, class or constant: itself, or its "module:name".

        ValueError if it cannot be found in the sources, or reaches deeper than DEPTH calls.
        """
        return self._digest(self.reference(thing))

    def _uncached_digest(self, root: str) -> str:
        if self._far(root) > DEPTH:
            raise ValueError(f"{root} reaches deeper than {DEPTH} calls, allowed: less")
        return self._hash(root, DEPTH)[:12]

    def reached(self, *things: object) -> set[str]:
        """ "module:name" of all that things refer to, themselves included."""
        seen, queue = set(), [self.reference(t) for t in things]
        while queue:
            if (reference := queue.pop()) not in seen:
                seen.add(reference)
                queue += self._parts(reference)[1]
        return seen

    def _far(self, root: str) -> int:
        """The distance of what lies farthest from `root`."""
        seen, level, distance = {root}, {root}, 0
        while level := {r for v in level for r in self._parts(v)[1]} - seen:
            seen |= level
            distance += 1
        return distance

    def registered(self, kind: str) -> dict[str, str]:
        """What the package registers under that kind: name -> "module:name", read from the sources alone."""
        homes = [m for m, text in self.texts.items() if f'Registry("{kind}"' in text]
        known = {f"{m}:{n}" for m in homes for n, (s, *_) in self._module(m)[0].items() if _makes(s, kind)}
        return {name: reference for registry, name, reference in self._registrations if registry in known}

    @cached_property
    def _registrations(self) -> list[tuple[str, str, str]]:
        """Registry, name and reference of all that a decorator registers."""
        return [
            (registry, name, f"{module}:{name}")
            for module in (m for m, text in self.texts.items() if "\n@" in text)
            for name, (node, *_) in self._module(module)[0].items()
            for decorator in getattr(node, "decorator_list", ())
            if (registry := self._registry(_called(decorator), self._lookup(module)))
        ]


def _facts(decorator: ast.expr) -> list[ast.keyword]:
    """What a function is registered with, but for facts that change no number of a run."""
    return [k for k in getattr(decorator, "keywords", []) if k.arg not in PLANNED]


def _called(decorator: ast.expr) -> ast.expr:
    return decorator.func if isinstance(decorator, ast.Call) else decorator


def _makes(statement: ast.stmt, kind: str) -> bool:
    """Whether a statement makes the registry of that kind."""
    value = getattr(statement, "value", None)
    first = value.args[0] if isinstance(value, ast.Call) and value.args else None
    return isinstance(first, ast.Constant) and first.value == kind


def _several(node: ast.Assign | ast.AnnAssign) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return not all(isinstance(t, ast.Name) for t in targets) or node.value is None


def of_a_library(thing: object) -> bool:
    """Whether a function or class is installed, rather than somebody's own."""
    if thing.__module__.partition(".")[0] in sys.stdlib_module_names - {"__main__"}:
        return True
    file = getattr(sys.modules.get(thing.__module__), "__file__", None)
    return bool(file) and file.startswith(LIBRARIES)
