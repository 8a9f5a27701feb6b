"""A warm process that forks studies, so that tests can kill many without importing torch each time.

Reads one JSON request per line: `store`; `processes` that ask at once; `workers` of each; and, to
kill the first with SIGKILL, `kill_after` that many seconds once the store holds `rows` rows.
Answers one line: seconds taken, exit statuses, process ids of the workers of the killed.

Each study appends the keys it trained itself to <store>.trained, and writes its table to
<store>.table<i>.
"""

import json
import os
import signal
import sys
import time
from functools import wraps

import psutil
import torch
from conftest import TINY, tiny_run

from kdstudy.core.spec import Run
from kdstudy.data import registry
from kdstudy.engine import ask, stacks
from kdstudy.store.published import Published
from kdstudy.store.working import Store
from kdstudy.train import mlp

WIDTH = 2  # many small stacks, so that there are many moments between two of them


def study() -> list[Run]:
    """Students with their teachers, trained in 2 stacks of teachers and 8 of students."""
    names = ("hard", "kd", "label_smoothing", "label_smoothing_matched")
    return [tiny_run(name, seed, epochs=4) for name in names for seed in range(4)]


def logged(path: str):
    """`training.train`, but keys are appended to a file first."""
    real = mlp.train

    @wraps(real)
    def train(stack, *args, **options):
        with open(f"{path}.trained", "a") as log:
            log.writelines(f"{run.key}\n" for run in stack)
        return real(stack, *args, **options)

    return train


def start(path: str, i: int, workers: int) -> int:
    """Fork one study; returns its process id."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        os.environ["KDSTUDY_WORKERS"] = str(workers)
        mlp.train = logged(path)
        ask.ask(study(), store=Store(path), published=Published(f"{path}.none")).to_json(f"{path}.table{i}")
        status = 0
    finally:
        os._exit(status)


def kill(pid: int, path: str, rows: int, after: float) -> list[int]:
    """Kill a study `after` seconds from when its store holds `rows` rows; process ids of its workers."""
    while rows and len(Store(path).rows()) < rows:
        time.sleep(0.02)
    time.sleep(after)
    workers = [child.pid for child in psutil.Process(pid).children()]
    os.kill(pid, signal.SIGKILL)
    return workers


def main() -> None:
    """Serve requests until standard input ends."""
    torch.set_num_threads(1)
    stacks.WIDEST, stacks.device = WIDTH, lambda: "cpu"
    registry.load(TINY)
    for line in sys.stdin:
        request, began, workers = json.loads(line), time.perf_counter(), []
        path = request["store"]
        pids = [start(path, i, request["workers"]) for i in range(request["processes"])]
        if request["kill_after"] is not None:
            workers = kill(pids[0], path, request["rows"], request["kill_after"])
        statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        answer = {"seconds": time.perf_counter() - began, "statuses": statuses, "workers": workers}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
