"""`ask`: answers from the store or published results, trains what is missing in stacks, reports what diverged."""

import random
import re
from dataclasses import replace

import numpy as np
import pytest
from conftest import tiny_run
from pandas.testing import assert_frame_equal
from stored import answers, same

from kdstudy.distill import conditions
from kdstudy.engine import ask, stacks
from kdstudy.store.published import Published
from kdstudy.store.working import Record, Store
from kdstudy.train import mlp

pytestmark = pytest.mark.usefixtures("on_cpu")

LADDER = ["hard", "label_smoothing", "kd"]


def test_what_was_asked_before_is_answered_from_the_store_and_only_new_seeds_are_trained(trained):
    first = ask.ask(tiny_run(name, seed) for name in LADDER for seed in range(2))
    trained.clear()
    second = ask.ask(tiny_run(name, seed) for name in LADDER for seed in range(2))
    assert not trained and set(first["source"]) == {"trained"} and set(second["source"]) == {"store"}
    assert not second["stale"].any()
    assert_frame_equal(first.drop(columns="source"), second.drop(columns="source"), check_exact=True)
    frame = ask.ask(tiny_run(seed=s) for s in range(4))
    assert [r.seed for stack in trained for r in stack] == [2, 3]
    assert list(frame["source"]) == ["store"] * 2 + ["trained"] * 2


def test_rows_come_in_the_order_asked_without_repeats(trained):
    asked = [tiny_run("kd", 3), tiny_run("hard", 1), tiny_run("kd", 0, tau=4.0), tiny_run("hard", 0)]
    frame = ask.ask([*asked, asked[0], asked[2]])
    assert list(frame["key"]) == [r.key for r in asked]
    assert list(frame["seed"]) == [3, 1, 0, 0]
    assert sum(map(len, trained)) == 4 + 2  # students, and the teachers of seeds 3 and 0
    trained.clear()
    assert len(ask.ask([])) == 0 and not trained


def test_teachers_are_trained_once_and_serve_all_that_listen(trained):
    ask.ask([tiny_run("kd", s, tau=t) for s in range(2) for t in (1.0, 4.0)])
    assert [[r.seed for r in stack] for stack in trained] == [[10_000, 10_001], [0, 0, 1, 1]]
    trained.clear()
    ask.ask([tiny_run("label_smoothing_matched", s) for s in range(3)])
    assert [[r.seed for r in stack] for stack in trained] == [[10_002], [0, 1, 2]]


def test_only_teachers_keep_their_logits():
    student = tiny_run("kd")
    ask.ask([student])
    keys = [student.key, student.teacher.key]
    assert Store().has(keys, "logits_test") == {student.teacher.key}
    assert Store().has(keys, "curves") == set(keys)


def test_a_run_kept_without_logits_can_still_become_a_teacher(trained):
    student = tiny_run("kd")
    before = ask.ask([student.teacher])
    ask.ask([student])
    assert [[r.key for r in stack] for stack in trained] == [
        [student.teacher.key], [student.teacher.key], [student.key]
    ]  # fmt: skip
    assert_frame_equal(ask.ask([student.teacher]).drop(columns="source"), before.drop(columns="source"))


def publish(asked, change=lambda row: row) -> None:
    """Move runs from the working store to the published results."""
    store, keys = Store(), [r.key for r in asked]
    rows, arrays = store.rows(keys), store.arrays(keys, ["curves", "reliability"])
    Published().publish("universe", [Record(change(rows[k]), arrays[k]) for k in keys])
    store.forget(keys)


def test_published_results_are_used_without_training(trained):
    asked = [tiny_run(name, seed) for name in LADDER for seed in range(2)]
    first = ask.ask(asked)
    curves = ask.arrays(first, "curves")
    publish(asked)
    trained.clear()
    second = ask.ask(asked)
    assert trained == []
    assert set(second["source"]) == {"published"}
    assert not second["stale"].any()
    metrics = [c for c in first if c.partition("_")[0] in ("train", "validation", "test", "target")]
    assert len(metrics) > 15
    assert_frame_equal(first[metrics], second[metrics], check_exact=True)
    for key, curve in ask.arrays(second, "curves").items():
        assert curve.tobytes() == curves[key].tobytes()


