"""What all commands share: where they print, and how errors end."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.markup import escape

out = Console()
err = Console(stderr=True)


def fail(message: object) -> None:
    """Print an error."""
    err.print(f"[bold red]error:[/] {escape(str(message))}", highlight=False, soft_wrap=True)


@contextmanager
def plainly() -> Iterator[None]:
    """Errors a user can mend end in one message and exit code 1, without a traceback."""
    try:
        yield
    except ModuleNotFoundError as error:
        if str(error.name).startswith("kdstudy"):
            raise
        fail(f"{error.name} is not installed; install the extras: pip install 'kdstudy[book]'")
        raise typer.Exit(1) from error
    except (ValueError, OSError, RuntimeError) as error:
        fail(error)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        err.print("interrupted: what was finished is kept; the same command goes on from there")
        raise typer.Exit(130) from None
