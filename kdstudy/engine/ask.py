"""`ask`: the runs a question needs, as one table; what the store lacks is trained first."""

import sys
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from itertools import chain

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from rich.progress import Progress

from kdstudy.core.spec import Run, require
from kdstudy.data.registry import load
from kdstudy.engine import ray, stacks, teachers  # noqa: F401  the executor "ray"
from kdstudy.engine.local import Executor, chosen
from kdstudy.engine.progress import Bar, progress
from kdstudy.engine.teacher_statistics import COMPUTED
from kdstudy.store import provenance
from kdstudy.store.provenance import code, stale
from kdstudy.store.published import Classes, Published
from kdstudy.store.results import Results
from kdstudy.store.working import Record, Store

NAN = float("nan")
LAST = stacks.LEFT[-1]  # of the arrays that a teacher must leave
FIELDS = ["key", "dataset", "options", "condition", "seed", "hidden", "epochs", "batch", "lr", "momentum", "teacher",
          "device", "train_accuracy", "validation_accuracy", "test_accuracy"]  # of a table without runs # fmt: skip


class Diverged(ValueError):
    """A run ended with a measure that is not a finite number."""


def describe(run: Run) -> str:
    """A run in one line."""
    params = ", ".join(f"{k} {v:g}" for k, v in run.condition.params)
    return f"{run.data.name}, {run.condition.name}{f' ({params})' if params else ''}, seed {run.seed}"


def before(runs: Sequence[Run]) -> list[Run]:
    """What must be trained before these runs: their teachers, and the networks that they are composed of."""
    return list(dict.fromkeys([r.teacher for r in runs if r.teacher] + [m for r in runs for m in teachers.members(r)]))


class Unanswered(ValueError):
    """Runs are neither stored nor published, and none may be trained."""


class Asker:
    """One question on its way: where answers are kept, and the progress shown meanwhile.

    Where a method takes an `array`, a run lacks nothing only if the working store holds its array of that name: `LAST`
    for what a teacher must leave.
    """

    def __init__(
        self, results: Results, executor: Executor, display: Progress, refresh: bool = False, words: str = ""
    ) -> None:
        self.results, self.executor, self.bar, self.refresh = results, executor, Bar(display, words), refresh
        self.store = results.store
        self.trained: set[str] = set()

    def lacking(self, runs: Sequence[Run], array: str = "") -> list[Run]:
        """The runs still to be trained."""
        rows = self.results.rows([r.key for r in runs])
        have = self.store.has(rows, array) if array else rows
        done = {k for k in have if not (self.refresh and k not in self.trained and stale(rows[k]))}
        return [r for r in runs if r.key not in done]

    def outstanding(self, runs: Sequence[Run], array: str = "") -> set[str]:
        """Keys of all that is lacking, teachers included."""
        missing = self.lacking(runs, array)
        return {r.key for r in missing}.union(self.outstanding(before(missing), LAST) if missing else ())

    def complete(self, runs: Sequence[Run], array: str = "") -> None:
        """Train what is lacking, teachers first; each stack is kept as soon as it is done."""
        if outstanding := self.outstanding(runs, array):
            self.bar.start(len(outstanding))
            self._descend(runs, array)

    def _descend(self, runs: Sequence[Run], array: str) -> None:
        """`complete`, on a bar that has started."""
        if not (missing := self.lacking(runs, array)):
            return
        self._descend(before(missing), LAST)
        missing = self.lacking(runs, array)  # some may be teachers of others
        self.bar.stage("teachers" if array == LAST else "students")
        lost: list[str] = []
        with closing(self._records(missing, array == LAST)) as trained:
            for records in trained:
                lost += self._keep(records, array)
                self.bar.advance(len(records))
        if array:
            refuse(missing, lost)

    def _records(self, runs: Sequence[Run], keep_logits: bool) -> Iterator[list[Record]]:
        """Records of these runs as their stacks finish, of composed teachers last."""
        composed, alone = ([r for r in runs if bool(teachers.kind(r)) == is_] for is_ in (True, False))
        if alone:
            stacked = stacks.stacks(alone, self.executor.workers())
            with closing(self.executor.train(stacked, self.store.path, keep_logits)) as trained:
                yield from trained
        yield from ([teachers.record(r, self.store)] for r in composed)

    def compute(self, runs: Sequence[Run], name: str) -> None:
        """An array that is computed from what runs left, kept beside it."""
        self.complete(runs, LAST)
        for run in runs:
            left = stacks.tensors(self.store.arrays([run.key], stacks.LEFT)[run.key])
            array = COMPUTED[name](left, load(teachers.plain(run)))
            self.store.put([Record(self.store.rows([run.key])[run.key], {name: array})])

    def _keep(self, records: Sequence[Record], array: str) -> list[str]:
        """Store these results; returns the keys of those that diverged, of which what is finite is kept, or nothing
        if they were trained for the sake of an array.
        """
        lost = [r.key for r in records if not np.isfinite(_numbers(r.row)).all()]
        kept = [_finite(r) if r.key in lost else r for r in records if not (array and r.key in lost)]
        for r in kept:
            r.row["code"] = code(r.row)
        if self.refresh:
            self.store.forget([r.key for r in kept])
        self.store.put(kept)
        self.trained |= {r.key for r in kept}
        return lost


