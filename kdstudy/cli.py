"""The `kdstudy` command."""

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kdstudy import (
    book,
    claims,
    cli_diagnose,
    datasets,
    diagnosis_example,
    executors,
    notebooks,
    plans,
    publish,
    runs,
    targets,
    wording,
)
from kdstudy.published import Published
from kdstudy.spec import require
from kdstudy.store import ROOT, Store

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)
out = Console()
err = Console(stderr=True)

QUICK = {"dataset": "synthetic, digits", "tau": [1.0, 4.0], "alpha": [0.9], "epsilon": [0.1, 0.4],
         "weight_decay": [0.0, 1e-3], "seeds": 5, "images": []}  # fmt: skip
QuickFolder = Path("out/quick")
OPTION = re.compile(r"--?[a-zA-Z]")
Where = Annotated[str | None, typer.Option("--executor", help="Where to train: local, or ray for a Ray cluster.")]
Address = Annotated[str | None, typer.Option(help="Of the Ray cluster: auto, local, HOST:PORT or ray://HOST:PORT.")]


@contextmanager
def plainly() -> Iterator[None]:
    """Errors a user can mend end in one message and exit code 1, without a traceback."""
    try:
        yield
    except (ValueError, OSError, RuntimeError) as error:
        err.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        err.print("interrupted: what was finished is kept; the same command goes on from there")
        raise typer.Exit(130) from None


def place(executor: str | None, address: str | None) -> str:
    """The executor with its address, as chapters name it; "local" if none is named."""
    require(address is None or executor == "ray", "--address", address, "an address together with --executor ray")
    return f"ray:{address}" if address else executor or "local"


def given(chapter: str, texts: list[tuple[str, str]]) -> dict[str, object]:
    """`-p name value` pairs parsed and checked against the chapter's parameters cell."""
    if empty := [name for name, text in texts if not text.strip()]:
        raise ValueError(f"parameter {empty[0]}: found no value, allowed: -p {empty[0]}=VALUE or -p {empty[0]} VALUE")
    values = {name: notebooks.parse(name, text) for name, text in texts}
    notebooks.check(notebook(chapter), values)
    if "dataset" in values:  # notebooks are executed in another folder
        values["dataset"] = [absolute(name) for name in plans.several(values["dataset"])]
    if "path" in values:
        values["path"] = str(Path(str(values["path"])).expanduser().absolute())
    return values


def absolute(name: str) -> str:
    """A path of the user's own data from the root; a name as it is."""
    return str(Path(name).expanduser().absolute()) if datasets.is_own(name) else name


def notebook(chapter: str) -> Path:
    """The chapter's notebook; ValueError with the chapters there are if there is none."""
    known = book.chapters()
    if chapter not in known:
        raise ValueError(f"chapter {chapter!r} is unknown; there are: {', '.join(known)}")
    return known[chapter]


def wanted(chapter: str, values: dict[str, object]) -> list[plans.Run]:
    """The runs a chapter needs with these parameters; none for a chapter without a plan."""
    defaults = {name: p.default for name, p in notebooks.parameters(notebook(chapter)).items()}
    return plans.every(chapter, **(defaults | values))


@app.command()
def run(
    chapter: Annotated[str, typer.Argument(help="A chapter's name, such as universe.")],
    parameter: Annotated[list[str], typer.Option("-p", help="NAME=VALUE or NAME VALUE; values as YAML.")] = (),
    dataset: Annotated[str | None, typer.Option(help="As -p dataset: a name, or a path to your own.")] = None,
    output: Annotated[Path | None, typer.Option("-o", help="Notebook to write; else out/CHAPTER.ipynb.")] = None,
    executor: Where = None,
    address: Address = None,
) -> None:
    """Execute a chapter with other parameters: trains what is missing, writes notebook and HTML page."""
    with plainly():
        pairs = [tuple(p.split("=", 1)) for p in parameter]
        pairs += [("dataset", dataset)] if dataset else []
        pairs += [("executor", place(executor, address))] if executor or address else []
        values = given(chapter, pairs)
        target = (output or ROOT / "out" / f"{chapter}.ipynb").resolve()
        require(target.suffix == ".ipynb", "-o", str(output), "the name of a notebook, which ends in .ipynb")
        runs.ask(wanted(chapter, values), executor=str(values.get("executor", "local")))
        execute(chapter, target, values)


