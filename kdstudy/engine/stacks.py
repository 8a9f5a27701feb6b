"""Stacks: which runs are trained side by side, how many, and what one stack leaves as records with their provenance.

A stack that does not fit in memory is halved, and halved again, down to a single run.
"""

import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, product
from typing import TypeVar

import numpy as np
import torch
from joblib import cpu_count

from kdstudy.core.registry import is_outside
from kdstudy.core.spec import RECIPE_VERSION, Recipe, Run
from kdstudy.core.threads import one_thread
from kdstudy.data import registry
from kdstudy.data.dataset import Dataset
from kdstudy.distill import conditions
from kdstudy.store.working import Record, Store
from kdstudy.train import cnn, metrics, mlp, own

WIDEST = 64  # runs in one stack
SIDE_BY_SIDE = {"cpu": 4, "cuda": 32}  # convolutional networks in one stack
MANY = 16  # runs of one seed that make a stack of their own
MEMORY = 1.5e9  # bytes of targets in one stack
LEFT = (*(f"logits_{s}" for s in metrics.SPLITS), "rows")  # what a run must leave to teach
TAUGHT = (*LEFT, "weights")  # what students may need of it
NO_MEMORY = ("can't allocate memory", "out of memory")  # what a RuntimeError of torch says
T = TypeVar("T")


def trainer(recipe: Recipe) -> Callable[..., list[mlp.Result]]:
    """The function that trains a stack of this recipe: (runs, data, teachers, device, keep_logits=) -> results."""
    return mlp.train if recipe.net == "mlp" else own.train if recipe.net.startswith("own:") else cnn.train


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
    if chosen and (not chosen.isdecimal() or int(chosen) < 1):
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


def train(stack: Sequence[Run], left: Mapping[str, Mapping[str, torch.Tensor]], keep_logits: bool) -> list[Record]:
    """Train one stack in this process, in one thread; `left` is what its teachers left, by key."""
    began, data = time.perf_counter(), registry.load(stack[0].data)
    with one_thread(), _explained(stack):
        taught = {key: {**known, **whole(known, data)} for key, known in left.items()}
        results = trainer(stack[0].recipe)(stack, data, taught, device(), keep_logits=keep_logits)
    each = (time.perf_counter() - began) / len(stack)
    for r in (r for r in results if r.run.teacher):
        for split, name in product(set(metrics.SPLITS) - left[r.run.teacher.key].keys(), metrics.WITH_TEACHER):
            r.metrics.pop(f"{split}_{name}", None)  # of a split on which the teacher is not known
    return [record(r, data.digest, each) for r in results]


def whole(known: Mapping[str, torch.Tensor], data: Dataset) -> dict[str, torch.Tensor]:
    """A teacher's logits for every split: 0 for those of which a user's own teacher has none."""
    none = {s: torch.zeros(len(getattr(data, s).y), len(data.classes)) for s in metrics.SPLITS}
    return {s: known.get(s, zeros) for s, zeros in none.items()}


@contextmanager
def _explained(stack: Sequence[Run]) -> Iterator[None]:
    """Errors of a stack with conditions of a user's own, which may be theirs, say so as ValueError."""
    try:
        yield
    except Exception as error:
        theirs = [n for n in dict.fromkeys(r.condition.name for r in stack) if is_outside(conditions.named(n))]
        if not theirs or _lacks_memory(error):
            raise
        raise ValueError(
            f"condition {', '.join(theirs)}: found {type(error).__name__} ({error}), allowed: a function of label and "
            "ctx or of teacher, label and ctx that returns a Target(hard, soft, rest) of floats (N, C), (N, C) and (N,)"
        ) from error


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


class TooLarge(RuntimeError):
    """A single run does not fit in memory."""


@dataclass(frozen=True)
class NoRoom:
    """A stack found no memory, and why."""

    why: str


def _lacks_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the CPU or a GPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in NO_MEMORY)


def fitted(train: Callable[[], T]) -> T | NoRoom:
    """What `train` returns, or why it found no memory; raises its other errors."""
    try:
        return train()
    except (MemoryError, RuntimeError) as error:
        if not _lacks_memory(error):
            raise
        why = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # of what the error's frames held until here
    return NoRoom(why)


def halves(stack: Sequence[Run], why: str) -> tuple[list[Run], list[Run]]:
    """Both halves of a stack that did not fit, with a warning that says so. Raises TooLarge for a single run."""
    if len(stack) == 1:
        run = stack[0]
        raise TooLarge(
            f"a single run does not fit in memory ({run.data.name}, {run.condition.name}, seed {run.seed}; {why}). "
            "What was finished is kept. Train fewer at once (KDSTUDY_WORKERS=1; on Ray, fewer CPUs for each node or a "
            "larger KDSTUDY_GPUS_PER_STACK), give the recipe a smaller batch or network, or take a larger machine"
        )
    middle = -(-len(stack) // 2)
    parts = list(stack[:middle]), list(stack[middle:])
    sizes = " + ".join(str(len(part)) for part in parts)
    warnings.warn(f"a stack of {len(stack)} runs did not fit: trained as {sizes} ({why})", stacklevel=2)
    return parts
