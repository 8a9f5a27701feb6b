"""`kdstudy diagnose`: a file of somebody's logits, read, diagnosed and reported."""

import math
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kdstudy.diagnosis.api import Diagnosis, Unusable, diagnose_file
from kdstudy.diagnosis.report import print_summary


def diagnose(
    file: Annotated[str, typer.Argument(help="Logits and labels: .npz, .safetensors or .parquet.")],
    tau: Annotated[str | None, typer.Option(help="The temperature in use; else the file's, if it has one.")] = None,
    heldout: Annotated[str | None, typer.Option(help="A second file: held-out examples.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a summary.")] = False,
    output: Annotated[str | None, typer.Option("-o", help="Write a report to this .html file.")] = None,
) -> None:
    """Say what a teacher's logits hold and what is wrong with them; exit code 1 for errors, 2 for a file of no use."""
    try:
        target = None if output is None else writable(output)
        found = diagnose_file(file, heldout, None if tau is None else temperature(tau))
        if target is not None:
            write(found, target)
    except Unusable as error:
        Console(stderr=True).print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None
    if as_json:
        typer.echo(found.as_json())
    else:
        print_summary(found, Console(highlight=False))
        if target is not None:
            typer.echo(f"\nreport {target}")
    raise typer.Exit(0 if found.ok else 1)


def temperature(text: str) -> float:
    """A temperature given as text; Unusable unless it is a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise Unusable(f"--tau: found {text!r}, allowed: a number above 0")
    return value


def writable(output: str) -> Path:
    """The report's path; Unusable unless it names an .html file that can be written."""
    target = Path(output).expanduser()
    if target.suffix.lower() not in (".html", ".htm") or target.is_dir():
        raise Unusable(f"-o: found {output!r}, allowed: the name of a file that ends in .html")
    return target


def write(found: Diagnosis, target: Path) -> None:
    """Write the report."""
    from kdstudy.figures.report_page import page

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page(found, found.facts["file"]), "utf-8")
    except OSError as error:
        raise Unusable(f"-o: {target} cannot be written ({error.strerror}); name another file") from None
