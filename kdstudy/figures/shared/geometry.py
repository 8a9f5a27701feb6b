"""How classes look to teachers and students: class similarities as heat maps, tested, and within super-classes."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Integer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from kdstudy.engine import ask
from kdstudy.figures.primitives import LIKENESS, colour_bar, heat, strongest
from kdstudy.figures.style import condition_name, finish, nothing, panels
from kdstudy.figures.tables import in_order
from kdstudy.stats import mantel
from kdstudy.study import array_metrics

Tables = Mapping[str, pd.DataFrame]

TEACHER = "teacher"
SHOWN = ("hard", "label_smoothing_matched", "kd_sim", "class_matched", "kd")
ROOM = 16  # labels beside one heat map
WORK = 20_000_000  # pairs of classes permuted in one Mantel test, at most


def with_teachers(best: pd.DataFrame, tables: Tables, name: str) -> pd.DataFrame:
    """The students of one data set and their teachers, those as condition "teacher"."""
    students, teachers = best[best["dataset"] == name], tables["teachers"]
    if not len(teachers):
        return students
    own = teachers[teachers["key"].isin(array_metrics.teacher_keys(students).dropna())]
    return pd.concat([own.assign(condition=TEACHER), students])


def similarities(frame: pd.DataFrame, which: int = 0) -> dict[str, Float[np.ndarray, "C C"]]:
    """Class similarities of each condition of one data set, averaged over seeds: of rows (0), of class means (1)."""
    each = array_metrics.geometry(frame, which)
    groups = frame.groupby("condition", sort=False)["key"]
    return {c: mantel.square(np.mean([each[k] for k in keys], axis=0)) for c, keys in groups}


def class_order(similarity: Float[np.ndarray, "C C"], superclass: Sequence[int] | None) -> Integer[np.ndarray, " C"]:
    """Classes by super-class; without any, as average-linkage clustering of 1 - similarity puts them."""
    if superclass is not None:
        return np.argsort(np.asarray(superclass), kind="stable")
    distance = np.clip(1 - similarity, 0, 2)
    return leaves_list(linkage(squareform(distance, checks=False), "average", optimal_ordering=len(distance) <= 300))


def heatmaps(best: pd.DataFrame, tables: Tables, name: str, which: int = 0) -> Figure:
    """Class similarities of one data set: its teachers and the students of `SHOWN`, averaged over seeds."""
    frame = with_teachers(best, tables, name)
    frame = frame[frame["condition"].isin([TEACHER, *SHOWN])]
    if frame.empty:
        return nothing(f"none of the conditions shown is among the runs of {name}")
    every, known = similarities(frame, which), ask.classes(name, frame)
    if len(known.names) < 3:
        return nothing(f"{name} has {len(known.names)} classes, hence one pair: there is no structure to see")
    kinds = [c for c in (TEACHER, *SHOWN) if c in every]
    at = class_order(every[kinds[0]], known.superclass)
    top = strongest(np.concatenate([mantel.upper(every[c]) for c in kinds]), 0.99, least=0.05)
    figure, axes = panels([condition_name(c) for c in kinds], height=2.35, wide=3)
    for i, (c, ax) in enumerate(zip(kinds, axes.values())):
        image = heat(ax, pd.DataFrame(every[c][np.ix_(at, at)]), top, colours=LIKENESS, ticks=False)
        ax.set_aspect("equal")
        name_classes(ax, known, at, named=i % 3 == 0)
    kept = frame[frame["condition"] != TEACHER]
    sorted_by = "super-class" if known.superclass is not None else f"clustering of the {kinds[0]}'s"
    note = f"means over seeds · classes by {sorted_by} · each student at its setting best on validation"
    return colour_bar(finish(figure, kept if len(kept) else frame, note), image, "cosine similarity of two classes")


def superclass_edges(ax: Axes, groups: Integer[np.ndarray, " C"]) -> Float[np.ndarray, " E"]:
    """Lines where one super-class of classes in order ends and the next begins, and where they are."""
    edges = np.flatnonzero(np.diff(groups)) + 0.5
    for edge in edges:
        ax.axhline(edge, color="0.2", lw=0.5)
        ax.axvline(edge, color="0.2", lw=0.5)
    return edges


def name_classes(ax: Axes, known: ask.Classes, at: Integer[np.ndarray, " C"], named: bool) -> None:
    """Boundaries of the super-classes; names of classes, or else of super-classes, where there is room for them."""
    places, names = np.arange(len(at)), [known.names[k] for k in at]
    if known.superclass is not None:
        groups = np.asarray(known.superclass)[at]
        edges = superclass_edges(ax, groups)
        if len(names) > ROOM:
            starts = np.array([-0.5, *edges, len(at) - 0.5])
            places, names = (starts[1:] + starts[:-1]) / 2, [known.superclasses[g] for g in in_order(groups)]
    shown = named and len(names) <= ROOM
    short = [n.replace("_", " ") if len(n) <= 20 else n[:19].replace("_", " ") + "…" for n in names]
    ax.set_yticks(places if shown else [], short if shown else [], fontsize=7)


def mantel_table(best: pd.DataFrame, tables: Tables, permutations: int = 999) -> pd.DataFrame:
    """Mantel tests of every student's logit layer against its teacher's and, teachers too, against the super-classes.

    Medians over seeds of rank correlation and p. With very many classes there are fewer permutations.
    """
    rows = []
    for name in in_order(best["dataset"]):
        frame, groups = with_teachers(best, tables, name), ask.classes(name, best).superclass
        each = {k: mantel.square(v) for k, v in array_metrics.geometry(frame).items()}
        teacher = dict(zip(frame["key"], array_metrics.teacher_keys(frame)))
        blocks = None if groups is None else mantel.blocks(np.array(groups))
        for condition, keys in frame.groupby("condition", sort=False)["key"]:
            other = {"teacher": {k: each.get(teacher[k]) if condition != TEACHER else None for k in keys},
                     "siblings": dict.fromkeys(keys, blocks)}  # fmt: skip
            found = [_medians(what, [(b, each[k]) for k, b in both.items() if b is not None], permutations)
                     for what, both in other.items()]  # fmt: skip
            if any(found):
                rows.append({"dataset": name, "condition": condition} | found[0] | found[1])
    columns = ["dataset", "condition", *(f"{v}, {w}" for w in ("teacher", "siblings") for v in "rp")]
    return pd.DataFrame(rows, columns=[*columns, "n", "permutations"]).dropna(axis=1, how="all")


def _medians(what: str, pairs: Sequence[tuple], permutations: int) -> dict[str, float | int]:
    """Median correlation and p of Mantel tests of pairs of matrices; nothing if none can be compared."""
    able = [(a, b) for a, b in pairs if mantel.comparable(a, b)]
    if not able:
        return {}
    size = mantel.upper(able[0][0]).size
    tests = [mantel.mantel(a, b, max(99, min(permutations, WORK // size))) for a, b in able]
    middle = {f"r, {what}": np.median([t.correlation for t in tests]), f"p, {what}": np.median([t.p for t in tests])}
    return middle | {"n": len(tests), "permutations": tests[0].permutations}


def siblings(best: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """Mean cosine similarity of classes within and across super-classes, of rows and of class means, by condition."""
    rows = []
    for name in in_order(best["dataset"]):
        if (groups := ask.classes(name, best).superclass) is None:
            continue
        same = mantel.upper(mantel.blocks(np.array(groups))) == 1
        frame = with_teachers(best, tables, name)
        seen = {"rows": similarities(frame), "means": similarities(frame, 1)}
        for c in seen["rows"]:
            cells = {f"{what} {side}": float(mantel.upper(m[c])[chosen].mean()) if chosen.any() else np.nan
                     for what, m in seen.items() for side, chosen in (("within", same), ("across", ~same))}  # fmt: skip
            rows.append({"dataset": name, "condition": c} | cells | {"n": int((frame["condition"] == c).sum())})
    return pd.DataFrame(rows)