def test_the_working_store_comes_before_published_results():
    asked = [tiny_run(seed=s) for s in range(2)]
    first = ask.ask(asked)
    publish(asked, change=lambda row: row | {"test_accuracy": 2.0})
    assert list(ask.ask(asked)["test_accuracy"]) == [2.0, 2.0]
    ask.ask(asked[:1], published=Published("nowhere"))
    frame = ask.ask(asked)
    assert list(frame["source"]) == ["store", "published"]
    assert list(frame["test_accuracy"]) == [first["test_accuracy"][0], 2.0]


def test_an_unknown_executor_is_refused_before_anything_is_trained(trained):
    with pytest.raises(ValueError, match="^executor 'cluster' is unknown; there are: local, stored, ray"):
        ask.ask([tiny_run()], executor="cluster")
    assert trained == []


def test_diverged_runs_are_reported_and_the_others_kept(trained):
    fine, wild = tiny_run(seed=1), tiny_run("label_smoothing", 2, lr=1e6, weight_decay=1.0)
    student = replace(fine, condition=conditions.make("kd"), teacher=tiny_run(seed=7, lr=1e6, weight_decay=1.0))
    named = "synthetic, label_smoothing (epsilon 0.1), seed 2"
    for asked, handed, count, lost in (
        ([fine, wild], [fine, wild], 2, named),
        ([fine, wild], None, 2, named),
        ([student], [student.teacher], 1, "synthetic, hard, seed 7"),
    ):
        trained.clear()
        message = f"1 of {count} runs diverged (a metric is not finite): {lost}. Lower `lr` and ask"
        with pytest.raises(ask.Diverged, match=f"^{re.escape(message)} again; the others are kept.$"):
            ask.ask(asked)
        assert trained == [handed] * (handed is not None)
    rows = Store().rows()
    assert set(rows) == {fine.key, wild.key} and Store().has(rows, "curves") == {fine.key}
    assert Store().has(rows, "right") == set(rows)  # what is finite
    assert all(np.isfinite([v for v in row.values() if isinstance(v, float)]).all() for row in rows.values())


def test_diverged_runs_are_kept_as_rows_that_lack_what_is_not_finite(trained):
    fine, wild = tiny_run(seed=1), tiny_run(seed=2, lr=1e6, weight_decay=1.0)
    for source in ("trained", "store"):
        frame = ask.ask([fine, wild], diverged="keep")
        assert list(frame["source"]) == [source] * 2 and list(frame["diverged"].fillna(0)) == [0, 1]
        assert list(frame["test_nll"].isna()) == [False, True]
    assert len(trained) == 1
    assert "diverged" not in ask.ask([fine], diverged="keep")
    with pytest.raises(ValueError, match="^diverged: found 'drop', allowed: 'raise', 'keep'$"):
        ask.ask([fine], diverged="drop")


def test_neither_width_nor_order_of_stacks_changes_a_bit(tmp_path, monkeypatch):
    asked = [tiny_run(name, seed, dtype="float32") for name in conditions.CONDITIONS for seed in range(4)]
    wide = ask.ask(asked, store=Store(tmp_path / "wide.sqlite"))
    monkeypatch.setattr(stacks, "WIDEST", 3)
    random.Random(0).shuffle(asked)
    narrow = ask.ask(asked, store=Store(tmp_path / "narrow.sqlite"))
    narrow = narrow.set_index("key").loc[wide["key"]].reset_index()
    assert_frame_equal(answers(wide), answers(narrow)[answers(wide).columns], check_exact=True)
    assert same(tmp_path / "wide.sqlite", tmp_path / "narrow.sqlite")


