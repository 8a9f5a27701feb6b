"""The `kdstudy` command as a shell calls it, on a small book: what the fixtures of its tests do."""

import sys
from itertools import product
from pathlib import Path

import nbformat
import pytest
from rich.console import Console

from kdstudy.book import build
from kdstudy.cli import claims, conditions, console, main, plan, run, stored, train

PARAMETERS = """\
dataset: str | list[str] | None = "synthetic"  # data sets
regime: str | list[str] | None = None  # regimes
conditions: Several[str] = ["hard"]  # conditions
labels: int | None = 5  # of each class
settings: int = 2  # that each side tries
tuning: int = 2  # seeds
seeds: int = 2  # seeds
admission: int = 2  # seeds
executor: str = "local"  # where to train
"""


def small_book(tmp_path, monkeypatch) -> dict[str, Path]:
    """A book of two small chapters: one with a plan, one without."""
    known = {name: tmp_path / f"{name}.ipynb" for name in ("universe", "notes")}
    for path in known.values():
        cell = nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    monkeypatch.setattr(build, "chapters", lambda: known)
    return known


def shell(monkeypatch, capsys):
    """Call the command as a shell does; returns (exit code, standard output, standard error)."""
    for module, name in product((claims, conditions, console, plan, run, stored, train), ("out", "err")):
        if hasattr(module, name):
            plain = Console(width=300, stderr=name == "err", markup=False, highlight=False)
            monkeypatch.setattr(module, name, plain)

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kdstudy", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main.main()
        return (ended.value.code, *capsys.readouterr())

    return call
