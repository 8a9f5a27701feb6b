"""Measures computed from what runs left: how a student sees classes, and which examples it was told to weigh.

A derived measure is a function (a table of a `Study`, all its tables by part) -> one value for each run of the table.
Claims and chapters name it like any other measure.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import spearmanr

from kdstudy.core.registry import Registry, unknown
from kdstudy.core.spec import Data
from kdstudy.engine import ask, teacher_statistics
from kdstudy.engine.outline import outline
from kdstudy.stats import mantel
from kdstudy.store.published import Classes
from kdstudy.study import difficulty
from kdstudy.study.beds import TEACHER_SEED

Tables = Mapping[str, pd.DataFrame]
Derive = Callable[[pd.DataFrame, Tables], pd.Series]
DERIVED: Registry[Derive] = Registry("derived measure", in_workers=False)
derive = DERIVED.register


def measured(frame: pd.DataFrame, measure: str, tables: Tables) -> pd.DataFrame:
    """The table with the column `measure`: its own, or a derived one, without the runs that have no such value.

    ValueError with the derived measures there are if it is neither.
    """
    if measure in frame or frame.empty:
        return frame
    if measure in teacher_statistics.NAMES:
        return frame.join(anatomies(frame)[[measure]]).dropna(subset=[measure])
    if measure not in DERIVED:
        raise unknown(f"measure {measure!r} is no column of the table; derived are", measure, DERIVED)
    return frame.assign(**{measure: DERIVED[measure](frame, tables)}).dropna(subset=[measure])


def anatomies(frame: pd.DataFrame) -> pd.DataFrame:
    """The anatomy of every run of a table of teachers, by name (`kdstudy.engine.teacher_statistics`)."""
    held = ask.arrays(frame, "anatomy")
    return pd.DataFrame([held[k] for k in frame["key"]], frame.index, list(teacher_statistics.NAMES))


def geometry(frame: pd.DataFrame, which: int = 0) -> dict[str, Float[np.ndarray, " pairs"]]:
    """Class similarities of each run by key: of its logit layer's rows (0), of the class means of its logits (1)."""
    return {key: both[which].astype(float) for key, both in ask.arrays(frame, "similarity").items()}


def teacher_keys(frame: pd.DataFrame, tables: Tables) -> pd.Series:
    """The key of the teacher that each run hears; of those that hear none, of the one that `kd` of its seed hears.

    None where the part "teachers" does not have it.
    """
    every = tables["teachers"]
    kd = every[every["condition"] == "kd"]
    of_kd = dict(zip(zip(kd["dataset"], kd["seed"] % TEACHER_SEED), kd["key"]))
    known, own = {*every["key"]}, zip(frame["teacher"], frame["dataset"], frame["seed"])
    return pd.Series([t if t in known else of_kd.get((d, s)) for t, d, s in own], frame.index, dtype=object)


def _alike(frame: pd.DataFrame, tables: Tables, which: int) -> pd.Series:
    """Rank correlation of each run's class similarities with its teacher's; NaN where it is not defined."""
    named, teachers = teacher_keys(frame, tables), tables["teachers"].drop_duplicates("key")
    own = geometry(frame, which) | geometry(teachers[teachers["key"].isin(named)], which)
    pairs = zip(frame["key"], named)
    return pd.Series([_rank(own[k], own[t]) if t in own else np.nan for k, t in pairs], frame.index)


@derive
def geometry_teacher(frame: pd.DataFrame, tables: Tables) -> pd.Series:
    """Spearman correlation, over pairs of classes, of the logit layer's cosine similarities in student and teacher."""
    return _alike(frame, tables, 0)


@derive
def means_teacher(frame: pd.DataFrame, tables: Tables) -> pd.Series:
    """The same of the class means of the logits."""
    return _alike(frame, tables, 1)


@derive
def geometry_superclass(frame: pd.DataFrame, tables: Tables) -> pd.Series:
    """Spearman correlation of the logit layer's class similarities with the super-class blocks (1 within, 0 across)."""
    own, blocks = geometry(frame), {}
    for bed, group in frame.groupby("dataset"):
        groups = classes(group).superclass
        blocks[bed] = np.zeros(0) if groups is None else mantel.upper(mantel.blocks(np.array(groups)))
    pairs = zip(frame["key"], frame["dataset"])
    return pd.Series([_rank(own[k], blocks[d]) if blocks[d].size else np.nan for k, d in pairs], frame.index)


def classes(frame: pd.DataFrame) -> Classes:
    """Names and super-classes of the classes of one bed's runs."""
    return ask.classes(frame["run"].iloc[0].data.label, frame)


def _rank(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman correlation; NaN where either side is constant."""
    return float(spearmanr(a, b).statistic) if np.ptp(a) and np.ptp(b) else np.nan


@derive
def weight_difficulty(frame: pd.DataFrame, tables: Tables) -> pd.Series:
    """Spearman correlation of w with difficulty over the watched examples, averaged over the epochs looked at."""
    weights = ask.arrays(frame, "w")
    found = [[_rank(w, difficulty.watched(r.data)) for w in weights[r.key].astype(float)] for r in frame["run"]]
    return pd.Series([np.mean(each) for each in found], frame.index)


@derive
def mass_learnt(frame: pd.DataFrame, tables: Tables) -> pd.Series:
    """Spearman correlation, over the watched examples, of the mass taught and the mass the student gives."""
    held = ask.arrays(frame, "mass")
    return pd.Series([_rank(*held[k].astype(float)) for k in frame["key"]], frame.index)


def _share(frame: pd.DataFrame, level: str) -> pd.Series:
    return frame[f"target_{level}"] / frame[["target_universe", "target_domain", "target_instance"]].sum(axis=1)


@derive
def domain_share(frame: pd.DataFrame, tables: Tables) -> pd.Series:
    """The part of what a run is taught that depends on the class alone (`levels.level_split`)."""
    return _share(frame, "domain")


@derive
def instance_share(frame: pd.DataFrame, tables: Tables) -> pd.Series:
    """The part of what a run is taught that differs between examples of a class (`levels.level_split`)."""
    return _share(frame, "instance")


@derive
def tail_accuracy(frame: pd.DataFrame, tables: Tables) -> pd.Series:
    """Mean test accuracy over the third of the classes with the fewest examples in the run's own training set."""
    held, counts = ask.arrays(frame, "per_class"), {d: _counts(d) for d in dict.fromkeys(r.data for r in frame["run"])}
    found = []
    for key, run in zip(frame["key"], frame["run"]):
        count, (right, examples) = counts[run.data], held[key]
        rare = np.argsort(count, kind="stable")[: max(1, len(count) // 3)]
        found.append(float(np.mean(right[rare] / examples[rare])))
    return pd.Series(found, frame.index)


def _counts(data: Data) -> np.ndarray:
    """How many training examples each class has."""
    known = outline(data)
    return known.train.y.bincount(minlength=len(known.classes)).numpy()
