"""Notebooks as functions: their parameters, the check of values for them, their execution."""

import ast
import difflib
import io
import itertools
import re
import tokenize
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from kdstudy.core.paths import study_root

LAST = 8  # lines of a traceback that are shown
ANSI = re.compile(r"\x1b\[[0-9;]*m")
SEVERAL = re.compile(r"\bSeveral\[(\w+)\]")


class NotebookError(RuntimeError):
    """A cell failed. The message is for the reader: which cell, how, and where the notebook is."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a notebook: `name: annotation = default  # help`."""

    name: str
    annotation: str
    default: object
    help: str


def _cells(notebook: Path) -> list:
    """The code cells that do something."""
    import nbformat

    try:
        cells = nbformat.read(notebook, as_version=4).cells
    except (ValueError, AttributeError, nbformat.ValidationError) as error:
        why = str(error).splitlines()[0]
        raise ValueError(f"{notebook}: found no notebook that can be read ({why}), allowed: an .ipynb file") from error
    return [c for c in cells if c.cell_type == "code" and c.source.strip()]


def parameters(notebook: Path) -> dict[str, Parameter]:
    """The parameters of a notebook, read from its cell tagged `parameters`.

    The syntax tree is read, not papermill's own list, which lacks annotations such as `int | None`.
    """
    source = "\n".join(c.source for c in _cells(notebook) if "parameters" in c.metadata.get("tags", ()))
    try:
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        comments = {t.end[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
        assignments = [n for n in ast.parse(source).body if isinstance(n, ast.AnnAssign | ast.Assign) and n.value]
        found = [_parameter(node, comments.get(node.end_lineno, "")) for node in assignments]
    except (ValueError, SyntaxError, tokenize.TokenError) as error:
        allowed = "assignments of plain values, such as seeds: int = 2"
        raise ValueError(f"{notebook}: the cell of parameters cannot be read ({error}), allowed: {allowed}") from error
    return {p.name: p for p in found}


def _parameter(node: ast.AnnAssign | ast.Assign, comment: str) -> Parameter:
    """The parameter that an assignment defines; without an annotation its type is its default's."""
    default = ast.literal_eval(node.value)
    if isinstance(node, ast.Assign):
        return Parameter(ast.unparse(node.targets[0]), type(default).__name__, default, comment)
    hint = SEVERAL.sub(r"\1 | list[\1]", ast.unparse(node.annotation))
    return Parameter(ast.unparse(node.target), hint, default, comment)


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
    if not items:  # nothing at all is a value where None is one
        return "list" in annotation and "None" in annotation
    if "bool" not in annotation and any(isinstance(v, bool) for v in items):
        return False
    hint, tower = eval(annotation, {"Literal": Literal}), BeartypeConf(is_pep484_tower=True)
    each = [[v] for v in items] if isinstance(value, list) else items  # of a list, beartype looks at one item
    return all(is_bearable(v, hint, conf=tower) for v in each)


def check(notebook: Path, given: Mapping[str, object]) -> None:
    """Refuse names that are no parameter of the notebook, and values of another type. Raises ValueError."""
    known, chapter = parameters(notebook), Path(notebook).stem
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.5)
            meant = f" (did you mean {near[0]!r}?)" if near else ""
            raise ValueError(f"chapter {chapter}: found parameter {name!r}{meant}, allowed: {', '.join(known)}")
        own = known[name]
        if not _fits(value, own.annotation):
            allowed = f"{own.annotation}, such as {own.default!r}"
            raise ValueError(f"chapter {chapter}: parameter {name}: found {value!r}, allowed: {allowed}")


def _kernel() -> type:
    """The class of kernels that run this very interpreter, whatever kernels are registered."""
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    own = {"env": {"KDSTUDY_PROGRESS": "quiet"}}  # what a cell says is part of its page
    spec = KernelSpec(**get_kernel_dict(["--log-level=CRITICAL"]) | own)  # cells' errors do not go through its log
    return type("Kernel", (AsyncKernelManager,), {"kernel_spec": spec})


def execute(
    notebook: Path,
    output: Path,
    parameters: Mapping[str, object] | None = None,
    progress: Callable[[int, int], None] | None = None,
    root: Path | None = None,
) -> Path:
    """Execute a notebook with these parameters, with `root` (by default the folder with the
    book and its data) as working folder, and write it to `output`.

    `progress` is told the code cells done and all there are. Raises NotebookError if a cell fails;
    `output` then holds what was executed.
    """
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError

    count, done = len(_cells(notebook)) + bool(parameters), itertools.count(1)
    papermill.log.logger.setLevel("ERROR")  # it takes annotations with | for unknown names; `check` knows better
    told = progress and (lambda **_: progress(next(done), count))
    output.parent.mkdir(parents=True, exist_ok=True)
    place = {"metadata": {"path": str(root or study_root())}}
    try:
        result = papermill.execute_notebook(
            notebook, output, dict(parameters or {}), kernel_name="python3", language="python", progress_bar=False,
            kernel_manager_class=_kernel(), resources=place, on_cell_executed=told,
        )  # fmt: skip
    except (papermill.PapermillExecutionError, DeadKernelError) as error:
        raise NotebookError(_failure(notebook, output, error)) from error
    nbformat.write(_portable(result), output)
    return output


def _portable(notebook: dict) -> dict:
    """The notebook without what ties it to this machine (folders) or to the web (widgets' scripts)."""
    notebook.metadata.pop("widgets", None)
    for name in ("input_path", "output_path"):
        notebook.metadata.papermill.pop(name, None)
    return notebook


def _failure(notebook: Path, output: Path, error: Exception) -> str:
    """Which cell failed and how, and where the notebook is kept."""
    text, where = str(error), ""
    if hasattr(error, "traceback"):
        text = ANSI.sub("", "\n".join(error.traceback))
        where = f" in cell {error.cell_index + 1}, In [{error.exec_count}]"
    first = f"chapter {notebook.stem} failed{where}; what was executed is kept in {output}"
    return "\n".join([first, *text.splitlines()[-LAST:]])
