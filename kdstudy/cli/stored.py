"""`kdstudy runs`: what the stores hold, listed, filtered, exported, forgotten."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from kdstudy.cli.console import out, plainly
from kdstudy.core.registry import unknown

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("key", "dataset", "condition", "tau", "alpha", "epsilon", "weight_decay", "seed", "hidden", "test_accuracy",
           "source", "stale")  # fmt: skip


def list_runs(
    dataset: Annotated[str | None, typer.Option(help="Only this data set.")] = None,
    condition: Annotated[str | None, typer.Option(help="Only this condition.")] = None,
    seed: Annotated[int | None, typer.Option(help="Only this seed.")] = None,
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
        if export and export.suffix.lower() != ".csv":
            raise ValueError(f"--export: found {str(export)!r}, allowed: the name of a file that ends in .csv")
        frame = stored()
        for column, value in filters.items():
            there = sorted(frame[column].dropna().unique())
            if isinstance(value, str) and there and value not in there:
                raise unknown(f"--{column}: found {value!r}, of which no run is stored; there are", value, there)
            frame = frame[frame[column] == value]
        if export:
            frame.to_csv(export, index=False)
            out.print(f"{len(frame)} runs written to {export}", markup=False, soft_wrap=True)
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


def show(frame: "pd.DataFrame", most: int = 40) -> None:
    """The first rows as a table, then the count."""
    columns = [c for c in COLUMNS if c in frame]
    grid = Table(*columns)
    for row in frame[columns].head(most).itertuples(index=False):
        grid.add_row(*("" if v != v else f"{v:.4g}" if isinstance(v, float) else str(v) for v in row))
    out.print(grid)
    more = f", the first {most} shown; --export FILE writes them all" if len(frame) > most else ""
    out.print(f"{len(frame)} runs, {int(frame['stale'].sum())} stale{more}")


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
        out.print(f"{needed.sum()} more stay: published students listen to them")
    if going.empty:
        return
    if not yes:
        try:
            typer.confirm(f"Forget these {len(going)} runs of {store.path}?", abort=True)
        except typer.Abort:
            raise ValueError("--forget: found no yes, so nothing is forgotten; answer y, or add --yes") from None
    store.forget(going["key"])
    out.print(f"{len(going)} runs forgotten in the working store; published results stay")
