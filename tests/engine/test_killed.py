"""`ask` survives interrupts and kills, shares the work with neighbours, and leaves no worker behind."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from conftest import tiny_run
from killed_study import study
from pandas.testing import assert_frame_equal
from stored import answers, contents, same

from kdstudy.engine import ask as runs
from kdstudy.engine import stacks
from kdstudy.store.working import Store
from kdstudy.train import mlp

pytestmark = pytest.mark.usefixtures("on_cpu")


def test_a_keyboard_interrupt_leaves_what_was_finished(trained, tmp_path, monkeypatch):
    asked = [tiny_run("kd", s) for s in range(4)]
    whole = runs.ask(asked, store=Store(tmp_path / "whole.sqlite"))
    monkeypatch.setattr(stacks, "WIDEST", 2)
    real, done = mlp.Perceptrons.step, []

    @wraps(real)
    def step(*args):
        done.append(args)
        if len(done) == 30:  # 12 steps per stack: in the middle of the first stack of students
            raise KeyboardInterrupt
        return real(*args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(mlp.Perceptrons, "step", step)
        runs.ask(asked)
    assert set(Store().rows()) == {r.teacher.key for r in asked}
    trained.clear()
    assert_frame_equal(answers(runs.ask(asked)), answers(whole), check_exact=True)
    assert [[r.seed for r in stack] for stack in trained] == [[0, 1], [2, 3]]
    assert same(tmp_path / "whole.sqlite", Store().path)


@dataclass
class Studies:
    """The warm process of `killed_study`, and one folder for its stores."""

    process: subprocess.Popen
    folder: Path

    def ask(self, name: str, kill_after: float | None = None, rows: int = 0, processes: int = 1, workers: int = 1):
        """Run the study into the store `name`; what `killed_study` answers."""
        request = {"store": str(self.folder / name), "kill_after": kill_after, "rows": rows}
        request |= {"processes": processes, "workers": workers}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def trained(self, name: str) -> list[str]:
        """Keys that were handed to training since the last call."""
        log = self.folder / f"{name}.trained"
        keys = log.read_text().split() if log.exists() else []
        log.unlink(missing_ok=True)
        return keys


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    command = [sys.executable, Path(__file__).parents[1].joinpath("killed_study.py")]
    env = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as process:
        yield Studies(process, tmp_path_factory.mktemp("studies"))
    assert process.returncode == 0


@pytest.fixture(scope="module")
def uninterrupted(studies) -> tuple[float, tuple[dict, dict]]:
    """How long the whole study takes, and what its store holds then."""
    studies.ask("warm")
    answer = studies.ask("whole")
    assert answer["statuses"] == [0]
    rows, arrays = contents(studies.folder / "whole")
    teachers = {r.teacher.key for r in study() if r.teacher}
    assert set(rows) == {r.key for r in study()} | teachers
    assert {k for k, name in arrays if name == "logits_train"} == teachers
    return answer["seconds"], (rows, arrays)


@pytest.mark.parametrize("moment", ((np.arange(8) + np.random.default_rng(20).uniform(size=8)) / 8).round(3))
def test_killed_at_any_moment_nothing_is_lost_or_half_written(studies, uninterrupted, moment):
    seconds, (rows, arrays) = uninterrupted
    name = f"killed{moment}"
    status = studies.ask(name, kill_after=seconds * moment)["statuses"][0]
    assert status in (-signal.SIGKILL, 0)  # 0: it was faster than the one that was measured
    Store(studies.folder / name)
    kept, kept_arrays = contents(studies.folder / name)
    assert kept == {k: rows[k] for k in kept}
    assert kept_arrays == {(k, n): a for (k, n), a in arrays.items() if k in kept}
    assert all(np.isfinite(v) for row in kept.values() for v in row.values() if isinstance(v, float))
    studies.trained(name)
    assert studies.ask(name)["statuses"] == [0]
    assert sorted(studies.trained(name)) == sorted(rows.keys() - kept.keys())
    assert contents(studies.folder / name) == (rows, arrays)


def test_killed_half_way_the_rest_is_trained_and_no_more(studies, uninterrupted):
    rows, arrays = uninterrupted[1]
    studies.ask("half", kill_after=0.0, rows=len(rows) // 2)
    kept = contents(studies.folder / "half")[0]
    assert len(rows) // 2 <= len(kept) < len(rows)
    studies.trained("half")
    assert studies.ask("half")["statuses"] == [0]
    assert sorted(studies.trained("half")) == sorted(rows.keys() - kept.keys())
    assert contents(studies.folder / "half") == (rows, arrays)


def test_two_processes_asking_at_once_share_the_work(studies, uninterrupted):
    rows, arrays = uninterrupted[1]
    assert studies.ask("both", processes=2)["statuses"] == [0, 0]
    assert sorted(studies.trained("both")) == sorted(rows)  # each run once
    assert contents(studies.folder / "both") == (rows, arrays)
    first, second = (pd.read_json(studies.folder / f"both.table{i}") for i in (0, 1))
    assert_frame_equal(first.drop(columns="source"), second.drop(columns="source"), check_exact=True)
    assert not ((first["source"] == "trained") & (second["source"] == "trained")).any()


def test_workers_end_with_a_killed_study_and_change_no_bit(studies, uninterrupted):
    answer = studies.ask("workers", kill_after=0.0, rows=1, workers=2)
    assert answer["statuses"] == [-signal.SIGKILL]
    assert len(answer["workers"]) >= 2
    deadline = time.monotonic() + 20
    while any(map(psutil.pid_exists, answer["workers"])) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(psutil.pid_exists, answer["workers"]))
    assert studies.ask("workers")["statuses"] == [0]
    assert contents(studies.folder / "workers") == uninterrupted[1]
