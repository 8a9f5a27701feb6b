"""The progress of a question: one bar over all its runs, teachers and students."""

from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text


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
        return Text(left(task.completed, task.total or 0, task.fields.get("at", 0.0), task.elapsed or 0.0))


def columns() -> tuple[ProgressColumn, ...]:
    """What stands beside each other: what is trained, the bar, how many of how many, time so far and to come."""
    return TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), _Left()


def progress() -> Progress:
    """A progress display on the terminal; silent where there is none."""
    console = Console(stderr=True)
    return Progress(*columns(), console=console, transient=True, disable=not console.is_terminal)


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
        now = next(t for t in self.display.tasks if t.id == self.task).elapsed
        self.display.update(self.task, advance=runs, at=now or 0.0)
