"""What the machine can do at best, and where the time of one training step goes.

Matrix products of n x n in float32 and bfloat16 (2 n^3 operations), and copies of a large array (each byte read once
and written once) and triads a = b + 2 c (two read, one written), with one thread and with all. A step of a resnet20
in the precision of the engine is split by kind of operation with torch.profiler.
"""

from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import common, ways, work
from benchmarks.common import Row

SIZES = (256, 512, 1024, 2048, 4096)
BYTES = 256 * 2**20
KINDS = {"convolution": ("conv", "mkldnn"), "batch norm, sum, ReLU": ("NormRelu", "norm", "relu", "threshold", "add_"),
         "optimiser": ("_fused_sgd", "_foreach", "SGD")}  # fmt: skip


def product(n: int, dtype: torch.dtype, device: str) -> Callable[[], object]:
    """A matrix product of n x n."""
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)


def streams(name: str, device: str) -> tuple[Callable[[], object], int]:
    """A copy or a triad over large arrays, and the bytes it moves."""
    a, b, c = (torch.ones(BYTES // 4, device=device) for _ in range(3))
    if name == "copy":
        return lambda: a.copy_(b), 2 * BYTES
    return lambda: torch.add(b, c, alpha=2.0, out=a), 3 * BYTES


def limits(device: str, threads: int, repeats: int, sizes: tuple[int, ...]) -> list[Row]:
    """Products and streams with so many threads; `done` is operations or bytes."""
    found, facts = [], {"threads": threads, **common.machine(device)}
    with common.threads(threads):
        for dtype in (torch.float32, torch.bfloat16):
            for n in sizes:
                what = {"what": "matmul", "dtype": str(dtype).removeprefix("torch."), "n": n, "done": 2 * n**3}
                found += common.rows(what | facts, common.times(product(n, dtype, device), repeats, device, 2.0))
        for name in ("copy", "triad"):
            stream, moved = streams(name, device)
            what = {"what": name, "dtype": "float32", "n": BYTES, "done": moved}
            found += common.rows(what | facts, common.times(stream, repeats, device, 2.0))
    return found


def kind(operation: str) -> str:
    """The kind of an operation by its name."""
    return next((k for k, parts in KINDS.items() if any(p in operation for p in parts)), "other")


def anatomy(device: str, steps: int, batch: int) -> list[Row]:
    """Time of the operations of `steps` training steps of a resnet20, by kind, with one thread."""
    layout = torch.channels_last
    job = ways.Job("resnet20", 1, device, torch.bfloat16, layout, batch)
    activity = ProfilerActivity.CUDA if device == "cuda" else ProfilerActivity.CPU
    with common.threads(1):
        step, _ = ways.one_by_one(job)
        step()
        facts = common.machine(device)
        with profile(activities=[activity]) as seen:
            for _ in range(steps):
                step()
    spent: dict[str, float] = {}
    for event in seen.key_averages():
        own = event.self_device_time_total if device == "cuda" else event.self_cpu_time_total
        spent[kind(event.key)] = spent.get(kind(event.key), 0.0) + own / 1e6
    what = {"net": job.net, "batch": batch, "side": job.side, "dtype": "bfloat16", "threads": 1, "steps": steps}
    what |= {"flops": work.flops(job.net, job.side), "moved": work.moved(job.net, job.side, 2)}
    return [{**what, **facts, "kind": k, "seconds": round(s, 6)} for k, s in sorted(spent.items())]


def measure(device: str, quick: bool) -> dict[str, list[Row]]:
    """Ceilings, with one thread and with all, and the anatomy of a step."""
    counts = sorted({1, common.cores()}) if device == "cpu" else [common.cores()]
    sizes, repeats = (SIZES[:1], 1) if quick else (SIZES, 7)
    found = [row for threads in counts for row in limits(device, threads, repeats, sizes)]
    return {"ceilings": found, "step": anatomy(device, 2 if quick else 10, 8 if quick else ways.BATCH)}
