"""Notebooks: parameters read and checked, chapters executed by this interpreter."""

import json
import re
import sys

import nbformat
import pytest
from tiny_notebooks import printed, write

from kdstudy.book import notebooks

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
        notebooks.Parameter("tau", "float | list[float]", 4.0, "temperature"),
        notebooks.Parameter("dataset", "str", "digits", "a data set"),
        notebooks.Parameter("seeds", "int | list[int]", [0, 1], "seeds, = the unit"),
        notebooks.Parameter("quick", "bool", False, "whether to hurry"),
        notebooks.Parameter("hidden", "int | None", None, "units"),
        notebooks.Parameter("images", "str | list[str] | None", "a", "or none"),
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12), ("0.5", 0.5), ("1e-3", 0.001), ("-2E+1", -20.0), ("clinc150", "clinc150"), ("null", None),
        ("true", True), ("[1, 2.5]", [1, 2.5]), ("[1e-4, 1e-3]", [1e-4, 1e-3]), ("1,2", [1, 2]),
        ("digits, clinc150", ["digits", "clinc150"]), ("'a,b'", "a,b"), ("", None),
    ],
)  # fmt: skip
def test_parse(text, value):
    found = notebooks.parse("x", text)
    assert (found, type(found)) == (value, type(value))
    with pytest.raises(
        ValueError, match=r"^parameter x: found '\[1, 2', allowed: YAML such as 3, 0.5, kd or \[1, 2\]$"
    ):
        notebooks.parse("x", "[1, 2")


GOOD = [
    {}, {"tau": 1}, {"tau": 1.5}, {"tau": [1, 2.5]}, {"dataset": "clinc150"}, {"seeds": 3}, {"seeds": [3]},
    {"quick": True}, {"hidden": 8}, {"hidden": None}, {"tau": 2.0, "seeds": 1}, {"images": []},
]  # fmt: skip


def test_check_accepts(tmp_path):
    path = write(tmp_path / "tiny.ipynb", FIRST)
    for given in GOOD:
        notebooks.check(path, given)


NAMES = "allowed: tau, dataset, seeds, quick, hidden, images"
TAU = "allowed: float | list[float], such as 4.0"
SEEDS = "allowed: int | list[int], such as [0, 1]"
BAD = [
    ({"seed": 3}, f"chapter tiny: found parameter 'seed' (did you mean 'seeds'?), {NAMES}"),
    ({"zzz": 3}, f"chapter tiny: found parameter 'zzz', {NAMES}"),
    ({"tau": "hot"}, f"chapter tiny: parameter tau: found 'hot', {TAU}"),
    ({"tau": True}, f"chapter tiny: parameter tau: found True, {TAU}"),
    ({"tau": []}, f"chapter tiny: parameter tau: found [], {TAU}"),
    ({"tau": [1.0, 2.0, "x"]}, f"chapter tiny: parameter tau: found [1.0, 2.0, 'x'], {TAU}"),
    ({"tau": None}, f"chapter tiny: parameter tau: found None, {TAU}"),
    ({"seeds": 1.5}, f"chapter tiny: parameter seeds: found 1.5, {SEEDS}"),
    ({"seeds": [1, True]}, f"chapter tiny: parameter seeds: found [1, True], {SEEDS}"),
    ({"quick": 1}, "chapter tiny: parameter quick: found 1, allowed: bool, such as False"),
    ({"dataset": ["a"]}, "chapter tiny: parameter dataset: found ['a'], allowed: str, such as 'digits'"),
    ({"hidden": []}, "chapter tiny: parameter hidden: found [], allowed: int | None, such as None"),
    ({"hidden": False}, "chapter tiny: parameter hidden: found False, allowed: int | None, such as None"),
]


@pytest.mark.parametrize(("given", "message"), BAD, ids=[str(b[0]) for b in BAD])
def test_check_refuses(tmp_path, given, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        notebooks.check(write(tmp_path / "tiny.ipynb", FIRST), given)


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


def test_execute_says_which_cell_failed(tmp_path):
    path = write(tmp_path / "tiny.ipynb", "a: int = 2  # a number", "print(a)", "raise ValueError('asked, found')")
    with pytest.raises(notebooks.NotebookError) as caught:
        notebooks.execute(path, tmp_path / "out.ipynb")
    first, *_, last = str(caught.value).splitlines()
    assert first == f"chapter tiny failed in cell 4, In [3]; what was executed is kept in {tmp_path / 'out.ipynb'}"
    assert last == "ValueError: asked, found"
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
