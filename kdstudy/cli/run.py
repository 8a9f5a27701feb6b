"""`kdstudy run`, `quick` and `full`: chapters executed with parameters of one's own, or all that they need trained."""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from kdstudy.book import build, notebooks
from kdstudy.book import output as pages
from kdstudy.cli.console import err, out, plainly
from kdstudy.core import paths, plugins
from kdstudy.core.caution import tell
from kdstudy.core.parameters import parse
from kdstudy.core.registry import unknown

if TYPE_CHECKING:
    from kdstudy.core.spec import Run

QUICK = {"dataset": "digits, synthetic", "settings": 8, "tuning": 2, "seeds": 5, "admission": 5}
OPTION = re.compile(r"--?[a-zA-Z]")
Parameters = Annotated[list[str], typer.Option("-p", help="NAME=VALUE or NAME VALUE; see kdstudy parameters.")]
Dataset = Annotated[str | None, typer.Option(help="As -p dataset: a name, or a path to your own.")]
Where = Annotated[str | None, typer.Option("--executor", help="Where to train: local, or ray for a Ray cluster.")]
Address = Annotated[str | None, typer.Option(help="Of the Ray cluster: auto, local, HOST:PORT or ray://HOST:PORT.")]


def run(
    chapter: Annotated[str, typer.Argument(help="A chapter's name, such as universe, or a notebook's path.")],
    parameter: Parameters = (),
    dataset: Dataset = None,
    output: Annotated[Path | None, typer.Option("-o", help="Notebook to write; else one in a folder of out/.")] = None,
    executor: Where = None,
    address: Address = None,
) -> None:
    """Execute a chapter with other parameters: trains what is missing, writes notebook and HTML page."""
    with plainly():
        values = asked(chapter, parameter, dataset, executor, address)
        every = whole(chapter, values)
        page = pages.page(notebook(chapter), every, output)
        before = announce(notebook(chapter).stem, every)
        runs = perform(chapter, values)
        page.begin()
        execute(chapter, page.target, values, lambda: page.finish(runs, before))


def quick(executor: Where = None, address: Address = None) -> None:
    """Train a small universe study from nothing and render its chapter: digits with few labels, and a soft truth."""
    with plainly():
        began, where, folder = time.perf_counter(), chosen(executor, address), paths.output_folder() / "quick"
        (folder / "runs.sqlite").unlink(missing_ok=True)
        os.environ |= {"KDSTUDY_STORE": str(folder / "runs.sqlite"), "KDSTUDY_RESULTS": str(folder / "none")}
        asked = perform("universe", QUICK | {"executor": where})
        execute("universe", folder / "universe.ipynb", QUICK)
        out.print(f"{len(asked)} runs; {(time.perf_counter() - began) / 60:.1f} minutes")


def full(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print runs and core-hours by chapter; train none.")
    ] = False,
    executor: Where = None,
    address: Address = None,
) -> None:
    """Perform every chapter's study, training what is neither stored nor published; publish all, build the book."""
    with plainly():
        where = chosen(executor, address)
        if dry_run:
            from kdstudy.cli.plan import show
            from kdstudy.study.plans import PLANS, cost

            return show(cost.table(PLANS))
        if paths.SHIPPED in paths.results_folder().parents:
            raise ValueError("what is installed is not written to: set KDSTUDY_RESULTS to a folder, or KDSTUDY_ROOT "
                             "to a checkout")  # fmt: skip
        from kdstudy.book import example_teacher, publish

        for path in publish.everything(where):
            out.print(f"published {path}", soft_wrap=True)
        out.print(f"picture {publish.picture()}", soft_wrap=True)
        out.print(f"example {example_teacher.write()}", soft_wrap=True)
        build.build()


def announce(plan: str, every: dict[str, object]) -> set[str]:
    """Say what is to be trained, unless that is nothing; returns the keys that the working store holds before."""
    from kdstudy.cli.plan import sentence
    from kdstudy.engine import local
    from kdstudy.store.working import Store
    from kdstudy.study.plans import cost

    plugins.load()
    local.chosen(str(every.get("executor", "local")))
    if (costs := cost.of(plan, **every))["to train"].sum():
        tell(sentence(costs))
    return Store().keys()


