"""`kdstudy run` and the help: what it asks for, what it refuses and in which words, how it exits."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import shell, small_book

from kdstudy import __version__
from kdstudy.cli import run
from kdstudy.distill import conditions
from kdstudy.engine import ask

chapters = pytest.fixture(autouse=True)(small_book)
kdstudy = pytest.fixture(shell)


@pytest.fixture
def asked(monkeypatch) -> list[tuple[list[ask.Run], dict]]:
    """What `run` asks for, without training or executing."""
    calls = []
    monkeypatch.setattr(ask, "ask", lambda wanted, **options: calls.append((wanted, options)))
    monkeypatch.setattr(run, "execute", lambda chapter, target, values: print(chapter, target, values))
    return calls


def test_without_words_it_explains_itself(kdstudy):
    code, out, err = kdstudy()
    assert code == 2
    for command in ("run", "runs", "claims", "conditions", "book", "quick", "full"):
        assert re.search(rf"^\W*{command} +\w", out + err, re.MULTILINE), command


def test_conditions_are_listed_with_defaults_and_formulas(kdstudy):
    code, out, _ = kdstudy("conditions")
    assert code == 0
    listed = re.findall(r"(?m)^(\w+) \((.*)\)\n    (.+)$", out)
    assert {name: (said, formula) for name, said, formula in listed} == {
        name: (", ".join(f"{k} = {v:g}" for k, v in conditions.parameters(name).items()), fn.__doc__.splitlines()[0])
        for name, fn in conditions.CONDITIONS.items()
    }  # read from the sources, and as those who import them see it


def test_conditions_of_plugins_are_listed_too(kdstudy, tmp_path, monkeypatch):
    text = 'from kdstudy import condition\n\n@condition\ndef mine(label, ctx, *, tau=3.0):\n    """Mine."""\n'
    (tmp_path / "plug.py").write_text(text, "utf-8")
    other = text.replace("from kdstudy import condition", "import kdstudy").replace("@c", "@kdstudy.c")
    (tmp_path / "plugged.py").write_text(other.replace("mine", "yours"), "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("KDSTUDY_PLUGINS", os.pathsep.join([str(tmp_path / "plug.py"), "plugged"]))
    assert kdstudy("conditions")[1].endswith("mine (tau = 3)\n    Mine.\nyours (tau = 3)\n    Mine.\n")
    monkeypatch.setenv("KDSTUDY_PLUGINS", "absent")
    message = "error: KDSTUDY_PLUGINS: found 'absent', allowed: .py files and modules that can be imported\n"
    assert kdstudy("conditions")[2] == message


@pytest.mark.parametrize(
    "words", ["", "--help", "--version", "conditions", "run univers", "run universe -p seed=3", "runs --forget",
              "run universe -p tau=hot", "runs --seed first", "diagnose a.npz --tau warm"],
)  # fmt: skip
def test_help_and_argument_errors_load_nothing_heavy(words):
    code = (
        "import sys\nfrom kdstudy.cli.main import main\ntry:\n    main()\nexcept SystemExit:\n"
        "    print('\\nheavy:', *{'torch', 'scipy', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, *words.split()], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].strip() == "heavy:"


def test_the_version(kdstudy):
    assert kdstudy("--version") == (0, f"kdstudy {__version__}\n", "")


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


def test_a_path_of_ones_own_is_taken_from_the_folder_one_is_in(kdstudy, asked, tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    Path("my texts.csv").write_text("text,label\n" + "good day,a\nbad day,b\n" * 9, "utf-8")
    code, out, _ = kdstudy("run", "universe", "--dataset", "my texts.csv", "-o", tmp_path / "a.ipynb")
    assert code == 0
    [(wanted, _)] = asked
    path = tmp_path / "mine" / "my texts.csv"
    assert {(r.data.name, r.data.label) for r in wanted} == {(str(path), "my texts.csv")}
    assert out.strip() == f"universe {tmp_path / 'a.ipynb'} {{'dataset': [{str(path)!r}]}}"


def test_a_chapter_without_a_plan_asks_for_nothing(kdstudy, asked, tmp_path):
    assert kdstudy("run", "notes", "-o", tmp_path / "a.ipynb")[0] == 0
    assert asked == [([], {"executor": "local"})]


NAMES = "dataset, conditions, tau, weight_decay, seeds, hidden, epochs, executor"
REFUSED = [
    (
        "run univers",
        "chapter 'univers' is unknown; there are: universe, notes, or the path of a notebook; did you mean 'universe'?",
    ),
    ("-p seed=3", f"chapter universe: found parameter 'seed' (did you mean 'seeds'?), allowed: {NAMES}"),
    ("-p tau=hot", "chapter universe: parameter tau: found 'hot', allowed: float | list[float], such as [2.0]"),
    ("-p conditions=kd -p tau=0", "tau of condition 'kd': found 0, allowed: a number above 0"),
    ("-p tau=[1", "parameter tau: found '[1', allowed: YAML such as 3, 0.5, kd or [1, 2]"),
    ("-p dataset=digit", "data set 'digit' is unknown; there are: "),
    ("--dataset absent/texts.csv", "absent/texts.csv"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED)
def test_what_is_refused_costs_exit_code_1_and_trains_nothing(kdstudy, asked, words, message):
    code, out, err = kdstudy(*words.split() if words.startswith("run") else ["run", "universe", *words.split()])
    assert (code, out, asked) == (1, "", []) and message in err and err.startswith("error: ") and err.count("\n") == 1


def test_an_unknown_executor(kdstudy):
    message = "error: executor 'cluster' is unknown; there are: local, ray (ray:ADDRESS)\n"
    assert kdstudy("run", "universe", "-p", "executor=cluster") == (1, "", message)


def test_an_interrupt_says_what_is_kept(kdstudy, monkeypatch):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(ask, "ask", interrupt)
    kept = "interrupted: what was finished is kept; the same command goes on from there\n"
    assert kdstudy("run", "universe") == (130, "", kept)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("run universe -p seeds 3", "run universe -p seeds=3"),
        ("run universe --parameters tau 4 -o x", "run universe -p tau=4 -o x"),
        ("run universe -p a 1 -p b=2 -p c 3", "run universe -p a=1 -p b=2 -p c=3"),
        ("run universe -p alpha", "run universe -p alpha="),
        ("run universe -p", "run universe -p"),
        ("runs --seed 3", "runs --seed 3"),
    ],
)
def test_parameters_as_papermill_takes_them(words, expected):
    assert run.joined(words.split()) == expected.split()
    assert run.joined(["-p", "seeds", "[1, 2]", "-p", "dataset", "a=b"]) == ["-p", "seeds=[1, 2]", "-p", "dataset=a=b"]
