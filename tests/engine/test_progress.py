"""The progress of a question: how many runs there are, teachers included, and how long the rest takes."""

import io
import re
import time

import pytest
from conftest import tiny_run
from rich.console import Console
from rich.progress import Progress

from kdstudy.engine import ask, stacks
from kdstudy.engine import progress as bars
from kdstudy.engine.local import chosen
from kdstudy.store.results import Results

pytestmark = pytest.mark.usefixtures("on_cpu")


@pytest.mark.parametrize(
    ("done", "at", "now", "words"),
    [
        (0, 0, 99, "time left: known after the first runs"),
        (10, 60, 60, "about 0:03:00 left"),  # 6 s for each of 30
        (10, 60, 90, "about 0:02:30 left"),  # half a minute later
        (10, 60, 1000, "about 0:00:00 left"),  # longer than expected
        (40, 300, 300, "about 0:00:00 left"),
    ],
)
def test_the_rest_is_expected_to_take_as_long_as_what_was_finished(done, at, now, words):
    assert bars.left(done, 40, at, now) == words


class Counted(Progress):
    """A display that notes what its bar says."""

    def update(self, task_id, **fields):
        """As a Progress does."""
        super().update(task_id, **fields)
        task = self.tasks[task_id]
        states.append((task.description, task.completed, task.total))


states: list[tuple[str, float, float]] = []


def test_one_bar_counts_teachers_and_students(monkeypatch):
    monkeypatch.setattr(stacks, "WIDEST", 2)
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with Counted(*bars.columns(), console=console) as display:
        asker = ask.Asker(Results(), chosen("local"), display)
        asker.complete([tiny_run(name, s) for name in ("hard", "kd") for s in range(4)])
        states.clear()
        asker.complete([tiny_run(name, s) for name in ("hard", "kd") for s in range(6)])
    assert states == [("teachers", n, 6) for n in (0, 2)] + [("students", n, 6) for n in (2, 4, 6)]
    assert "6/6" in console.file.getvalue()


def test_a_teacher_that_is_also_asked_for_is_trained_and_counted_once(trained):
    student, display = tiny_run("kd"), bars.progress()
    ask.Asker(Results(), chosen("local"), display).complete([student, student.teacher])
    assert [[r.key for r in stack] for stack in trained] == [[student.teacher.key], [student.key]]
    assert (display.tasks[0].completed, display.tasks[0].total) == (2, 2)


def test_without_a_terminal_a_line_says_how_far_it_is_however_short_the_questions_are(monkeypatch, capsys):
    monkeypatch.setattr(bars, "EVERY", 0.3)
    monkeypatch.setattr(bars.Lines, "due", 0.0)
    monkeypatch.setenv(bars.VARIABLE, "")
    for _ in range(8):
        with bars.progress() as display:
            bar = bars.Bar(display, "digits")
            bar.start(40)
            bar.stage("students")
            bar.advance(10)
            time.sleep(0.25)
    said = capsys.readouterr().err.splitlines()
    assert said and all(re.fullmatch(r"digits: students: 10 of 40 runs, about 0:\d\d:\d\d left", line) for line in said)
    monkeypatch.setenv(bars.VARIABLE, "quiet")
    assert not isinstance(bars.progress(), bars.Lines)
