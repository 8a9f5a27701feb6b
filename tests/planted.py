"""An experiment without training: digits with planted answers, for tests of what is made of a study."""

from collections.abc import Mapping
from itertools import product
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest

from kdstudy.distill import conditions
from kdstudy.engine import ask
from kdstudy.study import beds, search
from kdstudy.study.experiment import Design, Experiment, sides
from kdstudy.study.search import Choice, Protocol, Setting

EXAMPLES = 11  # no multiple of 8: bits are padded
GAIN = {"hard": 0.0, "label_smoothing": 0.0, "kd": 0.3}
PARTS = ("practical", "at_kd", "at_hard", "admission", "doubled", "instead")


def chosen(name: str, lr: float = 0.1, edges: tuple = (), other: float = 0.2) -> Choice:
    """A choice of two tuning seeds, of which one alone would have chosen another learning rate."""
    own, instead = (Setting(conditions.make(name), r, 1e-3) for r in (lr, other))
    return Choice(own, edges, {c: instead if c == (0, 2) else own for c in search.resamples(2)})


def experiment(
    monkeypatch: pytest.MonkeyPatch, other: Mapping[str, Choice] = MappingProxyType({}), regime: str = "few_labels"
) -> Experiment:
    """Digits with these `other` choices: KD classifies three examples in ten more rightly than hard labels."""
    random, bed, held = np.random.default_rng(0), beds.bed("digits", regime), {}
    design, choices = Design(bed, sides(bed, GAIN)), {n: chosen(n) for n in GAIN} | dict(other)

    def table(settings: dict[str, list[Setting]], seeds: int) -> pd.DataFrame:
        rows = []
        for (name, some), seed in product(settings.items(), range(seeds)):
            for setting in some:
                run = design.sides[name].run(setting, seed)
                right = random.random(EXAMPLES) < 0.5 + GAIN[name] + (name == "kd" and setting.lr == 0.2)
                right = held.setdefault(run.key, right)  # a run has one answer, whatever table it is in
                rows.append({
                    "key": run.key, "run": run, "seed": seed, "condition": name, "dataset": bed.name, "stale": False,
                    "hidden": "64", "device": "CPU", "test_accuracy": right.mean(), "test_ece": random.random(),
                    "test_confidence": random.random(),
                })  # fmt: skip
        return pd.DataFrame(rows)

    best = {n: [c.setting] for n, c in choices.items()}
    every = {n: list(dict.fromkeys(c.instead.values())) for n, c in choices.items()}
    tables = {p: table(every if p == "instead" else best, 6) for p in PARTS}
    tables["tuning"] = table(every, 2)
    tables["doubled"] = tables["doubled"].query("condition == 'hard'")
    tables["admission"] = pd.concat([tables["admission"], tables["admission"].query("condition == 'kd'").assign(
        condition="teacher", test_accuracy=1.0, seed=lambda t: t["seed"] + beds.TEACHER_SEED)])  # fmt: skip
    counts = np.array([[0], [EXAMPLES]])
    arrays = {"right": lambda k: np.packbits(held[k]), "per_class": lambda k: counts}
    monkeypatch.setattr(ask, "arrays", lambda frame, name: {k: arrays[name](k) for k in frame["key"]})
    return Experiment(design, Protocol(2, 2, 6, 6), choices, tables)
