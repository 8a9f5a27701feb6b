"""R networks shared among processes of one thread each, which start every step together."""

import os
import time
from multiprocessing.synchronize import Barrier

import torch
import torch.multiprocessing as mp

from benchmarks.ways import Job, one_by_one

WAIT = 600.0  # seconds until a process that others wait for is given up


def member(job: Job, repeats: int, barrier: Barrier, out: mp.Queue) -> None:
    """Time `repeats` steps of one process's share, after one that is not counted."""
    torch.set_num_threads(1)
    step, _ = one_by_one(job)
    spans = []
    for _ in range(repeats + 1):
        barrier.wait(WAIT)
        began = time.monotonic()
        step()
        spans.append((began, time.monotonic()))
    out.put(spans[1:])


def times(job: Job, processes: int, repeats: int) -> list[float]:
    """Wall times of steps of all R networks, from the first start to the last end."""
    context = mp.get_context("spawn")
    crew = min(processes, job.r)
    shares = [job.r // crew + (i < job.r % crew) for i in range(crew)]
    barrier, out = context.Barrier(crew), context.Queue()
    jobs = [Job(job.net, r, job.device, job.dtype, job.layout, job.batch, job.side) for r in shares]
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    members = [context.Process(target=member, args=(j, repeats, barrier, out), daemon=True) for j in jobs]
    for one in members:
        one.start()
    spans = [out.get(timeout=2 * WAIT) for _ in members]
    for one in members:
        one.join()
    os.environ.pop("OMP_NUM_THREADS") if before is None else os.environ.update(OMP_NUM_THREADS=before)
    return [max(end for _, end in step) - min(start for start, _ in step) for step in zip(*spans)]
