"""Every valid parameter renders: chapters executed on tiny data with conditions alone and in pairs, in every regime,
with one value where several are usual, one seed, the smallest sizes, data without super-classes and of one's own.
"""

from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
import torch
from chapter_cells import execute
from small_study import FEW, WHERE

from kdstudy.data.dataset import DATASETS
from kdstudy.distill import conditions
from kdstudy.study import beds, plans

ONE = {"settings": 1, "tuning": 1, "seeds": 1, "admission": 1}
LEVELS = ("universe", "domain", "instance", "decomposition")
COLD = [name for name in conditions.CONDITIONS if "tau" not in conditions.parameters(name)]
REGIMES = [name for name in plans.PLANS if "regime" in plans.known(name)]
SINGLE = {
    "domain": {"similarity": [0.3, 0]}, "regimes": {"labels": [3, 1]}, "few_classes": {"classes": [2, 3]},
    "noise": {"noise": [0, 1], "others": [0.2, 0], "ratio": [1, 3]},
    "smoothed_teacher": {"epsilon": [0, 1], "doses": [0.05, 1.0], "tau": [1, 3]},
    "too_good_teacher": {"size": [0.25, 0.001], "length": [0.1, 0.001]},
    "temperature": {"tau": [4, 0.25, 1000], "alpha": [0, 1], "width": [1, 8]},
    "silent_bugs": {"tau": [0.5], "alpha": [0.1, 1]},
}  # fmt: skip
CASES = (
    [(c, {"conditions": name}) for c, name in product(LEVELS, conditions.CONDITIONS)]
    + [(c, {"conditions": list(two)}) for c, two in product(LEVELS, combinations(COLD, 2))]
    + [(c, {"regime": r, "conditions": n}) for c, r, n in product(LEVELS, beds.REGIMES, ("hard", "kd_pt"))]
    + [("silent_bugs", {"conditions": name}) for name in ("fault_no_tau2", "kd", "hard")]
    + [(c, {name: v} | ONE) for c, single in SINGLE.items() for name, values in single.items() for v in values]
    + [(c, ONE) for c in plans.PLANS]
    + [(c, ONE | {"hidden": 1, "labels": 1}) for c in plans.PLANS]
    + [(c, ONE | {"seeds": 2, name: 2}) for c, name in product(LEVELS, ("settings", "tuning", "admission"))]
    + [(c, ONE | {"regime": "transfer_set"}) for c in REGIMES]
    + [(c, ONE | {"regime": "same_labels", "labels": None}) for c in REGIMES]
    + [(c, ONE | {"regime": "privileged", "columns": 1}) for c in REGIMES]
    + [(c, ONE | {"dataset": "flat"}) for c in plans.PLANS]
    + [(c, ONE | {"dataset": "mine.csv"}) for c in plans.PLANS]
)


@pytest.fixture
def own(perform, tmp_path_factory, monkeypatch):
    """A user's texts in mine.csv, and a data set without super-classes."""
    place = tmp_path_factory.getbasetemp() / "own"
    if not place.exists():
        place.mkdir()
        rows = (f"{word} {i} {word[::-1]} {i % 7},{word}" for word in ("alpha", "bravo", "delta") for i in range(24))
        (place / "mine.csv").write_text("text,label\n" + "\n".join(rows), "utf-8")
    monkeypatch.chdir(place)
    monkeypatch.setattr(beds, "STEPS", {"teacher": 10, "student": 5})
    monkeypatch.setenv("KDSTUDY_CACHE", str(place / "cache"))

    def flat():
        rng = np.random.default_rng(0)
        x, y = torch.from_numpy(rng.normal(size=(240, 8)).astype("f4")), torch.arange(240) % 4
        x[:, :4] += 2 * torch.nn.functional.one_hot(y, 4)
        parts = zip(("train", "validation", "test"), x.split([120, 40, 80]), y.split([120, 40, 80]))
        return {name: (a, b) for name, a, b in parts} | {"classes": tuple("abcd")}

    monkeypatch.setitem(DATASETS, "flat", flat)
    return Path(place)


def _said(value: object) -> str:
    return f"{value[0]}: " + ", ".join(f"{k} {v}" for k, v in value[1].items()) if isinstance(value, tuple) else ""


def test_there_are_many_cases():
    assert len(CASES) >= 290


@pytest.mark.parametrize("case", CASES, ids=_said)
def test_a_chapter_renders(case, own, monkeypatch):
    chapter, given = case
    known = plans.known(chapter) | dict.fromkeys(("tau", "alpha") if chapter == "silent_bugs" else ())
    given = FEW | WHERE | ({"regime": "soft_truth"} if "similarity" in given else {}) | given
    shown = execute(chapter, monkeypatch, **{name: value for name, value in given.items() if name in known})
    assert len(shown) > 5
