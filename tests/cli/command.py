"""The `kdstudy` command as a shell calls it, on a small book: what the fixtures of its tests do."""

import sys
from pathlib import Path

import nbformat
import pytest
from rich.console import Console

from kdstudy.book import build
from kdstudy.cli import claims, conditions, console, main, run, stored

PARAMETERS = """\
dataset: str | list[str] = "synthetic"  # data sets
conditions: Several[str] = ["hard"]  # conditions
tau: float | list[float] = [2.0]  # temperature
weight_decay: list[float] = [0.0]  # of the baseline
seeds: int | list[int] = 1  # a count, or a list
hidden: int | None = 2  # units
epochs: int | None = 1  # of teacher and student
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
    for module in (claims, conditions, run, stored):
        monkeypatch.setattr(module, "out", Console(width=300))
    monkeypatch.setattr(console, "err", Console(width=300, stderr=True))

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kdstudy", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main.main()
        return (ended.value.code, *capsys.readouterr())

    return call
