"""CONTRIBUTING's table of where what is, from the first line of each module's docstring: `python tests/places.py`."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- where: written by tests/places.py -->\n", "<!-- /where -->"


def said(path: Path) -> str:
    """The first paragraph of a module's docstring on one line."""
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split()).replace("|", "\\|")


def table() -> str:
    """A row for each package, then for each of its modules."""
    rows = ["| place | what is there |", "| --- | --- |"]
    for package in sorted(p.parent for p in (ROOT / "kdstudy").glob("*/__init__.py")):
        rows.append(f"| **{package.name}/** | **{said(package / '__init__.py')}** |")
        for path in sorted(package.rglob("*.py")):
            inner = path.relative_to(package)
            if inner.as_posix() != "__init__.py":
                name = f"{inner.parent.as_posix()}/" if inner.name == "__init__.py" else inner.as_posix()
                rows.append(f"| {package.name}/{name} | {said(path)} |")
    return "\n".join(rows) + "\n"


def contributing() -> str:
    """CONTRIBUTING.md with the table of today."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    head, rest = text.split(BEGIN)
    return head + BEGIN + table() + END + rest.split(END, 1)[1]


if __name__ == "__main__":
    (ROOT / "CONTRIBUTING.md").write_text(contributing(), "utf-8")
