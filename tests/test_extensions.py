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
from dataclasses import replace
from kdstudy import Data, Recipe, Run, ask
from kdstudy.distill.conditions import make
from kdstudy.study import beds

data = Data("stripes")
teacher = Run(data, Recipe((), 3, 16, net="flat16"), make("hard"), 10_000)
taught = [make("kd_floor", tau=2.0, alpha=0.9, floor=f) for f in (0.0, 0.2)] + [make("kd", tau=2.0, alpha=0.9)]
frame = ask(Run(data, Recipe((), 2, 16, net="flat4"), condition, 0, teacher) for condition in taught)
assert set(frame["source"]) == {"trained"} and set(frame["hidden"]) == {"flat4"}, frame
assert frame["test_nll"][0] == frame["test_nll"][2] != frame["test_nll"][1]  # floor 0 is KD
assert frame["test_lead"].gt(0).all() and not ask(frame["run"])["stale"].any()

[row] = ask([replace(frame["run"][0], seed=1)], executor="patient").to_dict("records")
assert row["source"] == "trained"

bed = beds.bed("digits", "dim", labels=50)
bed = replace(bed, student=replace(bed.student, epochs=1), teacher=replace(bed.teacher, epochs=1))
dim, ignorant = ask([b.run(make("kd"), 0) for b in (bed, replace(bed, composed="ignorant"))]).to_dict("records")
assert dim["options"] == ignorant["options"] == '{"dimmed": 0.5}' and dim["test_nll"] != ignorant["test_nll"]
""",
    "judged": """
from kdstudy.study import array_metrics, beds, claims, measures, plans, verdicts

beds.EPOCHS, beds.STEPS = 1, {"teacher": 20, "student": 20}
study = plans.study("floors", dataset="digits", settings=2, tuning=2, seeds=2, admission=2)
assert list(study.experiments[0].choices) == ["hard", "kd", "floor 0:kd", "floor 0.2:kd"]
assert set(study.tables["practical"]["floor"].dropna()) == {0.0, 0.2}
rows = claims.chapter("floors", study)
assert list(rows["claim"]) == ["floor"] and "floor" in verdicts.sentences(rows)
table = study.tables["practical"]
own = array_metrics.measured(table, "overfit", study.tables)
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
    small = "from kdstudy.study import beds; beds.EPOCHS, beds.STEPS = 1, {'teacher': 20, 'student': 20}"
    (tmp_path / "mine.py").write_text(f"{(tmp_path / 'mine.py').read_text('utf-8')}\n{small}\n", "utf-8")
    given = [word for name in ("settings", "tuning", "seeds", "admission") for word in ("-p", f"{name}=2")]
    out = plugin("-c", COMMAND, "run", "floors.ipynb", *given, "-o", "out/floors.ipynb")
    assert (tmp_path / "out/floors/index.html").is_file(), out
    assert "floor: " in (tmp_path / "out/floors.ipynb").read_text("utf-8")
