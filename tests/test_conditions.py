"""Names, parameters and teachers of conditions: defaults filled in, the rest refused."""

import math

import pytest
from conftest import says
from lessons import ALL, LABEL, SOFT, TEACHER, close

from kdstudy import targets
from kdstudy.spec import Condition
from kdstudy.targets import Context, make, target


def test_parameters_and_listeners():
    assert targets.parameters("hard") == {}
    assert targets.parameters("label_smoothing") == {"epsilon": 0.1}
    assert targets.parameters("kd") == targets.parameters("label_smoothing_matched") == {"tau": 2.0, "alpha": 0.9}
    assert [name for name in ALL if targets.listens(name)] == SOFT


@pytest.mark.parametrize("name", ALL)
def test_defaults_are_known_and_allowed(name):
    for key, default in targets.parameters(name).items():
        ok, _ = targets.ALLOWED[key]
        assert ok(default)


def test_make_fills_in_defaults_and_makes_floats():
    assert make("kd") == Condition("kd", (("alpha", 0.9), ("tau", 2.0)))
    spec = make("kd", tau=4, alpha=1)
    assert spec == make("kd", alpha=1.0, tau=4.0)
    assert all(type(v) is float for _, v in spec.params)
    assert spec.tau == 4.0 and make("hard").tau == 1.0


def test_make_refuses_what_is_unknown():
    there = f"there are: {', '.join(ALL)}"
    cases = [
        ("hrad", {}, f"condition 'hrad' is unknown; {there}; did you mean 'hard'?"),
        ("xyzzy", {}, f"condition 'xyzzy' is unknown; {there}"),
        ("kd", {"epsilon": 0.1}, "condition 'kd' has no parameter 'epsilon'; it has: tau, alpha"),
        ("hard", {"tau": 2.0}, "condition 'hard' has no parameter 'tau'; it has: none"),
    ]
    for name, params, message in cases:
        with pytest.raises(ValueError, match=says(message)):
            make(name, **params)


@pytest.mark.parametrize(
    "name, key, value, allowed",
    [
        ("kd", "tau", 0.0, "a number above 0"),
        ("kd", "tau", -1.0, "a number above 0"),
        ("kd", "alpha", 1.5, "0 <= alpha <= 1"),
        ("kd", "alpha", math.nan, "0 <= alpha <= 1"),
        ("label_smoothing", "epsilon", -0.1, "0 <= epsilon <= 1"),
    ],
)
def test_make_refuses_what_is_out_of_range(name, key, value, allowed):
    with pytest.raises(ValueError, match=says(f"{key} of condition {name!r}: found {value!r}, allowed: {allowed}")):
        make(name, **{key: value})


@pytest.mark.parametrize("name", SOFT)
def test_a_condition_that_listens_needs_a_teacher(name):
    with pytest.raises(ValueError, match=says(f"condition {name!r} listens to a teacher; none was given")):
        target(make(name), None, LABEL, Context(3))


@pytest.mark.parametrize("name", [n for n in ALL if n not in SOFT])
def test_the_others_need_none(name):
    lesson = target(make(name), TEACHER, LABEL, Context(3))
    close(target(make(name), None, LABEL, Context(3)), lesson, atol=0)
