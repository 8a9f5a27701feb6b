"""`ask`: the runs a question needs, as one table; what the store lacks is trained first."""

import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from itertools import chain

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from rich.progress import Progress

from kdstudy import anatomy, composed, executors, ray_executor
from kdstudy.bars import Bar, progress
from kdstudy.datasets import load
from kdstudy.executors import EXECUTORS, Executor, stale
from kdstudy.published import Classes, Published
from kdstudy.spec import Run
from kdstudy.store import Record, Store

NAN = float("nan")
FIELDS = ["key", "dataset", "options", "condition", "seed", "hidden", "epochs", "batch", "lr", "momentum", "teacher",
          "device", "train_accuracy", "validation_accuracy", "test_accuracy"]  # of a table without runs # fmt: skip
ASKED: dict[str, Run] = {}  # every run asked in this process, so that what a published one lacks can be trained


class Diverged(ValueError):
    """A run ended with a measure that is not a finite number; it is not stored."""


def describe(run: Run) -> str:
    """A run in one line."""
    params = ", ".join(f"{k} {v:g}" for k, v in run.condition.params)
    return f"{run.data.name}, {run.condition.name}{f' ({params})' if params else ''}, seed {run.seed}"


def before(runs: Sequence[Run]) -> list[Run]:
    """What must be trained before these runs: their teachers, and the networks that they are composed of."""
    return list(dict.fromkeys([r.teacher for r in runs if r.teacher] + [m for r in runs for m in composed.members(r)]))


def chosen(executor: str) -> Executor:
    """The executor of that name: "local", "ray" or "ray:ADDRESS" (`kdstudy.ray_executor`)."""
    if executor.partition(":")[0] == "ray":
        return ray_executor.at(executor if executor.startswith("ray://") else executor.partition(":")[2])
    if executor not in EXECUTORS:
        raise ValueError(f"executor: found {executor!r}, allowed: 'local', 'ray', 'ray:ADDRESS'")
    return EXECUTORS[executor]


class Asker:
    """One question on its way: where answers are kept, and the progress shown meanwhile."""

    def __init__(
        self, store: Store, published: Published, executor: Executor, refresh: bool, display: Progress
    ) -> None:
        self.store, self.published, self.refresh, self.bar = store, published, refresh, Bar(display)
        self.executor = executor
        self.trained: set[str] = set()

    def rows(self, runs: Sequence[Run]) -> dict[str, dict[str, object]]:
        """Rows by key; the working store comes before the published results."""
        keys = [r.key for r in runs]
        return self.published.rows(keys) | self.store.rows(keys)

    def lacking(self, runs: Sequence[Run], logits: bool, array: str = "") -> list[Run]:
        """The runs still to be trained; with `array`, those whose array of that name is not in the working store."""
        rows = self.rows(runs)
        array = executors.LEFT[-1] if logits else array
        have = self.store.has(rows, array) if array else rows
        done = {k for k in have if not (self.refresh and k not in self.trained and stale(rows[k]))}
        return [r for r in runs if r.key not in done]

    def outstanding(self, runs: Sequence[Run], logits: bool = False, array: str = "") -> set[str]:
        """Keys of all that is lacking, teachers included."""
        missing = self.lacking(runs, logits, array)
        return {r.key for r in missing}.union(self.outstanding(before(missing), True) if missing else ())

    def complete(self, runs: Sequence[Run], logits: bool = False, array: str = "") -> None:
        """Train what is lacking, teachers first; each stack is kept as soon as it is done."""
        if lacking := self.outstanding(runs, logits, array):
            self.bar.start(len(lacking))
            self.descend(runs, logits, array)

    def descend(self, runs: Sequence[Run], logits: bool, array: str = "") -> None:
        """`complete`, on a bar that has started."""
        if not (missing := self.lacking(runs, logits, array)):
            return
        self.descend(before(missing), logits=True)
        missing = self.lacking(runs, logits, array)  # some may be teachers of others
        self.bar.stage("teachers" if logits else "students")
        lost: list[str] = []
        joined, alone = ([r for r in missing if bool(composed.kind(r)) == is_] for is_ in (True, False))
        with closing(self.records(alone, logits)) as trained:
            for records in chain(trained, ([composed.record(r, self.store)] for r in joined)):
                lost += self.keep(records)
                self.bar.advance(len(records))
        if lost:
            names = "; ".join(describe(r) for r in missing if r.key in lost)
            raise Diverged(
                f"{len(lost)} of {len(missing)} runs diverged (a metric is not finite) and are not stored: {names}. "
                "Lower `lr` and ask again; the others are kept."
            )

    def records(self, runs: Sequence[Run], logits: bool) -> Iterator[list[Record]]:
        """Records of these runs as their stacks finish."""
        if runs:
            stacked = executors.stacks(runs, self.executor.workers())
            yield from self.executor.train(stacked, self.store.path, logits)

    def compute(self, runs: Sequence[Run], name: str) -> None:
        """An array that is computed from what runs left, kept beside it."""
        self.complete(runs, logits=True)
        for run in runs:
            left = executors.tensors(self.store.arrays([run.key], executors.LEFT)[run.key])
            array = anatomy.COMPUTED[name](left, load(composed.plain(run)))
            self.store.put([Record(self.store.rows([run.key])[run.key], {name: array})])

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
    where = chosen(executor)
    runs = list(dict.fromkeys(runs))
    ASKED.update({r.key: r for r in runs})
    with progress() as bar:
        asker = Asker(store or Store(), published or Published(), where, refresh, bar)
        if asker.lacking(runs, logits=False):
            with turn(asker.store):
                asker.complete(runs)  # looks again: another process may have been faster
    return table(asker, runs)


