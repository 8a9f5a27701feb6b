"""How classes look to teachers and students: class similarities as heat maps, tested, and within super-classes."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Integer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from kdstudy import derived, mantel, runs, style

Tables = Mapping[str, pd.DataFrame]
Classes = Mapping[str, Float[np.ndarray, "C C"]]  # class similarities by condition

TEACHER = "teacher"
SHOWN = ("hard", "label_smoothing_matched", "kd_sim", "class_matched", "kd")
ROOM = 16  # labels beside one heat map
WORK = 20_000_000  # pairs of classes permuted in one Mantel test, at most


def beside(best: pd.DataFrame, tables: Tables, name: str) -> pd.DataFrame:
    """The students of one data set and their teachers, those as condition "teacher"."""
    mine, theirs = best[best["dataset"] == name], tables["teachers"]
    if not len(theirs):
        return mine
    heard = theirs[theirs["key"].isin(derived.teacher_keys(mine).dropna())]
    return pd.concat([heard.assign(condition=TEACHER), mine])


def similarities(frame: pd.DataFrame, which: int = 0) -> Classes:
    """Class similarities of each condition of one data set, averaged over seeds: of rows (0), of class means (1)."""
    each = derived.geometry(frame, which)
    groups = frame.groupby("condition", sort=False)["key"]
    return {c: mantel.square(np.mean([each[k] for k in keys], axis=0)) for c, keys in groups}


def order(similarity: Float[np.ndarray, "C C"], superclass: Sequence[int] | None) -> Integer[np.ndarray, " C"]:
    """Classes by super-class; without any, as average-linkage clustering of 1 - similarity puts them."""
    if superclass is not None:
        return np.argsort(np.asarray(superclass), kind="stable")
    distance = np.clip(1 - similarity, 0, 2)
    return leaves_list(linkage(squareform(distance, checks=False), "average", optimal_ordering=len(distance) <= 300))


def heatmaps(best: pd.DataFrame, tables: Tables, name: str, which: int = 0) -> Figure:
    """Class similarities of one data set: its teachers and the students of `SHOWN`, averaged over seeds."""
    frame = beside(best, tables, name)
    frame = frame[frame["condition"].isin([TEACHER, *SHOWN])]
    if frame.empty:
        return style.nothing(f"none of the conditions shown is among the runs of {name}")
    found, known = similarities(frame, which), runs.classes(name)
    if len(known.names) < 3:
        return style.nothing(f"{name} has {len(known.names)} classes, hence one pair: there is no structure to see")
    kinds = [c for c in (TEACHER, *SHOWN) if c in found]
    at = order(found[kinds[0]], known.superclass)
    off = np.concatenate([np.abs(mantel.upper(found[c])) for c in kinds])
    limit = max(0.05, float(np.quantile(off, 0.99)))
    figure, axes = style.panels([style.NAMES.get(c, c) for c in kinds], height=2.35, wide=3)
    for i, (c, ax) in enumerate(zip(kinds, axes.values())):
        image = ax.imshow(found[c][np.ix_(at, at)], cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        ticks(ax, known, at, named=i % 3 == 0)
    kept = frame[frame["condition"] != TEACHER]
    sorted_by = "super-class" if known.superclass is not None else f"clustering of the {kinds[0]}'s"
    note = f"means over seeds · classes by {sorted_by} · each student at its setting best on validation"
    return bar(style.finish(figure, kept if len(kept) else frame, note), image)


def bar(figure: Figure, image: AxesImage) -> Figure:
    """One colour bar to the right of all panels of a finished figure."""
    low, high = (f(a.get_position().y0 + a.get_position().height * h for a in figure.axes if a.get_visible())
                 for f, h in ((min, 0), (max, 1)))  # fmt: skip
    scale = figure.colorbar(image, cax=figure.add_axes((1.005, low + 0.1, 0.014, high - low - 0.2)), extend="both")
    scale.set_label("cosine similarity of two classes", fontsize=8)
    scale.ax.tick_params(labelsize=7)
    return figure


def ticks(ax: Axes, known: runs.Classes, at: Integer[np.ndarray, " C"], named: bool) -> None:
    """Boundaries of the super-classes; names of classes, or else of super-classes, where there is room for them."""
    ax.grid(False)
    ax.set_xticks([])
    places, names = np.arange(len(at)), [known.names[k] for k in at]
    if known.superclass is not None:
        group = np.asarray(known.superclass)[at]
        edges = np.flatnonzero(np.diff(group)) + 0.5
        for edge in edges:
            ax.axhline(edge, color="0.2", lw=0.5)
            ax.axvline(edge, color="0.2", lw=0.5)
        if len(names) > ROOM:
            starts = np.array([-0.5, *edges, len(at) - 0.5])
            places, names = (starts[1:] + starts[:-1]) / 2, [known.superclasses[g] for g in dict.fromkeys(group)]
    shown = named and len(names) <= ROOM
    short = [n.replace("_", " ") if len(n) <= 20 else n[:19].replace("_", " ") + "…" for n in names]
    ax.set_yticks(places if shown else [], short if shown else [], fontsize=7)


def mantel_table(best: pd.DataFrame, tables: Tables, permutations: int = 999) -> pd.DataFrame:
    """Mantel tests of every student's logit layer against its teacher's and, teachers too, against the super-classes.

    Medians over seeds of rank correlation and p. With very many classes there are fewer permutations.
    """
    rows = []
    for name in dict.fromkeys(best["dataset"]):
        frame, groups = beside(best, tables, name), runs.classes(name).superclass
        each = {k: mantel.square(v) for k, v in derived.geometry(frame).items()}
        heard = dict(zip(frame["key"], derived.teacher_keys(frame)))
        blocks = None if groups is None else mantel.blocks(np.array(groups))
        for condition, keys in frame.groupby("condition", sort=False)["key"]:
            other = {"teacher": {k: each.get(heard[k]) if condition != TEACHER else None for k in keys},
                     "siblings": dict.fromkeys(keys, blocks)}  # fmt: skip
            found = [medians(what, [(b, each[k]) for k, b in both.items() if b is not None], permutations)
                     for what, both in other.items()]  # fmt: skip
            if any(found):
                rows.append({"dataset": name, "condition": condition} | found[0] | found[1])
    columns = ["dataset", "condition", *(f"{v}, {w}" for w in ("teacher", "siblings") for v in "rp")]
    return pd.DataFrame(rows, columns=[*columns, "n", "permutations"]).dropna(axis=1, how="all")


def medians(what: str, pairs: Sequence[tuple], permutations: int) -> dict[str, float | int]:
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
    for name in dict.fromkeys(best["dataset"]):
        if (groups := runs.classes(name).superclass) is None:
            continue
        same = mantel.upper(mantel.blocks(np.array(groups))) == 1
        frame = beside(best, tables, name)
        seen = {"rows": similarities(frame), "means": similarities(frame, 1)}
        for c in seen["rows"]:
            cells = {f"{what} {side}": float(mantel.upper(m[c])[chosen].mean()) if chosen.any() else np.nan
                     for what, m in seen.items() for side, chosen in (("within", same), ("across", ~same))}  # fmt: skip
            rows.append({"dataset": name, "condition": c} | cells | {"n": int((frame["condition"] == c).sum())})
    return pd.DataFrame(rows)
