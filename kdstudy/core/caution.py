"""What a reader must know of what was given: a warning on the terminal, a line on the page of a notebook."""

import html
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
