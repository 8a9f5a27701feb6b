"""`ask`: answers from the store, trains what is missing, survives kills, neighbours and stale code."""

import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
import warnings
from contextlib import closing
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

from kdstudy import executors, runs, targets, training
from kdstudy.published import Published
from kdstudy.spec import Run
from kdstudy.store import Record, Store

LADDER = ["hard", "label_smoothing", "kd"]


@pytest.fixture(autouse=True)
def on_cpu(monkeypatch):
    """Bit-identity whatever the stack's width is promised on the CPU only."""
    monkeypatch.setattr(executors, "device", lambda: "cpu")


@pytest.fixture
def trained(monkeypatch) -> list[list[Run]]:
    """The stacks handed to `training.train`, in order."""
    stacks, real = [], training.train

    @wraps(real)
    def counting(stack, *args, **options):
        stacks.append(list(stack))
        return real(stack, *args, **options)

    monkeypatch.setattr(training, "train", counting)
    return stacks


def count(stacks) -> int:
    return sum(map(len, stacks))


def answers(frame: pd.DataFrame) -> pd.DataFrame:
    """A table without what tells how and when it was computed."""
    return frame.drop(columns=["source", "seconds"])


def test_a_question_asked_twice_is_answered_from_the_store(monkeypatch):
    asked = [tiny_run(name, seed) for name in LADDER for seed in range(2)]
    first = runs.ask(asked)

    def fail(*args, **options):
        raise AssertionError("trained again")

    monkeypatch.setattr(training, "train", fail)
    second = runs.ask(asked)
    assert set(first["source"]) == {"trained"}
    assert set(second["source"]) == {"store"}
    assert not second["stale"].any()
    assert_frame_equal(first.drop(columns="source"), second.drop(columns="source"), check_exact=True)


def test_more_seeds_train_only_the_new_ones(trained):
    runs.ask(tiny_run(seed=s) for s in range(5))
    trained.clear()
    frame = runs.ask(tiny_run(seed=s) for s in range(8))
    assert [r.seed for stack in trained for r in stack] == [5, 6, 7]
    assert list(frame["source"]) == ["store"] * 5 + ["trained"] * 3


def test_rows_come_in_the_order_asked_without_repeats(trained):
    asked = [tiny_run("kd", 3), tiny_run("hard", 1), tiny_run("kd", 0, tau=4.0), tiny_run("hard", 0)]
    frame = runs.ask([*asked, asked[0], asked[2]])
    assert list(frame["key"]) == [r.key for r in asked]
    assert list(frame["seed"]) == [3, 1, 0, 0]
    assert count(trained) == 4 + 2  # students, and the teachers of seeds 3 and 0


def test_nothing_asked_is_nothing_trained(trained):
    assert len(runs.ask([])) == 0
    assert trained == []


def test_teachers_are_trained_once_and_serve_all_that_listen(trained):
    runs.ask([tiny_run("kd", s, tau=t) for s in range(2) for t in (1.0, 4.0)])
    assert [[r.seed for r in stack] for stack in trained] == [[10_000, 10_001], [0, 0, 1, 1]]
    trained.clear()
    runs.ask([tiny_run("label_smoothing_matched", s) for s in range(3)])
    assert [[r.seed for r in stack] for stack in trained] == [[10_002], [0, 1, 2]]


def test_only_teachers_keep_their_logits():
    student = tiny_run("kd")
    runs.ask([student])
    keys = [student.key, student.teacher.key]
    assert Store().has(keys, "logits_test") == {student.teacher.key}
    assert Store().has(keys, "curves") == set(keys)


def test_a_run_kept_without_logits_can_still_become_a_teacher(trained):
    student = tiny_run("kd")
    before = runs.ask([student.teacher])
    runs.ask([student])
    assert [[r.key for r in stack] for stack in trained] == [
        [student.teacher.key], [student.teacher.key], [student.key]
    ]  # fmt: skip
    assert_frame_equal(runs.ask([student.teacher]).drop(columns="source"), before.drop(columns="source"))


def publish(asked, change=lambda row: row) -> None:
    """Move runs from the working store to the published results."""
    store, keys = Store(), [r.key for r in asked]
    rows, arrays = store.rows(keys), store.arrays(keys, ["curves", "reliability"])
    Published().publish("universe", [Record(change(rows[k]), arrays[k]) for k in keys])
    store.forget(keys)


def test_published_results_are_used_without_training(trained):
    asked = [tiny_run(name, seed) for name in LADDER for seed in range(2)]
    first = runs.ask(asked)
    curves = runs.arrays(first, "curves")
    publish(asked)
    trained.clear()
    second = runs.ask(asked)
    assert trained == []
    assert set(second["source"]) == {"published"}
    assert not second["stale"].any()
    metrics = [c for c in first if c.partition("_")[0] in ("train", "validation", "test", "target")]
    assert len(metrics) > 15
    assert_frame_equal(first[metrics], second[metrics], check_exact=True)
    for key, curve in runs.arrays(second, "curves").items():
        assert curve.tobytes() == curves[key].tobytes()


