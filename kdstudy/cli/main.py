"""The commands of `kdstudy`, and its entry point."""

import os
import sys
from typing import Annotated

import typer

import kdstudy
from kdstudy.cli import check_loss, claims, conditions, console, diagnose, plan, run, stored, train

LOUD = ("-v", "--verbose", "-q", "--quiet")  # of all commands

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)
app.command()(run.run)
app.command()(train.train)
app.command(name="plan")(plan.plan)
app.command(name="parameters")(run.list_parameters)
app.command(name="runs")(stored.list_runs)
app.command(name="claims")(claims.list_claims)
app.command(name="conditions")(conditions.list_conditions)
app.command()(diagnose.diagnose)
app.command(name="check-loss")(check_loss.check_loss)
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
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say more on the way, and of errors.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing on the way.")] = False,
) -> None:
    """Why knowledge distillation works, and when it fails: a study that can be run again."""
    if verbose and quiet:
        raise typer.BadParameter("found -v and -q, allowed: one of them")
    if (found := os.environ.get("KDSTUDY_PROGRESS", "")) not in ("", "quiet", "verbose"):
        raise typer.BadParameter(f"KDSTUDY_PROGRESS: found {found!r}, allowed: quiet, verbose")
    if verbose or quiet:
        os.environ["KDSTUDY_PROGRESS"] = "verbose" if verbose else "quiet"


def main() -> None:
    """Entry point: accepts `-p name=value` and papermill's `-p name value`, and -v and -q anywhere."""
    console.in_any_encoding()
    words = run.joined(sys.argv[1:])
    loud = [word for word in words if word in LOUD]
    app(args=[*loud, *(word for word in words if word not in LOUD)])