def chosen(executor: str | None, address: str | None) -> str:
    """The executor with its address, as chapters name it; "local" if none is named. ValueError for one unknown."""
    from kdstudy.engine import local

    if address is not None and executor != "ray":
        raise ValueError(f"--address: found {address!r}, allowed: an address together with --executor ray")
    local.chosen(name := f"ray:{address}" if address else executor or "local")
    return name


def asked(
    chapter: str, parameter: list[str], dataset: str | None, executor: str | None = None, address: str | None = None
) -> dict[str, object]:
    """The parameters that a command's words name, parsed and checked against the chapter's parameters cell."""
    given = [p.partition("=")[::2] for p in parameter]
    given += [("dataset", dataset)] if dataset is not None else []
    given += [("executor", chosen(executor, address))] if executor or address else []
    names = [name for name, _ in given]
    for name, text in given:
        if not text.strip():
            raise ValueError(f"parameter {name}: found no value, allowed: -p {name}=VALUE or -p {name} VALUE")
        if names.count(name) > 1:
            raise ValueError(f"parameter {name}: found {names.count(name)} times, allowed: once")
    values = notebooks.check(notebook(chapter), {name: parse(name, text) for name, text in given})
    return values | {name: _from_root(str(values[name])) for name in {"net", "teacher"} & values.keys()}


def whole(chapter: str, values: dict[str, object]) -> dict[str, object]:
    """All parameters of a chapter's notebook: those given, else its own."""
    return {name: p.default for name, p in notebooks.parameters(notebook(chapter)).items()} | values


def list_parameters(
    chapter: Annotated[str, typer.Argument(help="A chapter's name, such as universe, or a notebook's path.")],
) -> None:
    """List the parameters of a chapter: name, type, default, and what it is with its range."""
    with plainly():
        for parameter in notebooks.parameters(notebook(chapter)).values():
            out.print(str(parameter), soft_wrap=True)


def _from_root(given: str) -> str:
    """A network or teacher, its file named from the root; chapters look for modules in the current folder too."""
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path.cwd()), os.environ.get("PYTHONPATH"))))
    file, colon, function = given.rpartition(":") if ".py:" in given else (given, "", "")
    own = file.endswith((".py", ".npz"))
    return f"{Path(file).expanduser().absolute()}{colon}{function}" if own else given


def notebook(chapter: str) -> Path:
    """The notebook of a chapter, or at a path; ValueError with the chapters there are if there is none."""
    path, known = Path(chapter).expanduser(), build.chapters()
    if path.suffix == ".ipynb" and path.is_file():
        return path
    if chapter not in known:
        raise unknown(f"chapter {chapter!r} is unknown; there are", chapter, known, ", or the path of a notebook")
    return known[chapter]


def perform(chapter: str, values: dict[str, object]) -> list["Run"]:
    """All runs of a chapter with these parameters, by the plan of its notebook's name; what is missing is trained."""
    from kdstudy.study import plans

    plugins.load()
    return plans.every(notebook(chapter).stem, **whole(chapter, values))


def execute(
    chapter: str, target: Path, values: dict[str, object], executed: Callable[[], object] = lambda: None
) -> None:
    """Execute a chapter into `target` and render it beside it; `executed` is called in between."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with err.status(Text(f"executing {chapter}"), spinner="line"):
        notebooks.execute(notebook(chapter), target, values, root=Path.cwd())  # paths start where one is
        executed()
        page = build.render(target)
    out.print(f"notebook {target}\npage     {page}", soft_wrap=True)


def joined(words: list[str]) -> list[str]:
    """Papermill's `-p name value` rewritten as `-p name=value`."""
    result, words = [], list(words)
    while words:
        word = words.pop(0)
        if word in ("-p", "--parameters") and words and "=" not in words[0]:
            name, value = words.pop(0), words.pop(0) if words and not OPTION.match(words[0]) else ""
            result += ["-p", f"{name}={value}"]
        else:
            result.append("-p" if word == "--parameters" else word)
    return result