def test_the_working_store_comes_before_published_results():
    asked = [tiny_run(seed=s) for s in range(2)]
    first = runs.ask(asked)
    publish(asked, change=lambda row: row | {"test_accuracy": 2.0})
    assert list(runs.ask(asked)["test_accuracy"]) == [2.0, 2.0]
    runs.ask(asked[:1], published=Published("nowhere"))
    frame = runs.ask(asked)
    assert list(frame["source"]) == ["store", "published"]
    assert list(frame["test_accuracy"]) == [first["test_accuracy"][0], 2.0]


def make_stale(*asked) -> None:
    """Let stored rows say that other code computed them, and mark them."""
    store, keys = Store(), [r.key for r in asked]
    rows, arrays = store.rows(keys), store.arrays(keys, ["curves", "reliability", *executors.LOGITS])
    store.forget(keys)
    store.put(Record(rows[k] | {"code": "0" * 12, "test_accuracy": 2.0}, arrays[k]) for k in keys)


STALE = (
    "1 of 3 runs are stale: the code that computed them has changed since. `kdstudy runs --stale` lists them; "
    "ask(..., refresh=True) trains them again."
)


def test_stale_results_are_used_with_a_warning_and_trained_again_on_demand(trained):
    asked = [tiny_run(seed=s) for s in range(3)]
    first = runs.ask(asked)
    make_stale(asked[1])
    trained.clear()
    with pytest.warns(UserWarning, match=f"^{re.escape(STALE)}$"):
        used = runs.ask(asked)
    assert trained == []
    assert list(used["stale"]) == [False, True, False]
    assert used["test_accuracy"][1] == 2.0
    with warnings.catch_warnings(action="error"):
        fresh = runs.ask(asked, refresh=True)
    assert trained == [[asked[1]]]
    assert list(fresh["source"]) == ["store", "trained", "store"]
    assert_frame_equal(answers(fresh), answers(first), check_exact=True)
    trained.clear()
    runs.ask(asked, refresh=True)
    assert trained == []


def test_refreshing_a_student_refreshes_its_stale_teacher(trained):
    student = tiny_run("kd")
    first = runs.ask([student])
    make_stale(student, student.teacher)
    trained.clear()
    fresh = runs.ask([student], refresh=True)
    assert trained == [[student.teacher], [student]]
    assert_frame_equal(answers(fresh), answers(first), check_exact=True)
    assert not executors.stale(Store().rows([student.teacher.key])[student.teacher.key])


def test_changed_code_makes_its_condition_stale_and_no_other(monkeypatch):
    asked = [tiny_run("hard"), tiny_run("label_smoothing")]
    runs.ask(asked)

    def label_smoothing(label, ctx, *, epsilon=0.1):
        return targets.hard(label, ctx)

    monkeypatch.setitem(targets.CONDITIONS, "label_smoothing", label_smoothing)
    executors._digest.cache_clear()
    try:
        with pytest.warns(UserWarning, match="^1 of 2 runs are stale: "):
            assert list(runs.ask(asked)["stale"]) == [False, True]
    finally:
        executors._digest.cache_clear()


def test_a_condition_that_is_gone_is_stale(monkeypatch):
    runs.ask([tiny_run("label_smoothing")])
    row = next(iter(Store().rows().values()))
    assert not executors.stale(row)
    monkeypatch.delitem(targets.CONDITIONS, "label_smoothing")
    assert executors.stale(row)


def test_an_unknown_executor_is_refused_before_anything_is_trained(trained):
    with pytest.raises(ValueError, match="^executor: found 'cluster', allowed: 'local'$"):
        runs.ask([tiny_run()], executor="cluster")
    assert trained == []


def test_diverged_runs_are_reported_and_the_others_kept(trained):
    fine, wild = tiny_run(seed=1), tiny_run("label_smoothing", 2, lr=1e6, weight_decay=1.0)
    message = (
        "1 of 2 runs diverged (a metric is not finite) and are not stored: synthetic, label_smoothing (epsilon 0.1), "
        "seed 2. Lower `lr` and ask again; the others are kept."
    )
    with pytest.raises(runs.Diverged, match=f"^{re.escape(message)}$"):
        runs.ask([fine, wild])
    assert trained == [[fine, wild]]
    rows = Store().rows()
    assert set(rows) == {fine.key}
    assert np.isfinite([v for v in rows[fine.key].values() if isinstance(v, float)]).all()
    assert Store().has([fine.key, wild.key], "curves") == {fine.key}
    assert list(runs.ask([fine])["source"]) == ["store"]