def execute(chapter: str, target: Path, values: dict[str, object]) -> None:
    """Execute a chapter into `target` and render it beside it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with out.status(f"executing {chapter}"):
        notebooks.execute(notebook(chapter), target, values)
        page = book.render(target)
    out.print(f"notebook {target}\npage     {page}", soft_wrap=True)


@app.command(name="runs")
def list_runs(
    dataset: Annotated[str | None, typer.Option(help="Only this data set.")] = None,
    condition: Annotated[str | None, typer.Option(help="Only this condition.")] = None,
    seed: Annotated[int | None, typer.Option(help="Only this seed.")] = None,
    stale: Annotated[bool, typer.Option("--stale", help="Only runs whose code has changed since.")] = False,
    export: Annotated[Path | None, typer.Option(help="Write all columns to this .csv file instead.")] = None,
    forget: Annotated[bool, typer.Option("--forget", help="Remove the listed runs from the working store.")] = False,
) -> None:
    """List stored runs, published and working; filter, export, forget."""
    with plainly():
        frame = stored()
        for column, value in (("dataset", dataset), ("condition", condition), ("seed", seed)):
            frame = frame if value is None else frame[frame[column] == value]
        frame = frame[frame["stale"]] if stale else frame
        if export:
            frame.to_csv(export, index=False)
            out.print(f"{len(frame)} runs written to {export}", markup=False, soft_wrap=True)
        else:
            show(frame)
        if forget:
            Store().forget(frame["key"])
            out.print("forgotten in the working store; published results are files in data/results")


def stored() -> pd.DataFrame:
    """Every stored run with its source and whether it is stale."""
    working = Store().rows()
    rows = Published().rows() | working
    frame = pd.DataFrame([*rows.values()])
    if frame.empty:
        return pd.DataFrame(columns=["key", "dataset", "condition", "seed", "source", "stale"])
    where = ["store" if k in working else "published" for k in rows]
    return frame.assign(source=where, stale=[executors.stale(r) for r in rows.values()])


def show(frame: pd.DataFrame, most: int = 40) -> None:
    """The first rows as a table, then the count."""
    columns = ["key", "dataset", "condition", "tau", "alpha", "epsilon", "weight_decay", "seed", "hidden",
               "test_accuracy", "source", "stale"]  # fmt: skip
    columns = [c for c in columns if c in frame]
    grid = Table(*columns)
    for row in frame[columns].head(most).itertuples(index=False):
        grid.add_row(*("" if pd.isna(v) else f"{v:.4g}" if isinstance(v, float) else str(v) for v in row))
    out.print(grid)
    more = f", the first {most} shown; --export FILE writes them all" if len(frame) > most else ""
    out.print(f"{len(frame)} runs, {int(frame['stale'].sum())} stale{more}")


@app.command(name="claims")
def list_claims() -> None:
    """Print every claim with its verdict on the published parameters."""
    with plainly():
        rows, _ = claims.board()
        out.print(wording.sentences(rows), markup=False, soft_wrap=True)


@app.command()
def conditions() -> None:
    """List the conditions with their parameters and formulas."""
    for name, fn in targets.CONDITIONS.items():
        params = ", ".join(f"{k} = {v:g}" for k, v in targets.parameters(name).items())
        out.print(f"[bold]{name}[/] ({params})\n    {escape(fn.__doc__.splitlines()[0])}", highlight=False)


@app.command(name="book")
def build_book() -> None:
    """Execute every chapter and render the book."""
    with plainly():
        book.build(ROOT)


app.command()(cli_diagnose.diagnose)


@app.command()
def quick(executor: Where = None, address: Address = None) -> None:
    """Train a small universe study from nothing and render its chapter."""
    with plainly():
        began, folder = time.perf_counter(), ROOT / QuickFolder
        (folder / "runs.sqlite").unlink(missing_ok=True)
        os.environ |= {"KDSTUDY_STORE": str(folder / "runs.sqlite"), "KDSTUDY_RESULTS": str(folder / "none")}
        frame = runs.ask(wanted("universe", QUICK), place(executor, address))
        execute("universe", folder / "universe.ipynb", QUICK)
        minutes = (time.perf_counter() - began) / 60
        out.print(f"{(frame['source'] == 'trained').sum()} students trained; {minutes:.1f} minutes")


@app.command()
def full(
    missing: Annotated[bool, typer.Option("--missing", help="Train only what is not published either.")] = False,
    executor: Where = None,
    address: Address = None,
) -> None:
    """Train every published run that the working store lacks, publish all, build the book."""
    with plainly():
        for path in publish.everything(place(executor, address), Published() if missing else None):
            out.print(f"published {path}", soft_wrap=True)
        out.print(f"picture {publish.picture()}", soft_wrap=True)
        out.print(f"example {diagnosis_example.write()}", soft_wrap=True)
        book.build(ROOT)


def main() -> None:
    """Entry point: accepts both `-p name=value` and papermill's `-p name value`."""
    app(args=joined(sys.argv[1:]))


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
