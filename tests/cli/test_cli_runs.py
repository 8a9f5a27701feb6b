"""`kdstudy runs` and publishing: what the store holds, listed, filtered, exported, forgotten."""

import io
import re
import sys

import pandas as pd
import pytest
from command import shell, small_book
from conftest import tiny_run

from kdstudy.engine import ask
from kdstudy.store.published import Published
from kdstudy.store.working import Record, Store

chapters = pytest.fixture(autouse=True)(small_book)
kdstudy = pytest.fixture(shell)


@pytest.fixture
def three() -> list[ask.Run]:
    """Three stored students of two conditions, and a teacher."""
    students = [tiny_run("hard", 0), tiny_run("hard", 1), tiny_run("kd", 0)]
    ask.ask(students)
    return students


@pytest.fixture
def last(kdstudy):
    """The last line of what `kdstudy runs` prints."""

    def call(*words: str) -> str:
        code, out, _ = kdstudy("runs", *words)
        assert code == 0
        return out.splitlines()[-1]

    return call


def test_a_filter_that_names_nothing_stored_is_refused(kdstudy, three):
    message = "error: --condition: found 'kdd', of which no run is stored; there are: hard, kd; did you mean 'kd'?\n"
    assert kdstudy("runs", "--condition", "kdd") == (1, "", message)


@pytest.mark.parametrize("word", ["--all", "--yes"])
def test_what_goes_with_forget_is_refused_without_it(kdstudy, word):
    message = f"error: {word}: found no --forget, allowed: {word} together with --forget\n"
    assert kdstudy("runs", word) == (1, "", message)


def test_rows_that_this_package_did_not_write_are_listed_as_stale(kdstudy):
    foreign = {"key": "b", "code": "x", "condition": "hard", "dataset": "digits", "options": "none"}
    Store().put([Record({"key": "a", "seed": 1}, {}), Record(foreign, {})])
    code, out, _ = kdstudy("runs", "--stale")
    assert code == 0 and out.splitlines()[-1] == "2 runs, 2 stale"
    assert kdstudy("runs", "--dataset", "digits")[1].splitlines()[-1] == "1 runs, 1 stale"


def test_an_empty_store_has_no_runs(last):
    assert last() == "0 runs, 0 stale"


def test_what_is_refused(kdstudy, three, tmp_path, monkeypatch):
    code, _, err = kdstudy("runs", "--seed", "first")
    assert code == 2 and "Invalid value for '--seed'" in err
    store = Store()
    message = f"error: --export: found '{store.path}', allowed: the name of a file that ends in .csv\n"
    assert kdstudy("runs", "--export", store.path) == (1, "", message)  # it would be overwritten
    assert len(store.rows()) == 4
    code, _, err = kdstudy("runs", "--export", tmp_path / "absent" / "all.csv")
    assert (code, err) == (1, f"error: Cannot save file into a non-existent directory: '{tmp_path / 'absent'}'\n")
    monkeypatch.setenv("KDSTUDY_STORE", str(tmp_path))
    code, out, err = kdstudy("runs")
    assert (code, out) == (1, "")
    assert err.startswith(f"error: the store {tmp_path} cannot be used (unable to open database file); set ")


def test_runs_are_listed_and_none_is_stale(kdstudy, three):
    code, out, _ = kdstudy("runs")
    assert code == 0
    assert out.splitlines()[-1] == "4 runs, 0 stale"
    for run in [*three, three[2].teacher]:
        assert re.search(rf"{run.key}.*synthetic.*{run.condition.name}.*store.*False", out)
    assert kdstudy("runs", "--stale")[1].splitlines()[-1] == "0 runs, 0 stale"


FILTERS = {"--condition kd": 1, "--condition hard": 3, "--seed 0": 2, "--seed 0 --condition hard": 1,
           "--dataset synthetic": 4, "--seed 77": 0}  # fmt: skip


def test_runs_are_filtered(last, three):
    for words, count in FILTERS.items():
        assert last(*words.split()) == f"{count} runs, 0 stale"


def test_runs_are_exported_bit_for_bit(kdstudy, three, tmp_path):
    path = tmp_path / "all.csv"
    code, out, _ = kdstudy("runs", "--export", path)
    assert (code, out) == (0, f"4 runs written to {path}\n")
    table = pd.read_csv(path, dtype={"test_nll": str}).set_index("key")
    assert {k: float(v) for k, v in table["test_nll"].items()} == {k: r["test_nll"] for k, r in Store().rows().items()}
    assert {"train_agreement", "tau", "torch", "device", "seconds", "digest", "stale"} <= set(table)


def test_forget_removes_the_listed_runs_only(kdstudy, three):
    code, out, _ = kdstudy("runs", "--condition", "kd", "--forget", "--yes")
    assert code == 0
    assert three[2].key in out and three[0].key not in out
    assert out.splitlines()[-1] == "1 runs forgotten in the working store; published results stay"
    assert set(Store().rows()) == {three[0].key, three[1].key, three[2].teacher.key}


def test_forget_needs_a_filter_and_an_answer(kdstudy, three, monkeypatch):
    message = "error: --forget: found no filter, allowed: --dataset, --condition, --seed, --stale, or --all\n"
    assert kdstudy("runs", "--forget", "--yes") == (1, "", message)
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    code, out, err = kdstudy("runs", "--forget", "--all")
    assert code == 1 and len(Store().rows()) == 4
    assert "Forget these 4 runs of" in out + err
    assert err.endswith("error: --forget: found no yes, so nothing is forgotten; answer y, or add --yes\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert kdstudy("runs", "--forget", "--all")[0] == 0
    assert not Store().rows()


def test_forget_keeps_teachers_of_published_students(kdstudy, three):
    student = three[2]
    Published().publish("universe", [Record(Store().rows([student.key])[student.key], {})])
    out = kdstudy("runs", "--forget", "--all", "--yes")[1]
    assert "1 more stay: published students listen to them" in out
    assert set(Store().rows()) == {student.teacher.key}
    assert set(Store().has([student.teacher.key], "logits_train")) == {student.teacher.key}


def test_stale_runs_are_listed(kdstudy, last, three):
    store, key = Store(), three[0].key
    row = store.rows([key])[key]
    store.forget([key])
    store.put([Record(row | {"code": "0" * 12}, {})])
    assert last() == "4 runs, 1 stale" and last("--stale") == "1 runs, 1 stale"
    assert key in kdstudy("runs", "--stale")[1]


def test_a_long_list_is_cut_and_says_so(kdstudy, monkeypatch):
    ask.ask(tiny_run(seed=s, epochs=1) for s in range(45))
    out = kdstudy("runs")[1]
    assert out.count("synthetic") == 40
    assert out.splitlines()[-1] == "45 runs, 0 stale, the first 40 shown; --export FILE writes them all"
