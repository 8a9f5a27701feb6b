"""The package's shape: functions are short, packages small, what is public says what it is, what is optional stays so.

Which package may import which is the contract in pyproject.toml, checked by `make lint`.
"""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import places
import pytest

import kdstudy

PACKAGE = Path(kdstudy.__file__).parent
FILES = {
    ".".join(("kdstudy", *p.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): p
    for p in sorted(PACKAGE.rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in FILES.items()}
EXPERIMENT = ["core", "data", "distill", "stats", "train", "store", "engine", "study"]
OPTIONAL = ["IPython", "jupyter_book", "myst_nb", "nbclient", "nbformat", "papermill", "pooch", "pydantic", "typer"]
OPTIONAL += ["torchvision"]
BODY, FILE, MODULES = 30, 450, 13  # lines of a function's body, of a file; modules of a package


def definitions() -> list[tuple[str, ast.AST, bool]]:
    """Every function and class with its dotted name and whether it is inside a function."""
    found = []

    def visit(node: ast.AST, where: str, inside: bool) -> None:
        for child in ast.iter_child_nodes(node):
            name, function = where, isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            if function or isinstance(child, ast.ClassDef):
                name = f"{where}.{child.name}"
                found.append((name, child, inside))
            visit(child, name, inside or function)

    for module, tree in TREES.items():
        visit(tree, module, False)
    return found


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement after the docstring to the last."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_functions_are_short():
    lines = {n: body_lines(node) for n, node, _ in definitions() if not isinstance(node, ast.ClassDef)}
    assert len(lines) > 100
    assert {n: count for n, count in lines.items() if count > BODY} == {}
    assert sorted(lines.values())[len(lines) // 2] <= 8


def test_files_are_short():
    assert {n: k for n, path in FILES.items() if (k := len(path.read_text("utf-8").splitlines())) > FILE} == {}


def test_packages_are_small():
    folders = [PACKAGE, *(p.parent for p in PACKAGE.rglob("__init__.py") if p.parent != PACKAGE)]
    many = {f.name: n for f in folders if (n := len([p for p in f.glob("*.py") if p.stem != "__init__"])) > MODULES}
    assert many == {}, f"more than {MODULES} modules; a package is one idea"


def test_no_import_is_relative():
    nodes = {name: [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)] for name, tree in TREES.items()}
    assert [name for name, found in nodes.items() if any(n.level for n in found)] == []


def test_everything_public_says_what_it_is():
    silent = [
        name
        for name, node, inside in definitions()
        if not inside and not re.search(r"\._", name) and not ast.get_docstring(node)
    ]
    assert silent + [name for name, tree in TREES.items() if not ast.get_docstring(tree)] == []


def test_packages_say_what_lives_in_them():
    tops = [n for n, path in FILES.items() if n.count(".") == 1 and path.stem == "__init__"]
    short = [name for name in tops if len((ast.get_docstring(TREES[name]) or "").splitlines()) < 3]
    assert not short, "say what lives here, what does not, what to read first"


def test_where_is_what_is_current():
    assert (places.ROOT / "CONTRIBUTING.md").read_text("utf-8") == places.contributing(), "run python tests/places.py"


def test_training_names_no_condition_and_no_data_set():
    from kdstudy.data import registry
    from kdstudy.distill.conditions import CONDITIONS

    trees = [tree for name, tree in TREES.items() if re.fullmatch(r"kdstudy\.train\.(trainer|mlp|cnn)", name)]
    assert trees
    words = {n.value for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Constant)}
    assert not words & {*CONDITIONS, *registry.names()}


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
    names = ["kdstudy", *(n for n in FILES if n.count(".") and n.split(".")[1] in EXPERIMENT)]
    code = BLOCKED.format(blocked=OPTIONAL, names=names)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("imported", 0), done.stderr


def test_the_public_api_hides_no_package():
    for name in {n.split(".")[1] for n in FILES if n.count(".") > 1}:
        assert importlib.import_module(f"kdstudy.{name}") is getattr(kdstudy, name)
    assert sorted(kdstudy.__all__) == list(kdstudy.__all__)
    assert all(hasattr(kdstudy, name) for name in kdstudy.__all__)


OLD = {"plans": "universe", "runs": "ask", "claims": "verdict", "targets": "condition", "stats": "difference"}


@pytest.mark.parametrize(("module", "name"), OLD.items())
def test_old_paths_answer_with_a_warning(module, name):
    with pytest.warns(DeprecationWarning, match=f"kdstudy.{module}.{name} has moved to kdstudy."):
        assert getattr(importlib.import_module(f"kdstudy.{module}"), name)
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        importlib.import_module(f"kdstudy.{module}").no_such_name  # noqa: B018
