"""Difficulty that no network says: leave-one-out against refitting, true margins, and which examples are watched."""

import numpy as np
import pytest
import torch
from conftest import SMALL, TINY

from kdstudy.core.spec import Data, pairs
from kdstudy.data import registry
from kdstudy.study import difficulty
from kdstudy.study.difficulty import left_out, margin
from kdstudy.train import probe


def refitted(x: np.ndarray, y: np.ndarray, ridge: float) -> np.ndarray:
    """Each example predicted by ridge regression on all others, at centres that it is part of."""
    out = np.empty_like(y)
    for i in range(len(x)):
        rest = np.arange(len(x)) != i
        a, b = x[rest], y[rest]
        out[i] = x[i] @ np.linalg.solve(a.T @ a + ridge * np.eye(x.shape[1]), a.T @ b)
    return out


def test_leaving_out_is_refitting_at_the_ridge_of_least_error():
    rng = np.random.default_rng(0)
    label = rng.integers(3, size=40)
    x = rng.normal(size=(40, 5)) + np.eye(5)[label]
    found = left_out(x, label, 3)
    x, y = x - x.mean(0), np.eye(3)[label]
    y = y - y.mean(0)
    scale = np.linalg.eigvalsh(x.T @ x).mean()
    every = [refitted(x, y, r * scale) for r in difficulty.RIDGES]
    best = min(every, key=lambda f: ((y - f) ** 2).sum())
    np.testing.assert_allclose(found, best, atol=1e-10)


def test_the_margin_is_the_label_before_the_best_other():
    scores = np.array([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0]])
    assert margin(scores, np.array([0, 1])).tolist() == [1.0, -2.0]
    assert scores.tolist() == [[3.0, 1.0, 2.0]] * 2


def test_where_the_law_is_certain_difficulty_is_the_margin_of_its_scores():
    known = registry.load(TINY).extra["train"]["margin"].numpy()
    np.testing.assert_array_equal(difficulty.of_data(TINY), -known)


def test_where_it_is_not_difficulty_is_that_of_the_label_drawn():
    data = Data("synthetic", pairs(SMALL | {"softness": 1.0}))
    found, held = difficulty.of_data(data), registry.load(data)
    for i in (0, 50):
        p, t = held.extra["train"]["posterior"][i], int(held.train.y[i])
        other = max(float(v) for k, v in enumerate(p) if k != t)
        assert found[i] == pytest.approx(np.log(other) - np.log(float(p[t])))


def test_a_student_of_few_labels_is_watched_on_its_own_examples_by_what_all_data_say():
    few = Data(TINY.name, (*TINY.options, ("labels", (3, 7))))
    found = difficulty.watched(few)
    held, whole = registry.load(few), registry.load(TINY)
    at = probe.probe_examples(len(held.train.y))
    same = [int((whole.train.x == x).all(1).nonzero()) for x in held.train.x[at]]
    np.testing.assert_array_equal(found, difficulty.of_data(TINY)[torch.tensor(same).numpy()])


def test_hidden_columns_change_nothing():
    narrow = Data(TINY.name, (*TINY.options, ("columns", 4)))
    np.testing.assert_array_equal(difficulty.watched(narrow), difficulty.watched(TINY))
