"""Stacks: which runs are trained side by side, how many, and what one stack leaves as records with their provenance."""

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain

import numpy as np
import torch
from joblib import cpu_count

from kdstudy.core.spec import RECIPE_VERSION, Recipe, Run
from kdstudy.data import registry
from kdstudy.store.working import Record, Store
from kdstudy.train import cnn, mlp
from kdstudy.train import metrics as measures

WIDEST = 64  # runs in one stack
SIDE_BY_SIDE = {"cpu": 4, "cuda": 32}  # convolutional networks in one stack
MANY = 16  # runs of one seed that make a stack of their own
MEMORY = 1.5e9  # bytes of targets in one stack
LEFT = (*(f"logits_{s}" for s in measures.SPLITS), "rows")  # what a run must leave to teach
TAUGHT = (*LEFT, "weights")  # what students may need of it


def trainer(recipe: Recipe) -> Callable[..., list[mlp.Result]]:
    """The function that trains a stack of this recipe: (runs, data, teachers, device, keep_logits=) -> results."""
    return mlp.train if recipe.net == "mlp" else cnn.train


def shape(run: Run) -> tuple[object, ...]:
    """What runs must have in common to be trained in one stack."""
    return mlp.shape(run) if run.recipe.net == "mlp" else cnn.shape(run)


def device() -> str:
    """Where runs are trained: the GPU where there is one, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def hardware() -> str:
    """The device's name, as results state it."""
    return torch.cuda.get_device_name() if device() == "cuda" else f"CPU {platform.machine()}"


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
            width = -(-len(part) // -(-len(part) // min(_widest(part[0]), -(-len(group) // at_once))))
            out += [(i, part[i : i + width]) for i in range(0, len(part), width)]
    return [stack for _, stack in sorted(out, key=lambda o: o[0])]


def _widest(run: Run) -> int:
    """How many runs like this one fit one stack; images share little on a CPU, and short stacks lose little."""
    if run.recipe.net != "mlp":
        return SIDE_BY_SIDE[device()]
    data = registry.load(run.data)
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


def train(stack: Sequence[Run], left: Mapping[str, Mapping[str, torch.Tensor]], keep_logits: bool) -> list[Record]:
    """Train one stack in this process, in one thread; `left` is what its teachers left, by key."""
    began, data = time.perf_counter(), registry.load(stack[0].data)
    with one_thread():
        results = trainer(stack[0].recipe)(stack, data, left, device(), keep_logits=keep_logits)
    each = (time.perf_counter() - began) / len(stack)
    return [record(r, data.digest, each) for r in results]


def record(result: mlp.Result, digest: str, seconds: float) -> Record:
    """A result with its provenance, but for its code: the process that asks has the sources (`provenance.code`)."""
    run, metrics = result.run, {name: _single(value) for name, value in result.metrics.items()}
    row = run.columns | metrics | {"code": "", "version": RECIPE_VERSION}
    row |= {"digest": digest, "torch": torch.__version__, "device": hardware(), "seconds": round(seconds, 3)}
    return Record(row, result.arrays)


def _single(value: float) -> float:
    """The shortest decimal that names the same number in single precision, in which runs are measured."""
    return float(str(np.float32(value)))


def teachers(store: Store, stack: Sequence[Run]) -> dict[str, dict[str, torch.Tensor]]:
    """What the teachers of a stack left, by key: logits by split, indexed by example, and logit-layer rows."""
    held = store.arrays({r.teacher.key for r in stack if r.teacher}, TAUGHT)
    return {key: tensors(arrays) for key, arrays in held.items()}


def tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Logits by split and logit-layer rows, which a composed teacher has none of."""
    return {name.removeprefix("logits_"): torch.from_numpy(a) for name, a in arrays.items() if a.size}
