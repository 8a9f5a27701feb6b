"""Stacks that do not fit in memory, and workers that are killed, on this machine."""

import os
import signal
import warnings
from functools import wraps

import pytest
import torch
from conftest import says, tiny_run
from stored import same

from kdstudy.engine import ask, local, stacks
from kdstudy.store.working import Store
from kdstudy.train import mlp

pytestmark = pytest.mark.usefixtures("on_cpu")


NO_MEMORY = [
    MemoryError("Unable to allocate 8 EiB"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
    RuntimeError("HIP out of memory"),
]
OTHER = [RuntimeError("shapes differ"), ValueError("out of memory"), KeyError("x")]


def test_errors_that_say_that_memory_ran_out_and_others():
    def fail(error):
        raise error

    for error in NO_MEMORY:
        assert stacks.fitted(lambda e=error: fail(e)) == stacks.NoRoom(f"{type(error).__name__}: {error}")
    for error in OTHER:
        with pytest.raises(type(error)) as raised:
            stacks.fitted(lambda e=error: fail(e))
        assert raised.value is error
    assert isinstance(stacks.fitted(lambda: torch.empty(1 << 60, dtype=torch.uint8)), stacks.NoRoom)  # torch itself


def limit(monkeypatch, most: int) -> list[int]:
    """Let stacks of more runs than that find no memory; returns the widths that are tried."""
    real, tried = mlp.train, []

    @wraps(real)
    def train(stack, *args, **options):
        tried.append(len(stack))
        if len(stack) > most:
            torch.empty(1 << 60, dtype=torch.uint8)
        return real(stack, *args, **options)

    monkeypatch.setattr(mlp, "train", train)
    return tried


def test_a_stack_that_does_not_fit_is_halved_until_it_does(tmp_path, monkeypatch):
    asked = [tiny_run("label_smoothing", s) for s in range(7)]
    ask.ask(asked, store=Store(tmp_path / "whole.sqlite"))
    tried = limit(monkeypatch, 2)
    with warnings.catch_warnings(record=True, action="always") as said:
        frame = ask.ask(asked)
    assert tried == [7, 4, 3, 2, 2, 2, 1]
    assert [str(w.message).partition(" (")[0] for w in said] == [
        "a stack of 7 runs did not fit: trained as 4 + 3",
        "a stack of 4 runs did not fit: trained as 2 + 2",
        "a stack of 3 runs did not fit: trained as 2 + 1",
    ]
    assert list(frame["key"]) == [r.key for r in asked]
    assert same(Store().path, tmp_path / "whole.sqlite")


def test_a_single_run_that_does_not_fit_is_an_error_with_advice(monkeypatch):
    tried = limit(monkeypatch, 0)
    with pytest.raises(stacks.TooLarge) as error:
        ask.ask([tiny_run(seed=3)])
    start, end = str(error.value).split("; RuntimeError: ")
    assert start == "a single run does not fit in memory (synthetic, hard, seed 3"
    assert end.partition("). ")[2] == (
        "What was finished is kept. Train fewer at once (KDSTUDY_WORKERS=1; on Ray, fewer CPUs for each node or a "
        "larger KDSTUDY_GPUS_PER_STACK), give the recipe a smaller batch or network, or take a larger machine"
    )
    assert tried == [1]


def spoil(monkeypatch, tmp_path, times: int) -> None:
    """Let the first workers that begin a stack be killed, that many in all."""

    def attempt(*args):
        for i in range(times):
            try:
                (tmp_path / f"killed{i}").touch(exist_ok=False)
            except FileExistsError:
                continue
            os.kill(os.getpid(), signal.SIGKILL)
        from kdstudy.engine import local  # the worker's own

        return local.attempt(*args)

    monkeypatch.setenv("KDSTUDY_WORKERS", "2")
    monkeypatch.setattr(stacks, "WIDEST", 1)
    monkeypatch.setattr(local, "attempt", attempt)


def test_what_a_killed_worker_had_is_trained_again(tmp_path, monkeypatch):
    asked = [tiny_run(seed=s) for s in range(3)]
    ask.ask(asked, store=Store(tmp_path / "whole.sqlite"))
    spoil(monkeypatch, tmp_path, times=1)
    with pytest.warns(UserWarning, match=r"^a worker was killed: [1-3] stacks are trained again or still to come$"):
        ask.ask(asked)
    assert (tmp_path / "killed0").exists()
    assert same(Store().path, tmp_path / "whole.sqlite")


def test_workers_that_are_always_killed_end_in_an_error_with_advice(tmp_path, monkeypatch):
    spoil(monkeypatch, tmp_path, times=100)
    message = (
        "workers were killed 4 times, most often because memory ran out: set KDSTUDY_WORKERS to fewer than 2. "
        "What was finished is kept; the same command goes on from there"
    )
    with pytest.warns(UserWarning, match="^a worker was killed"), pytest.raises(RuntimeError, match=says(message)):
        ask.ask([tiny_run(seed=s) for s in range(3)])
    assert Store().rows() == {}
