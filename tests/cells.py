"""The cells of parameters of the book's chapters, from what their plans take: `python tests/cells.py` writes them."""

import nbformat

from kdstudy.book import build, notebooks
from kdstudy.core.parameters import Parameter
from kdstudy.study import plans


def described(chapter: str) -> dict[str, Parameter]:
    """A chapter's parameters: of its plan, if it has one, and those of its cell that no plan knows."""
    own = plans.known(chapter) if chapter in {*plans.PLANS, "scoreboard"} else {}
    return own | {n: p for n, p in notebooks.parameters(build.chapters()[chapter]).items() if n not in own}


if __name__ == "__main__":
    for chapter, path in build.chapters().items():
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if "parameters" in cell.metadata.get("tags", ()):
                cell.source = "\n".join(map(str, described(chapter).values()))
        nbformat.write(notebook, path)