def answer(parts: Mapping[str, Sequence[Run]], executor: str = "local") -> dict[str, pd.DataFrame]:
    """A plan's parts, each as an answered table."""
    return {name: ask(part, executor) for name, part in parts.items()}


def table(asker: Asker, runs: Sequence[Run]) -> pd.DataFrame:
    """The answered runs, in the order asked."""
    rows, kept = asker.rows(runs), asker.store.rows([r.key for r in runs])
    frame = pd.DataFrame([named(rows[r.key]) for r in runs], columns=None if runs else FIELDS)
    where = ["trained" if r.key in asker.trained else "store" if r.key in kept else "published" for r in runs]
    frame = frame.assign(source=where, stale=[stale(rows[r.key]) for r in runs], **heard(runs, frame))
    if frame["stale"].any():
        warnings.warn(
            f"{frame['stale'].sum()} of {len(frame)} runs are stale: the code that computed them has changed "
            "since. `kdstudy runs --stale` lists them; ask(..., refresh=True) trains them again.",
            stacklevel=3,
        )
    return frame


def named(row: Mapping[str, object]) -> dict[str, object]:
    """A stored row as tables show it: under "hidden" a network that is no perceptron stands by its name."""
    return {**row, "hidden": row.get("net") or row["hidden"]}


def heard(runs: Sequence[Run], frame: pd.DataFrame) -> dict[str, list[float]]:
    """What the teachers of equal conditions differ in, as columns: label smoothing, hidden units, epochs."""
    found = {
        "teacher_epsilon": [
            float(dict(r.teacher.condition.params).get("epsilon", 0)) if r.teacher else NAN for r in runs
        ],
        "teacher_hidden": [float(sum(r.teacher.recipe.hidden)) if r.teacher else NAN for r in runs],
        "teacher_epochs": [float(r.teacher.recipe.epochs) if r.teacher else NAN for r in runs],
    }
    alike = [frame["dataset"], frame["options"], frame["condition"]] if runs else []
    return {k: v for k, v in found.items() if runs and pd.Series(v).groupby(alike).nunique().max() > 1}


def arrays(frame: pd.DataFrame, name: str, published: Published | None = None) -> dict[str, np.ndarray]:
    """An array of every run of an answered table, by key.

    Published results hold arrays of the runs that chapters show; what others lack is trained again, if
    this process asked for them, or computed from their logits (`kdstudy.anatomy`). ValueError if a run has no such
    array.
    """
    store, published, keys = Store(), published or Published(), list(frame["key"])
    held = published.arrays(keys, [name]) | store.arrays(keys, [name])
    if lacking := [ASKED[k] for k in keys if k not in held and k in ASKED and not name.startswith("logits")]:
        with progress() as bar:
            asker = Asker(store, published, EXECUTORS["local"], False, bar)
            untrained = asker.lacking(lacking, logits=True) if name in anatomy.COMPUTED else lacking
            with turn(store) if untrained else nullcontext():
                asker.compute(lacking, name) if name in anatomy.COMPUTED else asker.complete(lacking, array=name)
        held |= store.arrays(keys, [name])
    absent = [k for k in keys if k not in held]
    if absent:
        raise ValueError(f"array {name!r}: {len(absent)} of {len(frame)} runs have none, first: {absent[0]}")
    return {key: held[key][name] for key in keys}


def classes(dataset: str) -> Classes:
    """Names and super-classes of a data set's classes: published, else of the data themselves.

    ValueError if it is neither published nor among the runs asked in this process.
    """
    asked = next((r.data for r in ASKED.values() if r.data.label == dataset), None)
    known = Published().classes().get(dataset)
    if known is not None and (asked is None or asked.name == dataset):
        return known
    if asked is not None:
        return Classes.of(load(asked))
    raise ValueError(f"classes of data set {dataset!r}: found none published, and no run of it was asked")
