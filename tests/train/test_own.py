"""Networks of a user's own: known by their source, trained as the slow loop trains them, in the same stream for all."""

import pickle
import re
from pathlib import Path

import pytest
import torch
from conftest import TINY, tiny_run
from torch.nn.functional import cross_entropy

from kdstudy.core.spec import Recipe, Run
from kdstudy.data.registry import load
from kdstudy.distill.conditions import make
from kdstudy.engine import ask, payload, stacks
from kdstudy.study import beds
from kdstudy.train import own
from kdstudy.train.trainer import half_cosine, orders

SOURCE = """
from torch import nn

def net(inputs, classes):
    return nn.Sequential(nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, classes))

def flat(inputs, classes):
    return nn.Linear(inputs, classes)

def wrong(inputs, classes):
    return nn.Linear(inputs, classes + 1)

def none(inputs, classes):
    return nn.ReLU()

def broken(inputs, classes):
    raise RuntimeError("no such layer")
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "nets.py").write_text(SOURCE)
    return tmp_path / "nets.py"


def run(net: str, condition: str = "hard", seed: int = 0, lr: float = 0.1) -> Run:
    recipe = Recipe((), 3, 32, lr, 1e-3, net=net)
    return Run(TINY, recipe, make(condition), seed, tiny_run(seed=7) if condition == "kd" else None)


def test_a_network_is_another_one_when_its_source_is(file):
    first = own.named(f"{file}:net", load(TINY))
    assert re.fullmatch("own:nets.py:net@[0-9a-f]{12}", first)
    file.write_text("# a comment\n" + SOURCE.replace("0.3", "0.30"))
    assert own.named(f"{file}:net", load(TINY)) == first
    file.write_text(SOURCE.replace("0.3", "0.4"))
    assert own.named(f"{file}:net", load(TINY)) != first


def test_training_is_that_of_a_loop(file):
    """SGD with Nesterov momentum and a half cosine, written out with autograd and torch's own optimiser."""
    data, name = load(TINY), own.named(f"{file}:flat", load(TINY))
    (record,) = stacks.train([run(name)], {}, True)
    net = own.build(name, data.train.x.shape[1], len(data.classes), 0)
    optimiser = torch.optim.SGD(net.parameters(), 0.1, 0.9, weight_decay=1e-3, nesterov=True)
    for epoch in range(3):
        for step, index in enumerate(orders([0], epoch, 96)[0].split(32)):
            optimiser.param_groups[0]["lr"] = 0.1 * half_cosine(3 * epoch + step, 9)
            optimiser.zero_grad()
            cross_entropy(net(data.train.x[index][..., None, None]), data.train.y[index]).backward()
            optimiser.step()
    torch.testing.assert_close(
        torch.from_numpy(record.arrays["logits_test"]), net(data.test.x[..., None, None]).detach()
    )


def test_dropout_is_the_same_for_all_runs_of_a_seed_and_leaves_torchs_stream_alone(file):
    name, before = own.named(f"{file}:net", load(TINY)), torch.get_rng_state()
    alone = stacks.train([run(name)], {}, True)[0].arrays["logits_test"]
    both = stacks.train([run(name, lr=0.2), run(name)], {}, True)
    assert (both[1].arrays["logits_test"] == alone).all() and (both[0].arrays["logits_test"] != alone).any()
    assert torch.equal(torch.get_rng_state(), before)


def test_it_learns_and_teaches_is_not_stale_and_travels_to_workers(file, brief):
    bed = beds.bed(TINY, "few_labels", labels=5, net=f"{file}:net", teacher=f"{file}:flat")
    assert bed.teacher.net.startswith("own:nets.py:flat@")
    frame = ask.ask([bed.run(make(c), s) for c in ("hard", "kd") for s in (0, 1)])
    assert set(frame["hidden"]) == {bed.student.net} and not frame["stale"].any()
    packed = pickle.loads(payload.pack().registered)["own network"][bed.student.net.removeprefix("own:")]
    assert next(packed(3, 2).parameters()).shape == (8, 3)


@pytest.mark.parametrize(
    "what, found",
    [
        ("nets.py:nothing", "found AttributeError"),
        ("nowhere.py:net", "found FileNotFoundError"),
        ("nowhere:net", "found ModuleNotFoundError"),
        ("nets.py:wrong", r"found '\(2, 7\) for two examples, 7 outputs of the last nn.Linear', allowed: \(2, 6\), 6"),
        ("nets.py:none", "found ValueError .*no linear layer"),
        ("nets.py:broken", r"found RuntimeError \(no such layer\)"),
        ("logits.parquet", "allowed: 'cnn{}'.* or MODULE:FUNCTION .* an .npz file of logits"),
    ],
)
def test_networks_are_refused_in_one_sentence(what, found, file, monkeypatch):
    monkeypatch.chdir(file.parent)
    with pytest.raises(ValueError, match=found):
        beds.bed(TINY, net=what)
