"""The `kdstudy` command: what it prints, what it refuses and in which words, how it exits."""

import re
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from conftest import tiny_run
from rich.console import Console

from kdstudy import book, cli, runs, targets
from kdstudy.published import Published
from kdstudy.store import Record, Store

PARAMETERS = """\
dataset: str | list[str] = "synthetic"  # data sets
conditions: Several[str] = ["hard"]  # conditions
tau: float | list[float] = [2.0]  # temperature
weight_decay: list[float] = [0.0]  # of the baseline
seeds: int | list[int] = 1  # a count, or a list
hidden: int | None = 2  # units
epochs: int | None = 1  # of teacher and student
executor: str = "local"  # where to train
"""


@pytest.fixture(autouse=True)
def chapters(tmp_path, monkeypatch) -> dict[str, Path]:
    """A book of two small chapters: one with a plan, one without."""
    known = {name: tmp_path / f"{name}.ipynb" for name in ("universe", "notes")}
    for path in known.values():
        cell = nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    monkeypatch.setattr(book, "chapters", lambda: known)
    return known


@pytest.fixture
def kdstudy(monkeypatch, capsys):
    """Call the command as a shell does; returns (exit code, standard output, standard error)."""
    monkeypatch.setattr(cli, "out", Console(width=300))
    monkeypatch.setattr(cli, "err", Console(width=300, stderr=True))

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kdstudy", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return (ended.value.code, *capsys.readouterr())

    return call


@pytest.fixture
def asked(monkeypatch) -> list[tuple[list[runs.Run], dict]]:
    """What `run` asks for, without training or executing."""
    calls = []
    monkeypatch.setattr(runs, "ask", lambda wanted, **options: calls.append((wanted, options)))
    monkeypatch.setattr(cli, "execute", lambda chapter, target, values: print(chapter, target, values))
    return calls


def test_without_words_it_explains_itself(kdstudy):
    code, out, err = kdstudy()
    assert code == 2
    for command in ("run", "runs", "claims", "conditions", "book", "quick", "full"):
        assert re.search(rf"^\W*{command} +\w", out + err, re.MULTILINE), command


def test_conditions_are_listed_with_defaults_and_formulas(kdstudy):
    code, out, _ = kdstudy("conditions")
    assert code == 0
    assert "kd (tau = 2, alpha = 0.9)\n    rho = softmax(v / tau) with weight alpha" in out
    assert "hard ()\n    rho = e_t: cross-entropy with the labels alone." in out
    assert out.count("\n    ") == len(targets.CONDITIONS)


def test_run_asks_for_the_runs_of_these_parameters(kdstudy, asked, tmp_path):
    values = ("-p", "seeds=[3, 4]", "-p", "conditions", "kd")
    code, out, _ = kdstudy("run", "universe", *values, "-o", tmp_path / "a.ipynb")
    assert code == 0
    [(wanted, options)] = asked
    assert [(r.condition.name, r.condition.tau, r.recipe.hidden, r.seed) for r in wanted] == [
        ("kd", 2.0, (2,), seed) for _ in range(2) for seed in (3, 4)
    ]  # for both values of alpha, which the chapter leaves to the plan
    assert options == {"executor": "local"}
    assert out.strip() == f"universe {tmp_path / 'a.ipynb'} {{'seeds': [3, 4], 'conditions': 'kd'}}"


def test_a_chapter_without_a_plan_asks_for_nothing(kdstudy, asked, tmp_path):
    assert kdstudy("run", "notes", "-o", tmp_path / "a.ipynb")[0] == 0
    assert asked == [([], {"executor": "local"})]


def refused(kdstudy, asked, *words: str) -> str:
    """The one message of a refusal, which costs exit code 1 and trains nothing."""
    code, out, err = kdstudy(*words)
    assert (code, out, asked) == (1, "", [])
    return err


def test_an_unknown_chapter(kdstudy, asked):
    assert refused(kdstudy, asked, "run", "univers") == (
        "error: chapter 'univers' is unknown; there are: universe, notes\n"
    )


