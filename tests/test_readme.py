"""Every command and snippet of README.md, word for word.

What takes long is run up to where the work would begin, and says so in `WAYS`: `kdstudy run` reads its words, checks
them against the chapter and plans its designs, but trains none; papermill writes its notebook with the parameters;
`make` says what it would do. `make book`, `test`, `lint` and `quick` themselves are run by `.ci/run`.
A Ray cluster's address cannot be tried here: `tests/engine/test_ray.py` starts one of its own.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdstudy import Data, load
from kdstudy.cli import main, run
from kdstudy.core import paths
from kdstudy.core.paths import CHECKOUT
from kdstudy.study import experiment

TEXT = (CHECKOUT / "README.md").read_text("utf-8")
FENCED = re.findall(r"(?ms)^```(\w+)\n(.*?)^```", TEXT)
LINES = [line for language, code in FENCED if language == "sh" for line in code.splitlines()]
TABLE = re.findall(r"(?m)^\| `((?:make|kdstudy) \w+)` \|", TEXT)
COMMANDS = list(dict.fromkeys([*filter(None, (line.partition(" #")[0].strip() for line in LINES)), *TABLE]))
SNIPPETS = [code for language, code in FENCED if language == "python"]


@pytest.fixture
def shell(monkeypatch, tmp_path):
    """`kdstudy` as a shell calls it, in a folder with the files that the README speaks of."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    (tmp_path / "path/to").mkdir(parents=True)
    rows = [f"{word} day {i},{word}" for i in range(20) for word in ("good", "bad")]
    (tmp_path / "path/to/my.csv").write_text("text,label\n" + "\n".join(rows), "utf-8")
    for place in (f"{split}/{name}" for split in ("train", "test") for name in "ab"):
        (tmp_path / "path/to/folder" / place).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"path/to/folder/{place}/{i}.png")
    shutil.copy(CHECKOUT / "data/results/example_teacher.npz", "logits.npz")
    np.savez("path/to/embeddings.npz", x=rng.normal(size=(60, 8)), y=np.arange(60) % 2)
    np.savez("path/to/logits.npz", logits=np.eye(10)[load(Data("digits")).train.y])
    Path("path/to/nets.py").write_text("from torch.nn import Linear as net\n")

    def call(words: list[str]) -> None:
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            main.main()
        assert ended.value.code == 0

    return call


def planned(words: list[str], shell, monkeypatch) -> None:
    """`kdstudy run`, up to the training of what is missing."""
    asked = []
    monkeypatch.setattr(experiment, "study", lambda *given: asked.append(given) or experiment.Study([]))
    monkeypatch.setattr(run, "execute", lambda *given: None)
    monkeypatch.setattr(run, "announce", lambda *given: set())
    monkeypatch.setattr(paths, "output_folder", lambda: Path.cwd() / "out")
    shell(words)
    [(designs, protocol, executor)] = asked
    assert designs and executor == ("ray:auto" if "ray" in words else "local")
    assert protocol.evaluation == (12 if "seeds" in words else 20)


def done(words: list[str], shell, monkeypatch) -> None:
    """A command that is quick."""
    shell(words)


def helped(words: list[str], shell, monkeypatch) -> None:
    """A command that would ask for all runs of the study: its help."""
    shell([*words, "--help"])


def prepared(words: list[str], shell, monkeypatch) -> None:
    """Papermill's notebook, with the parameters in it."""
    target = Path.cwd() / words[2]
    subprocess.run([sys.executable, "-m", *words[:2], target, *words[3:], "--prepare-only"], cwd=CHECKOUT, check=True,
                   env=os.environ | {"PYTHONWARNINGS": "ignore"})  # fmt: skip
    assert words[-1] in target.read_text("utf-8")


def told(words: list[str], shell, monkeypatch) -> None:
    """What `make` would do."""
    subprocess.run([*words, "--dry-run"], cwd=CHECKOUT, check=True, capture_output=True)


def activated(words: list[str], shell, monkeypatch) -> None:
    """The environment that `make env` makes."""
    assert words[1].startswith(re.search(r"(?m)^VENV := (.+)$", (CHECKOUT / "Makefile").read_text())[1])


WAYS = {
    "make ": told, "source ": activated, "papermill ": prepared, "kdstudy plan": helped, "kdstudy run ": planned,
    "kdstudy train": helped,
    "kdstudy diagnose ": done, "kdstudy diagnose": helped, "kdstudy claims": helped, "kdstudy runs": done,
    "kdstudy full": helped, "kdstudy conditions": done, "kdstudy parameters": helped,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:my.csv")  # its short texts share features
@pytest.mark.parametrize("command", COMMANDS)
def test_command(command, shell, monkeypatch):
    way = next(way for start, way in WAYS.items() if command.startswith(start))
    way(shlex.split(command), shell, monkeypatch)


@pytest.mark.parametrize("code", SNIPPETS, ids=lambda code: code.split("\n")[0])
def test_snippet(code, brief, monkeypatch, capsys):
    """In the checkout, with short training; what comments promise is what is printed."""
    monkeypatch.chdir(CHECKOUT)
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    printed = capsys.readouterr().out
    for promised in re.findall(r"(?m)^print.*# (\(.*\))$", code):
        assert promised in printed.splitlines()
    assert ("tau_squared_missing" in printed) == ("check_loss" in code)


def test_what_takes_long_is_run_by_ci():
    made = re.findall(r"(?m)^make (\w+)", (CHECKOUT / ".ci/run").read_text("utf-8"))
    assert {"env", "test", "lint", "quick", "book"} == set(made)
