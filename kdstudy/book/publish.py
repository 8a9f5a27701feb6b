"""From the working store to the published results: every chapter's runs, and the arrays that chapters show."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from kdstudy.core import paths
from kdstudy.core.spec import Data, Run
from kdstudy.data.registry import load
from kdstudy.engine import ask
from kdstudy.figures import use_style
from kdstudy.figures.chapters import decomposition
from kdstudy.stats import factorial, paired
from kdstudy.store.published import Classes, Published
from kdstudy.store.results import Results
from kdstudy.store.working import Record
from kdstudy.study import plans

FIGURE = paths.ROOT / "book/_static/ladder.png"  # the README's


def best(frame: pd.DataFrame) -> pd.Series:
    """Whether a run is at its condition's setting best on validation."""
    return frame["key"].isin(paired.tuned(frame)["key"])


def followed(frame: pd.DataFrame, *conditions: str) -> pd.Series:
    """Those conditions at the largest weight, over all temperatures."""
    heaviest = frame["alpha"] == frame["alpha"].max() if "alpha" in frame else False
    return frame["condition"].isin(conditions) & heaviest


def watched(frame: pd.DataFrame) -> pd.Series:
    """Runs whose watched examples the instance chapter shows."""
    return best(frame) | followed(frame, "label_smoothing_matched", "kd_pt", "kd")


def seen(frame: pd.DataFrame) -> pd.Series:
    """Runs whose class geometry the domain chapter shows."""
    return plain(frame) | followed(frame, "label_smoothing_matched", "class_matched", "kd")


def plain(frame: pd.DataFrame) -> pd.Series:
    """The best runs, and hard labels that were not tuned."""
    untuned = (frame["condition"] == "hard") & (frame["weight_decay"] == frame["weight_decay"].min())
    return best(frame) | untuned


def planted(frame: pd.DataFrame) -> pd.Series:
    """Runs at the one setting at which the chapter of silent bugs looks at their geometry."""
    return (frame["tau"] == 4) & (frame["alpha"] == 0.9)


def unequal(frame: pd.DataFrame) -> pd.Series:
    """Runs of data whose classes are of unequal size."""
    return frame["options"].str.contains("imbalance")


def every(frame: pd.DataFrame) -> pd.Series:
    """All runs."""
    return pd.Series(True, frame.index)


KEPT: dict[str, dict[str, dict[str, Callable[[pd.DataFrame], pd.Series]]]] = {  # chapter, part, array, of which runs
    "universe": {"study": {"reliability": best}, "images": {"reliability": best}},
    "domain": {
        "study": {"similarity": seen},
        "teachers": {"similarity": every},
        "images": {"similarity": seen},
        "image_teachers": {"similarity": every},
    },
    "instance": {"study": {"w": watched, "mass": watched}, "folds": {"miss": every}, "images": {"mass": watched}},
    "decomposition": {"study": {"per_class": best}, "images": {"per_class": best}},
    "smoothed_teacher": {"pair": {"anatomy": every}, "teachers": {"anatomy": every}},
    "too_good_teacher": {"teachers": {"anatomy": every}},
    "temperature": {"teachers": {"anatomy": every}},
    "few_classes": {"teachers": {"anatomy": every}},
    "noise": {
        "imbalanced": {"per_class": plain},
        "teachers": {"anatomy": every, "counts": every, "per_class": unequal},
    },
    "silent_bugs": {"study": {"similarity": planted}, "teachers": {"similarity": every}},
}


def everything(executor: str = "local", published: Published | None = None) -> Iterator[Path]:
    """Publish every chapter at its default parameters, each run of the working store, else of the results `published`
    before; what neither has is trained first. Without `published` all that the store lacks is trained.
    """
    published = published or Published(paths.store_file().with_name("none"))
    done: set[str] = set()
    data: dict[str, Data] = {}
    for chapter, plan in plans.PLANS.items():
        parts = {"teachers": plans.teachers(plan()["study"])} | plan()
        data |= {r.data.name: r.data for part in parts.values() for r in part if not r.data.options}
        yield one(chapter, parts, done, executor, published)
    Published().publish_classes({name: Classes.of(load(d)) for name, d in data.items()})


def one(chapter: str, parts: dict[str, list[Run]], done: set[str], executor: str, published: Published) -> Path:
    """Publish a chapter: rows of runs that no chapter before it has, arrays of those it shows."""
    results, rows, arrays = Results(published=published), {}, {}
    for part, asked in parts.items():
        frame = ask.ask(asked, executor, results.store, published)
        rows |= results.rows(frame["key"])
        for name, chosen in KEPT.get(chapter, {}).get(part, {}).items():
            for key, array in ask.arrays(frame[chosen(frame)], name, published).items():
                arrays.setdefault(key, {})[name] = array
    new = [Record(row, arrays.pop(key, {})) for key, row in rows.items() if key not in done]
    done.update(rows)
    return Published().publish(chapter, new, arrays)


def picture() -> Path:
    """The README's figure, from the published results."""
    best = paired.tuned(ask.ask(plans.PLANS["decomposition"]()["study"]))
    use_style()
    rungs = decomposition.of_grid(factorial.ladder, best)
    shown = best[best["condition"].isin(factorial.CONDITIONS)]
    decomposition.effect_dots(rungs, shown).savefig(FIGURE, dpi=150, facecolor="white")
    return FIGURE
