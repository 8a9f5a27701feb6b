"""The study's engine on a part of Tiny-ImageNet: students on every core, as `kdstudy.engine.local` has them.

A benchmark has a store and a cache folder of its own, which it empties at will; nothing of the user's is touched.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from joblib import Parallel, delayed

from kdstudy.core.spec import Data, Recipe, Run, pairs
from kdstudy.data import registry
from kdstudy.data.dataset import SPLITS, dataset
from kdstudy.data.download import at_hand
from kdstudy.distill import conditions
from kdstudy.engine import local, payload, stacks
from kdstudy.store.working import Record, Store

TEACHER, STUDENT = "resnet56", "resnet20"
TEACHER_SEED = 10_000


@dataset
def benchmark_images(*, train: int = 2048, test: int = 512, classes: int = 100) -> registry.Parts:
    """The first images of `classes` classes of Tiny-ImageNet at 32 x 32; random ones where it is not at hand."""
    if not at_hand("tiny_imagenet"):
        g = torch.Generator().manual_seed(0)
        x = torch.randn(train + 2 * test, 3, 32, 32, generator=g).half()
        y = torch.randint(classes, (len(x),), generator=g)
        whole = dict(zip(SPLITS, zip(x.split([train, test, test]), y.split([train, test, test]))))
        return {"classes": tuple(map(str, range(classes))), **whole}
    data, parts = registry.load(Data("tiny_imagenet")), {"classes": tuple(map(str, range(classes)))}
    for name, n in {"train": train, "validation": test, "test": test}.items():
        split = getattr(data, name)
        at = (split.y < classes).nonzero()[:, 0]
        at = at[torch.randperm(len(at), generator=torch.Generator().manual_seed(0))[:n]]  # test is sorted by class
        parts[name] = split.x[at], split.y[at]
    return parts


def images(**options: int) -> Data:
    """That data set with these options."""
    return Data("benchmark_images", pairs(options))


def recipe(net: str, epochs: int, batch: int = 64) -> Recipe:
    """How teacher and student are trained."""
    return Recipe((), epochs, batch, 0.05, 5e-4, net=net, augment=True, dtype="bfloat16")


def students(data: Data, taus: Sequence[float], seeds: int, epochs: int, taught: int = 0) -> list[Run]:
    """KD students of one teacher, which was trained for `taught` epochs (0: as it was drawn)."""
    teacher = Run(data, recipe(TEACHER, taught), conditions.make("hard"), TEACHER_SEED)
    return [
        Run(data, recipe(STUDENT, epochs), conditions.make("kd", tau=tau, alpha=0.9), seed, teacher)
        for seed in range(seeds)
        for tau in taus
    ]


def work(stack: Sequence[Run], path: Path, keep: bool, asker: int, cache: str) -> list[Record]:
    """`local.work` on this module's data set, logits of views in a folder of the benchmark's."""
    registry.load(stack[0].data)
    before = os.environ.get("KDSTUDY_CACHE")
    os.environ["KDSTUDY_CACHE"] = cache
    try:
        return local.work(stack, path, keep, asker, payload.pack())
    finally:
        os.environ.pop("KDSTUDY_CACHE") if before is None else os.environ.update(KDSTUDY_CACHE=before)


@dataclass
class Bench:
    """Where runs of a benchmark are trained."""

    store: Store
    folder: Path
    fresh: int = 0

    def train(self, runs: Sequence[Run], keep: bool = False) -> list[Record]:
        """Train runs on every core; results are not kept."""
        cache = str(self.folder / f"cache{self.fresh}")
        jobs = [delayed(work)(s, self.store.path, keep, os.getpid(), cache) for s in stacks.stacks(runs)]
        return [record for records in Parallel(n_jobs=stacks.workers())(jobs) for record in records]

    def teach(self, runs: Sequence[Run]) -> None:
        """Train the teachers of runs, if the store lacks them, and keep what they leave."""
        needed = list(dict.fromkeys(r.teacher for r in runs if r.teacher))
        held = self.store.rows([r.key for r in needed])
        self.store.put(self.train([r for r in needed if r.key not in held], keep=True))

    def forget(self) -> None:
        """Let no logits of views be known."""
        self.fresh += 1


@contextmanager
def bench() -> Iterator[Bench]:
    """A place for a benchmark, gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        yield Bench(Store(Path(folder) / "runs.sqlite"), Path(folder))
