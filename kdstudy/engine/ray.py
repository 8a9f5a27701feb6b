"""Runs trained on a Ray cluster: one task for each stack, on whichever node has room.

Nodes need share no files with the driver, the process that asks: what teachers left goes out with the tasks, records
come back, and the driver alone writes the store. A stack that was lost with its worker or its node is sent again.
"""

import logging
import os
import warnings
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np

from kdstudy.core.spec import Run, require
from kdstudy.engine import payload, stacks
from kdstudy.engine.local import EXECUTORS, RETRIES, Executor
from kdstudy.engine.payload import Payload
from kdstudy.store.working import Record, Store

AHEAD = 2  # tasks that are sent for each that can run
PATIENCE = 5.0  # seconds for an address to answer
SHARE = 0.25  # of a GPU for each stack
OPTIONS = [("grpc.enable_http_proxy", 0)]


def library() -> ModuleType:
    """Ray; RuntimeError that says what to install."""
    try:
        import grpc  # noqa: F401  which a client of Ray needs
        import ray
    except ImportError as error:
        raise RuntimeError(
            f"executor 'ray': {error}. Install the extra `cluster` of kdstudy, here and on every node "
            "(pip install 'kdstudy[cluster]', in a checkout pip install -e '.[cluster]'), or use the executor 'local'"
        ) from error
    return ray


def answers(address: str) -> None:
    """ConnectionError unless something that speaks gRPC, as Ray does, is at HOST:PORT: Ray itself waits for minutes."""
    import grpc

    host, _, port = address.removeprefix("ray://").rpartition(":")
    require(bool(host) and port.isdigit(), "address", address, "'auto', 'local', HOST:PORT, ray://HOST:PORT")
    with closing(grpc.insecure_channel(f"{host}:{port}", options=OPTIONS)) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=PATIENCE)
        except grpc.FutureTimeoutError:
            raise ConnectionError(f"no Ray cluster answers at {address} within {PATIENCE:g} s. {hint()}") from None


def hint() -> str:
    """How to name a cluster."""
    return (
        "`ray status` on a node says whether one runs, `ray start --head` starts one. The address is auto or HOST:PORT "
        "(port 6379 unless chosen) on a node of the cluster, ray://HOST:PORT (port 10001 unless chosen) elsewhere, "
        "local for this machine alone"
    )


def connect(address: str) -> ModuleType:
    """Ray, connected to the cluster at `address`, else $KDSTUDY_RAY_ADDRESS, $RAY_ADDRESS, or the one that runs here.

    A connection that is there already is used. ConnectionError says what to do.
    """
    ray = library()
    if ray.is_initialized():
        return ray
    address = address or os.environ.get("KDSTUDY_RAY_ADDRESS") or os.environ.get("RAY_ADDRESS") or "auto"
    if address not in ("auto", "local") and not os.environ.get("RAY_USE_TLS"):
        answers(address)
    try:
        ray.init(address=address, logging_level=logging.WARNING)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise ConnectionError(f"the Ray cluster at {address} cannot be used: {error}. {hint()}") from error
    return ray


def needs(resources: Mapping[str, float]) -> dict[str, float]:
    """What one stack takes of a cluster with these resources: a core, and its share of a GPU where there are any."""
    chosen = os.environ.get("KDSTUDY_GPUS_PER_STACK") or (str(SHARE) if resources.get("GPU") else "0")
    try:
        share = float(chosen)
    except ValueError:
        share = -1.0
    require(share in (0, 1) or 0 < share < 1, "KDSTUDY_GPUS_PER_STACK", chosen, "a number from 0 to 1")
    return {"num_cpus": 1, "num_gpus": share}


def slots(ray: ModuleType) -> int:
    """How many stacks the cluster can train at once, as large as it is now."""
    have = ray.cluster_resources()
    need = needs(have)
    by_gpu = have.get("GPU", 0) / need["num_gpus"] if need["num_gpus"] else float("inf")
    return max(1, int(min(have.get("CPU", 0), by_gpu)))


def task(
    stack: Sequence[Run], keep_logits: bool, along: Payload, keys: Sequence[str], *left: Mapping[str, np.ndarray]
) -> object:
    """Train one stack on the node that this runs on; `left` is what its teachers left, in the order of `keys`."""
    along.unpack()

    def train() -> list[Record]:
        own = ({name: array.copy() for name, array in arrays.items()} for arrays in left)  # Ray's are read-only
        return stacks.train(stack, {k: stacks.tensors(a) for k, a in zip(keys, own)}, keep_logits)

    return stacks.fitted(train)


