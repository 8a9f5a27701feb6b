"""Teachers of known kind, trained and measured: the table that the limits of a diagnosis are fitted on."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from kdstudy.core.spec import Run
from kdstudy.data.registry import load
from kdstudy.diagnosis.inputs import read_inputs
from kdstudy.diagnosis.statistics.all import compute_statistics
from kdstudy.engine import ask
from kdstudy.store.working import Store
from kdstudy.study.calibration import tokens
from kdstudy.study.calibration.teachers import CORRUPTIONS, NOISE, Case, cases, spoilt
from kdstudy.study.experiment import Study

TEXT = ("noisy_labels",)  # corruptions that text does not have
DIGITS = 6  # of statistics in the table


def collect(store: Store | None = None) -> pd.DataFrame:
    """One row for each teacher and each spoilt one: what it is, its statistics, its codes without a fitted limit.

    Runs that the store lacks are trained, a data set at a time.
    """
    store, rows = store or Store(), []
    groups: dict[str, list[Case]] = {}
    for case in cases():
        groups.setdefault(described(case.run), []).append(case)
    for dataset, group in groups.items():
        rows += [{"dataset": dataset} | row for row in _measured(group, logits([c.run for c in group], store))]
    for seed, (name, v, y) in enumerate(tokens.teachers()):
        what = {"dataset": name, "key": name.replace(" ", "-"), "seed": seed}
        rows += [
            what | {"kind": "tokens"} | _statistics(v, y),
            *(what | row for row in _spoilt(v[0], y[0], seed, True)),
        ]
    return pd.DataFrame(rows)


def temperatures(study: Study) -> pd.DataFrame:
    """Of KD students of the chapter `temperature`, whose tau alone was fixed: seeds, mean mass, validation accuracy.

    The mass is 1 - p^tau_t over its limit for tau -> infinity, 1 - 1 / C. Table `temperatures.csv`.
    """
    frame = study.tables["practical"]
    frame = frame[frame["condition"].str.startswith("τ ")]
    most = pd.Series([1 - 1 / len(load(run.data).classes) for run in frame["run"]], frame.index)
    groups = frame.assign(share=frame["target_mass"] / most).groupby(["dataset", "tau"])
    found = groups.agg(n=("seed", "nunique"), mass=("share", "mean"), accuracy=("validation_accuracy", "mean"))
    return found.round(DIGITS).reset_index()


def logits(asked: list[Run], store: Store) -> dict[str, dict[str, np.ndarray]]:
    """Logits of the runs on their training and validation splits, by key; what is missing is trained."""
    return ask.logits(asked, store)


def described(run: Run) -> str:
    """A run's data set with its options, but for the noise that a memorising teacher is given."""
    options = {k: v for k, v in run.data.options if (k, v) != ("noise", NOISE)}
    return " ".join([run.data.label, *(f"{k}={v}" for k, v in options.items())])


def _measured(group: list[Case], held: Mapping[str, Mapping[str, np.ndarray]]) -> Iterable[dict[str, object]]:
    """Rows of the cases of one data set, and of what is made of its first healthy teacher."""
    for case in group:
        data, left = load(case.run.data), held[case.run.key]
        heldout = left["logits_validation"], data.validation.y
        yield _what(case) | _statistics(left["logits_train"], data.train.y.numpy(), *heldout)
    first, weak = (next(c for c in group if c.kind == kind) for kind in ("healthy", "weak"))
    data, left, poor = load(first.run.data), held[first.run.key], held[weak.run.key]
    y, heldout = data.train.y.numpy(), (poor["logits_validation"], data.validation.y)
    yield from (_what(first) | row for row in _spoilt(left["logits_train"], y, int(first.run.key[:8], 16)))
    found = _statistics(poor["logits_train"], y, *heldout, student=left["logits_validation"])
    yield _what(replace(weak, kind="outdone")) | found


def _what(case: Case) -> dict[str, object]:
    return {"key": case.run.key, "kind": case.kind, "seed": case.run.seed, "detail": case.detail}


def _spoilt(v: np.ndarray, y: np.ndarray, seed: int, given: bool = False) -> Iterator[dict[str, object]]:
    """The kind and the statistics of logits (N, C) after every corruption that they have enough classes for.

    `given`: labels are the text itself, in which no annotator errs.
    """
    for i, (kind, corrupt) in enumerate(CORRUPTIONS.items()):
        if v.shape[1] >= corrupt.classes and not (given and kind in TEXT):
            rng = np.random.default_rng([i, seed])
            yield {"kind": kind} | _statistics(*spoilt(kind, v, y, rng))


def _statistics(
    v: object, y: np.ndarray, heldout: object = None, labels: object = None, student: object = None
) -> dict[str, object]:
    """A teacher's statistics, rounded, and what its `values` are.

    `heldout`: its logits of examples with `labels`; `student`: a student's of the same.
    """
    given = {"heldout_teacher_logits": heldout, "heldout_labels": labels, "student_val_logits": student}
    s = compute_statistics(read_inputs(v, y, **given))
    return {"values": s.places["kind"]} | {k: _rounded(x) for k, x in s.value.items()}


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{DIGITS}g}")
