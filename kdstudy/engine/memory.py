"""Stacks of runs that do not fit in memory are halved, and halved again, down to a single run."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from kdstudy.core.spec import Run

SAYS = ("can't allocate memory", "out of memory")  # what a RuntimeError of torch says
T = TypeVar("T")


class TooLarge(RuntimeError):
    """A single run does not fit in memory."""


@dataclass(frozen=True)
class NoRoom:
    """A stack found no memory, and why."""

    why: str


def lacking(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the CPU or a GPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in SAYS)


def fitted(train: Callable[[], T]) -> T | NoRoom:
    """What `train` returns, or why it found no memory; raises its other errors."""
    try:
        return train()
    except (MemoryError, RuntimeError) as error:
        if not lacking(error):
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