@dataclass(frozen=True)
class Job:
    """A stack on its way, with what its teachers left, as objects of Ray, and how often it was lost."""

    stack: Sequence[Run]
    left: Mapping[str, object] = field(default_factory=dict)
    lost: int = 0

    @property
    def teachers(self) -> set[str]:
        """Keys of the teachers that the stack listens to."""
        return {r.teacher.key for r in self.stack if r.teacher}


class Flight:
    """Stacks that wait, and those in flight: no more than a few for each worker, so that memory holds them."""

    def __init__(self, ray: ModuleType, stacked: Sequence[Sequence[Run]], store: Store, keep_logits: bool) -> None:
        self.ray, self.store, self.rest = ray, store, (keep_logits, payload.pack())
        self.waiting = deque(Job(stack) for stack in stacked)
        self.flying: dict[object, Job] = {}
        self.held: dict[str, object] = {}
        self.uses = Counter(key for job in self.waiting for key in job.teachers)
        self.remote = ray.remote(max_retries=0)(task)  # lost stacks are sent again here, where they can be halved

    def send(self) -> None:
        """Send what waits, as far as there is room."""
        room = AHEAD * slots(self.ray)
        need = needs(self.ray.cluster_resources())
        while self.waiting and len(self.flying) < room:
            job = self.waiting.popleft()
            job = job if job.left else replace(job, left=self.taught(job.teachers))
            sent = self.remote.options(**need).remote(job.stack, *self.rest, [*job.left], *job.left.values())
            self.flying[sent] = job

    def taught(self, teachers: set[str]) -> dict[str, object]:
        """What these teachers left, put into the cluster once and held there until no stack to come needs it."""
        for key, arrays in self.store.arrays(teachers - self.held.keys(), stacks.TAUGHT).items():
            self.held[key] = self.ray.put(arrays)
        self.uses.subtract(teachers)
        return {k: self.held[k] if self.uses[k] else self.held.pop(k) for k in sorted(teachers)}

    def fetch(self) -> Iterator[list[Record]]:
        """Wait for the next stack: its records, unless it must be sent again."""
        (ref, *_), _ = self.ray.wait([*self.flying])
        job, errors = self.flying.pop(ref), self.ray.exceptions
        try:
            done = self.ray.get(ref)
        except errors.RayTaskError as error:
            raise error.cause from None
        except errors.OutOfMemoryError:
            done = stacks.NoRoom("Ray ended its worker because the node's memory ran low")
        except (
            errors.WorkerCrashedError,
            errors.NodeDiedError,
            errors.LocalRayletDiedError,
            errors.ObjectLostError,
        ) as error:
            return self.again(job, type(error).__name__)
        if not isinstance(done, stacks.NoRoom):
            yield done
        elif len(job.stack) == 1 and job.lost < RETRIES:  # others on its node may have taken the memory
            self.again(job, done.why)
        else:
            self.waiting.extendleft(replace(job, stack=half) for half in stacks.halves(job.stack, done.why))

    def again(self, job: Job, why: str) -> None:
        """Let a lost stack wait anew."""
        if job.lost == RETRIES:
            raise RuntimeError(
                f"a stack of {len(job.stack)} runs was lost {RETRIES + 1} times ({why}): `ray status` and the logs of "
                "its nodes may say why. What was finished is kept; the same command goes on from there"
            )
        warnings.warn(f"a stack of {len(job.stack)} runs was lost ({why}): sent again", stacklevel=2)
        self.waiting.appendleft(replace(job, lost=job.lost + 1))

    def cancel(self) -> None:
        """End what is in flight."""
        for ref in self.flying:
            self.ray.cancel(ref, force=True)


def train(address: str, stacked: Sequence[Sequence[Run]], path: Path, keep_logits: bool) -> Iterator[list[Record]]:
    """Every node of the cluster at `address`, one stack for each core or share of a GPU."""
    flight = Flight(connect(address), stacked, Store(path), keep_logits)
    try:
        while flight.waiting or flight.flying:
            flight.send()
            yield from flight.fetch()
    finally:
        flight.cancel()


def at(address: str) -> Executor:
    """The executor on the Ray cluster at `address`; it connects when it is first needed."""
    return Executor(lambda: slots(connect(address)), partial(train, address))


EXECUTORS["ray"] = at
