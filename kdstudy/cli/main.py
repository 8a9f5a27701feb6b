"""The commands of `kdstudy`, and its entry point."""

import sys
from typing import Annotated

import typer

import kdstudy
from kdstudy.cli import claims, conditions, console, diagnose, run, stored

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)
app.command()(run.run)
app.command(name="runs")(stored.list_runs)
app.command(name="claims")(claims.list_claims)
app.command(name="conditions")(conditions.list_conditions)
app.command()(diagnose.diagnose)
app.command()(run.quick)
app.command()(run.full)


@app.command(name="book")
def build_book() -> None:
    """Execute every chapter and render the book."""
    from kdstudy.book import build

    with console.plainly():
        build.build()


def _version(asked: bool) -> bool:
    """Print the version and end, if it is asked for."""
    if asked:
        typer.echo(f"kdstudy {kdstudy.__version__}")
        raise typer.Exit
    return False


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="The version.")] = False,
) -> None:
    """Why knowledge distillation works, and when it fails: a study that can be run again."""


def main() -> None:
    """Entry point: accepts both `-p name=value` and papermill's `-p name value`."""
    app(args=run.joined(sys.argv[1:]))