def _numbers(row: Mapping[str, object]) -> list[float]:
    return [v for v in row.values() if isinstance(v, float)]


def _finite(record: Record) -> Record:
    """What a run that diverged leaves: numbers and arrays that are not finite are left out."""
    row = {k: v for k, v in record.row.items() if not isinstance(v, float) or np.isfinite(v)}
    return Record(row | {"diverged": 1}, {k: a for k, a in record.arrays.items() if np.isfinite(a).all()})


def refuse(runs: Sequence[Run], lost: Collection[str]) -> None:
    """Diverged, naming the runs whose keys are `lost`, if there are any."""
    if lost:
        names = "; ".join(describe(r) for r in runs if r.key in lost)
        raise Diverged(
            f"{len(lost)} of {len(runs)} runs diverged (a metric is not finite): {names}. "
            "Lower `lr` and ask again; the others are kept."
        )


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
    runs: Run | Iterable[Run],
    executor: str = "local",
    store: Store | None = None,
    published: Published | None = None,
    refresh: bool = False,
    diverged: str = "raise",
    words: str = "",
) -> pd.DataFrame:
    """One row per run: what it is, its metrics, its provenance, and where the answer came from.

        ask([Run(Data("digits"), Recipe((64,), epochs=5), Condition("hard"), seed) for seed in range(3)])

    Runs found in the working store or the published results are read; the rest is trained, many
    side by side, and kept. Column `run` is the `Run` itself, `source` is "store", "published" or "trained". Column
    `stale` marks rows whose code has changed since: they are used with a warning, or trained again with
    `refresh`. With the executor "stored" nothing is trained: Unanswered if something would have to be. A run that
    diverged is kept as such, so that it is not trained twice: `Diverged` names it, or with `diverged` "keep" its row
    has a 1 in the column of that name and lacks what was not finite. `words` say in the progress what is asked. Raises
    ValueError for an unknown executor, or for what is no run.
    """
    require(diverged in ("raise", "keep"), "diverged", diverged, "'raise', 'keep'")
    where = chosen(executor)
    runs = list(dict.fromkeys(_runs(runs)))
    _check_sources(runs)
    with progress() as bar:
        asker = Asker(Results(store, published), where, bar, refresh, words)
        if lacking := asker.lacking(runs):
            if where.train is None:
                raise Unanswered(_unanswered(lacking, runs))
            with turn(asker.store):
                asker.complete(runs)  # looks again: another process may have been faster
    table = _table(asker, runs)
    if diverged == "raise" and "diverged" in table:
        refuse(runs, set(table.loc[table["diverged"] == 1, "key"]))
    return table


def _unanswered(lacking: Sequence[Run], runs: Sequence[Run]) -> str:
    return (
        f"{len(lacking)} of {len(runs)} runs are neither stored nor published (first: {describe(lacking[0])}); "
        "`kdstudy run` trains those of a chapter, `kdstudy full` those of all"
    )


def _runs(asked: object) -> list[Run]:
    """The runs asked for, one or several; ValueError for anything else."""
    several = isinstance(asked, Iterable) and not isinstance(asked, str)
    for run in (runs := list(asked) if several else [asked]):
        told = "Run(data, recipe, condition, seed); kdstudy.study.plans.study asks for all runs of a chapter"
        require(isinstance(run, Run), "runs", run, told)
    return runs


