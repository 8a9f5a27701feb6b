"""Published runs trained again from nothing, and how far the numbers come back."""

import random
import tempfile
from pathlib import Path

import pandas as pd
import torch

from kdstudy.data.download import at_hand
from kdstudy.engine import ask, stacks
from kdstudy.store.provenance import stale_rows
from kdstudy.store.published import Published
from kdstudy.store.working import Store
from kdstudy.study import plans

METRICS = ("train_", "validation_", "test_", "target_", "student_")  # how their names begin


def candidates(chapter: str, published: Published) -> tuple[pd.DataFrame, list[str]]:
    """The chapter's published choices that can be trained here, on evaluation seeds, and the data sets left out.

    Only perceptrons: convolutional networks train for minutes.
    """
    table = plans.study(chapter).tables["practical"].drop_duplicates("key")
    known, names = published.rows(table["key"]), [r.data.name for r in table["run"]]
    here = {name: at_hand(name) for name in names}
    kept = [r.key in known and here[r.data.name] and r.recipe.net == "mlp" for r in table["run"]]
    return table[kept], sorted(name for name, ok in here.items() if not ok)


def sample(chapter: str, size: int, draw: int = 0) -> pd.DataFrame:
    """Train a random sample of a chapter's published choices anew; one row for each run and metric.

    To keep teachers few, one seed is drawn for each bed, then runs of that seed. Stored results are not touched.
    """
    published = Published()
    pool, absent = candidates(chapter, published)
    rng, chosen, beds = random.Random(draw), [], sorted(pool["dataset"].unique())
    for i, name in enumerate(beds):
        of_bed = pool[pool["dataset"] == name]
        of_seed = list(of_bed.loc[of_bed["seed"] == rng.choice(sorted(of_bed["seed"].unique())), "run"])
        share = size // len(beds) + (i < size % len(beds))
        chosen += rng.sample(of_seed, min(share, len(of_seed)))
    with tempfile.TemporaryDirectory() as folder:
        fresh = ask.ask(chosen, store=Store(Path(folder) / "runs.sqlite"), published=Published(Path(folder) / "none"))
    frame = compare(fresh, pool, published)
    frame.attrs["absent"] = absent
    return frame


def compare(fresh: pd.DataFrame, pool: pd.DataFrame, published: Published) -> pd.DataFrame:
    """One row for each run and metric: stored, retrained, difference, and the spread over the seeds of a side."""
    named = pool.set_index("key")[["dataset", "condition"]]
    stored = pd.DataFrame([*published.rows(named.index).values()]).set_index("key")
    metrics = [c for c in stored.select_dtypes("float") if c.startswith(METRICS)]
    spread = stored[metrics].groupby([named.loc[stored.index, c] for c in named]).transform("std")
    again = fresh.set_index("key")
    each = {"stored": stored.loc[again.index], "again": again, "spread": spread.loc[again.index]}
    columns = {name: side[metrics].stack(future_stack=True) for name, side in each.items()}
    frame = pd.DataFrame(columns).dropna(subset="stored").rename_axis(["key", "metric"]).reset_index()
    seeds = again["seed"]
    runs = {
        key: f"{named.loc[key, 'dataset']}, {named.loc[key, 'condition']}, seed {seeds[key]}" for key in again.index
    }
    alike = each["stored"]["digest"] == again["digest"]
    difference = (frame["again"] - frame["stored"]).abs()
    return frame.assign(run=frame["key"].map(runs), difference=difference, **{"same data": frame["key"].map(alike)})


def sentence(frame: pd.DataFrame) -> str:
    """What the comparison showed, in words that follow from it."""
    n, metrics, same = frame["key"].nunique(), len(frame), int((frame["difference"] == 0).sum())
    worst = 100 * frame.loc[frame["metric"] == "test_accuracy", "difference"].max()
    found = f"all {metrics} metrics equal the stored ones, bit for bit"
    if same < metrics:
        found = (f"{same} of {metrics} metrics equal the stored ones bit for bit; test accuracy differs by at most "
                 f"{worst:.2f} points")  # fmt: skip
    text = f"**{n} runs trained again on {stacks.hardware()}, torch {torch.__version__}: {found}.**"
    if not frame["same data"].all():
        text += " **Some data sets are not those the stored results were computed from (their digests differ).**"
    if frame.attrs.get("absent"):
        text += f" Left out, their files are not at hand: {', '.join(frame.attrs['absent'])}."
    return text


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy of each retrained run beside the stored one; the largest difference of any metric."""
    worst = frame.groupby("key", sort=False)["difference"].max().rename("largest difference")
    shown = frame[frame["metric"] == "test_accuracy"].set_index("key").join(worst)
    columns = ["run", "stored", "again", "largest difference", "spread"]
    return shown[columns].rename(columns={"again": "retrained", "spread": "sd over seeds"}).set_index("run")


def provenance(chapter: str) -> pd.DataFrame:
    """How many published runs of a chapter came from which code, data, version and device."""
    rows = Published().frame(chapter)
    by = ["dataset", "digest", "torch", "device", "version"]
    return (
        rows.assign(stale=stale_rows(rows))
        .groupby(by)
        .agg(runs=("key", "size"), stale=("stale", "sum"), code=("code", "nunique"))
        .reset_index()
    )
