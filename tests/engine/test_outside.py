"""What a user registers in a script, a notebook or a plugin trains in other processes too."""

import os
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest
from conftest import tiny_run

from kdstudy.core import plugins
from kdstudy.core.registry import Registry
from kdstudy.distill import conditions
from kdstudy.engine import ask, payload
from kdstudy.train.own import OWN

FILES = {
    "mine.py": """
import torch
from kdstudy.train.metrics import measure

HALF = 0.5

def halved(label, classes):
    return HALF * torch.nn.functional.one_hot(label, classes).float() + HALF / classes

@measure
def boldness(logits, label):
    "Mean of the largest logit."
    return logits.amax(-1).mean()
""",
    "plug.py": """
import torch
from kdstudy.data.dataset import dataset
from kdstudy.engine.teachers import compose

@dataset
def rings(*, examples: int = 60):
    "Two classes that a line parts."
    x = torch.randn(examples, 4, generator=torch.Generator().manual_seed(0))
    split = x, (x[:, 0] > 0).long()
    return {"train": split, "validation": split, "test": split, "classes": ("in", "out")}

@compose
def silent(run, left, data):
    "A teacher that says nothing."
    return {s: torch.zeros(len(getattr(data, s).y), len(data.classes)) for s in ("train", "validation", "test")}
""",
    "script.py": """
from dataclasses import replace
from kdstudy.core.spec import Recipe
from kdstudy.distill.conditions import condition, make
from kdstudy.distill.loss import Target
from kdstudy.engine import ask as runs
from kdstudy.study.beds import bed
from mine import halved

@condition
def mine(teacher, label, ctx, *, tau: float = 2.0, strength: float = 0.5) -> Target:
    "The mean of the label and the uniform distribution, whatever the teacher says."
    rho = strength * halved(label, ctx.classes).to(teacher)
    return Target(rho, 0 * rho, rho.new_zeros(len(rho)))

plain = replace(bed("rings", "same_labels"), student=Recipe((4,), 2), teacher=Recipe((4,), 2))
quiet = replace(plain, composed="silent")
asked = [plain.run(make(name), seed) for name in ("hard", "kd", "mine") for seed in range(2)]
frame = runs.ask(asked + [quiet.run(make(name), seed) for name in ("kd", "mine") for seed in range(2)])
print(*frame["source"], len(frame), frame["test_boldness"].notna().all(), runs.ask(asked)["stale"].any())
""",
}


def test_what_a_script_its_modules_and_plugins_register_trains_with_two_workers(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    for plugin, source in (("plug.py", "trained"), ("plug", "store")):  # by its path, and by its name
        env = os.environ | {"KDSTUDY_WORKERS": "2", "CUDA_VISIBLE_DEVICES": "", "KDSTUDY_PLUGINS": plugin}
        done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [source] * 10 + ["10", "True", "False"]


def test_a_plugin_that_fails_is_named_with_its_error(monkeypatch):
    monkeypatch.setenv(plugins.VARIABLE, os.pathsep.join(["json", "nowhere_to_be_found"]))
    with pytest.raises(ValueError, match="KDSTUDY_PLUGINS: 'nowhere_to_be_found' cannot be imported .ModuleNotFound"):
        plugins.load()


def test_a_condition_without_source_is_refused_before_anything_is_trained(request, trained):
    request.addfinalizer(lambda: conditions.CONDITIONS.pop("typed", None))
    text = "from kdstudy import condition\n@condition\ndef typed(label, ctx): ..."
    exec(compile(text, "<prompt>", "exec"), {"__name__": "prompt"})
    with pytest.raises(ValueError, match="^condition 'typed': found no source, by which its results are known again"):
        ask.ask(tiny_run("typed"))
    assert not trained


@pytest.fixture
def here():
    """A registry with a function of this module."""
    registry = Registry("thing of a test")

    @registry.register
    def thing() -> int:
        return 1

    yield registry
    del Registry.every["thing of a test"]


def test_a_task_of_another_version_is_refused(here):
    along = replace(payload.pack(), version="0.0", process="another")
    with pytest.raises(
        RuntimeError, match=r"^a worker has kdstudy \S+, the process that asks has 0.0: install the same"
    ):
        along.unpack()


def test_what_was_registered_travels_by_value(here):
    along = pickle.loads(pickle.dumps(replace(payload.pack(), process="another")))
    here.clear()
    along.unpack()
    assert here["thing"]() == 1


def test_what_cannot_be_pickled_is_said_before_anything_is_sent(here, tmp_path):
    OWN.clear()  # networks that other tests named would be sent as well
    with open(tmp_path / "log", "w") as log:

        @here.register
        def writes() -> None:
            log.write("")

        with pytest.raises(ValueError, match="of thing of a test thing, writes, something cannot be sent"):
            payload.pack()
