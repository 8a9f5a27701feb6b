"""Notebooks of a few cells, and what is in them."""

from pathlib import Path

import nbformat

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def cells(path: Path, kind: str = "code") -> list:
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == kind]


def write(path: Path, *sources: str, title: str = "# Tiny") -> Path:
    """A notebook whose first code cell holds its parameters."""
    v = nbformat.v4
    code = [v.new_code_cell(s, metadata={"tags": ["parameters"]} if i == 0 else {}) for i, s in enumerate(sources)]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(v.new_notebook(cells=[v.new_markdown_cell(title), *code], metadata={"kernelspec": KERNEL}), path)
    return path


def printed(path: Path) -> str:
    return "".join(o.text for c in cells(path) for o in c.outputs if o.output_type == "stream")
