"""What a reader must know: of what was given, on the terminal or a notebook's page; and how far long work is."""

import html
import os
import sys
import warnings
from functools import cache


@cache
def caution(words: str) -> None:
    """Say it once in this process."""
    if "IPython" not in sys.modules or (shell := sys.modules["IPython"].get_ipython()) is None:
        return warnings.warn(words, stacklevel=3)
    page = f"<p><strong>Warning.</strong> {html.escape(words)}</p>"
    return shell.display_pub.publish({"text/html": page, "text/plain": f"Warning. {words}"})


def tell(words: str) -> None:
    """A line on standard error, unless $KDSTUDY_PROGRESS is quiet."""
    if os.environ.get("KDSTUDY_PROGRESS") != "quiet":
        print(words, file=sys.stderr, flush=True)
