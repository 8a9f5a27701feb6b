"""Where pages go: a folder for each question, an index of all, nothing overwritten, names from files escaped."""

import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from conftest import tiny_run

from kdstudy.book import output
from kdstudy.core import findings, paths
from kdstudy.engine import ask
from kdstudy.store.working import Store

MARKUP = "<script>alert(1)</script> a|b `c` $d$ *e* [f](javascript:g)"


@pytest.fixture
def book(tmp_path, monkeypatch) -> Path:
    """A notebook of one cell; pages go below `tmp_path`."""
    monkeypatch.setattr(paths, "output_folder", lambda: tmp_path / "out")
    source = tmp_path / "universe.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title")]), source)
    return source


def execute(page: output.Page, source: Path, runs: list, before: set[str]) -> str:
    """As `kdstudy run` does; returns the cell that says what it took."""
    page.begin()
    page.target.parent.mkdir(parents=True, exist_ok=True)
    page.target.write_text(source.read_text("utf-8"), "utf-8")
    page.finish(runs, before)
    return nbformat.read(page.target, as_version=4).cells[1].source


def test_each_question_has_its_own_folder_and_the_same_one_the_same(book):
    values = {"dataset": "digits", "seeds": 2, "executor": "local"}
    first = output.page(book, values)
    assert re.fullmatch(r"universe-digits-[0-9a-f]{8}", first.target.parent.name)
    assert output.page(book, values | {"executor": "ray"}).target == first.target  # where it is trained is no part
    others = [values | {"seeds": 3}, values | {"dataset": ["digits", "synthetic"]}, values | {"dataset": None}]
    targets = {output.page(book, other).target for other in others}
    book.write_text(book.read_text("utf-8").replace("Title", "Another"), "utf-8")
    assert len(targets | {first.target, output.page(book, values).target}) == 5


@pytest.mark.filterwarnings("ignore:.*have the features of an example of train")
def test_what_is_of_ones_own_is_known_by_its_contents(book, tmp_path):
    mine, targets = tmp_path / f"{MARKUP.replace('/', '')}.csv", []
    for i, word in enumerate(("good", "fine")):
        mine.write_text("text,label\n" + "".join(f"{word} {i},a\nbad {i},b\n" for i in range(9)), "utf-8")
        np.savez(tmp_path / "mine.npz", x=np.eye(12) + i, y=np.arange(12) % 2)
        (tmp_path / "nets.py").write_text(f"net = {i}", "utf-8")
        asked = [{"dataset": str(mine)}, {"dataset": str(tmp_path / "mine.npz")}, {"net": f"{tmp_path}/nets.py:net"}]
        targets += [output.page(book, values).target for values in (*asked, {"teacher": str(tmp_path / "mine.npz")})]
    assert len({*targets}) == 8 and all(re.fullmatch(r"[\w.-]+", t.parent.name) for t in targets)


def test_what_is_there_is_never_overwritten_but_by_the_same_question(book, tmp_path):
    target = tmp_path / "a.ipynb"
    first = output.page(book, {"seeds": 2}, target)
    execute(first, book, [], set())
    assert output.page(book, {"seeds": 2}, target) == first
    with pytest.raises(ValueError, match="which holds something else; allowed: a name that is not taken"):
        output.page(book, {"seeds": 3}, target)
    (tmp_path / "b").mkdir()
    for wrong in (tmp_path / "b.ipynb", book, tmp_path / "a.txt"):
        with pytest.raises(ValueError, match="^-o: found"):
            output.page(book, {"seeds": 2}, wrong)


def test_page_and_index_say_what_it_took_and_escape_what_they_name(book):
    runs, before = [tiny_run("kd", s) for s in range(2)], Store().keys()
    ask.ask(runs)
    spent = sum(r["seconds"] for r in Store().rows().values())
    one, again = (output.page(book, {"conditions": MARKUP, "seeds": n}) for n in (1, 2))
    said = execute(one, book, runs, before)
    assert f"4 runs were trained for this page, in {spent:.1f} core-seconds; 0 runs were answered" in said
    assert "Nothing was trained: all 4 runs were answered from stored results" in execute(
        again, book, runs, Store().keys()
    )
    assert findings.escaped(MARKUP) in said and "seeds = 1" in said
    assert not re.search(r"(?<!\\)[<|`$*\[]", said.partition("Parameters:")[2])
    index = (paths.output_folder() / "index.html").read_text("utf-8")
    assert "<script>" not in index and "&lt;script&gt;" in index and index.count("<tr>") == 3
    assert len(json.loads((paths.output_folder() / "index.json").read_text("utf-8"))) == 2


def test_an_index_that_is_broken_names_itself(book):
    paths.output_folder().mkdir()
    (paths.output_folder() / "index.json").write_text("{", "utf-8")
    with pytest.raises(ValueError, match=r"index\.json: found no JSON \(.*\); remove it: the pages themselves stay"):
        output.page(book, {})