def test_an_unknown_parameter_with_its_nearest_match(kdstudy, asked):
    assert refused(kdstudy, asked, "run", "universe", "-p", "seed=3") == (
        "error: chapter universe: found parameter 'seed' (did you mean 'seeds'?), allowed: dataset, conditions, tau, "
        "weight_decay, seeds, hidden, epochs, executor\n"
    )


def test_a_value_of_the_wrong_type(kdstudy, asked):
    assert refused(kdstudy, asked, "run", "universe", "-p", "tau", "hot") == (
        "error: chapter universe: parameter tau: found 'hot', allowed: float | list[float], such as [2.0]\n"
    )


def test_a_value_that_is_missing(kdstudy, asked):
    assert refused(kdstudy, asked, "run", "universe", "-p", "tau") == (
        "error: chapter universe: parameter tau: found None, allowed: float | list[float], such as [2.0]\n"
    )


def test_a_value_out_of_range(kdstudy, asked):
    assert refused(kdstudy, asked, "run", "universe", "-p", "conditions=kd", "-p", "tau=0") == (
        "error: tau of condition 'kd': found 0, allowed: a number above 0\n"
    )


def test_a_value_that_is_no_yaml(kdstudy, asked):
    assert refused(kdstudy, asked, "run", "universe", "-p", "tau=[1") == (
        "error: parameter tau: found '[1', allowed: YAML such as 3, 0.5, kd or [1, 2]\n"
    )


def test_an_unknown_data_set(kdstudy, asked):
    err = refused(kdstudy, asked, "run", "universe", "-p", "dataset=digit")
    assert err == (
        "error: data set 'digit' is unknown; there are: synthetic, digits, fashion_mnist, clinc150; "
        "did you mean 'digits'?\n"
    )


def test_an_unknown_executor(kdstudy):
    assert kdstudy("run", "universe", "-p", "executor=cluster") == (
        1, "", "error: executor: found 'cluster', allowed: 'local'\n"
    )  # fmt: skip


def test_a_store_that_cannot_be_used(kdstudy, tmp_path, monkeypatch):
    monkeypatch.setenv("KDSTUDY_STORE", str(tmp_path))
    code, out, err = kdstudy("runs")
    assert (code, out) == (1, "")
    assert err.startswith(f"error: the store {tmp_path} cannot be used (unable to open database file); set ")


def test_an_interrupt_says_what_is_kept(kdstudy, monkeypatch):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "ask", interrupt)
    kept = "interrupted: what was finished is kept; the same command goes on from there\n"
    assert kdstudy("run", "universe") == (130, "", kept)


def test_an_option_of_the_wrong_type_is_a_usage_error(kdstudy):
    code, _, err = kdstudy("runs", "--seed", "first")
    assert code == 2
    assert "Invalid value for '--seed'" in err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("run universe -p seeds 3", "run universe -p seeds=3"),
        ("run universe -p seeds=3", "run universe -p seeds=3"),
        ("run universe --parameters tau 4 -o x", "run universe -p tau=4 -o x"),
        ("run universe -p a 1 -p b=2 -p c 3", "run universe -p a=1 -p b=2 -p c=3"),
        ("run universe -p alpha", "run universe -p alpha="),
        ("run universe -p", "run universe -p"),
        ("runs --seed 3", "runs --seed 3"),
        ("", ""),
    ],
)
def test_parameters_as_papermill_takes_them(words, expected):
    assert cli.joined(words.split()) == expected.split()


def test_papermill_values_may_hold_spaces_and_equals_signs():
    assert cli.joined(["-p", "seeds", "[1, 2]", "-p", "dataset", "a=b"]) == ["-p", "seeds=[1, 2]", "-p", "dataset=a=b"]


@pytest.fixture
def three() -> list[runs.Run]:
    """Three stored students of two conditions, and a teacher."""
    students = [tiny_run("hard", 0), tiny_run("hard", 1), tiny_run("kd", 0)]
    runs.ask(students)
    return students


