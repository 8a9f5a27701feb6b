"""Where pages of `kdstudy run` go: a folder for each question, never over another's, and an index of all of them."""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path

from filelock import FileLock

from kdstudy.core import paths
from kdstudy.core.findings import escaped
from kdstudy.core.spec import Run

CSS = """:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem }
table { border-collapse: collapse } td, th { border-bottom: 1px solid #8886; padding: .3rem .8rem .3rem 0;
  text-align: left; vertical-align: top; overflow-wrap: anywhere }"""
HEADS = ("when", "page", "parameters", "what it took")


@dataclass(frozen=True)
class Page:
    """A question, its parameters, and the notebook that it is executed into, which has its page beside it."""

    question: str
    values: Mapping[str, object]
    target: Path

    def begin(self) -> None:
        """Enter it into the index, so that it may be executed again."""
        self._enter("begun, not finished")

    def finish(self, runs: Sequence[Run], before: set[str]) -> None:
        """Say on the page, and in the index, what was asked and what that took."""
        import nbformat

        words = cost(runs, before)
        given = "; ".join(f"{escaped(name)} = {escaped(as_typed(value))}" for name, value in self.values.items())
        book = nbformat.read(self.target, as_version=4)
        cell = nbformat.v4.new_markdown_cell(f":::{{note}}\n{words}\n\nParameters: {given or 'none'}.\n:::")
        book.cells.insert(min(1, len(book.cells)), cell)
        nbformat.write(book, self.target)
        self._enter(words)

    def _enter(self, words: str) -> None:
        when = datetime.now().isoformat(" ", "seconds")
        known = {"question": self.question, "when": when, "values": dict(self.values), "words": words}
        paths.output_folder().mkdir(parents=True, exist_ok=True)
        with FileLock(paths.output_folder() / ".index.lock"):
            write_index(entries() | {str(self.target): known})


def page(notebook: Path, values: Mapping[str, object], output: Path | None = None) -> Page:
    """The page of a notebook with all its parameters: in a folder of its own, or at `output`.

    The question is the notebook, its parameters but where to train, and the contents of one's own data, network and
    teacher. ValueError for an `output` that is no notebook, is the one executed, or is there and holds something else.
    """
    from kdstudy.data import registry
    from kdstudy.study.plans import several

    asked = {name: value for name, value in values.items() if name != "executor"}
    sets = several(asked.get("dataset") or [])
    own = [registry.named(name).options for name in sets if registry.is_users(name)]
    files = [Path(str(asked.get(name)).partition(":")[0]) for name in ("net", "teacher")]
    own += [hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()]
    text = json.dumps([notebook.stem, notebook.read_text("utf-8"), asked, own], sort_keys=True, default=str)
    question = hashlib.sha256(text.encode()).hexdigest()[:8]
    label = "-".join(Path(name).name for name in sets)
    folder = re.sub(r"[^\w.]+", "-", f"{notebook.stem}-{label}".strip("-"))[:60] + f"-{question}"
    target = (output or paths.output_folder() / folder / f"{notebook.stem}.ipynb").resolve()
    if target.suffix != ".ipynb":
        raise ValueError(f"-o: found {str(output)!r}, allowed: the name of a notebook, which ends in .ipynb")
    if target == notebook.resolve():
        raise ValueError(f"-o: found {str(target)!r}, allowed: another notebook than the one that is executed")
    mine = entries().get(str(target), {}).get("question") == question
    if not mine and (taken := [p for p in (target, target.with_suffix("")) if p.exists()]):
        raise ValueError(f"-o: found {str(taken[0])!r}, which holds something else; allowed: a name that is not taken")
    return Page(question, asked, target)


def as_typed(value: object) -> str:
    """A parameter's value as it is typed."""
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)


def cost(runs: Sequence[Run], before: set[str]) -> str:
    """What a question took: runs trained since the store held `before`, and answered; seconds of a core."""
    from kdstudy.store.results import Results
    from kdstudy.study.plans.cost import with_teachers

    results = Results()
    rows, new = results.rows(r.key for r in with_teachers(runs)), results.store.keys() - before
    took = {is_: sum(r.get("seconds", 0) for k, r in rows.items() if (k in new) == is_) for is_ in (True, False)}
    trained = len(rows.keys() & new)
    if not rows:
        return "This page asks for no runs."
    stored = f"{len(rows) - trained} runs were answered from stored results, which once took {took[False]:.1f}"
    if not trained:
        return f"Nothing was trained: all {stored} core-seconds."
    return f"{trained} runs were trained for this page, in {took[True]:.1f} core-seconds; {stored}."


def entries() -> dict[str, dict[str, object]]:
    """What was run, by notebook, the last time of each."""
    path = paths.output_folder() / "index.json"
    try:
        return json.loads(path.read_text("utf-8")) if path.exists() else {}
    except ValueError as error:
        raise ValueError(f"{path}: found no JSON ({error}); remove it: the pages themselves stay") from error


def write_index(known: Mapping[str, Mapping[str, object]]) -> None:
    """index.json, and as a page index.html."""
    folder = paths.output_folder()
    latest = sorted(known.items(), key=lambda item: str(item[1]["when"]), reverse=True)
    rows = "".join(_row(folder, Path(target), entry) for target, entry in latest)
    head = "".join(f"<th>{name}</th>" for name in HEADS)
    html = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>What was run</title><style>{CSS}</style>'
    html += f"<h1>What was run</h1><table><tr>{head}</tr>{rows}</table></html>\n"
    for name, text in {"index.json": json.dumps(known, indent=1, default=str), "index.html": html}.items():
        part = folder / f"{name}.part"
        part.write_text(text, "utf-8")
        os.replace(part, folder / name)


def _row(folder: Path, target: Path, entry: Mapping[str, object]) -> str:
    """A page as a row, linked if its notebook is there."""
    address, name = target.with_suffix("") / "index.html", escape(target.stem)
    if target.exists():
        link = os.path.relpath(address, folder) if address.is_relative_to(folder) else address.as_uri()
        name = f'<a href="{escape(link)}">{name}</a>'
    given = "<br>".join(f"{escape(n)} = {escape(as_typed(v))}" for n, v in entry["values"].items())
    return f"<tr><td>{entry['when']}</td><td>{name}</td><td>{given}</td><td>{escape(str(entry['words']))}</td></tr>"
