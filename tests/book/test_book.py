"""The chapters keep the rules; the book is built as promised, and asks for nothing outside."""

import ast
import hashlib
import re
import shutil
import sys
from pathlib import Path

import check_browser
import nbformat
import pytest
from tiny_notebooks import cells, printed, write

from kdstudy.book import build, notebooks
from kdstudy.book.offline import offline_report
from kdstudy.core.paths import ROOT

CHAPTERS = sorted((ROOT / "book/chapters").glob("*.ipynb"))
MACHINERY = {"cli", "data", "engine", "store", "train"}
ASKING = "kdstudy.engine.ask"  # of the machinery, what chapters call
OUTSIDE = {"IPython.display"}


def imported(tree: ast.AST) -> list[str]:
    """Every module a cell imports; `from kdstudy.engine import ask as runs` is kdstudy.engine.ask."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            inner = (node.module or "").partition(".")[0] == "kdstudy"
            found += [f"{node.module}.{a.name}" for a in node.names] if inner else [node.module or "."]
    return found


def allowed(module: str) -> bool:
    """Standard library, display, and of this package all but what trains and stores."""
    top, _, rest = module.partition(".")
    if top == "kdstudy":
        return rest.split(".")[0] not in MACHINERY or module == ASKING
    return top in sys.stdlib_module_names or module in OUTSIDE


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with a book of one page and one chapter."""
    folder = tmp_path / "repository"
    shutil.copytree(ROOT / "book/_static", folder / "book/_static")
    for name in ("_config.yml", "references.bib"):
        shutil.copy(ROOT / "book" / name, folder / "book")
    (folder / "book/_toc.yml").write_text(
        "format: jb-book\nroot: intro\nchapters:\n  - file: chapters/tiny\n  - file: pages/references\n"
    )
    (folder / "book/pages").mkdir()
    shutil.copy(ROOT / "book/pages/references.md", folder / "book/pages")
    (folder / "book/intro.md").write_text("# Intro\n\nSee {doc}`chapters/tiny` and $a^2$.\n")
    write(folder / "book/chapters/tiny.ipynb", "a: int = 2  # a number", "print(a + 1)")
    return folder


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_chapter_is_stored_without_results(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    kernel = notebook.metadata.kernelspec
    assert (kernel.name, kernel.language) == ("python3", "python") and "widgets" not in notebook.metadata
    assert not any(cell.outputs or cell.execution_count is not None for cell in cells(path))


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_chapter_explains_its_parameters(path):
    tagged = [c for c in cells(path) if "parameters" in c.metadata.get("tags", ())]
    assert len(tagged) == 1
    assignments = [n for n in ast.parse(tagged[0].source).body if not isinstance(n, ast.Import | ast.ImportFrom)]
    assert all(isinstance(n, ast.AnnAssign) for n in assignments)
    known = notebooks.parameters(path)
    assert list(known) == [ast.unparse(n.target) for n in assignments]
    assert [name for name, p in known.items() if not p.help] == []
    notebooks.check(path, {name: p.default for name, p in known.items()})


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_chapter_asks_draws_and_explains_only(path):
    for cell in cells(path):
        tree = ast.parse(cell.source)
        defined = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
        assert not defined, f"defines {defined[0].name}: code belongs to the package"
        assert [m for m in imported(tree) if not allowed(m)] == []


def test_table_of_contents_names_every_page():
    toc = (ROOT / "book/_toc.yml").read_text("utf-8")
    pages = {p.relative_to(ROOT / "book").with_suffix("").as_posix() for p in (ROOT / "book/pages").glob("*.md")}
    here = {f"chapters/{p.stem}" for p in CHAPTERS} | pages | {"intro"}
    assert set(re.findall(r"(?:root|file): (\S+)", toc)) == here
    assert sorted(build.chapters().values()) == CHAPTERS


def test_build(root, monkeypatch):
    monkeypatch.setenv("GITHUB_REPOSITORY", "somebody/study")
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://forge.example")
    page = build.build(root, {"tiny": {"a": 41}})
    text = (page.parent / "chapters/tiny.html").read_text("utf-8")
    assert page == root / "book/_build/html/index.html"
    assert "42\n" in text
    assert "https://forge.example/somebody/study" in text
    assert (page.parent / "vendor/tex-svg.js").stat().st_size > 1e6
    assert 'src="_static/../vendor/tex-svg.js' in (page.parent / "intro.html").read_text("utf-8")
    assert not (root / "book/_stage").exists()
    assert printed(root / "book/chapters/tiny.ipynb") == ""


FAULTS = {
    "(?s)^chapter tiny failed in cell 3, In .2.*ZeroDivisionError": ("1 / 0", "# Tiny"),
    'could not find bibtex key "nobody1900"': ("1 / 1", "# Tiny\n\n{cite:t}`nobody1900`"),
}


@pytest.mark.parametrize("message", FAULTS)
def test_build_stops_at_a_failing_chapter_and_at_a_warning(root, message):
    code, title = FAULTS[message]
    write(root / "book/chapters/tiny.ipynb", "a: int = 2  # a number", code, title=title)
    with pytest.raises(build.BookError, match=message):
        build.build(root)
    assert (root / "book/_stage/book/chapters/tiny.ipynb").exists()


def test_figures_have_a_caption_and_what_is_seen_for_an_alternative(tmp_path):
    drawn = ("<svg>\n1</svg>", "<svg>2</svg>")
    cell = nbformat.v4.new_code_cell("x", metadata={"mystnb": {"figure": {"caption": "Gains < 1."}}})
    for svg, seen in zip(drawn, ("Seen: a.", "Seen: b.")):
        cell.outputs.append(nbformat.v4.new_output("display_data", {"image/svg+xml": svg, "text/plain": seen}))
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "a.ipynb")
    names = [hashlib.sha256(svg.encode()).hexdigest() for svg in drawn]
    (tmp_path / "a.html").write_text("".join(f'<img alt="../_images/{n}.svg" src="../_images/{n}.svg">' for n in names))
    build._describe(tmp_path, tmp_path)
    text = (tmp_path / "a.html").read_text("utf-8")
    assert text.startswith(f'<img alt="Gains &lt; 1. Seen: a." src="../_images/{names[0]}.svg"')
    assert text.count("Seen: b.") == 1 and "_images" not in re.sub('src="[^"]*"', "", text)


