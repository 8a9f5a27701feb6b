"""The package's shape: imports point downwards, what is optional stays so, functions and files stay short."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from layers import LEVELS, SIDEWAYS

import kdstudy

PACKAGE = Path(kdstudy.__file__).parent
FILES = {p.stem: p for p in sorted(PACKAGE.glob("*.py")) if p.stem != "__init__"}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in FILES.items()}

LEVEL = {name: i for i, names in enumerate(LEVELS) for name in names}
EXPERIMENT = [
    "spec",
    "datasets",
    "models",
    "objective",
    "registry",
    "shapes",
    "targets",
    "observe",
    "measures",
    "stats",
    "training",
    "store",
    "published",
    "plans",
    "runs",
]
OPTIONAL = [
    "IPython",
    "jupyter_book",
    "myst_nb",
    "nbclient",
    "nbformat",
    "papermill",
    "pooch",
    "pydantic",
    "torchvision",
    "typer",
]
BODY, LINES = 30, 250


def imports(name: str) -> set[str]:
    """Modules of this package that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            inner = [f"kdstudy.{a.name}" for a in node.names] if node.module == "kdstudy" else [node.module]
        elif isinstance(node, ast.Import):
            inner = [a.name for a in node.names]
        else:
            continue
        found |= {parts[1] for i in inner if (parts := i.split("."))[0] == "kdstudy" and len(parts) > 1}
    return found


EDGES = {(name, used) for name in FILES for used in imports(name)}


def test_every_module_has_its_level():
    assert FILES.keys() == LEVEL.keys(), "say in LEVELS where a new module belongs"
    assert sum(map(len, LEVELS)) == len(LEVEL)


@pytest.mark.parametrize("name", FILES)
def test_imports_point_down(name):
    up = {used for used in imports(name) if LEVEL[used] >= LEVEL[name] and (name, used) not in SIDEWAYS}
    assert not up, f"{name} (level {LEVEL[name]}) imports {', '.join(sorted(up))}, which is not below it"


def test_what_is_allowed_sideways_is_needed_and_stays_on_its_level():
    assert SIDEWAYS.keys() == {(a, b) for a, b in EDGES if LEVEL[a] == LEVEL[b]}


def test_training_names_no_condition_and_no_data_set():
    from kdstudy import datasets, targets

    words = {n.value for n in ast.walk(TREES["training"]) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    assert not words & {*targets.CONDITIONS, *datasets.names()}


BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ImportError(f"{{name}} is blocked")

sys.meta_path.insert(0, Blocked())
import importlib
for name in {names}:
    importlib.import_module(name)
print("imported", *sorted(m for m in sys.modules if m.partition(".")[0] in {blocked}))
"""


def test_the_experiment_imports_without_what_the_book_and_the_command_need():
    names = ["kdstudy", *(f"kdstudy.{name}" for name in EXPERIMENT)]
    code = BLOCKED.format(blocked=OPTIONAL, names=names)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("imported", 0), done.stderr


def definitions() -> list[tuple[str, ast.AST]]:
    """Every function and class with its dotted name; methods and nested functions included."""
    found = []

    def visit(node: ast.AST, where: str) -> None:
        for child in ast.iter_child_nodes(node):
            name = where
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = f"{where}.{child.name}"
                found.append((name, child))
            visit(child, name)

    for module, tree in TREES.items():
        visit(tree, module)
    return found


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement after the docstring to the last."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_functions_are_short():
    functions = [(n, d) for n, d in definitions() if not isinstance(d, ast.ClassDef)]
    assert len(functions) > 100
    long = {name: lines for name, node in functions if (lines := body_lines(node)) > BODY}
    assert not long, f"over {BODY} lines: {long}"
    assert sorted(body_lines(node) for _, node in functions)[len(functions) // 2] <= 8


def test_files_are_short():
    long = {name: n for name, path in FILES.items() if (n := len(path.read_text("utf-8").splitlines())) > LINES}
    assert not long, f"over {LINES} lines, to be split by concept: {long}"


def test_everything_public_says_what_it_is():
    inside = {name for name, node in definitions() if not isinstance(node, ast.ClassDef)}
    silent = [
        name
        for name, node in definitions()
        if not any(part.startswith("_") for part in name.split("."))
        and name.rpartition(".")[0] not in inside
        and not ast.get_docstring(node)
    ]
    silent += [name for name, tree in TREES.items() if not ast.get_docstring(tree)]
    assert not silent


def test_no_module_names_are_shadowed_by_the_public_api():
    for name in FILES:
        assert importlib.import_module(f"kdstudy.{name}") is getattr(kdstudy, name)
    assert sorted(kdstudy.__all__) == kdstudy.__all__
    assert all(hasattr(kdstudy, name) for name in kdstudy.__all__)