def _check_sources(runs: Sequence[Run]) -> None:
    """ValueError for code from outside whose source cannot be read, before anything is trained."""
    if not provenance.from_outside():
        return
    for root in {root for r in chain(runs, before(runs)) for root in provenance.roots(r.columns)}:
        try:
            provenance.root_digest(root)
        except OSError as error:
            kind, _, name = root.partition(":")
            raise ValueError(
                f"{kind} {name!r}: found no source, by which its results are known again; allowed: what is "
                "defined in a file or in a notebook's cell"
            ) from error


def _table(asker: Asker, runs: Sequence[Run]) -> pd.DataFrame:
    """The answered runs, in the order asked."""
    keys = [r.key for r in runs]
    rows, where = asker.results.rows(keys), asker.results.sources(keys) | dict.fromkeys(asker.trained, "trained")
    frame = pd.DataFrame([_shown(rows[k]) for k in keys], columns=None if runs else FIELDS)
    old = [stale(rows[k]) for k in keys]
    frame = frame.assign(run=runs, source=[where[k] for k in keys], stale=old, **_teachers(runs, frame))
    if any(old):
        warnings.warn(
            f"{sum(old)} of {len(frame)} runs are stale: the code that computed them has changed "
            "since. `kdstudy runs --stale` lists them; ask(..., refresh=True) trains them again.",
            stacklevel=3,
        )
    return frame


def _shown(row: Mapping[str, object]) -> dict[str, object]:
    """A stored row as tables show it: under "hidden" a network that is no perceptron stands by its name."""
    return {**row, "hidden": row.get("net") or row["hidden"]}


def _teachers(runs: Sequence[Run], frame: pd.DataFrame) -> dict[str, list[float]]:
    """What the teachers of equal conditions differ in, as columns: label smoothing, hidden units, epochs."""
    read = {
        "teacher_epsilon": lambda t: float(dict(t.condition.params).get("epsilon", 0)),
        "teacher_hidden": lambda t: float(sum(t.recipe.hidden)),
        "teacher_epochs": lambda t: float(t.recipe.epochs),
    }
    found = {name: [of(r.teacher) if r.teacher else NAN for r in runs] for name, of in read.items() if runs}
    alike = [frame["dataset"], frame["options"], frame["condition"]]
    return {name: values for name, values in found.items() if pd.Series(values).groupby(alike).nunique().max() > 1}


def arrays(frame: pd.DataFrame, name: str, published: Published | None = None) -> dict[str, np.ndarray]:
    """An array of every run of an answered table, by key.

    Published results hold arrays of the runs that chapters show; what others lack is trained again, if the table still
    has its column `run`, or computed from their logits (`teacher_statistics`). ValueError if a run has
    no such array.
    """
    results, keys = Results(published=published), list(frame["key"])
    held = results.arrays(keys, [name])
    known = frame["run"] if "run" in frame and not name.startswith("logits") else ()
    if lacking := [r for r in known if r.key not in held]:
        with progress() as bar:
            asker = Asker(results, chosen("local"), bar)
            untrained = asker.lacking(lacking, LAST) if name in COMPUTED else lacking
            with turn(results.store) if untrained else nullcontext():
                asker.compute(lacking, name) if name in COMPUTED else asker.complete(lacking, name)
        held |= results.store.arrays(keys, [name])
    absent = [k for k in keys if k not in held]
    if absent:
        raise ValueError(f"array {name!r}: {len(absent)} of {len(frame)} runs have none, first: {absent[0]}")
    return {key: held[key][name] for key in keys}


def logits(runs: Sequence[Run], store: Store | None = None) -> dict[str, dict[str, np.ndarray]]:
    """What runs leave to their students, by key and name ("logits_train", ..., "rows"); what is lacking is trained."""
    results = Results(store)
    with progress() as bar, turn(results.store):
        Asker(results, chosen("local"), bar).complete(runs, LAST)
    return results.store.arrays([r.key for r in runs], stacks.LEFT)


def classes(dataset: str, frame: pd.DataFrame | None = None) -> Classes:
    """Names and super-classes of a data set's classes: published, else of the data of a run in the answered table.

    ValueError if it is neither.
    """
    runs = () if frame is None or "run" not in frame else frame["run"]
    data = next((r.data for r in runs if r.data.label == dataset), None)
    known = Published().classes().get(dataset)
    if known is not None and (data is None or data.name == dataset):
        return known
    if data is not None:
        return Classes.of(load(data))
    raise ValueError(f"classes of data set {dataset!r}: found none published, and no run of it in the table")
