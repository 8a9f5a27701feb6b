"""The executors by name, and the one that every machine has: stacks on every core, or on the GPU."""

import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from joblib import Parallel, delayed

from kdstudy.core.registry import Registry
from kdstudy.core.spec import Run
from kdstudy.engine import payload, stacks
from kdstudy.engine.payload import Payload
from kdstudy.store.working import Record, Store

# A worker that has grown by some 100 MB is replaced by joblib between two stacks; nothing is lost.
warnings.filterwarnings("ignore", "A worker stopped while some jobs were given to the executor", UserWarning)

RETRIES = 3  # of work that was lost with a killed process


@dataclass(frozen=True)
class Executor:
    """Where stacks are trained: how many at once, and (stacks, store path, keep logits) -> records as stacks finish.

    Without `train` nothing is: what no store holds is refused.
    """

    workers: Callable[[], int]
    train: Callable[[Sequence[Sequence[Run]], Path, bool], Iterator[list[Record]]] | None


Make = Callable[[str], Executor]  # of an address, which may be empty
EXECUTORS: Registry[Make] = Registry("executor", " (ray:ADDRESS)", in_workers=False)


def chosen(name: str) -> Executor:
    """The executor that "NAME" or "NAME:ADDRESS" names; ValueError with those there are."""
    kind, _, address = name.partition(":")
    return EXECUTORS[kind](name if address.startswith("//") else address)


@EXECUTORS.register
def local(address: str = "") -> Executor:
    """This machine; it has no address."""
    if address:
        raise ValueError(f"executor 'local': found the address {address!r}, allowed: none")
    return Executor(stacks.workers, _train)


@EXECUTORS.register
def stored(address: str = "") -> Executor:
    """Nowhere: questions are answered by what is stored or published, or not at all."""
    return Executor(lambda: 1, None)


def _train(stacked: Sequence[Sequence[Run]], path: Path, keep_logits: bool) -> Iterator[list[Record]]:
    """Every core of this machine, one stack each; what a killed worker had is trained again, up to RETRIES times."""
    waiting, lost = dict(enumerate(stacked)), 0
    while waiting:
        rest = path, keep_logits, os.getpid(), payload.pack()
        jobs = [delayed(attempt)(i, stack, *rest) for i, stack in waiting.items()]
        try:
            for i, done in Parallel(n_jobs=stacks.workers(), return_as="generator_unordered")(jobs):
                stack = waiting.pop(i)
                if isinstance(done, stacks.NoRoom):
                    waiting |= enumerate(stacks.halves(stack, done.why), start=max([i, *waiting], default=0) + 1)
                else:
                    yield done
        except BrokenProcessPool as error:
            if (lost := lost + 1) > RETRIES:
                raise RuntimeError(
                    f"workers were killed {lost} times, most often because memory ran out: set KDSTUDY_WORKERS to "
                    f"fewer than {stacks.workers()}. What was finished is kept; the same command goes on from there"
                ) from error
            warnings.warn(
                f"a worker was killed: {len(waiting)} stacks are trained again or still to come", stacklevel=2
            )


def attempt(place: int, stack: Sequence[Run], *rest: object) -> tuple[int, list[Record] | stacks.NoRoom]:
    """`work`, with the place it was sent from; memory that it lacked is an answer."""
    return place, stacks.fitted(lambda: work(stack, *rest))


def work(stack: Sequence[Run], path: Path, keep_logits: bool, asker: int, along: Payload) -> list[Record]:
    """Train one stack for the process `asker`, its teachers' logits read from the store at `path`."""
    if os.getpid() != asker:
        _end_with(asker)
    along.unpack()
    return stacks.train(stack, stacks.teachers(Store(path), stack), keep_logits)


@cache
def _end_with(parent: int) -> None:
    """End this process soon after its parent: a parent that was killed cannot stop its workers."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
