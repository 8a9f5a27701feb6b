"""Notebooks as functions: their parameters, the check of values for them, their execution."""

import ast
import io
import itertools
import os
import re
import tokenize
from collections.abc import Callable, Mapping
from pathlib import Path

from kdstudy.core import parameters as described
from kdstudy.core.parameters import Parameter
from kdstudy.core.paths import study_root

SAID = ("ValueError", "DataError", "Diverged", "FileNotFoundError", "Unusable")  # errors of a sentence for the reader
LAST = 8  # lines of a traceback that are shown
ANSI = re.compile(r"\x1b\[[0-9;]*m")
SEVERAL = re.compile(r"\bSeveral\[(\w+)\]")


class NotebookError(RuntimeError):
    """A cell failed. The message is for the reader: which cell, how, and where the notebook is."""


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


def check(notebook: Path, given: Mapping[str, object]) -> dict[str, object]:
    """The values given for a notebook's parameters; ValueError for a name that it lacks, or a value it cannot take."""
    return described.check(f"chapter {Path(notebook).stem}", given, parameters(notebook))


def _kernel() -> type:
    """The class of kernels that run this very interpreter, whatever kernels are registered."""
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    threads = os.environ.get("OMP_NUM_THREADS", "1")  # chapters run side by side
    own = {"env": {"KDSTUDY_PROGRESS": "quiet", "OMP_NUM_THREADS": threads}}  # what a cell says is part of its page
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
    result.metadata.pop("widgets", None)  # scripts of the web
    for name in ("input_path", "output_path"):  # folders of this machine
        result.metadata.papermill.pop(name, None)
    nbformat.write(result, output)
    return output


def _failure(notebook: Path, output: Path, error: Exception) -> str:
    """Which cell failed and how, and where the notebook is kept."""
    text, where = str(error), ""
    kept = f"what was executed is kept in {output}"
    if hasattr(error, "traceback"):
        text = ANSI.sub("", "\n".join(error.traceback))
        where = f" in cell {error.cell_index + 1}, In [{error.exec_count}]"
        if error.ename in SAID:
            return f"chapter {notebook.stem} failed{where}: {error.evalue}; {kept}"
    first = f"chapter {notebook.stem} failed{where}; {kept}"
    return "\n".join([first, *text.splitlines()[-LAST:]])
