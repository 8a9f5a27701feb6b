"""What all commands share: where they print, in which characters, and how errors end."""

import codecs
import errno
import os
import sys
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

out = Console(markup=False, highlight=False)
err = Console(stderr=True, markup=False, highlight=False)
SPELT = dict(zip("−–×·●✖■◐◆†‡§▲▼", "--x*+x=/?123^v")) | {"→": "->", "≤": "<=", "≥": ">=", "²": "^2", "‖": "||"}


def in_any_encoding() -> None:
    """From here on what a terminal has no character for is spelt in those it has: τ as tau, é as e, all else as ?."""
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"  # for people, without the place in the code
    codecs.register_error("spelt", lambda e: ("".join(map(_spelt, e.object[e.start : e.end])), e.end))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="spelt")


def _spelt(character: str) -> str:
    """A character in ASCII."""
    if (name := unicodedata.name(character, "")).startswith("GREEK "):
        return name.split(" WITH ")[0].split()[-1].lower()
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return SPELT.get(character) or plain or "?" * (not unicodedata.combining(character))


def fail(message: object) -> None:
    """Print an error."""
    err.print("error:", style="bold red", end=" ")
    err.print(message, soft_wrap=True)


def verbose() -> bool:
    """Whether -v was given."""
    return os.environ.get("KDSTUDY_PROGRESS") == "verbose"


@contextmanager
def plainly(code: int = 1) -> Iterator[None]:
    """Errors end in one message and an exit code, without a traceback, which -v shows of what nobody foresaw."""
    try:
        yield
    except (typer.Exit, typer.Abort, BrokenPipeError):
        raise
    except KeyboardInterrupt:
        err.print("interrupted: what was finished is kept; the same command goes on from there")
        raise typer.Exit(130) from None
    except (Exception, SystemExit) as error:  # the second may be of a user's own module
        foreseen = isinstance(error, ValueError | OSError | RuntimeError)
        if verbose() and not foreseen:
            raise
        fail(said(error) if foreseen else f"{type(error).__name__}: {said(error)}; `kdstudy -v ...` shows where")
        raise typer.Exit(code) from error


def said(error: Exception) -> str:
    """An error in words."""
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed; install the extras: pip install 'kdstudy[book]'"
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        where = f" of {error.filename}" if error.filename else ""
        return f"the disk{where} is full; free some space and give the same command again: what was finished is kept"
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        return "this needs more memory than there is: ask for less, or take a larger machine"
    return str(error)