def test_stacks_hold_runs_of_one_shape_and_no_more_than_fit(monkeypatch):
    asked = [tiny_run(seed=s, hidden=h) for s in range(5) for h in ((5,), (6,))]
    assert sorted(map(len, stacks.stacks(asked))) == [5, 5]
    monkeypatch.setattr(stacks, "WIDEST", 2)
    narrow = stacks.stacks(asked)
    assert sorted(map(len, narrow)) == [1, 1, 2, 2, 2, 2]
    assert all(len({mlp.shape(r) for r in stack}) == 1 for stack in narrow)
    assert {r for stack in narrow for r in stack} == set(asked)
    monkeypatch.setattr(stacks, "MEMORY", 1)
    assert {len(stack) for stack in stacks.stacks(asked)} == {1}


def test_stacks_that_start_together_are_of_different_shapes_where_there_are_any(monkeypatch):
    monkeypatch.setattr(stacks, "WIDEST", 2)
    asked = [tiny_run(seed=s, hidden=h) for h in ((5,), (6,)) for s in range(4)]
    order = [stack[0].recipe.hidden for stack in stacks.stacks(asked, 2)]
    assert order == [(5,), (6,), (5,), (6,)]


def test_arrays_come_in_the_order_of_the_table():
    frame = ask.ask(tiny_run(name, seed) for name in LADDER for seed in (1, 0))
    curves = ask.arrays(frame, "curves")
    assert list(curves) == list(frame["key"])
    for row in frame.itertuples():
        assert curves[row.key][-1, 0] == pytest.approx(row.validation_accuracy)


def test_an_array_that_a_run_lacks_is_an_error():
    frame = ask.ask([tiny_run("hard"), tiny_run("kd")])
    key = frame["key"][0]
    with pytest.raises(ValueError, match=f"^array 'logits_test': 2 of 2 runs have none, first: {key}$"):
        ask.arrays(frame, "logits_test")


def test_what_teachers_differ_in_is_a_column_where_they_do():
    student = tiny_run("kd", 0)
    longer = replace(student.teacher, recipe=replace(student.teacher.recipe, epochs=3))
    smooth = replace(student.teacher, condition=conditions.make("label_smoothing", epsilon=0.2))
    frame = ask.ask([student, replace(student, teacher=longer), replace(student, teacher=smooth), tiny_run("hard", 0)])
    own = student.teacher.recipe
    assert list(frame["teacher_epochs"].fillna(0)) == [own.epochs, 3, own.epochs, 0]
    assert list(frame["teacher_epsilon"].fillna(-1)) == [0, 0, 0.2, -1]
    assert "teacher_hidden" not in frame
    plain = ask.ask([student, tiny_run("kd", 1), tiny_run("hard", 0)])
    assert not {"teacher_epochs", "teacher_epsilon"} & {*plain.columns}


def test_with_the_executor_stored_nothing_is_trained(trained):
    first = tiny_run("kd")
    ask.ask([first])
    trained.clear()
    assert list(ask.ask([first], "stored")["source"]) == ["store"]
    with pytest.raises(ask.Unanswered, match=r"^1 of 2 runs are neither stored nor published \(first: synthetic, hard"):
        ask.ask([first, tiny_run("hard", 5)], "stored")
    assert not trained


def test_a_condition_that_returns_no_target_says_so_and_loses_nothing(monkeypatch):
    def wrong(label, ctx):
        return None

    monkeypatch.setitem(conditions.CONDITIONS, "wrong", wrong)
    ask.ask([tiny_run("hard")])
    with pytest.raises(ValueError, match=r"(?s)^condition wrong: found \w+ .*allowed: a function of .* Target"):
        ask.ask([tiny_run("wrong", s) for s in range(2)])
    assert set(Store().rows()) == {tiny_run("hard").key}
