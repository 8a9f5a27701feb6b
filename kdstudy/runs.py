"""`ask`: the runs a question needs, as one table; what the store lacks is trained first."""

import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kdstudy import executors
from kdstudy.executors import EXECUTORS, Executor, stale
from kdstudy.published import Published
from kdstudy.spec import Run
from kdstudy.store import Record, Store


class Diverged(ValueError):
    """A run ended with a measure that is not a finite number; it is not stored."""


def describe(run: Run) -> str:
    """A run in one line."""
    params = ", ".join(f"{k} {v:g}" for k, v in run.condition.params)
    return f"{run.data.name}, {run.condition.name}{f' ({params})' if params else ''}, seed {run.seed}"


class Asker:
    """One question on its way: where answers are kept, and the progress shown meanwhile."""

    def __init__(self, store: Store, published: Published, executor: Executor, refresh: bool, bar: Progress) -> None:
        self.store, self.published, self.refresh, self.bar = store, published, refresh, bar
        self.executor = executor
        self.trained: set[str] = set()

    def rows(self, runs: Sequence[Run]) -> dict[str, dict[str, object]]:
        """Rows by key; the working store comes before the published results."""
        keys = [r.key for r in runs]
        return self.published.rows(keys) | self.store.rows(keys)

    def lacking(self, runs: Sequence[Run], logits: bool) -> list[Run]:
        """The runs still to be trained."""
        rows = self.rows(runs)
        have = self.store.has(rows, executors.LEFT[-1]) if logits else rows
        done = {k for k in have if not (self.refresh and k not in self.trained and stale(rows[k]))}
        return [r for r in runs if r.key not in done]

    def complete(self, runs: Sequence[Run], logits: bool = False) -> None:
        """Train what is lacking, teachers first; each stack is kept as soon as it is done."""
        missing = self.lacking(runs, logits)
        if not missing:
            return
        self.complete(list(dict.fromkeys(r.teacher for r in missing if r.teacher)), logits=True)
        task = self.bar.add_task("teachers" if logits else "students", total=len(missing))
        lost = []
        for records in self.executor(executors.stacks(missing), self.store.path, logits):
            lost += self.keep(records)
            self.bar.advance(task, len(records))
        if lost:
            names = "; ".join(describe(r) for r in missing if r.key in lost)
            raise Diverged(
                f"{len(lost)} of {len(missing)} runs diverged (a metric is not finite) and are not stored: {names}. "
                "Lower `lr` and ask again; the others are kept."
            )

    def keep(self, records: Sequence[Record]) -> list[str]:
        """Store what is finite; returns the keys of the rest."""
        finite = [r for r in records if np.isfinite([v for v in r.row.values() if isinstance(v, float)]).all()]
        if self.refresh:
            self.store.forget([r.key for r in finite])
        self.store.put(finite)
        self.trained |= {r.key for r in finite}
        return [r.key for r in records if r not in finite]


@contextmanager
def turn(store: Store) -> Iterator[None]:
    """One process trains at a time; the lock goes with the process that held it."""
    lock = FileLock(f"{store.path}.lock")
    try:
        lock.acquire(timeout=1)
    except Timeout:
        print(f"waiting: another process is training into {store.path}", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def progress() -> Progress:
    """A progress display on the terminal; silent where there is none."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def ask(
    runs: Iterable[Run],
    executor: str = "local",
    store: Store | None = None,
    published: Published | None = None,
    refresh: bool = False,
) -> pd.DataFrame:
    """One row per run: what it is, its metrics, its provenance, and where the answer came from.

    Runs found in the working store or the published results are read; the rest is trained, many
    side by side, and kept. Column `source` is "store", "published" or "trained". Column `stale` marks
    rows whose code has changed since: they are used with a warning, or trained again with
    `refresh`. Raises ValueError for an unknown executor, `Diverged` if a run did.
    """
    if executor not in EXECUTORS:
        raise ValueError(f"executor: found {executor!r}, allowed: {', '.join(map(repr, EXECUTORS))}")
    runs = list(dict.fromkeys(runs))
    with progress() as bar:
        asker = Asker(store or Store(), published or Published(), EXECUTORS[executor], refresh, bar)
        if asker.lacking(runs, logits=False):
            with turn(asker.store):
                asker.complete(runs)  # looks again: another process may have been faster
    return table(asker, runs)


def table(asker: Asker, runs: Sequence[Run]) -> pd.DataFrame:
    """The answered runs, in the order asked."""
    rows, kept = asker.rows(runs), asker.store.rows([r.key for r in runs])
    frame = pd.DataFrame([rows[r.key] for r in runs])
    where = ["trained" if r.key in asker.trained else "store" if r.key in kept else "published" for r in runs]
    frame = frame.assign(source=where, stale=[stale(rows[r.key]) for r in runs])
    if frame["stale"].any():
        warnings.warn(
            f"{frame['stale'].sum()} of {len(frame)} runs are stale: the code that computed them has changed "
            "since. `kdstudy runs --stale` lists them; ask(..., refresh=True) trains them again.",
            stacklevel=3,
        )
    return frame


def arrays(frame: pd.DataFrame, name: str) -> dict[str, np.ndarray]:
    """An array of every run of an answered table, by key; ValueError if a run has none."""
    store, published = Store(), Published()
    held = published.arrays(frame["key"], [name]) | store.arrays(frame["key"], [name])
    lacking = [k for k in frame["key"] if name not in held.get(k, {})]
    if lacking:
        raise ValueError(f"array {name!r}: {len(lacking)} of {len(frame)} runs have none, first: {lacking[0]}")
    return {key: held[key][name] for key in frame["key"]}
