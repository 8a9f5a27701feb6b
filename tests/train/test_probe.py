"""What a run leaves besides its scores, by hand on tiny inputs."""

import math

import numpy as np
import pytest
import torch
from conftest import TINY, tiny_run
from hypothesis import given
from hypothesis import strategies as st
from lessons import F64, many
from torch.testing import assert_close

from kdstudy.data import registry
from kdstudy.distill import levels
from kdstudy.stats import mantel
from kdstudy.train import mlp, probe

HALF = 2**-11  # half a step of float16 at 1


# ---------------------------------------------------------------- which examples, and when


@pytest.mark.parametrize("examples", [1, 40, 512, 513, 4000])
def test_the_watched_examples_are_the_same_at_every_call(examples):
    first = probe.probe_examples(examples)
    torch.manual_seed(examples)
    torch.rand(3)
    assert torch.equal(probe.probe_examples(examples), first)
    assert len(first) == min(examples, probe.PROBE) == len(first.unique())
    assert 0 <= first.min() and first.max() < examples


def test_the_watched_examples_come_from_the_whole_training_set():
    assert probe.PROBE == 512
    counts = torch.bincount(probe.probe_examples(4000) // 1000, minlength=4)
    assert ((counts - 128).abs() < 40).all()


@pytest.mark.parametrize(
    ("epochs", "wanted"),
    [(0, []), (1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (5, [1, 2, 3, 4, 5]), (30, [1, 8, 16, 23, 30]),
     (60, [1, 16, 30, 45, 60])],
)  # fmt: skip
def test_checkpoints_by_hand(epochs, wanted):
    assert probe.checkpoints(epochs) == wanted


@given(st.integers(1, 500))
def test_checkpoints_start_with_the_first_epoch_and_end_with_the_last(epochs):
    found = probe.checkpoints(epochs)
    assert found[0] == 1 and found[-1] == epochs
    assert found == sorted(set(found)) and len(found) == min(epochs, probe.TIMES)


# ---------------------------------------------------------------- numbers


def test_small_numbers_are_clipped_to_their_range():
    values = torch.tensor([0.1, -7e4, math.inf, -math.inf, 1e30, 6e4])
    found = probe.as_float16(values)
    assert found.dtype == np.float16
    assert found.tolist() == [np.float16(0.1), -6e4, 6e4, -6e4, 6e4, 6e4]


LOGITS = torch.tensor([[3.0, 0.0, 0.0], [1.0, 2.0, 0.0], [0.0, 4.0, 2.0], [0.0, 0.0, 5.0]], dtype=F64)
LABEL = torch.tensor([0, 0, 1, 1])


def test_class_means_are_of_centred_logits_and_zero_without_examples():
    wanted = [[1.0, 0.0, -1.0], [-11 / 6, 1 / 6, 5 / 3], [0.0, 0.0, 0.0]]  # (2 -1 -1), (0 1 -1); (-2 2 0), ...
    assert_close(probe.mean_logits(LOGITS, LABEL), torch.tensor(wanted, dtype=F64))
    shifted = LOGITS + torch.tensor([[5.0], [-1.0], [0.0], [2.0]])
    assert_close(probe.mean_logits(shifted, LABEL), torch.tensor(wanted, dtype=F64))


def test_per_class_by_hand():
    found = probe.correct_per_class(LOGITS, LABEL)
    assert found.dtype == np.int32
    assert found.tolist() == [[1, 1, 0], [2, 2, 0]]  # right: the first of class 0, the first of class 1


def test_geometry_is_above_the_diagonal_row_by_row():
    logits, label, ctx, _ = many(60, 6)
    found = probe.class_similarities(logits, label, ctx.rows)
    assert found.shape == (2, 15) and found.dtype == np.float16
    above = np.triu_indices(6, 1)
    for got, matrix in zip(found, (ctx.rows, probe.mean_logits(logits, label))):
        assert np.abs(got - levels.class_similarity(matrix).numpy()[above]).max() <= HALF
    assert np.array_equal(mantel.upper(mantel.square(found[0])), found[0])
    assert mantel.square(found[0])[1, 4] == pytest.approx(float(levels.class_similarity(ctx.rows)[1, 4]), abs=HALF)


def test_arrays_by_hand():
    logits = {"train": LOGITS, "validation": LOGITS[:2], "test": LOGITS[1:]}
    labels = {"train": LABEL, "validation": LABEL[:2], "test": LABEL[1:]}
    taught, layer = torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.eye(3, dtype=F64)
    found = probe.probe_arrays(logits, labels, layer, taught, tau=2.0)
    assert list(found) == ["similarity", "per_class", "right", "mass", "miss"]
    assert found["similarity"][0].tolist() == pytest.approx([-0.5] * 3, abs=HALF)
    assert found["per_class"].tolist() == [[0, 1, 0], [1, 2, 0]]
    assert np.unpackbits(found["right"])[:3].tolist() == [0, 1, 0] and len(found["right"]) == 1
    at = probe.probe_examples(4)
    assert sorted(at.tolist()) == [0, 1, 2, 3]
    learnt = [1 - torch.softmax(z / 2, 0)[t] for z, t in zip(LOGITS[at], LABEL[at])]
    assert found["mass"][0].tolist() == pytest.approx(taught.tolist(), abs=HALF)
    assert found["mass"][1].tolist() == pytest.approx([float(m) for m in learnt], abs=HALF)
    miss = [2 / (math.e**3 + 2), 1 - math.e / (math.e + math.e**2 + 1)]
    assert found["miss"].tolist() == pytest.approx(miss, abs=HALF)


# ---------------------------------------------------------------- of a run


def test_a_run_leaves_what_its_last_network_says_of_the_watched_examples():
    data = registry.load(TINY)
    run = tiny_run("label_smoothing", epsilon=0.3, epochs=4)
    result = mlp.train([run], data, {}, keep_logits=True)[0]
    arrays, at = result.arrays, probe.probe_examples(len(data.train.y))
    logits = {s: torch.from_numpy(arrays[f"logits_{s}"]) for s in ("train", "validation", "test")}
    assert arrays["mass"].shape == (2, 96)
    assert np.allclose(arrays["mass"][0], 0.3 * 5 / 6, atol=HALF)
    assert np.allclose(arrays["mass"][1], levels.off_label_mass(logits["train"], data.train.y, 1.0)[at], atol=HALF)
    assert np.allclose(arrays["miss"], levels.off_label_mass(logits["validation"], data.validation.y, 1.0), atol=HALF)
    assert arrays["per_class"][0].sum() / 64 == pytest.approx(result.metrics["test_accuracy"])
    assert arrays["per_class"][1].tolist() == data.test.y.bincount(minlength=6).tolist()
    geometry = probe.class_similarities(logits["train"], data.train.y, torch.from_numpy(arrays["rows"]))
    assert np.array_equal(arrays["similarity"], geometry)
    assert arrays["w"].shape == (4, 96)
    left = levels.off_label_mass(logits["train"], data.train.y, 1.0)[at]
    assert np.allclose(arrays["w"][-1], 1 - 0.25 / left, rtol=2e-3)  # 0.25 of the mass is asked of the others


def test_the_weights_of_hard_labels_are_one_at_every_checkpoint():
    result = mlp.train([tiny_run(epochs=7)], registry.load(TINY), {})[0]
    assert result.arrays["w"].shape == (5, 96) and (result.arrays["w"] == 1).all()


def test_a_network_as_it_was_drawn_leaves_the_same_arrays_but_no_curve():
    drawn, trained = (mlp.train([tiny_run(epochs=e)], registry.load(TINY), {})[0].arrays for e in (0, 1))
    assert drawn.keys() == trained.keys()
    assert drawn["curves"].shape == (0, 2) and drawn["w"].shape == (0, 0)
    assert all(drawn[k].shape == trained[k].shape for k in drawn.keys() - {"curves", "w"})