def test_a_diverged_teacher_is_not_kept_either(trained):
    teacher = tiny_run(seed=7, lr=1e6, weight_decay=1.0)
    student = Run(teacher.data, tiny_run().recipe, targets.make("kd"), 0, teacher)
    message = (
        "1 of 1 runs diverged (a metric is not finite) and are not stored: synthetic, hard, seed 7. "
        "Lower `lr` and ask again; the others are kept."
    )
    with pytest.raises(runs.Diverged, match=f"^{re.escape(message)}$"):
        runs.ask([student])
    assert trained == [[teacher]]
    assert Store().rows() == {}


def test_neither_width_nor_order_of_stacks_changes_a_bit(tmp_path, monkeypatch):
    asked = [tiny_run(name, seed, dtype="float32") for name in targets.CONDITIONS for seed in range(4)]
    wide = runs.ask(asked, store=Store(tmp_path / "wide.sqlite"))
    monkeypatch.setattr(executors, "WIDEST", 3)
    random.Random(0).shuffle(asked)
    narrow = runs.ask(asked, store=Store(tmp_path / "narrow.sqlite"))
    narrow = narrow.set_index("key").loc[wide["key"]].reset_index()
    assert_frame_equal(answers(wide), answers(narrow)[answers(wide).columns], check_exact=True)
    assert same(tmp_path / "wide.sqlite", tmp_path / "narrow.sqlite")


def test_stacks_hold_runs_of_one_shape_and_no_more_than_fit(monkeypatch):
    asked = [tiny_run(seed=s, hidden=h) for s in range(5) for h in ((5,), (6,))]
    assert sorted(map(len, executors.stacks(asked))) == [5, 5]
    monkeypatch.setattr(executors, "WIDEST", 2)
    narrow = executors.stacks(asked)
    assert sorted(map(len, narrow)) == [1, 1, 2, 2, 2, 2]
    assert all(len({training.shape(r) for r in stack}) == 1 for stack in narrow)
    assert {r for stack in narrow for r in stack} == set(asked)
    monkeypatch.setattr(executors, "MEMORY", 1)
    assert {len(stack) for stack in executors.stacks(asked)} == {1}


def test_arrays_come_in_the_order_of_the_table():
    frame = runs.ask(tiny_run(name, seed) for name in LADDER for seed in (1, 0))
    curves = runs.arrays(frame, "curves")
    assert list(curves) == list(frame["key"])
    for row in frame.itertuples():
        assert curves[row.key][-1, 1] == pytest.approx(row.validation_accuracy)


def test_an_array_that_a_run_lacks_is_an_error():
    frame = runs.ask([tiny_run("hard"), tiny_run("kd")])
    key = frame["key"][0]
    with pytest.raises(ValueError, match=f"^array 'logits_test': 2 of 2 runs have none, first: {key}$"):
        runs.arrays(frame, "logits_test")


def test_a_keyboard_interrupt_leaves_what_was_finished(trained, tmp_path, monkeypatch):
    asked = [tiny_run("kd", s) for s in range(4)]
    whole = runs.ask(asked, store=Store(tmp_path / "whole.sqlite"))
    monkeypatch.setattr(executors, "WIDEST", 2)
    real, done = training.step, []

    @wraps(real)
    def step(*args):
        done.append(args)
        if len(done) == 30:  # 12 steps per stack: in the middle of the first stack of students
            raise KeyboardInterrupt
        return real(*args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "step", step)
        runs.ask(asked)
    assert set(Store().rows()) == {r.teacher.key for r in asked}
    trained.clear()
    assert_frame_equal(answers(runs.ask(asked)), answers(whole), check_exact=True)
    assert [[r.seed for r in stack] for stack in trained] == [[0, 1], [2, 3]]
    assert same(tmp_path / "whole.sqlite", Store().path)


def contents(path: Path) -> tuple[dict, dict]:
    """Everything a store file holds: rows without wall time, and arrays as bytes; the file must be sound."""
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = {key: json.loads(row) for key, row in db.execute("SELECT key, row FROM runs")}
        arrays = {(key, name): data for key, name, data in db.execute("SELECT key, name, data FROM arrays")}
    return {key: row for key, row in rows.items() if row.pop("seconds") >= 0}, arrays


def same(a: Path, b: Path) -> bool:
    """Whether two stores hold the same results, bit for bit."""
    return contents(a) == contents(b)


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
    command = [sys.executable, Path(__file__).with_name("killed_study.py")]
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


@pytest.mark.parametrize("moment", np.random.default_rng(20).uniform(size=20).round(3))
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
