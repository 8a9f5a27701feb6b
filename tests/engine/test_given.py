"""A user's own logits as the teacher: what students are taught, what is not known, what is refused."""

import numpy as np
import pytest
import torch
from conftest import TINY, says, tiny_run
from small_study import FEW

from kdstudy import dataset
from kdstudy.data.registry import load
from kdstudy.distill.conditions import make
from kdstudy.engine import ask, given, stacks
from kdstudy.study import admission, beds, plans

SPLITS = ("train", "validation", "test")
DATA = load(TINY)


def logits(**change: object) -> dict[str, np.ndarray]:
    """Logits that are right on most examples, by split."""
    draws = np.random.default_rng(0)
    z = {s: draws.normal(size=(len(getattr(DATA, s).y), 6)) + 3 * np.eye(6)[getattr(DATA, s).y] for s in SPLITS}
    return {k: v for k, v in (z | change).items() if v is not None}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "logits.npz"


def test_students_are_taught_the_logits_of_their_own_examples(file):
    np.savez(file, **logits())
    bed = beds.bed(TINY, "few_labels", labels=4, teacher=str(file))
    run = bed.run(make("kd"), 3)
    table = ask.ask([run, run.teacher])
    assert not table["stale"].any() and bed.name.endswith("few labels (4), teacher logits.npz")
    left = ask.logits([run.teacher])[run.teacher.key]
    rows = [(DATA.train.x == x).all(1).nonzero().item() for x in load(run.data).train.x]  # the slow way to find them
    assert len(rows) == 24
    np.testing.assert_allclose(left["logits_train"], logits()["train"][rows], rtol=1e-6)
    np.testing.assert_allclose(left["logits_test"], logits()["test"], rtol=1e-6)
    assert left["rows"].shape == (6, 6)  # class means, where the file has none
    assert bed.informant("random_teacher", 0).recipe.epochs == 0


def test_another_content_is_another_teacher(file):
    np.savez(file, **logits())
    first = beds.bed(TINY, teacher=str(file)).run(make("kd"), 0)
    np.savez(file, **logits(test=None))
    assert beds.bed(TINY, teacher=str(file)).run(make("kd"), 0).key != first.key
    with pytest.raises(ValueError, match="another content"):
        ask.ask([first])


def test_without_test_logits_nothing_is_said_of_test_and_the_bed_is_not_admitted(file, brief):
    np.savez(file, logits=logits()["train"])
    study = plans.study("universe", dataset=TINY, labels=5, teacher=str(file), **FEW)
    assert "teacher_tuning" not in study.tables
    kd = study.tables["practical"].query("condition == 'kd'")
    assert kd["train_agreement"].notna().all() and "test_agreement" not in kd and "diverged" not in kd
    assert "not known" in admission.table(study)["why not"][0] and not admission.admitted(study)
    assert not study.tables["teachers"]["stale"].any()


def test_all_rows_of_ones_own_file_in_its_order(cache, file):
    x, y = np.concatenate([DATA.train.x, DATA.test.x]), np.concatenate([DATA.train.y, DATA.test.y])
    own = load(dataset(x, y))
    np.savez(file, logits=np.eye(6)[y] * 9.0)
    found = given._read(file, own)
    assert all(torch.equal(found[s].argmax(1), getattr(own, s).y) for s in SPLITS)


def test_a_teacher_at_chance_is_said(file):
    np.savez(file, **logits(train=logits()["train"][::-1]))
    with pytest.warns(UserWarning, match="logits.npz: it chooses .* no better than chance. Are its rows in the order"):
        beds.bed(TINY, teacher=str(file))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"train": None}, "teacher logits.npz: found 'arrays validation, test', allowed: logits (N, C)"),
        ({"train": np.zeros((95, 6))}, "train: found (95, 6), allowed: (96, 6): a row for each train example"),
        ({"test": np.zeros((64, 5))}, "test: found (64, 5), allowed: (64, 6): a row for each test example"),
        ({"validation": np.full((48, 6), np.nan)}, "validation: found 'values that are no numbers'"),
    ],
)
def test_logits_that_do_not_fit_are_refused(change, message, file):
    np.savez(file, **logits(**change))
    with pytest.raises(ValueError, match=says(message).rstrip("$").lstrip("^")):
        beds.bed(TINY, teacher=str(file))


def test_a_trained_teacher_is_whole():
    known = {s: torch.ones(len(getattr(DATA, s).y), 6) for s in SPLITS}
    assert all(stacks.whole(known, DATA)[s] is known[s] for s in SPLITS) and tiny_run().teacher is None
