"""`kdstudy diagnose`: a file of somebody's logits, read, diagnosed and reported."""

import math
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from kdstudy.cli.console import plainly

if TYPE_CHECKING:
    from kdstudy.diagnosis.api import DiagnosisReport


def diagnose(
    file: Annotated[str, typer.Argument(help="Logits and labels: .npz, .npy, .pt, .safetensors, .parquet, ...")],
    tau: Annotated[str | None, typer.Option(help="The temperature in use; else the file's, if it has one.")] = None,
    heldout: Annotated[str | None, typer.Option(help="A second file: held-out examples.")] = None,
    labels: Annotated[str | None, typer.Option(help="A second file: labels, where FILE has logits alone.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a summary.")] = False,
    output: Annotated[str | None, typer.Option("-o", help="Write a report to this .html file.")] = None,
) -> None:
    """Say what a teacher's logits hold and what is wrong with them; exit code 1 for errors, 2 for a file of no use."""
    with plainly(2):
        target = None if output is None else _writable(output, Path(file).name)
        temperature = None if tau is None else _temperature(tau)
        from kdstudy.diagnosis.api import diagnose_file
        from kdstudy.diagnosis.report import print_summary

        diagnosis = diagnose_file(file, heldout, temperature, labels)
        if target is not None:
            _write(diagnosis, target)
        if as_json:
            typer.echo(diagnosis.as_json())
        else:
            print_summary(diagnosis, Console(highlight=False))
            if target is not None:
                typer.echo(f"\nreport {target}")
        raise typer.Exit(0 if diagnosis.ok else 1)


def _temperature(text: str) -> float:
    """A temperature given as text, a number above 0."""
    with suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise ValueError(f"--tau: found {text!r}, allowed: a number above 0")


def _writable(output: str, file: str) -> Path:
    """The report's path, an .html file: a new one, or an earlier report of a file of that name."""
    target = Path(output).expanduser()
    if target.suffix.lower() not in (".html", ".htm") or target.is_dir():
        raise ValueError(f"-o: found {output!r}, allowed: the name of a file that ends in .html")
    if target.exists() and f"<title>Diagnosis of {escape(file)}</title>" not in target.read_text("utf-8", "replace"):
        raise ValueError(f"-o: found {output!r}, which holds something else; allowed: a name that is not taken")
    return target


def _write(diagnosis: "DiagnosisReport", target: Path) -> None:
    """Write the report."""
    from kdstudy.figures.report_page import page

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page(diagnosis, diagnosis.facts["file"]), "utf-8")
    except OSError as error:
        raise OSError(f"-o: {target} cannot be written ({error.strerror}); name another file") from error
