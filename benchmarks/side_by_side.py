"""Images per second of R convolutional networks trained side by side, by every way there is (`benchmarks.ways`)."""

import warnings
from dataclasses import replace

import torch

from benchmarks import common, crew, ways, work
from benchmarks.common import Row

NETS = ("resnet20", "cnn32")
WIDTHS = (1, 4, 8)
PLAIN, LAST = torch.contiguous_format, torch.channels_last
LAYOUTS = {PLAIN: "contiguous", LAST: "channels last"}
TYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
WAYS = [  # name, a step, precision, layout: of several layouts the faster for that way
    ("loop", ways.loop, torch.float32, PLAIN),
    ("loop", ways.loop, torch.float32, LAST),
    ("loop", ways.loop, torch.bfloat16, LAST),
    ("compiled", ways.compiled, torch.bfloat16, LAST),
    ("engine", ways.one_by_one, torch.bfloat16, LAST),
    ("grouped", ways.grouped, torch.float32, LAST),
    ("grouped", ways.grouped, torch.bfloat16, PLAIN),
    ("unfolded", ways.unfolded, torch.float32, PLAIN),
    ("vmap", ways.vmap, torch.float32, LAST),
    ("vmap", ways.vmap, torch.bfloat16, LAST),
]
ON_GPU = [("streams", ways.streams, torch.bfloat16, LAST), ("graph", ways.graph, torch.bfloat16, LAST)]


def row(name: str, job: ways.Job, threads: int, processes: int) -> Row:
    """What a timing is of."""
    return {
        "way": name,
        "net": job.net,
        "r": job.r,
        "dtype": TYPES[job.dtype],
        "layout": LAYOUTS[job.layout],
        "batch": job.batch,
        "side": job.side,
        "threads": threads,
        "processes": processes,
        "flops": work.flops(job.net, job.side),
    }


def one(name: str, make: object, job: ways.Job, threads: int, repeats: int) -> list[Row]:
    """Timings of one way in this process."""
    with common.threads(threads):
        step, _ = make(job)
        facts = common.machine(job.device)
        return common.rows(row(name, job, threads, 1) | facts, common.times(step, repeats, job.device, 6.0))


def here(device: str, job: ways.Job, repeats: int) -> list[Row]:
    """Every way with every core; the loop and the engine with one core too, for a single network."""
    found = []
    for name, make, dtype, layout in WAYS + (ON_GPU if device == "cuda" else []):
        mine = replace(job, dtype=dtype, layout=layout)
        counts = {common.cores(), 1} if job.r == 1 and name in ("loop", "engine") else {common.cores()}
        for threads in sorted(counts if device == "cpu" else {common.cores()}):
            torch.compiler.reset()
            found += one(name, make, mine, threads, repeats)
    if device == "cpu":
        mine, facts = replace(job, dtype=torch.bfloat16, layout=LAST), common.machine(device)
        taken = crew.times(mine, common.cores(), repeats)
        found += common.rows(row("processes", mine, 1, min(job.r, common.cores())) | facts, taken)
    return found


def measure(device: str, quick: bool) -> dict[str, list[Row]]:
    """Timings of one step by every way, for each network and R."""
    warnings.filterwarnings("ignore", module=r"torch\._(inductor|dynamo)")
    found = []
    for net in NETS[1:] if quick else NETS:
        for r in WIDTHS[:1] if quick else WIDTHS:
            job = ways.Job(net, r, device, batch=8 if quick else ways.BATCH)
            found += here(device, job, 1 if quick else 5)
    return {"side_by_side": found}
