"""`kdstudy train`: what a chapter's study lacks, trained on a machine that need not have notebooks, such as a GPU's."""

import threading
from _thread import interrupt_main
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from kdstudy.cli import run
from kdstudy.cli.console import out, plainly
from kdstudy.core import plugins
from kdstudy.core.spec import require

MOST, LEFT = 100_000, 75  # minutes; exit code while something is left to train (EX_TEMPFAIL)


def train(
    chapter: Annotated[str, typer.Argument(help="A chapter's name, such as universe.")],
    parameter: run.Parameters = (),
    dataset: run.Dataset = None,
    executor: run.Where = None,
    address: run.Address = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after so many; the same command goes on.")] = None,
) -> None:
    """Train what a chapter lacks, without executing it; what is finished is stored as it comes. Exit code 75 if its
    minutes are over before all is: stacks of runs that were under way are then trained again.
    """
    with plainly():
        require(minutes is None or 0 < minutes <= MOST, "--minutes", minutes, f"a number above 0, up to {MOST}")
        from kdstudy.study import plans

        plugins.load()
        given = _given([*parameter, *([f"dataset={dataset}"] if dataset else [])])
        given |= {"executor": run.chosen(executor, address)} if executor else {}
        with _within(minutes) as ended:
            out.print(f"{chapter}: {len(plans.study(chapter, **given).runs)} runs are stored", soft_wrap=True)
        if ended.is_set():
            said = f"{minutes:g} minutes are over: what was finished is kept; the same command goes on from there"
            out.print(said, soft_wrap=True)
            raise typer.Exit(LEFT)


def _given(words: list[str]) -> dict[str, str]:
    """Values by name; ValueError for one that is empty or given twice."""
    found: dict[str, str] = {}
    for name, _, value in (word.partition("=") for word in words):
        require(bool(value.strip()), f"parameter {name}", value, f"-p {name}=VALUE or -p {name} VALUE")
        require(name not in found, f"parameter {name}", [found.get(name), value], "one value; several with commas")
        found[name] = value
    return found


@contextmanager
def _within(minutes: float | None) -> Iterator[threading.Event]:
    """Interrupt what is done inside after so many minutes, as Ctrl-C would; whether that was is the event."""
    ended = threading.Event()

    def end() -> None:
        ended.set()
        interrupt_main()

    timer = threading.Timer(60 * (minutes or 0), end)
    timer.daemon = True
    if minutes:
        timer.start()
    try:
        yield ended
    except KeyboardInterrupt:
        if not ended.is_set():
            raise
    finally:
        timer.cancel()
