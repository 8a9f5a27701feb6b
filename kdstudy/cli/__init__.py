"""The `kdstudy` command: words in, one answer or one sentence out.

Nothing is computed here, and what is heavy (torch, pandas, scipy) is imported when a command needs it.
Read first: `main`, the list of commands.
"""

from kdstudy.core.moved import moved

__getattr__ = moved(__name__, "kdstudy.cli.main")
