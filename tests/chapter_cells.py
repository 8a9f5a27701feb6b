"""A chapter's code cells in this process, as a notebook executes them, with parameters in place of its own."""

import ast
import contextlib
import io
import sys
from functools import cache

import IPython.display
import matplotlib.pyplot as plt
import nbformat
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from kdstudy.book import build
from kdstudy.distill import identities
from kdstudy.figures.shared import search

CHECKED = cache(identities.check)  # which no parameter changes


@cache
def _cells(chapter: str) -> list:
    """The compiled cells, each expression of them shown, and whether they hold the parameters."""
    cells = [c for c in nbformat.read(build.chapters()[chapter], as_version=4).cells if c.cell_type == "code"]
    return [
        ([compile(ast.Interactive([node]), f"{chapter}, cell {i}", "single") for node in ast.parse(c.source).body],
         "parameters" in c.metadata.get("tags", ()))
        for i, c in enumerate(cells)
    ]  # fmt: skip


def execute(chapter: str, monkeypatch, **given: object) -> list[object]:
    """Execute all cells; returns what they show. Tables are rendered, figures are made but not drawn."""
    shown, scope = [], {}
    monkeypatch.setattr(IPython.display, "display", lambda *what, **_: shown.extend(what))
    monkeypatch.setattr(search, "display", lambda *what, **_: shown.extend(what))
    monkeypatch.setattr(sys, "displayhook", shown.append)
    monkeypatch.setattr(identities, "check", CHECKED)
    monkeypatch.setattr(Figure, "tight_layout", lambda *_, **__: None)
    with contextlib.redirect_stdout(io.StringIO()):
        for codes, parameters in _cells(chapter):
            for code in codes:
                exec(code, scope)
            scope |= given if parameters else {}
    for table in shown:
        if isinstance(table, Styler):
            table.to_html()
    plt.close("all")
    return shown
