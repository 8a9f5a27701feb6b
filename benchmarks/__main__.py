"""`python -m benchmarks`: measure, and write the rows of data/benchmarks that the Speed page shows."""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # before torch is imported: its profiler reports to the screen

import torch

from benchmarks import ceilings, common, distil, growth, precision, side_by_side, stacked
from kdstudy.core.paths import ROOT

PARTS: dict[str, Callable[[str, bool], dict[str, list[common.Row]]]] = {
    "stacked": stacked.measure,
    "side_by_side": side_by_side.measure,
    "precision": precision.measure,
    "ceilings": ceilings.measure,
    "growth": growth.measure,
    "distil": distil.measure,
    "accuracy": distil.accuracy,
}


def names(text: str) -> list[str]:
    """Parts by name, separated by commas."""
    asked = [part.strip() for part in text.split(",") if part.strip()]
    if unknown := [part for part in asked if part not in PARTS]:
        raise argparse.ArgumentTypeError(f"part: found {', '.join(unknown)!r}, allowed: {', '.join(PARTS)}")
    return asked


def options(given: list[str]) -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__.replace("`", ""))
    parser.add_argument("--only", type=names, default=list(PARTS), help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--skip", type=names, default=[], help="all but these")
    parser.add_argument("--quick", action="store_true", help="a few tiny timings, to out/benchmarks: do they run?")
    parser.add_argument("--folder", type=Path, help="where rows are written (default data/benchmarks)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args(given)


def main(given: list[str]) -> None:
    """Measure part by part; each is written when it is done."""
    asked = options(given)
    folder = asked.folder or (ROOT / "out/benchmarks" if asked.quick else common.FOLDER)
    for part in (p for p in asked.only if p not in asked.skip):
        began = time.perf_counter()
        for name, found in PARTS[part](asked.device, asked.quick).items():
            path = common.keep(name, found, found[0]["device"], folder)
            print(f"{path}: {len(found)} timings on {found[0]['hardware']} in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
