"""The example of the diagnosis, the same teacher spoilt, and how alarms are counted and drawn."""

import numpy as np
import pandas as pd
import pytest
from conftest import tiny_run

from kdstudy import diagnose
from kdstudy.book import example_teacher
from kdstudy.data import registry
from kdstudy.diagnosis.files import read
from kdstudy.figures.shared import diagnose as drawn
from kdstudy.store.working import Store
from kdstudy.study.calibration.table import logits


def test_the_file_holds_what_the_runs_left(tmp_path):
    run, store = tiny_run("kd"), Store(tmp_path / "own.sqlite")
    found, names = read(str(example_teacher.write(tmp_path / "a.npz", run, store)))
    left, data = logits([run.teacher, run], store), registry.load(run.data)
    wanted = {
        "teacher_logits": left[run.teacher.key]["logits_train"], "student_logits": left[run.key]["logits_train"],
        "heldout_teacher_logits": left[run.teacher.key]["logits_validation"], "labels": data.train.y,
        "student_val_logits": left[run.key]["logits_validation"], "heldout_labels": data.validation.y,
    }  # fmt: skip
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], np.asarray(value).astype(found[name].dtype))
    assert found.keys() - wanted.keys() == {"class_names", "superclass"}
    assert (found["class_names"], found["superclass"]) == (list(data.classes), list(data.superclass))
    assert names == []


def test_the_committed_example_is_small_and_of_the_run_it_names():
    path, run = example_teacher.EXAMPLE, example_teacher.student()
    found, data = read(str(path))[0], registry.load(run.data)
    assert path.stat().st_size < 500_000
    assert (run.condition.name, run.seed, run.teacher.condition.name) == ("kd", 0, "hard")
    np.testing.assert_array_equal(found["labels"], data.train.y)
    assert diagnose(**found).codes == ("healthy",)


def test_the_example_spoilt_has_the_codes_that_are_meant():
    frame = example_teacher.spoilt(read(str(example_teacher.EXAMPLE))[0])
    assert len(frame) >= 20
    for done, meant, found in frame.itertuples(index=False):
        assert meant in found.split(", "), done


def test_a_student_of_rows_that_are_one_off_is_named_sick_and_learns_little():
    seen = {"healthy": example_teacher.watched(), "one row off": example_teacher.watched(rows_off=1)}
    (healthy, learnt), (sick, little) = seen.values()
    assert healthy.codes == ("healthy",) and "misaligned" in sick.codes and learnt > 0.9 > 0.5 > little
    frame = example_teacher.beside(seen).set_index("at steps 1, 50, 150")
    assert frame.loc["student's test accuracy", "healthy"] == f"{learnt:.2f}"
    assert frame.loc["mass off the label", "one row off"].startswith(f"{sick.history['mass'][1]:.2f} → ")


@pytest.fixture
def rates() -> pd.DataFrame:
    """Three kinds of teachers and three codes."""
    rows = [("healthy", 4, "healthy", 3, 1, 0), ("random", 2, "weak", 0, 2, 1), ("weak", 3, "weak", 1, 1, 0)]
    return pd.DataFrame(rows, columns=["kind", "n", "meant", "healthy", "weak", "odd"])


def test_alarms_are_counted_by_code(rates):
    found = drawn.by_code(rates).to_dict("records")
    assert found == [
        {"code": "weak", "kinds": "random, weak", "n": 5, "true": 3 / 5, "healthy n": 4, "false": 1 / 4}
    ]  # fmt: skip


def test_alarms_are_drawn_as_percent_with_what_is_meant_framed(rates):
    ax = drawn.alarms(rates).axes[0]
    assert {(int(x), int(y)): t.get_text() for t in ax.texts for x, y in [t.get_position()]} == {
        (0, 0): "75", (1, 0): "25", (1, 1): "100", (2, 1): "50", (0, 2): "33", (1, 2): "33",
    }  # fmt: skip
    assert [(round(p.get_x() + 0.5), round(p.get_y() + 0.5)) for p in ax.patches] == [(0, 0), (1, 1), (1, 2)]
