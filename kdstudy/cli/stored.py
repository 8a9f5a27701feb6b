"""`kdstudy runs`: what the stores hold, listed, filtered, exported, forgotten."""

import os
import sys
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from kdstudy.cli.console import err, out, plainly
from kdstudy.core.registry import unknown

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("key", "dataset", "condition", "seed", "test_accuracy", "stale", "source", "tau", "alpha", "epsilon",
           "weight_decay", "hidden")  # in the order in which a narrow terminal has room for them # fmt: skip


def list_runs(
    dataset: Annotated[str | None, typer.Option(help="Only this data set.")] = None,
    condition: Annotated[str | None, typer.Option(help="Only this condition.")] = None,
    seed: Annotated[str | None, typer.Option(help="Only this seed.")] = None,
    stale: Annotated[bool, typer.Option("--stale", help="Only runs whose code has changed since.")] = False,
    export: Annotated[Path | None, typer.Option(help="Write all columns to this .csv file instead.")] = None,
    forget: Annotated[bool, typer.Option("--forget", help="Remove the runs listed from the working store.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="With --forget: runs need not be filtered.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --forget: do not ask.")] = False,
) -> None:
    """List stored runs, published and working; filter, export, forget."""
    with plainly():
        filters = {"dataset": dataset, "condition": condition, "seed": seed, "stale": stale or None}
        filters = {column: value for column, value in filters.items() if value is not None}
        if odd := [word for word, given in {"--all": everything, "--yes": yes}.items() if given and not forget]:
            raise ValueError(f"{odd[0]}: found no --forget, allowed: {odd[0]} together with --forget")
        if forget and not filters and not everything:
            raise ValueError("--forget: found no filter, allowed: --dataset, --condition, --seed, --stale, or --all")
        if export and (export.suffix.lower() != ".csv" or export.exists()):
            found = f"{str(export)!r}{', which is there' * export.exists()}"
            raise ValueError(f"--export: found {found}, allowed: the name of a new file that ends in .csv")
        frame = selected(stored(), filters)
        if export:
            write(frame, export)
        elif not forget:
            show(frame)
        if forget:
            remove(frame[frame["source"] == "store"], yes)


def stored() -> "pd.DataFrame":
    """Every stored run with its source and whether it is stale."""
    from kdstudy.store.provenance import stale_rows
    from kdstudy.store.results import Results

    frame = Results().frame()
    return frame.assign(stale=stale_rows(frame))


def selected(frame: "pd.DataFrame", filters: dict[str, object]) -> "pd.DataFrame":
    """The rows with these values. ValueError, with those there are, for a value that no row has."""
    text = frame.reindex(columns=[*filters]).map(_plain)
    for column, value in filters.items():
        there = sorted({*text[column]} - {""}, key=lambda name: (not name.isdigit(), len(name) * name.isdigit(), name))
        if str(value) not in there and column != "stale":
            raise unknown(f"--{column}: found {str(value)!r}, of which no run is stored; there are", str(value), there)
    return frame[(text == [str(value) for value in filters.values()]).all(axis=1)]


def _plain(value: object) -> str:
    """A cell as text: whole numbers as such, four digits of others, nothing where a field does not apply."""
    if isinstance(value, float):
        return "" if value != value else f"{value:.0f}" if value.is_integer() else f"{value:.4g}"
    return "" if value is None else str(value)


def write(frame: "pd.DataFrame", path: Path) -> None:
    """All columns as a new file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with part.open("w", encoding="utf-8", newline="") as file:
        frame.to_csv(file, index=False)
    os.replace(part, path)
    out.print(f"{len(frame)} runs written to {path}", soft_wrap=True)


def show(frame: "pd.DataFrame", most: int = 40) -> None:
    """On a terminal the first rows as a table that fits, elsewhere all as tab-separated values; then the count."""
    frame, count = frame[[c for c in COLUMNS if c in frame]], f"{len(frame)} runs, {int(frame['stale'].sum())} stale"
    if not out.is_terminal:
        frame.to_csv(sys.stdout, sep="\t", index=False)
        return err.print(count)
    cells = frame.head(most).map(_plain)
    columns = fitting({c: max([len(c), *map(cell_len, cells[c])]) for c in cells}, out.width)
    grid = Table(*columns)
    for row in cells[columns].itertuples(index=False):
        grid.add_row(*map(Text, row))
    out.print(grid)
    hidden = ", ".join(c for c in cells if c not in columns)
    more = f", the first {most} shown" * (len(frame) > most) + f", without {hidden}" * bool(hidden)
    out.print(f"{count}{more}{'; --export FILE writes all' * bool(more)}", soft_wrap=True)


def fitting(widths: dict[str, int], room: int) -> list[str]:
    """The first columns whose widths, with three characters around each, fit; at least one."""
    ends = accumulate(width + 3 for width in widths.values())
    return [name for i, (name, end) in enumerate(zip(widths, ends)) if not i or end < room]


def remove(frame: "pd.DataFrame", yes: bool) -> None:
    """Show which runs of the working store are to go, ask, and forget them.

    Teachers of published students stay: their logits and weights are nowhere else.
    """
    from kdstudy.store.results import Results

    results = Results()
    needed, store = frame["key"].isin(results.published.frame().get("teacher", [])), results.store
    going = frame[~needed]
    show(going)
    if needed.any():
        err.print(f"{needed.sum()} more stay: published students listen to them")
    if going.empty:
        return
    if not yes:
        try:
            typer.confirm(f"Forget these {len(going)} runs of {store.path}?", abort=True)
        except typer.Abort:
            raise ValueError("--forget: found no yes, so nothing is forgotten; answer y, or add --yes") from None
    store.forget(going["key"])
    err.print(f"{len(going)} runs forgotten in the working store; published results stay")
