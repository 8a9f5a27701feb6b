"""What CONTRIBUTING.md says of adding things, executed word for word: its blocks are one plugin, used in every way."""

import os
import re
import subprocess
import sys

import nbformat
import pytest

from kdstudy.core.paths import CHECKOUT

TEXT = (CHECKOUT / "CONTRIBUTING.md").read_text("utf-8")
BLOCKS = re.findall(r"(?ms)^```(\w+)\n(.*?)^```", TEXT.partition("## Adding one thing")[2].partition("\n## ")[0])
USES = {
    "trained": """
from kdstudy import ask
from kdstudy.study.plans import PLANS
frame = ask(PLANS["floors"](dataset="stripes", conditions="hard, kd, kd_floor", seeds=1, tau=2.0, alpha=0.9)["study"])
assert set(frame["source"]) == {"trained"} and set(frame["hidden"]) == {"flat4"}, frame
assert sorted(frame["floor"].dropna()) == [0.0, 0.2] and frame["test_lead"].gt(0).all()
assert frame[frame["floor"] != 0.2].groupby("alpha")["test_nll"].nunique().max() == 1  # floor 0 is KD
assert not ask(frame["run"])["stale"].any()

from kdstudy.study.plans import study
frame = ask(study("digits", "kd_floor", tau=2.0, alpha=0.9, seeds=1, epochs=1), executor="patient")
assert list(frame["source"]) == ["trained"]

from kdstudy import Data
from kdstudy.engine import teachers
from kdstudy.study.plans import under
asked = study(Data("stripes", (("dimmed", 0.5),)), "kd", tau=2.0, alpha=0.9, seeds=1)
[row] = ask(under(asked, lambda teacher: teachers.of(teacher, "ignorant"))).to_dict("records")
assert row["options"] == '{"dimmed": 0.5}' and row["source"] == "trained"
""",
    "judged": """
from kdstudy.engine.ask import answer
from kdstudy.study import array_metrics, claims, measures, verdicts
from kdstudy.study.plans import PLANS
tables = answer(PLANS["floors"](dataset="digits", conditions="kd, kd_floor", tau=2.0, alpha=0.9, seeds=2, epochs=1))
assert "**floor: " in verdicts.sentences(claims.chapter("floors", tables))
own = array_metrics.measured(tables["study"], "overfit", tables)
assert (own["overfit"] == own["train_accuracy"] - own["test_accuracy"]).all()
assert measures.measure("test_lead").axis_label == "lead of the first class (nats)"

import numpy as np
from kdstudy import diagnose
from kdstudy.distill import identities
from kdstudy.distill.conditions import make
from kdstudy.study import known_bugs
assert identities.check("no_floor").holds
try:
    make("kd_floor", floor=2)
except ValueError as error:
    assert str(error) == "floor of condition 'kd_floor': found 2, allowed: 0 <= floor <= 1"
draws = np.random.default_rng(0)
label = draws.integers(3, size=600)
logits = draws.normal(size=(600, 3)) + 2 * np.eye(3)[label]
assert "three_classes" in diagnose(logits, label).codes
assert known_bugs.planted(logits, label).set_index("fault").loc["labels from 1", "named"]

from kdstudy.figures import style
assert style.look("kd_floor") == style.Look("teal", "o", "KD with a floor")
assert style.condition_name("kd_floor") == "KD with a floor"
""",
}


@pytest.fixture
def plugin(tmp_path):
    """A process that has the guide's blocks as its plugin."""
    for suffix in ("py", "toml"):
        language = {"py": "python"}.get(suffix, suffix)
        (tmp_path / f"mine.{suffix}").write_text("\n".join(code for name, code in BLOCKS if name == language), "utf-8")
    cells = [nbformat.v4.new_code_cell(code) for code in dict(BLOCKS)["py"].split("# %%\n")]
    cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "floors.ipynb")
    env = os.environ | {"KDSTUDY_PLUGINS": "mine.py", "CUDA_VISIBLE_DEVICES": ""}

    def run(*words: str) -> str:
        done = subprocess.run([sys.executable, *words], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("use", USES)
def test_what_the_guide_adds_is(use, plugin):
    plugin("-c", USES[use])


COMMAND = "from kdstudy.cli.main import main; main()"


def test_what_the_guide_adds_is_listed(plugin):
    assert "kd_floor (tau = 2, alpha = 0.9, floor = 0.1)" in plugin("-c", COMMAND, "conditions")


def test_a_chapter_of_ones_own_is_trained_and_drawn(plugin, tmp_path):
    out = plugin("-c", COMMAND, "run", "floors.ipynb", "-p", "seeds=2", "-o", "out/floors.ipynb")
    assert (tmp_path / "out/floors/index.html").is_file(), out
    assert "floor: " in (tmp_path / "out/floors.ipynb").read_text("utf-8")
