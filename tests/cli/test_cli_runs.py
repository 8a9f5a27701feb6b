"""`kdstudy runs` and publishing: what the store holds, listed, filtered, exported, forgotten."""

import io
import re
import sys

import pandas as pd
import pytest
from command import shell, small_book
from conftest import tiny_run
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from kdstudy.cli import stored
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
    """What `kdstudy runs` says of the rows that it prints."""

    def call(*words: str) -> str:
        code, out, err = kdstudy("runs", *words)
        assert code == 0 and len(out.splitlines()) == 1 + int(err.split()[0])
        return err.splitlines()[-1]

    return call


def test_a_filter_that_names_nothing_stored_is_refused(kdstudy, three):
    message = "error: --condition: found 'kdd', of which no run is stored; there are: hard, kd; did you mean 'kd'?\n"
    assert kdstudy("runs", "--condition", "kdd") == (1, "", message)


@pytest.mark.parametrize("word", ["--all", "--yes"])
def test_what_goes_with_forget_is_refused_without_it(kdstudy, word):
    message = f"error: {word}: found no --forget, allowed: {word} together with --forget\n"
    assert kdstudy("runs", word) == (1, "", message)


FOREIGN = [{"seed": 1}, {"code": "x", "condition": "hard", "dataset": "digits", "options": "none"},
           {"condition": ["a"], "dataset": {"b": 1}, "seed": "first", "seconds": "long", "code": 3, "net": 7},
           {"options": "{", "condition": None, "dataset": 4, "code": "x"}, {"options": "{}", "net": [1]}]  # fmt: skip


def test_rows_that_this_package_did_not_write_are_listed_as_stale(kdstudy, last):
    Store().put(Record({"key": str(i)} | row, {}) for i, row in enumerate(FOREIGN))
    assert last("--stale") == last() == "5 runs, 5 stale"
    assert last("--dataset", "digits") == last("--seed", "first") == last("--seed", "1") == "1 runs, 1 stale"
    assert kdstudy("runs", "--forget", "--stale", "--yes")[0] == 0 and not Store().rows()


def test_an_empty_store_has_no_runs(last):
    assert last() == "0 runs, 0 stale"


def test_what_is_refused(kdstudy, three, tmp_path, monkeypatch):
    message = "error: --seed: found '11', of which no run is stored; there are: 0, 1, 10000; did you mean '1'?\n"
    assert kdstudy("runs", "--seed", "11") == (1, "", message)
    store, there = Store(), tmp_path / "mine.csv"
    there.write_text("mine", "utf-8")
    for path, what in ((store.path, ", which is there"), (there, ", which is there"), (tmp_path / "a", "")):
        message = f"error: --export: found '{path}'{what}, allowed: the name of a new file that ends in .csv\n"
        assert kdstudy("runs", "--export", path) == (1, "", message)
    assert there.read_text("utf-8") == "mine"
    assert len(store.rows()) == 4
    code, _, err = kdstudy("runs", "--export", "/proc/absent/all.csv")
    assert code == 1 and "No such file or directory" in err and "/proc/absent" in err
    monkeypatch.setenv("KDSTUDY_STORE", str(tmp_path))
    code, out, err = kdstudy("runs")
    assert (code, out) == (1, "")
    assert err.startswith(f"error: the store {tmp_path} cannot be used (unable to open database file); set ")


def test_runs_are_listed_and_none_is_stale(kdstudy, three):
    code, out, err = kdstudy("runs")
    assert (code, err) == (0, "4 runs, 0 stale\n")
    for run in [*three, three[2].teacher]:
        assert re.search(rf"{run.key}\tsynthetic\t{run.condition.name}\t.*\tFalse\tstore", out)
    assert kdstudy("runs", "--stale")[2] == "0 runs, 0 stale\n"


FILTERS = {"--condition kd": 1, "--condition hard": 3, "--seed 0": 2, "--seed 0 --condition hard": 1,
           "--dataset synthetic": 4}  # fmt: skip


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
    code, out, err = kdstudy("runs", "--condition", "kd", "--forget", "--yes")
    assert code == 0
    assert three[2].key in out and three[0].key not in out
    assert err.splitlines()[-1] == "1 runs forgotten in the working store; published results stay"
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
    assert "1 more stay: published students listen to them" in kdstudy("runs", "--forget", "--all", "--yes")[2]
    assert set(Store().rows()) == {student.teacher.key}
    assert set(Store().has([student.teacher.key], "logits_train")) == {student.teacher.key}


def test_stale_runs_are_listed(kdstudy, last, three):
    store, key = Store(), three[0].key
    row = store.rows([key])[key]
    store.forget([key])
    store.put([Record(row | {"code": "0" * 12}, {})])
    assert last() == "4 runs, 1 stale" and last("--stale") == "1 runs, 1 stale"
    assert key in kdstudy("runs", "--stale")[1]


def test_on_a_terminal_a_long_list_is_cut_and_fits_its_width(kdstudy, monkeypatch):
    row = {"dataset": "[/red] \t<b>", "condition": "kd", "seed": 0, "test_accuracy": 0.123456, "tau": 4.0}
    Store().put(Record(row | {"key": f"{i:020d}"}, {}) for i in range(45))
    for width in (20, 40, 80, 120, 300):
        file = io.StringIO()
        monkeypatch.setattr(stored, "out", Console(file=file, force_terminal=True, width=width, highlight=False))
        assert kdstudy("runs")[0] == 0
        lines = file.getvalue().splitlines()
        assert all(cell_len(Text.from_ansi(line).plain) <= max(width, 26) for line in lines[:-1])
        assert sum("0000000" in line for line in lines) == 40 and ("[/red]" in file.getvalue()) == (width > 20)
        assert "45 runs, 45 stale, the first 40 shown" in lines[-1] and "; --export FILE writes all" in lines[-1]
        assert ("without" in lines[-1]) == (width < 100) and ("seed" in lines[-1]) == (width < 60)
    monkeypatch.setattr(stored, "out", Console())
    rows = pd.read_csv(io.StringIO(kdstudy("runs", "--dataset", row["dataset"])[1]), sep="\t")
    assert set(rows["dataset"]) == {row["dataset"]} and set(rows["test_accuracy"]) == {0.123456}
