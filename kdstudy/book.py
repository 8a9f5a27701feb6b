"""The book: its chapters, executed, and the pages built from them, which load nothing from the web."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from kdstudy.notebooks import ANSI, NotebookError, Parameter, check, execute, parameters, parse
from kdstudy.store import ROOT

__all__ = ["BookError", "Parameter", "build", "chapters", "check", "execute", "offline_report", "parameters",
           "parse", "render"]  # fmt: skip

SIDE_BY_SIDE = 2  # chapters executed at once
JUPYTER_BOOK = (sys.executable, "-c", "from jupyter_book.cli.main import main; main()")
MATHJAX = "sphinx-mathjax-offline", "static/mathjax/tex-svg.js"  # a module and a file in it
COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())

LOADED = {"src", "srcset", "poster", "data", "xlink:href"}  # attributes whose address a browser loads
LINKED = {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "preconnect", "dns-prefetch", "manifest"}
IN_CSS = re.compile(r"""url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)""")


class BookError(RuntimeError):
    """A chapter failed, or the pages are not as they should be. The message is for the reader."""


def _files(toc: object) -> Iterator[str]:
    """Every file that a table of contents names, in its order."""
    if isinstance(toc, list):
        for part in toc:
            yield from _files(part)
    elif isinstance(toc, dict):
        for key, value in toc.items():
            yield from [str(value)] if key in ("root", "file") else _files(value)


def chapters(root: Path = ROOT) -> dict[str, Path]:
    """The notebooks of the table of contents by name, in its order."""
    import yaml

    toc = yaml.safe_load((root / "book/_toc.yml").read_text("utf-8"))
    named = [root / f"book/{file}.ipynb" for file in _files(toc)]
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

    skip = shutil.ignore_patterns("_build", "_stage", "__pycache__", ".*")
    for part in ("book", "kdstudy", "data/results"):
        if (root / part).exists():
            shutil.copytree(root / part, stage / part, ignore=skip)
    module = importlib.util.find_spec(MATHJAX[0])
    vendor = stage / "book/_extra/vendor"
    vendor.mkdir(parents=True)
    shutil.copy(Path(module.submodule_search_locations[0]) / MATHJAX[1], vendor)
    config = stage / "book/_config.yml"
    settings = yaml.safe_load(config.read_text("utf-8"))
    _add_repository(settings)
    config.write_text(yaml.safe_dump(settings, allow_unicode=True), "utf-8")
    return stage / "book"


def _execute_all(root: Path, stage: Path, given: Mapping[str, Mapping[str, object]]) -> None:
    """Execute every chapter into the stage, some side by side, then report all that failed."""
    import psutil

    with Progress(*COLUMNS) as shown, ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        tasks = {name: shown.add_task(name, total=None) for name in chapters(root)}
        jobs = [
            pool.submit(execute, path, stage / path.relative_to(root / "book"), given.get(name),
                        partial(_show, shown, tasks[name]), root)
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


def _show(shown: Progress, task: TaskID, done: int, total: int) -> None:
    """Tell the progress bar how many cells are done."""
    shown.update(task, completed=done, total=total)


def _pages(stage: Path, output: Path, *options: str) -> Path:
    """Build the HTML pages of a staged book; returns their folder."""
    command = [*JUPYTER_BOOK, "build", "-q", *options, "--path-output", str(output), str(stage)]
    with Console().status("building the pages"):
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        text = ANSI.sub("", done.stderr or done.stdout).replace(f"{stage}/", "book/").strip()
        raise BookError(f"the pages have faults; their sources are kept in {stage}\n{text}")
    return output / "_build/html"


def build(root: Path = ROOT, parameters: Mapping[str, Mapping[str, object]] | None = None) -> Path:
    """Execute every chapter and build the pages in book/_build/html; returns the first one.

    `parameters` maps chapters to values other than their defaults. Raises BookError if a cell fails,
    if the pages have faults (any warning is one), or if they would load anything from the web.
    """
    for name, values in (parameters or {}).items():
        check(chapters(root)[name], values)
    for old in ("_build", "_stage"):
        shutil.rmtree(root / "book" / old, ignore_errors=True)
    stage = _stage(root, root / "book/_stage")
    _execute_all(root, stage, parameters or {})
    html = _pages(stage, root / "book", "-W", "-n", "--keep-going")
    if faults := offline_report(html):
        raise BookError("\n".join(["the pages do not stand alone:", *faults]))
    shutil.rmtree(stage.parent)
    Console().print(f"open {html / 'index.html'}", soft_wrap=True, highlight=False)
    return html / "index.html"


def render(notebook: Path, root: Path = ROOT) -> Path:
    """Show an executed notebook as a page like the book's, in a folder beside it; returns the page."""
    with tempfile.TemporaryDirectory() as folder:
        stage = _stage(root, Path(folder) / "stage")
        shutil.copy(notebook, stage / "chapters" / notebook.name)
        toc = ["format: jb-book", f"root: chapters/{notebook.stem}", "chapters: [{file: pages/references}]"]
        (stage / "_toc.yml").write_text("\n".join(toc), "utf-8")
        shutil.copytree(_pages(stage, Path(folder)), notebook.with_suffix(""), dirs_exist_ok=True)
    return notebook.with_suffix("") / "index.html"


class _References(HTMLParser):
    """What a page refers to: (tag, address, whether a browser loads it by itself)."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, bool]] = []
        self.style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the addresses in a tag's attributes."""
        self.style = tag == "style"
        linked = tag in ("image", "use") or bool(LINKED & set((dict(attrs).get("rel") or "").lower().split()))
        for name, value in attrs:
            several = name == "srcset" and not (value or "").startswith("data:")
            for address in [v.split()[0] for v in (value or "").split(",") if v.strip()] if several else [value or ""]:
                if name in LOADED or name == "href":
                    self.found.append((tag, address, name in LOADED or linked))
            if name == "style":
                self.handle_css(value or "")

    def handle_data(self, data: str) -> None:
        """Collect the addresses in a style sheet of the page."""
        if self.style:
            self.handle_css(data)

    def handle_css(self, text: str) -> None:
        """Collect the addresses in CSS."""
        text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
        self.found += [("css", (a or b).strip(), True) for a, b in IN_CSS.findall(text)]


def offline_report(html_dir: Path) -> list[str]:
    """Everything that pages and style sheets load from the web, and every local file that they miss."""
    faults = []
    pages = [p for p in html_dir.rglob("*.html") if "_static" not in p.relative_to(html_dir).parts]
    for path in sorted([*pages, *html_dir.rglob("*.css")]):
        references, text = _References(), path.read_text("utf-8")
        references.feed(text) if path.suffix == ".html" else references.handle_css(text)
        for tag, address, loaded in dict.fromkeys(references.found):
            url = urlsplit(address)
            where = f"{path.relative_to(html_dir).as_posix()}: {tag}"
            if loaded and (url.netloc or url.scheme in ("http", "https")):
                faults.append(f"{where} loads {address}")
            elif url.path and not (url.scheme or url.netloc) and not _there(path, url.path):
                faults.append(f"{where} misses {address}")
    return faults


def _there(page: Path, address: str) -> bool:
    """Whether a page's relative address leads to a file (one from the server's root does not, on disk)."""
    return not address.startswith("/") and (page.parent / unquote(address)).exists()
