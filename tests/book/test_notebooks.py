"""Notebooks: parameters read and checked, chapters executed by this interpreter."""

import json
import sys

import nbformat
import pytest
from tiny_notebooks import printed, write

from kdstudy.book import notebooks
from kdstudy.core.parameters import Parameter

FIRST = """tau: float | list[float] = 4.0  # temperature
dataset: str = "digits"  # a data set
seeds: Several[int] = [
    0,
    1,
]  # seeds, = the unit
quick: bool = False  # whether to hurry
hidden: int | None = None  # units
images: Several[str] | None = "a"  # or none"""


def test_parameters(tmp_path):
    path = write(tmp_path / "tiny.ipynb", FIRST)
    assert list(notebooks.parameters(path).values()) == [
        Parameter("tau", "float | list[float]", 4.0, "temperature"),
        Parameter("dataset", "str", "digits", "a data set"),
        Parameter("seeds", "int | list[int]", [0, 1], "seeds, = the unit"),
        Parameter("quick", "bool", False, "whether to hurry"),
        Parameter("hidden", "int | None", None, "units"),
        Parameter("images", "str | list[str] | None", "a", "or none"),
    ]


def test_values_are_checked_by_the_cell(tmp_path):
    path = write(tmp_path / "tiny.ipynb", FIRST)
    assert notebooks.check(path, {"tau": (1, 2), "hidden": "8"}) == {"tau": [1, 2], "hidden": 8}
    with pytest.raises(ValueError, match="^chapter tiny has no parameter 'seed'; it has: tau, .*did you mean 'seeds'"):
        notebooks.check(path, {"seed": 3})


def test_execute_runs_this_interpreter(tmp_path, monkeypatch):
    """Even where another kernel is registered as python3."""
    spec = tmp_path / "jupyter/kernels/python3/kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["false"], "display_name": "other", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    path = write(tmp_path / "tiny.ipynb", "a: int | None = 2  # a number", "import os, sys\nprint(a, sys.executable)",
                 "print(os.getcwd())")  # fmt: skip
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.widgets = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    nbformat.write(notebook, path)
    told, output = [], tmp_path / "new/out.ipynb"
    assert notebooks.execute(path, output, {"a": 5}, lambda *step: told.append(step), root=tmp_path) == output
    assert printed(output) == f"5 {sys.executable}\n{tmp_path}\n"
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert "input_path" not in output.read_text("utf-8")
    assert "widgets" not in nbformat.read(output, as_version=4).metadata
    assert printed(path) == ""


@pytest.mark.parametrize(
    ("error", "said"),
    [("ValueError('asked, found')", "3]: asked, found; {}"), ("KeyError('tau')", "3]; {}\nKeyError: 'tau'")],
)
def test_execute_says_which_cell_failed_and_of_a_refusal_no_traceback(tmp_path, error, said):
    path = write(tmp_path / "tiny.ipynb", "a: int = 2  # a number", "print(a)", f"raise {error}")
    with pytest.raises(notebooks.NotebookError) as caught:
        notebooks.execute(path, tmp_path / "out.ipynb")
    lines = str(caught.value).splitlines()
    first, *rest = said.format(f"what was executed is kept in {tmp_path / 'out.ipynb'}").splitlines()
    assert lines[0] == f"chapter tiny failed in cell 4, In [{first}" and lines[1:][-1:] == rest
    assert printed(tmp_path / "out.ipynb") == "2\n"


@pytest.mark.parametrize("text", ["", "not json", '{"a": 1}', "[1]"])
def test_a_file_that_is_no_notebook_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "mine.ipynb"
    path.write_text(text, "utf-8")
    with pytest.raises(
        ValueError, match=r"mine\.ipynb: found no notebook that can be read \([^\n]*\), allowed: [^\n]*$"
    ):
        notebooks.parameters(path)


@pytest.mark.parametrize("source", ["x = (", 'x = """abc', "x: int = 1 + len('a')"])
def test_a_cell_of_parameters_that_cannot_be_read_is_refused_in_one_line(tmp_path, source):
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "mine.ipynb")
    with pytest.raises(ValueError, match=r"mine\.ipynb: the cell of parameters cannot be read \([^\n]*\), allowed: "):
        notebooks.parameters(tmp_path / "mine.ipynb")
