"""Where runs are trained: stacks of runs on every core of this machine, or on its GPU.

`kdstudy.ray_executor` has the other executor, many machines.
"""

import os
import platform
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, cpu_count, delayed

from kdstudy import convolution, datasets, lanes, measures, memory, provenance, targets, training
from kdstudy.spec import RECIPE_VERSION, Recipe, Run
from kdstudy.store import Record, Store

# A worker that has grown by some 100 MB is replaced by joblib between two stacks; nothing is lost.
warnings.filterwarnings("ignore", "A worker stopped while some jobs were given to the executor", UserWarning)

WIDEST = 64  # runs in one stack
SIDE_BY_SIDE = {"cpu": 4, "cuda": 32}  # convolutional networks in one stack
MANY = 16  # runs of one seed that make a stack of their own
MEMORY = 1.5e9  # bytes of targets in one stack
RETRIES = 3  # of work that was lost with a killed process
LEFT = (*(f"logits_{s}" for s in measures.SPLITS), "rows")  # what a run must leave to teach
TAUGHT = (*LEFT, "weights")  # what students may need of it


@dataclass(frozen=True)
class Executor:
    """Where stacks are trained: how many at once, and (stacks, store path, keep logits) -> records as stacks finish."""

    workers: Callable[[], int]
    train: Callable[[Sequence[Sequence[Run]], Path, bool], Iterator[list[Record]]]


def trainer(recipe: Recipe) -> Callable[..., list[training.Result]]:
    """The function that trains a stack of this recipe: (runs, data, teachers, device, keep_logits=) -> results."""
    return training.train if recipe.net == "mlp" else convolution.train


def shape(run: Run) -> tuple[object, ...]:
    """What runs must have in common to be trained in one stack."""
    return training.shape(run) if run.recipe.net == "mlp" else convolution.shape(run)


@cache
def _digest(condition: str, held: tuple[str, ...], plain: bool) -> str:
    known = measures.MEASURES | measures.WITH_TEACHER
    roots = [training.train] if plain else [convolution.train, *lanes.STEPPERS.values()]
    return provenance.digest(targets.named(condition), *roots, *(known[n] for n in held))


def code(condition: str, metrics: Iterable[str], net: str = "mlp") -> str:
    """Digest of the code that gives these metrics of a condition their meaning, in networks of that kind."""
    known = measures.MEASURES.keys() | measures.WITH_TEACHER.keys()
    return _digest(condition, tuple(sorted({m.partition("_")[2] for m in metrics} & known)), net == "mlp")


def stale(row: dict[str, object]) -> bool:
    """Whether a stored row was computed by code that has changed its meaning since."""
    net = row.get("net") or "mlp"
    return row["condition"] not in targets.CONDITIONS or row["code"] != code(row["condition"], row, net)


def device() -> str:
    """Where runs are trained: the GPU where there is one, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def hardware() -> str:
    """The device's name, as results state it."""
    return torch.cuda.get_device_name() if device() == "cuda" else f"CPU {platform.machine()}"


def single(value: float) -> float:
    """The shortest decimal that names the same number in single precision, in which runs are measured."""
    return float(str(np.float32(value)))


def record(result: training.Result, digest: str, seconds: float) -> Record:
    """A result with its provenance."""
    row = result.run.columns | {name: single(value) for name, value in result.metrics.items()}
    row |= {"code": code(result.run.condition.name, result.metrics, result.run.recipe.net), "version": RECIPE_VERSION}
    row |= {"digest": digest, "torch": torch.__version__, "device": hardware(), "seconds": round(seconds, 3)}
    return Record(row, result.arrays)


def workers() -> int:
    """Processes that train at once, one thread each: $KDSTUDY_WORKERS, else every core; 1 on a GPU."""
    chosen = os.environ.get("KDSTUDY_WORKERS", "")
    if chosen and not chosen.isdigit():
        raise ValueError(f"KDSTUDY_WORKERS: found {chosen!r}, allowed: a whole number of at least 1")
    return int(chosen or 0) or (1 if device() == "cuda" else cpu_count())


