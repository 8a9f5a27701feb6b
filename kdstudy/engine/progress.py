"""The progress of a question: one bar over all its runs, teachers and students; without a terminal, a line of text."""

import os
import sys
import time
from datetime import timedelta
from threading import Event, Thread

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

VARIABLE = "KDSTUDY_PROGRESS"  # quiet: nothing; verbose: a line for each stack too
EVERY = 30.0  # seconds between two lines


def left(done: float, total: float, at: float, now: float) -> str:
    """What is left of `total` runs in words, `done` of which were finished `at` seconds after the start.

    The runs to come take as long, on average, as those finished so far; it counts down between two.
    """
    if not done:
        return "time left: known after the first runs"
    seconds = max(0.0, at / done * (total - done) - (now - at))
    return f"about {timedelta(seconds=round(seconds))} left"


class _Left(ProgressColumn):
    """Time left."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        """The estimate, which starts with the first finished run."""
        return Text(_left(task))


def _left(task: Task) -> str:
    return left(task.completed, task.total or 0, task.fields.get("at", 0.0), task.elapsed or 0.0)


def columns() -> tuple[ProgressColumn, ...]:
    """What stands beside each other: what is trained, the bar, how many of how many, time so far and to come."""
    words = TextColumn("{task.description}", markup=False)
    return words, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), _Left()


class Lines(Progress):
    """A display that draws nothing, and says every `EVERY` seconds of the process how far its tasks are."""

    due = 0.0

    def start(self) -> None:
        """Begin to speak."""
        Lines.due, self._ended = Lines.due or time.monotonic() + EVERY, Event()
        Thread(target=self._speak, daemon=True).start()

    def stop(self) -> None:
        """End to speak."""
        self._ended.set()

    def _speak(self) -> None:
        while not self._ended.wait(max(0.2, Lines.due - time.monotonic())):
            for task in (t for t in self.tasks if t.visible and not t.finished):
                print(said(task), file=sys.stderr, flush=True)
                Lines.due = time.monotonic() + EVERY


def said(task: Task) -> str:
    """How far a task is, as one line."""
    words = f"{task.completed:.0f} of {task.total:.0f} runs, {_left(task)}"
    return ": ".join(filter(None, (task.description, words)))


def progress() -> Progress:
    """A progress display on the terminal; lines of text where there is none; nothing if $KDSTUDY_PROGRESS is quiet."""
    console, quiet = Console(stderr=True), os.environ.get(VARIABLE) == "quiet"
    kind = Progress if quiet or console.is_terminal else Lines
    return kind(*columns(), console=console, transient=True, disable=quiet or not console.is_terminal)


class Bar:
    """One bar over the runs of a question; `words` say what is asked."""

    def __init__(self, display: Progress, words: str = "") -> None:
        self.display, self.words = display, words
        self.task = display.add_task("", total=0, visible=False)

    def start(self, runs: int) -> None:
        """Begin anew, with that many runs to train."""
        self.display.reset(self.task, total=runs, visible=True, at=0.0)

    def stage(self, words: str) -> None:
        """Say what is trained now."""
        self.display.update(self.task, description=": ".join(filter(None, (self.words, words))))

    def advance(self, runs: int) -> None:
        """That many runs were finished."""
        task = next(t for t in self.display.tasks if t.id == self.task)
        self.display.update(self.task, advance=runs, at=task.elapsed or 0.0)
        if os.environ.get(VARIABLE) == "verbose":
            self.display.console.print(said(task), markup=False, highlight=False, soft_wrap=True)