def test_render(root, tmp_path):
    done = notebooks.execute(root / "book/chapters/tiny.ipynb", tmp_path / "out/other.ipynb", {"a": 6}, root=root)
    page = build.render(done, root)
    assert page == tmp_path / "out/other/index.html"
    assert "7\n" in (page.parent / "chapters/other.html").read_text("utf-8")
    assert offline_report(page.parent) == []


PAGE = """<link rel="stylesheet" href="here.css"><link rel="canonical" href="https://a.example/">
<link rel="icon" href="//b.example/icon.png"><a href="https://fine.example">x</a><a href="gone.html#x">x</a>
<script src="https://c.example/x.js"></script><script src="none.js?v=1"></script><img src="data:image/png;base64,AA">
<img src="a%20b.png"><img src="/top.png"><img srcset="https://d.example/1.png 1x, a%20b.png 2x">
<iframe src="http://e.example"></iframe><style>@import "https://f.example/f.css"; /* url(https://no.example) */</style>
<p style="background: url('https://g.example/g.png')">url(https://text.example)</p>
<svg><use xlink:href="https://h.example/i.svg#x"/></svg><a href="#here">x</a><a href="mailto:a@b.example">x</a>"""


def test_offline_report_finds_what_pages_load(tmp_path):
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static/template.html").write_text("<script src='{{ not a page }}'></script>")
    (tmp_path / "here.css").write_text("@import url(https://i.example/i.css); p { src: url('fonts/none.woff2') }")
    (tmp_path / "a b.png").write_bytes(b"")
    (tmp_path / "index.html").write_text(PAGE)
    assert offline_report(tmp_path) == [
        "here.css: css loads https://i.example/i.css",
        "here.css: css misses fonts/none.woff2",
        "index.html: link loads //b.example/icon.png",
        "index.html: a misses gone.html#x",
        "index.html: script loads https://c.example/x.js",
        "index.html: script misses none.js?v=1",
        "index.html: img misses /top.png",
        "index.html: img loads https://d.example/1.png",
        "index.html: iframe loads http://e.example",
        "index.html: css loads https://f.example/f.css",
        "index.html: css loads https://g.example/g.png",
        "index.html: use loads https://h.example/i.svg#x",
    ]


@pytest.mark.skipif(not any(map(shutil.which, check_browser.BROWSERS)), reason="no Chromium")
def test_browser_sees_what_goes_wrong(tmp_path, capsys):
    (tmp_path / "index.html").write_text(
        "<meta name='viewport' content='width=device-width'><script src='https://a.example/x.js'></script>"
        "<script>fail()</script><img src='none.png'>"
        "<p style='width: 1270px'>wide</p><p class='math'>x</p>"
    )
    found = "\n".join(check_browser.check(tmp_path))
    assert "index (light) asks for https://a.example/x.js" in found
    assert "index (dark) script fails: ReferenceError: fail is not defined" in found
    assert f"index (light) image is broken: {(tmp_path / 'none.png').as_uri()}" in found
    assert "index (light) 1 formulas are not set" in found
    assert "index (phone) is 918 px wider than 360 px" in found
    assert "(light) is" not in found
