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
from kdstudy.core import paths
from kdstudy.distill import conditions
from kdstudy.engine.local import chosen
from kdstudy.study import experiment, plans
from kdstudy.study.experiment import Design, Study
from kdstudy.study.plans import cost
from kdstudy.study.search import Protocol

chapters = pytest.fixture(autouse=True)(small_book)
kdstudy = pytest.fixture(shell)


@pytest.fixture
def asked(monkeypatch, tmp_path) -> list[tuple[str, Protocol, list[Design]]]:
    """What `run` performs: executor, protocol and designs, without training or executing."""
    calls = []
    monkeypatch.setattr(experiment, "study", lambda designs, protocol, executor: calls.append(
        (chosen(executor) and executor, protocol, designs)) or Study([]))  # fmt: skip
    monkeypatch.setattr(run, "execute", lambda chapter, target, values, *_: print(chapter, target, values))
    monkeypatch.setattr(paths, "output_folder", lambda: tmp_path / "out")
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


def test_conditions_of_plugins_are_listed_too(kdstudy, tmp_path, monkeypatch, request):
    request.addfinalizer(lambda: [conditions.CONDITIONS.pop(name, None) for name in ("mine", "yours")])
    text = 'from kdstudy import condition\n\n@condition\ndef mine(label, ctx, *, tau=3.0):\n    """Mine."""\n'
    (tmp_path / "plug.py").write_text(text, "utf-8")
    other = text.replace("from kdstudy import condition", "import kdstudy").replace("@c", "@kdstudy.c")
    (tmp_path / "plugged.py").write_text(other.replace("mine", "yours"), "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("KDSTUDY_PLUGINS", os.pathsep.join([str(tmp_path / "plug.py"), "plugged"]))
    assert kdstudy("conditions")[1].endswith("mine (tau = 3)\n    Mine.\nyours (tau = 3)\n    Mine.\n")
    (tmp_path / "broken.py").write_text("1 / 0", "utf-8")
    (tmp_path / "leaving.py").write_text("raise SystemExit", "utf-8")
    known = {"absent": "ModuleNotFoundError: No module named 'absent'", "broken": "ZeroDivisionError"}
    for name, why in (known | {"leaving": "SystemExit"}).items():
        monkeypatch.setenv("KDSTUDY_PLUGINS", name)
        code, _, err = kdstudy("conditions")
        assert code == 1 and err.startswith(f"error: KDSTUDY_PLUGINS: {name!r} cannot be imported ({why}")


@pytest.mark.parametrize(
    "words", ["", "--help", "--version", "conditions", "run univers", "run universe -p seed=3", "runs --forget",
              "run universe -p labels=few", "diagnose a.npz --tau warm"],
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


def test_run_performs_the_study_of_these_parameters(kdstudy, asked, tmp_path):
    values = ("-p", "seeds=3", "-p", "conditions", "kd_pt", "-p", "regime", "few_labels")
    code, out, _ = kdstudy("run", "universe", *values, "-o", tmp_path / "a.ipynb")
    assert code == 0
    [(executor, protocol, [design])] = asked
    assert (executor, protocol, design.bed.name) == ("local", Protocol(2, 2, 3, 2), "synthetic, few labels (5)")
    assert list(design.sides) == ["hard", "kd_pt", "kd"]
    assert out.strip().endswith("a.ipynb {'seeds': 3, 'conditions': 'kd_pt', 'regime': 'few_labels'}")


@pytest.mark.filterwarnings("ignore:my texts.csv")  # its short texts share features
def test_a_path_of_ones_own_is_taken_from_the_folder_one_is_in(kdstudy, asked, tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    rows = "".join(f"good day {i},a\nbad day {i},b\n" for i in range(9))
    Path("my texts.csv").write_text(f"text,label\n{rows}", "utf-8")
    code, out, _ = kdstudy("run", "universe", "--dataset", "my texts.csv", "-o", tmp_path / "a.ipynb")
    assert code == 0
    path, [(_, _, [design])] = tmp_path / "mine" / "my texts.csv", asked
    assert (design.bed.data.name, design.bed.name) == (str(path), "my texts.csv, few labels (5)")
    assert out.strip() == f"universe {tmp_path / 'a.ipynb'} {{'dataset': 'my texts.csv'}}"


def test_a_chapter_without_a_plan_performs_nothing(kdstudy, asked, tmp_path):
    assert kdstudy("run", "notes", "-o", tmp_path / "a.ipynb")[0] == 0
    assert asked == []


def test_quick_is_a_small_study_of_two_beds(kdstudy, asked, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "output_folder", lambda: tmp_path)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    assert kdstudy("quick")[0] == 0
    [(_, protocol, designs)] = asked
    assert (protocol.settings, protocol.tuning) == (8, 2)
    assert [d.bed.regime for d in designs] == ["few_labels", "soft_truth"]


def test_a_dry_run_prints_costs_and_trains_nothing(kdstudy, monkeypatch, trained):
    [design] = plans.levels.universe(dataset="synthetic", conditions="kd")
    monkeypatch.setattr(plans.levels, "PLANS", {"universe": lambda **_: [design]})
    monkeypatch.setattr(plans, "PLANS", plans.levels.PLANS)
    runs = len(cost.with_teachers(cost.runs(design, Protocol())))
    code, out, _ = kdstudy("full", "--dry-run")
    assert code == 0 and not trained and f"{runs} runs, {runs * cost.GUESS / 3600:.2g} core-hours; {runs} are" in out
    few = len(cost.with_teachers(cost.runs(design, Protocol(2, 2, 2, 2))))
    code, out, _ = kdstudy("plan", "universe")  # its notebook's own parameters
    assert code == 0 and not trained and f"{few} runs, {few * cost.GUESS / 3600:.2g} core-hours; {few} are" in out


NAMES = "dataset, regime, conditions, labels, settings, tuning, seeds, admission, executor"
REFUSED = [
    (
        "run univers",
        "chapter 'univers' is unknown; there are: universe, notes, or the path of a notebook; did you mean 'universe'?",
    ),
    ("-p seed=3", f"chapter universe has no parameter 'seed'; it has: {NAMES}; did you mean 'seeds'?"),
    ("-p labels=few", "chapter universe: parameter labels: found 'few', allowed: int | None, such as 5"),
    ("-p conditions=kdd", "condition 'kdd' is unknown; there are: "),
    ("-p regime=few", "regime 'few' is unknown; there are: "),
    ("-p labels=[1", "parameter labels: found '[1', allowed: YAML such as 3, 0.5, kd or [1, 2]"),
    ("-p dataset=digit", "data set 'digit' is unknown; there are: "),
    ("--dataset absent/texts.csv", "absent/texts.csv"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED)
def test_what_is_refused_costs_exit_code_1_and_trains_nothing(kdstudy, asked, words, message):
    code, out, err = kdstudy(*words.split() if words.startswith("run") else ["run", "universe", *words.split()])
    assert (code, out, asked) == (1, "", []) and message in err and err.startswith("error: ") and err.count("\n") == 1


def test_an_unknown_executor(kdstudy):
    message = "error: executor 'cluster' is unknown; there are: local, stored, ray (ray:ADDRESS)\n"
    assert kdstudy("run", "universe", "-p", "executor=cluster") == (1, "", message)


def test_an_interrupt_says_what_is_kept(kdstudy, monkeypatch):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "study", interrupt)
    kept = "interrupted: what was finished is kept; the same command goes on from there\n"
    code, out, err = kdstudy("run", "universe")
    assert (code, out, err) == (130, "", kept)


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