def stacks(runs: Sequence[Run], at_once: int | None = None) -> list[list[Run]]:
    """Runs grouped into stacks of one shape, at least one for each of `at_once` workers, none wider than fits.

    A seed with many runs has stacks of its own: they read the same batches, of which one copy is enough. The first
    stacks of all come before the second ones: one that is taught waits for none that computes the same teacher's views.
    """
    groups: dict[object, list[Run]] = {}
    for run in runs:
        groups.setdefault(shape(run), []).append(run)
    out, at_once = [], at_once or workers()
    for group in groups.values():
        seeds: dict[int, list[Run]] = {}
        for run in sorted(group, key=lambda r: r.seed):
            seeds.setdefault(run.seed, []).append(run)
        together = list(seeds.values()) if len(group) >= MANY * len(seeds) else [[*chain(*seeds.values())]]
        for part in together:
            width = -(-len(part) // -(-len(part) // min(widest(part[0]), -(-len(group) // at_once))))
            out += [(i, part[i : i + width]) for i in range(0, len(part), width)]
    return [stack for _, stack in sorted(out, key=lambda o: o[0])]


def widest(run: Run) -> int:
    """How many runs like this one fit one stack; images share little on a CPU, and short stacks lose little."""
    if run.recipe.net != "mlp":
        return SIDE_BY_SIDE[device()]
    data = datasets.load(run.data)
    each = 2 * len(data.train.y) * len(data.classes) * getattr(torch, run.recipe.dtype).itemsize
    return max(1, min(WIDEST, int(MEMORY / each)))


@contextmanager
def one_thread() -> Iterator[None]:
    """Stacks are small: a second thread waits more than it works, and results keep one rounding."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def end_with(parent: int) -> None:
    """End this process soon after its parent: a parent that was killed cannot stop its workers."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def work(stack: Sequence[Run], path: Path, keep_logits: bool, asker: int) -> list[Record]:
    """Train one stack for the process `asker`, its teachers' logits read from the store at `path`."""
    if os.getpid() != asker:
        end_with(asker)
    return train(stack, teachers(Store(path), stack), keep_logits)


def train(stack: Sequence[Run], left: Mapping[str, Mapping[str, torch.Tensor]], keep_logits: bool) -> list[Record]:
    """Train one stack in this process, in one thread; `left` is what its teachers left, by key."""
    began, data = time.perf_counter(), datasets.load(stack[0].data)
    with one_thread():
        results = trainer(stack[0].recipe)(stack, data, left, device(), keep_logits=keep_logits)
    each = (time.perf_counter() - began) / len(stack)
    return [record(r, data.digest, each) for r in results]


def teachers(store: Store, stack: Sequence[Run]) -> dict[str, dict[str, torch.Tensor]]:
    """What the teachers of a stack left, by key: logits by split, indexed by example, and logit-layer rows."""
    held = store.arrays({r.teacher.key for r in stack if r.teacher}, TAUGHT)
    return {key: tensors(arrays) for key, arrays in held.items()}


def tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Logits by split and logit-layer rows, which a composed teacher has none of."""
    return {name.removeprefix("logits_"): torch.from_numpy(a) for name, a in arrays.items() if a.size}


def attempt(place: int, stack: Sequence[Run], *rest: object) -> tuple[int, list[Record] | memory.NoRoom]:
    """`work`, with the place it was sent from; memory that it lacked is an answer."""
    return place, memory.fitted(lambda: work(stack, *rest))


def local(stacked: Sequence[Sequence[Run]], path: Path, keep_logits: bool) -> Iterator[list[Record]]:
    """Every core of this machine, one stack each; what a killed worker had is trained again, up to RETRIES times."""
    waiting, lost = dict(enumerate(stacked)), 0
    while waiting:
        jobs = [delayed(attempt)(i, stack, path, keep_logits, os.getpid()) for i, stack in waiting.items()]
        try:
            for i, done in Parallel(n_jobs=workers(), return_as="generator_unordered")(jobs):
                stack = waiting.pop(i)
                if isinstance(done, memory.NoRoom):
                    waiting |= enumerate(memory.halves(stack, done.why), start=max([i, *waiting], default=0) + 1)
                else:
                    yield done
        except BrokenProcessPool as error:
            if (lost := lost + 1) > RETRIES:
                raise RuntimeError(
                    f"workers were killed {lost} times, most often because memory ran out: set KDSTUDY_WORKERS to "
                    f"fewer than {workers()}. What was finished is kept; the same command goes on from there"
                ) from error
            warnings.warn(
                f"a worker was killed: {len(waiting)} stacks are trained again or still to come", stacklevel=2
            )


EXECUTORS: dict[str, Executor] = {"local": Executor(workers, local)}

# Sources are read now, not when a result is stored: a file edited meanwhile is not what ran.
provenance.reachable(
    [
        training.train,
        convolution.train,
        *lanes.STEPPERS.values(),
        *targets.CONDITIONS.values(),
        *measures.MEASURES.values(),
        *measures.WITH_TEACHER.values(),
    ]
)