def test_an_empty_store_has_no_runs(kdstudy):
    code, out, _ = kdstudy("runs")
    assert code == 0
    assert out.splitlines()[-1] == "0 runs, 0 stale"


def test_runs_are_listed_and_none_is_stale(kdstudy, three):
    code, out, _ = kdstudy("runs")
    assert code == 0
    assert out.splitlines()[-1] == "4 runs, 0 stale"
    for run in [*three, three[2].teacher]:
        assert re.search(rf"{run.key}.*synthetic.*{run.condition.name}.*store.*False", out)
    assert kdstudy("runs", "--stale")[1].splitlines()[-1] == "0 runs, 0 stale"


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["--condition", "kd"], 1),
        (["--condition", "hard"], 3),
        (["--seed", "0"], 2),
        (["--seed", "0", "--condition", "hard"], 1),
        (["--dataset", "synthetic"], 4),
        (["--dataset", "digits"], 0),
    ],
)
def test_runs_are_filtered(kdstudy, three, words, count):
    code, out, _ = kdstudy("runs", *words)
    assert code == 0
    assert out.splitlines()[-1] == f"{count} runs, 0 stale"


def test_runs_are_exported_bit_for_bit(kdstudy, three, tmp_path):
    path = tmp_path / "all.csv"
    code, out, _ = kdstudy("runs", "--export", path)
    assert (code, out) == (0, f"4 runs written to {path}\n")
    table = pd.read_csv(path, dtype={"test_nll": str}).set_index("key")
    assert {k: float(v) for k, v in table["test_nll"].items()} == {k: r["test_nll"] for k, r in Store().rows().items()}
    assert {"train_agreement", "tau", "torch", "device", "seconds", "digest", "stale"} <= set(table)


def test_an_export_into_a_folder_that_is_not_there(kdstudy, three, tmp_path):
    code, _, err = kdstudy("runs", "--export", tmp_path / "absent" / "all.csv")
    assert code == 1
    assert err == f"error: Cannot save file into a non-existent directory: '{tmp_path / 'absent'}'\n"


def test_forget_removes_the_listed_runs_only(kdstudy, three):
    code, out, _ = kdstudy("runs", "--condition", "kd", "--forget")
    assert code == 0
    assert out.splitlines()[-1] == "forgotten in the working store; published results are files in data/results"
    assert set(Store().rows()) == {three[0].key, three[1].key, three[2].teacher.key}


def test_stale_runs_are_listed(kdstudy, three):
    store, key = Store(), three[0].key
    row = store.rows([key])[key]
    store.forget([key])
    store.put([Record(row | {"code": "0" * 12}, {})])
    assert kdstudy("runs")[1].splitlines()[-1] == "4 runs, 1 stale"
    code, out, _ = kdstudy("runs", "--stale")
    assert code == 0
    assert out.splitlines()[-1] == "1 runs, 1 stale"
    assert key in out


def test_a_long_list_is_cut_and_says_so(kdstudy, monkeypatch):
    runs.ask(tiny_run(seed=s, epochs=1) for s in range(45))
    out = kdstudy("runs")[1]
    assert out.count("synthetic") == 40
    assert out.splitlines()[-1] == "45 runs, 0 stale, the first 40 shown; --export FILE writes them all"


def test_publish_writes_a_chapter_of_results_that_answer_without_training(kdstudy, tmp_path):
    cli.publish("universe")
    cli.publish("notes")
    assert sorted(p.name for p in (tmp_path / "results").iterdir()) == ["universe.csv", "universe.npz"]
    wanted = cli.wanted("universe", {})
    Store().forget(Store().rows())
    assert list(runs.ask(wanted)["source"]) == ["published"]
    assert set(Published().rows()) == {r.key for r in wanted}
    assert re.search("synthetic.*hard.*published.*False", kdstudy("runs")[1])
