"""`ask` and results of code that has changed since: used with a warning, trained again on demand."""

import warnings

import pytest
from conftest import tiny_run
from pandas.testing import assert_frame_equal
from stored import answers

from kdstudy.engine import ask, stacks
from kdstudy.store import provenance
from kdstudy.store.working import Record, Store

pytestmark = pytest.mark.usefixtures("on_cpu")


def make_stale(*asked) -> None:
    """Let stored rows say that other code computed them, and mark them."""
    store, keys = Store(), [r.key for r in asked]
    rows, arrays = store.rows(keys), store.arrays(keys, ["curves", "reliability", *stacks.LEFT])
    store.forget(keys)
    store.put(Record(rows[k] | {"code": "0" * 12, "test_accuracy": 2.0}, arrays[k]) for k in keys)


STALE = "^1 of 3 runs are stale: the code .* has changed since. `kdstudy runs --stale` .*refresh=True. trains them"


def test_stale_results_are_used_with_a_warning_and_trained_again_on_demand(trained):
    asked = [tiny_run(seed=s) for s in range(3)]
    first = ask.ask(asked)
    make_stale(asked[1])
    trained.clear()
    with pytest.warns(
        UserWarning,
        match="^1 of 3 runs are stale: .*`kdstudy runs --stale` lists them; .*refresh=True. trains them again.$",
    ):
        used = ask.ask(asked)
    assert trained == []
    assert list(used["stale"]) == [False, True, False]
    assert used["test_accuracy"][1] == 2.0
    with warnings.catch_warnings(action="error"):
        fresh = ask.ask(asked, refresh=True)
    assert trained == [[asked[1]]]
    assert list(fresh["source"]) == ["store", "trained", "store"]
    assert_frame_equal(answers(fresh), answers(first), check_exact=True)
    trained.clear()
    ask.ask(asked, refresh=True)
    assert trained == []


def test_refreshing_a_student_refreshes_its_stale_teacher(trained):
    student = tiny_run("kd")
    first = ask.ask([student])
    make_stale(student, student.teacher)
    trained.clear()
    fresh = ask.ask([student], refresh=True)
    assert trained == [[student.teacher], [student]]
    assert_frame_equal(answers(fresh), answers(first), check_exact=True)
    assert not provenance.stale(Store().rows([student.teacher.key])[student.teacher.key])


def test_changed_code_makes_its_condition_stale_and_no_other(monkeypatch):
    asked = [tiny_run("hard"), tiny_run("label_smoothing")]
    ask.ask(asked)
    digest = provenance.root_digest
    changed = lambda root: "changed" if root == "condition:label_smoothing" else digest(root)  # noqa: E731
    monkeypatch.setattr(provenance, "root_digest", changed)
    with pytest.warns(UserWarning, match="^1 of 2 runs are stale: "):
        assert list(ask.ask(asked)["stale"]) == [False, True]


@pytest.mark.parametrize("gone", [{"condition": "gone"}, {"dataset": "gone"}, {"net": "gone3"}])
def test_what_rests_on_code_that_is_gone_is_stale(gone):
    ask.ask([tiny_run("label_smoothing")])
    row = next(iter(Store().rows().values()))
    assert not provenance.stale(row)
    assert provenance.stale(row | gone)
