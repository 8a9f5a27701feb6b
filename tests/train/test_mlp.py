"""Stacked training against the plain loop, pairing, determinism."""

from dataclasses import replace

import pytest
import reference
import torch
from conftest import TINY, mixed_runs, tiny_run
from torch.testing import assert_close

from kdstudy.core.spec import Data, pairs
from kdstudy.data import registry
from kdstudy.data.dataset import Dataset
from kdstudy.engine import stacks
from kdstudy.train import mlp, trainer


@pytest.fixture(scope="module")
def data() -> Dataset:
    return registry.load(TINY)


def teach(runs, data):
    """What all teachers of `runs` leave, trained by the engine itself."""
    own = list(dict.fromkeys(r.teacher for r in runs if r.teacher))
    done = mlp.train(own, data, {}, keep_logits=True)
    return {r.run.key: {n.removeprefix("logits_"): torch.from_numpy(r.arrays[n]) for n in stacks.LEFT} for r in done}


def test_stack_equals_loop(data):
    runs = mixed_runs()
    taught = teach(runs, data)
    together = mlp.train(runs, data, taught, keep_logits=True)
    for result in together:
        net = reference.train_one(result.run, data, taught)
        alone = net(data.test.x.double()).detach()
        assert_close(torch.from_numpy(result.arrays["logits_test"]), alone, rtol=1e-5, atol=1e-6)


def test_on_a_transfer_set_unlabelled_examples_have_the_label_that_their_own_teacher_chooses(data):
    few = registry.load(Data(TINY.name, pairs({**dict(TINY.options), "transfer": (3, 1)})))
    names = ("pseudo_label", "pseudo_smoothing", "kd", "label_smoothing_matched", "tckd")
    runs = [tiny_run(name, seed, dtype="float64") for seed in range(2) for name in names]
    taught = teach(runs, data)
    chosen = torch.stack([taught[r.teacher.key]["train"].argmax(-1) for r in runs[:: len(names)]])
    assert (chosen != data.train.y).any(1).all() and (chosen[0] != chosen[1]).any()
    for result in mlp.train(runs, few, taught, keep_logits=True):
        alone = reference.train_one(result.run, few, taught)(data.test.x.double()).detach()
        assert_close(torch.from_numpy(result.arrays["logits_test"]), alone, rtol=1e-5, atol=1e-6)
    hidden = replace(few, train=replace(few.train, y=torch.where(few.extra["train"]["labelled"], few.train.y, 0)))
    for a, b in zip(*(mlp.train(runs, d, taught, keep_logits=True) for d in (few, hidden))):
        assert (a.arrays["logits_test"] == b.arrays["logits_test"]).all()  # labels that are not there are not looked at
    message = r"condition 'hard' on 'synthetic': found 78 unlabelled examples and no teacher to label them"
    with pytest.raises(ValueError, match=f"^{message}, allowed: "):
        mlp.train([tiny_run("hard")], few, {})


def test_a_run_does_not_depend_on_its_neighbours(data):
    runs = mixed_runs(seeds=3, dtype="float32")
    taught = teach(runs, data)
    together = {r.run.key: r for r in mlp.train(runs, data, taught)}
    for run in runs[::4]:  # alone, and beside runs of its own seed only, which share one copy of the batch
        for neighbours in ([run], [r for r in runs if r.seed == run.seed]):
            found = {r.run.key: r for r in mlp.train(neighbours, data, taught)}[run.key]
            assert found.metrics == together[run.key].metrics
            assert all((a == together[run.key].arrays[name]).all() for name, a in found.arrays.items())


def test_twice_is_bit_identical(data):
    runs = mixed_runs(dtype="float32")
    taught = teach(runs, data)
    first, second = (mlp.train(runs, data, taught, keep_logits=True) for _ in range(2))
    for a, b in zip(first, second):
        assert a.metrics == b.metrics
        assert all((a.arrays[k] == b.arrays[k]).all() for k in a.arrays)


def test_conditions_of_one_seed_share_weights_and_order(data):
    runs = [tiny_run("hard", 3), tiny_run("label_smoothing", 3, epsilon=0.0), tiny_run("kd", 3, alpha=0.0, tau=5.0)]
    same = mlp.train(runs, data, teach(runs, data), keep_logits=True)
    for other in same[1:]:
        assert_close(same[0].arrays["logits_test"], other.arrays["logits_test"], rtol=1e-4, atol=1e-5)
    other_seed = mlp.train([tiny_run("hard", 4)], data, {}, keep_logits=True)[0]
    assert abs(other_seed.arrays["logits_test"] - same[0].arrays["logits_test"]).max() > 0.1


def test_teacher_logits_follow_the_example_not_the_batch(data):
    run = tiny_run("kd", 0, alpha=1.0, tau=1.0, epochs=100, hidden=(64,))
    good = teach([run], data)
    rolled = {k: {s: z if s == "rows" else z.roll(1, 0) for s, z in v.items()} for k, v in good.items()}
    aligned, shifted = (mlp.train([run], data, t)[0].metrics for t in (good, rolled))
    assert aligned["train_agreement"] > 0.8
    assert shifted["train_agreement"] > 0.6  # it learns what it is shown, which nothing but the labels can betray
    assert shifted["train_accuracy"] < 0.7 * aligned["train_accuracy"]


def test_the_watched_epochs_are_reported_up_to_the_last(data):
    result = mlp.train([tiny_run(epochs=30)], data, {})[0]
    curves = result.arrays["curves"]
    assert curves.shape == (5, 2)
    assert curves[-1, 0] == pytest.approx(result.metrics["validation_accuracy"])
    assert curves[-1, 1] == pytest.approx(result.metrics["validation_nll"], rel=1e-6)


def test_runs_of_two_shapes_do_not_stack(data):
    with pytest.raises(ValueError, match="^a stack needs runs of one data set, network shape, epochs and batch size$"):
        mlp.train([tiny_run(), tiny_run(hidden=(6,))], data, {})


def test_steps_are_whole_batches():
    assert trainer.steps(tiny_run(epochs=2, batch=16), 96) == 12
    assert trainer.steps(tiny_run(epochs=2, batch=1000), 96) == 2


def test_units_that_fill_up_a_layer_stay_zero(data):
    run = tiny_run(hidden=(5, 7), weight_decay=0.01)
    stack = mlp.Perceptrons([run], data, {})
    list(stack.epochs(lambda n: None))
    weight, bias, inner, _, last, _ = (p.detach() for p in stack.params)
    assert [tuple(p.shape[1:]) for p in (weight, inner, last)] == [(12, 8), (8, 8), (8, 6)]
    assert not any(p.any() for p in (weight[..., 5:], bias[..., 5:], inner[:, 5:], inner[..., 7:], last[:, 7:]))
    assert all((p != 0).any(-1).all() for p in (weight[..., :5], inner[:, :5, :7], last[:, :7]))
