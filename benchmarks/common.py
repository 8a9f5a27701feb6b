"""What every benchmark shares: clocks, the machine's facts, and where rows are kept.

A row is one timing. It holds what was done (columns of its part), `repeat`, `seconds`, and what it was
done on: device, hardware, cores, torch, and the load of the machine just before (1-minute average).
"""

import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import joblib
import pandas as pd
import torch

from kdstudy.core.paths import ROOT

FOLDER = ROOT / "data/benchmarks"
Row = dict[str, object]
T = TypeVar("T")


def cores() -> int:
    """Cores that this process may use."""
    return joblib.cpu_count()


def hardware(device: str) -> str:
    """The device's name, where the system tells it."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (names or [platform.processor() or platform.machine()])[0]


def machine(device: str) -> Row:
    """Facts of the machine, as every row has them."""
    load = round(os.getloadavg()[0], 2)
    return {"device": device, "hardware": hardware(device), "cores": cores(), "torch": torch.__version__, "load": load}


@contextmanager
def threads(n: int) -> Iterator[None]:
    """PyTorch computes with n threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def seconds(work: Callable[[], object], device: str = "cpu") -> float:
    """Wall time of one call, until the device is done."""
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def result(device: str, work: Callable[..., T], *given: object) -> tuple[float, T]:
    """Wall time of work(*given), and what it returns."""
    kept = []
    spent = seconds(lambda: kept.append(work(*given)), device)
    return spent, kept[0]


def times(work: Callable[[], object], repeats: int, device: str = "cpu", budget: float = 20.0) -> list[float]:
    """Wall times of calls after one that is not counted: `repeats`, fewer (at least 1) once they took `budget` s."""
    seconds(work, device)
    taken = []
    while len(taken) < repeats and (not taken or sum(taken) < budget):
        taken.append(seconds(work, device))
    return taken


def rows(what: Mapping[str, object], taken: Iterable[float]) -> list[Row]:
    """A row for each timing of the same work."""
    return [{**what, "repeat": i, "seconds": round(s, 6)} for i, s in enumerate(taken)]


def keep(part: str, found: list[Row], device: str, folder: Path = FOLDER) -> Path:
    """Write a part's rows in place of those that the same hardware left before; other hardware's stay."""
    folder.mkdir(parents=True, exist_ok=True)
    path, table = folder / f"{part}.csv", pd.DataFrame(found)
    if path.exists():
        old = pd.read_csv(path)
        same = (old["device"] == device) & (old["hardware"] == hardware(device))
        table = pd.concat([old[~same], table])
    part_file = path.with_suffix(".part")
    table.to_csv(part_file, index=False)
    os.replace(part_file, path)
    return path
