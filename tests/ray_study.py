"""A study on a Ray cluster as a process of its own: ray_study.py ADDRESS STORE HOOK MARK.

Ends as the command does, with its exit codes.
"""

import sys
from pathlib import Path

import ray_hooks
import typer
from conftest import tiny_run

from kdstudy.cli.console import plainly
from kdstudy.core.spec import Run
from kdstudy.engine import ask, stacks
from kdstudy.engine import ray as ray_executor
from kdstudy.store.published import Published
from kdstudy.store.working import Store

WIDTH = 2  # many small stacks


def study() -> list[Run]:
    """A small universe study: 3 stacks of teachers, 12 of students."""
    return [tiny_run(n, s) for n in ("hard", "label_smoothing", "label_smoothing_matched", "kd") for s in range(6)]


def main(address: str, store: str, hook: str, mark: str) -> None:
    """Ask for the study."""
    stacks.WIDEST = WIDTH
    ray_executor.task = ray_hooks.spoiled(getattr(ray_hooks, hook), Path(mark))
    try:
        with plainly():
            ask.ask(study(), f"ray:{address}", Store(store), Published(f"{store}.none"))
    except typer.Exit as ended:
        sys.exit(ended.exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
