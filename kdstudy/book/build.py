"""The book: its chapters, executed, and the pages built from them, which load nothing from the web."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from hashlib import sha256
from html import escape
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from kdstudy import __version__
from kdstudy.book.notebooks import ANSI, NotebookError, check, execute
from kdstudy.book.offline import offline_report
from kdstudy.core import paths

SIDE_BY_SIDE = 2  # chapters executed at once
JUPYTER_BOOK = (sys.executable, "-c", "from jupyter_book.cli.main import main; main()")
ADDRESS = re.compile(r'alt="[^"]*_images/([0-9a-f]{64})\.svg"')  # what figures have for an alternative text
MATHJAX = "sphinx-mathjax-offline", "static/mathjax/tex-svg.js"  # a module and a file in it
COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())


class BookError(RuntimeError):
    """A chapter failed, or the pages are not as they should be. The message is for the reader."""


def chapters(root: Path | None = None) -> dict[str, Path]:
    """The notebooks of the table of contents by name, in its order."""
    root = root or paths.study_root()
    files = re.findall(r"(?:root|file): *([^\s,}]+)", (root / "book/_toc.yml").read_text("utf-8"))
    named = [root / f"book/{file}.ipynb" for file in files]
    return {path.stem: path for path in named if path.exists()}


def _add_repository(settings: dict) -> None:
    """Buttons that lead to the repository, where the build knows it."""
    name, server = os.environ.get("GITHUB_REPOSITORY"), os.environ.get("GITHUB_SERVER_URL", "https://github.com")
    if name:
        branch = os.environ.get("GITHUB_REF_NAME", "main")
        settings["repository"] = {"url": f"{server}/{name}", "branch": branch, "path_to_book": "book"}
        settings["html"] |= {"use_repository_button": True, "use_issues_button": True}
        settings["sphinx"]["config"]["html_theme_options"]["repository_provider"] = "github"


def _stage(root: Path, stage: Path) -> Path:
    """Copy what the pages are made of, with the repository's own relative paths; returns the book's folder."""
    import yaml

    skip = shutil.ignore_patterns("_build", "_stage", "__pycache__", "shipped", ".*")
    for part, source in (("book", root), ("data/results", root), ("kdstudy", paths.PACKAGE.parent)):
        if (source / part).exists():
            shutil.copytree(source / part, stage / part, ignore=skip)
    module = importlib.util.find_spec(MATHJAX[0])
    vendor = stage / "book/_extra/vendor"
    vendor.mkdir(parents=True)
    shutil.copy(Path(module.submodule_search_locations[0]) / MATHJAX[1], vendor)
    config = stage / "book/_config.yml"
    settings = yaml.safe_load(config.read_text("utf-8"))
    _add_repository(settings)
    settings.setdefault("parse", {})["myst_substitutions"] = {
        "version": __version__,
        "date": f"{date.today():%d %B %Y}",
    }
    config.write_text(yaml.safe_dump(settings, allow_unicode=True), "utf-8")
    return stage / "book"


def _execute_all(root: Path, stage: Path, given: Mapping[str, Mapping[str, object]]) -> None:
    """Execute every chapter into the stage, some side by side, then report all that failed."""
    import psutil

    with Progress(*COLUMNS) as shown, ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        tasks = {name: shown.add_task(name, total=None) for name in chapters(root)}
        jobs = [
            pool.submit(execute, path, stage / path.relative_to(root / "book"), given.get(name),
                        lambda done, total, task=tasks[name]: shown.update(task, completed=done, total=total), root)
            for name, path in chapters(root).items()
        ]  # fmt: skip
        try:
            errors = [job.exception() for job in jobs]
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in psutil.Process().children(recursive=True):
                child.terminate()
            raise
    for error in filter(None, errors):
        if not isinstance(error, NotebookError):
            raise error
    if any(errors):
        raise BookError("\n\n".join(str(e) for e in errors if e))


def _pages(stage: Path, output: Path, *options: str) -> Path:
    """Build the HTML pages of a staged book; returns their folder."""
    command = [*JUPYTER_BOOK, "build", "-q", *options, "--path-output", str(output), str(stage)]
    with Console().status("building the pages"):
        env = os.environ | {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8"}  # whatever the terminal is
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", env=env)
    if done.returncode:
        text = ANSI.sub("", done.stderr or done.stdout).replace(f"{stage}/", "book/").strip()
        raise BookError(f"the pages have faults; their sources are kept in {stage}\n{text}")
    _describe(stage, output / "_build/html")
    return output / "_build/html"


def _describe(stage: Path, html: Path) -> None:
    """Give every figure of a chapter an alternative text in place of its address: its caption, and what is seen."""
    import nbformat

    said = {}
    for cell in (c for path in stage.rglob("*.ipynb") for c in nbformat.read(path, as_version=4).cells):
        for data in (output.get("data", {}) for output in cell.get("outputs", ())):
            if "image/svg+xml" in data:
                name = sha256(os.linesep.join(data["image/svg+xml"].splitlines()).encode()).hexdigest()
                caption = cell.metadata.get("mystnb", {}).get("figure", {}).get("caption", "")
                said[name] = escape(f"{caption} {data.get('text/plain', '')}".strip())
    for page in html.rglob("*.html"):
        text = page.read_text("utf-8")
        told = ADDRESS.sub(lambda m: f'alt="{said.get(m[1]) or m[1]}"', text)
        if told != text:
            page.write_text(told, "utf-8")


def build(root: Path | None = None, parameters: Mapping[str, Mapping[str, object]] | None = None) -> Path:
    """Execute every chapter and build the pages in book/_build/html (out/book/_build/html if kdstudy is installed).

    Returns the first page.

    `parameters` maps chapters to values other than their defaults. Raises BookError if a cell fails,
    if the pages have faults (any warning is one), or if they would load anything from the web.
    """
    root = root or paths.study_root()
    place = paths.output_folder() / "book" if root == paths.SHIPPED else root / "book"
    for name, values in (parameters or {}).items():
        check(chapters(root)[name], values)
    for old in ("_build", "_stage"):
        shutil.rmtree(place / old, ignore_errors=True)
    stage = _stage(root, place / "_stage")
    _execute_all(root, stage, parameters or {})
    html = _pages(stage, place, "-W", "-n", "--keep-going")
    if faults := offline_report(html):
        raise BookError("\n".join(["the pages do not stand alone:", *faults]))
    shutil.rmtree(stage.parent)
    Console().print(f"open {html / 'index.html'}", soft_wrap=True, highlight=False)
    return html / "index.html"


def render(notebook: Path, root: Path | None = None) -> Path:
    """Show an executed notebook as a page like the book's, in a folder beside it; returns the page."""
    with tempfile.TemporaryDirectory() as folder:
        stage = _stage(root or paths.study_root(), Path(folder) / "stage")
        shutil.copy(notebook, stage / "chapters" / notebook.name)
        toc = ["format: jb-book", f"root: chapters/{notebook.stem}", "chapters: [{file: pages/references}]"]
        (stage / "_toc.yml").write_text("\n".join(toc), "utf-8")
        shutil.copytree(_pages(stage, Path(folder)), notebook.with_suffix(""), dirs_exist_ok=True)
    return notebook.with_suffix("") / "index.html"
