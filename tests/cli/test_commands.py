"""Commands as they are typed, half of them wrong: an exit code, a phrase, no traceback, nothing overwritten."""

import os
import shlex
from pathlib import Path

import numpy as np
import pytest
from command import shell

from kdstudy.cli import run
from kdstudy.core import paths
from kdstudy.study import experiment
from kdstudy.study.experiment import Study

kdstudy = pytest.fixture(shell)
Y, TINY = np.arange(60) % 3, "-p labels 5 -p settings 1 -p tuning 1 -p seeds 1 -p admission 2"
OWN, MINE = f"universe -p dataset ok.npz {TINY}", "losses.py:mine --classes 5"
TEXT = "text,label\n" + "".join(f"good day {i},<i>a</i>\nbad day {i},b\n" for i in range(9))
FILES = {
    "empty.npz": "", "empty.csv": "", "empty.parquet": "", "empty.ipynb": "", "notes.txt": "hello", "old.csv": "x",
    "old.ipynb": "{}", "old.html": "<p>mine</p>", "<b>x & y.csv": TEXT, "semi.csv": "text;label\na;b\n",
    "leave.py": "raise SystemExit(0)", "broken.py": "def (:", "folder/a.txt": "",
    "nets.py": "from torch import nn\nthing = 3\n\ndef net(inputs, classes):\n    return nn.Linear(inputs, classes)\n\n"
    "def bad(inputs, classes):\n    raise RuntimeError('<b>')\n\ndef wide(inputs, _):\n    return nn.Linear(inputs, 7)",
    "losses.py": "def mine(s, t, y):\n    return (s - t).square().mean()",
}  # fmt: skip
ARRAYS = {
    "ok": {"x": np.random.default_rng(0).normal(size=(60, 4)), "y": Y}, "one": {"x": np.eye(60), "y": 0 * Y},
    "nan": {"x": np.full((60, 4), np.nan), "y": Y}, "short": {"logits": np.eye(3)[Y[1:]]},
    "inf": {"logits": np.full((60, 3), np.inf)}, "teacher": {"logits": 9 * np.eye(3)[Y]},
    "both": {"logits": 9 * np.eye(3)[Y] + np.random.default_rng(1).normal(size=(60, 3)), "labels": Y},
}  # fmt: skip
GOOD = [  # what is typed, and what is said
    (f"train {OWN}", "0 runs are stored"),
    (f"run {OWN}", "are to be trained"), (f"run {OWN} -o no/where/b.ipynb", "b.ipynb"),
    (f"run {OWN} -p net nets.py:net", "nets.py:net"), (f"run {OWN} -p teacher teacher.npz", "teacher.npz"),
    (f"run universe -p dataset '<b>x & y.csv' {TINY}", "<b>x & y.csv"), (f"-q run {OWN}", "out"),
    (f"run universe -p dataset digits,digits {TINY}", "EXECUTED"), (f"plan {OWN}", "are to be trained"),
    (f"plan universe {TINY} -p conditions kd,kd", "core-hours"),
    ("parameters universe", "dataset: str | list[str] | None = None"), ("conditions", "kd_pt ("),
    ("--version", "kdstudy"), ("runs", "0 runs, 0 stale"), ("runs --stale", "0 runs"),
    ("runs --export no/where/a.csv", "0 runs written"), ("runs --forget --all --yes", "0 runs"),
    ("diagnose both.npz", "few_examples"), ("diagnose both.npz --json", '"ok"'), ("full --help", "--dry-run"),
    ("--help", "check-loss"),
]  # fmt: skip
UNKNOWN, NO_NUMBER = "is unknown; there are: ", "allowed: int in [1, 1000], such as 20"
BAD = [  # exit code 1: one sentence
    ("train univers", "did you mean 'universe'?"), (f"train {OWN} --minutes -1", "a number above 0"),
    ("run univers", "did you mean 'universe'?"), ("run UNIVERSE", "did you mean 'universe'?"), ("run folder", UNKNOWN),
    ("run notes.txt", UNKNOWN), ("run empty.ipynb", "found no notebook that can be read"),
    ("run old.ipynb", "found no notebook that can be read"), ("parameters nothing", UNKNOWN), ("plan folder", UNKNOWN),
    (f"run {OWN} -o old.ipynb", "which holds something else"), (f"run {OWN} -o a.txt", "ends in .ipynb"),
    ("run universe -p dataset one.npz", "found one class, '0'"),
    ("run universe -p dataset nan.npz", "no numbers in rows"), ("run universe -p dataset empty.npz", "EOFError"),
    ("run universe -p dataset empty.csv", "Empty CSV file"), ("run universe -p dataset empty.parquet", "0 bytes"),
    ("run universe -p dataset semi.csv", "columns 'text;label'"), ("run universe -p dataset notes.txt", UNKNOWN),
    ("run universe -p dataset folder", "no image, but 'a.txt'"), ("run universe -p dataset no.csv", "no such file"),
    ("run universe -p dataset ''", "found no value"), ("run universe -p dataset '[]'", "found []"),
    ("run universe -p dataset [", "allowed: YAML"), ("run universe -p dataset 3", "found 3"),
    ("run universe -p dataset digit", "did you mean 'digits'?"),
    (f"run {OWN} --dataset digits", "parameter dataset: found 2 times, allowed: once"),
    (f"run {OWN} -p seeds 4", "parameter seeds: found 2 times, allowed: once"),
    ("run universe -p seeds", "found no value"), ("run universe -p seeds 0", NO_NUMBER),
    ("run universe -p seeds 1e9", NO_NUMBER), ("run universe -p seeds 100000000", NO_NUMBER),
    ("run universe -p seeds three", NO_NUMBER), ("run universe -p seed 3", "did you mean 'seeds'?"),
    ("run universe -p labels .nan", "found nan"), ("run universe -p labels true", "found True"),
    ("run universe -p dataset ok.npz -p labels 99", "at most 14 of each"), ("run universe -p regime few", UNKNOWN),
    ("run universe -p conditions kdd", UNKNOWN), ("run universe -p hidden 1e30", "allowed: int | None"),
    ("run temperature -p tau .inf", "found inf"), ("run temperature -p tau 0", "in (0, 1000]"),
    ("run noise -p noise 2", "in [0, 1]"), (f"run {OWN} -p net nets.py:bad", "RuntimeError (<b>)"),
    (f"run {OWN} -p net nets.py:wide", "allowed: (2, 3)"), (f"run {OWN} -p net nets.py:thing", "thing is no function"),
    (f"run {OWN} -p net nets.py", "FILE.py:FUNCTION"), (f"run {OWN} -p net no.py:net", "FileNotFoundError"),
    (f"run {OWN} -p net leave.py:net", "SystemExit"), (f"run {OWN} -p net broken.py:net", "SyntaxError"),
    (f"run {OWN} -p teacher short.npz", "allowed: (42, 3)"), (f"run {OWN} -p teacher inf.npz", "allowed: finite ones"),
    (f"run {OWN} -p teacher empty.npz", "EOFError"), (f"run {OWN} -p teacher folder", "an .npz file of logits"),
    (f"run {OWN} --executor slurm", UNKNOWN), ("run universe --address auto", "together with --executor ray"),
    ("full --dry-run --executor slurm", UNKNOWN), ("runs --dataset digits", "there are: none"),
    ("runs --export old.csv", "which is there"), ("runs --export a.txt", "ends in .csv"),
    ("runs --forget", "found no filter"), ("runs --yes", "together with --forget"),
    ("KDSTUDY_STORE=/proc/no/a.sqlite runs", "set KDSTUDY_STORE"), ("KDSTUDY_STORE=notes.txt runs", "not a database"),
    ("KDSTUDY_STORE=folder runs", "set KDSTUDY_STORE"),
    ("KDSTUDY_RESULTS=notes.txt runs", "a file, allowed: a folder"),
    (f"KDSTUDY_CACHE=notes.txt run universe -p dataset '<b>x & y.csv' {TINY}", "a file, allowed: a folder"),
    (f"KDSTUDY_WORKERS=many plan {OWN}", "KDSTUDY_WORKERS: found 'many'"),
    (f"KDSTUDY_WORKERS=0 plan {OWN}", "KDSTUDY_WORKERS: found '0'"),
    (f"KDSTUDY_PLUGINS=nothing run {OWN}", "cannot be imported"),
    ("KDSTUDY_PLUGINS=leave.py conditions", "SystemExit"),
]  # fmt: skip
USELESS = [  # exit code 2
    ("run", "Missing argument"), ("run universe extra", "extra"), ("run universe --bogus", "No such option"),
    ("-v -q runs", "allowed: one of them"), ("nothing", "No such command"), ("book extra", "extra"),
    ("diagnose no.npz", "found no file that can be read"), ("diagnose folder", "found a folder"),
    ("diagnose notes.txt", "'.txt'"), ("diagnose empty.npz", "no archive"), ("diagnose teacher.npz", "but no labels"),
    ("diagnose both.npz --tau inf", "a number above 0"),
    ("diagnose both.npz -o old.html", "which holds something else"),
    ("diagnose both.npz --heldout no.npz", "found no file"),
    (f"check-loss {MINE} --tau nan", "allowed: a finite number"), ("check-loss losses.py --classes 5", "FILE.py:NAME"),
    ("check-loss leave.py:a --classes 5", "SystemExit"),
    ("check-loss losses.py:no --classes 5", "has no attribute 'no'"), (f"check-loss {MINE} -b beta", "NAME=NUMBER"),
    ("check-loss losses.py:mine --classes 99999999999", "more memory than there is"),
    (f"check-loss {MINE} --weights [1", "allowed: YAML"), (f"check-loss {MINE} --divergence no", "forward, reverse"),
    ("KDSTUDY_PROGRESS=loud runs", "allowed: quiet, verbose"), ("run universe -p", "requires an argument"),
]  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch, cache) -> list[object]:
    """A folder with files of all sorts; the studies that are performed."""
    performed = []
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text, "utf-8")
    for name, arrays in ARRAYS.items():
        np.savez(name, **arrays)
    monkeypatch.setattr(experiment, "study", lambda *asked: performed.append(asked) or Study([]))
    monkeypatch.setattr(run, "execute", lambda chapter, target, values, *_: print("EXECUTED", target, values))
    monkeypatch.setattr(paths, "output_folder", lambda: tmp_path / "out")
    monkeypatch.setattr(os, "environ", dict(os.environ) | {"KDSTUDY_PROGRESS": ""})
    return performed


@pytest.mark.filterwarnings("ignore:.*have the features")
@pytest.mark.parametrize(
    ("code", "line", "phrase"),
    [(code, *row) for code, table in enumerate((GOOD, BAD, USELESS)) for row in table],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
def test_a_command_ends_in_an_answer_or_a_sentence(code, line, phrase, kdstudy, here):
    while line.startswith("KDSTUDY_"):
        setting, _, line = line.partition(" ")
        os.environ.update([setting.split("=")])
    found, out, err = kdstudy(*shlex.split(line))
    said = " ".join((out + err).replace("│", " ").split())
    assert (found, phrase in said) == (code, True), said
    assert "Traceback" not in said and not (code and here)
    assert err.count("\n") == 1 or code != 1
    kept = {name: Path(name).read_text("utf-8") for name in FILES}
    assert kept == FILES


def test_the_table_is_long_and_half_of_it_is_wrong():
    assert len(GOOD) > 20 and len(BAD) + len(USELESS) > 60
