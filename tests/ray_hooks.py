"""What happens to the workers of a test's cluster: `spoiled` wraps the task that is sent to them.

A hook (stack, mark) is called in the worker before a stack is trained; `mark` is a folder shared with the test.
"""

import os
import signal
import sys
import time
from functools import wraps

import torch

WAIT = 90  # seconds for what must happen; a test that waits longer fails


def until(true) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + WAIT
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)


def both(stack, mark) -> None:
    """No node begins before both nodes do."""
    import ray

    (mark / ray.get_runtime_context().get_node_id()).touch()
    until(lambda: len(list(mark.iterdir())) == 2)


def noted(stack, mark) -> None:
    """The keys that are trained."""
    for run in stack:
        (mark / run.key).touch(exist_ok=False)


def killed(stack, mark) -> None:
    """The first worker that gets so far is killed."""
    try:
        (mark / "killed").touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def doomed(stack, mark) -> None:
    """Every worker is killed."""
    os.kill(os.getpid(), signal.SIGKILL)


def narrow(stack, mark) -> None:
    """Stacks of more than two runs ask for more memory than there is."""
    if len(stack) > 2:
        torch.empty(1 << 60, dtype=torch.uint8)


def wrong(stack, mark) -> None:
    """An error of the application."""
    (mark / f"{time.time_ns()}").touch()
    raise ValueError("labels: found 7, allowed: 0 to 5")


def held(stack, mark) -> None:
    """Three stacks go through, each other one waits until the test says so."""
    began = mark / f"{time.time_ns()}.{os.getpid()}"
    began.touch()
    if sorted(mark.glob("*.*")).index(began) >= 3:
        (mark / f"waits{os.getpid()}").touch()
        until((mark / "go").exists)


def spoiled(hook, mark):
    """`kdstudy.engine.ray.task`, in whose worker a hook comes before training."""
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers have no such module

    def spoiled_task(*args):
        from kdstudy.engine import ray as ray_executor
        from kdstudy.train import mlp

        real = mlp.train

        @wraps(real)
        def train(stack, *rest, **options):
            hook(stack, mark)
            return real(stack, *rest, **options)

        mlp.train = train
        try:
            return ray_executor.task(*args)  # the worker's own
        finally:
            mlp.train = real

    return spoiled_task
