"""Names, parameters and teachers of conditions: defaults filled in, the rest refused."""

import math

import pytest
from conftest import says
from lessons import ALL, F64, LABEL, LISTENING, TEACHER, close, context

from kdstudy.core.spec import Condition
from kdstudy.distill import conditions
from kdstudy.distill.conditions import Context, make, target


def test_parameters_and_listeners():
    assert conditions.parameters("hard") == {}
    assert conditions.parameters("label_smoothing") == {"epsilon": 0.1}
    assert conditions.parameters("kd") == conditions.parameters("label_smoothing_matched") == {"tau": 2.0, "alpha": 0.9}
    assert conditions.parameters("cwtm") == {"tau": 1.0, "alpha": 0.9}
    assert conditions.parameters("kd_pt") == {"tau": 2.0, "alpha": 0.9, "dose": 1.0}
    assert conditions.parameters("dkd") == {"tau": 2.0, "target": 1.0, "nontarget": 1.0}
    assert [name for name in ALL if not conditions.listens(name)] == ["hard", "label_smoothing"]


def test_every_parameter_has_its_range_and_every_range_a_parameter():
    assert {key for name in ALL for key in conditions.parameters(name)} == conditions.ALLOWED.keys()


@pytest.mark.parametrize("name", ALL)
def test_defaults_are_known_and_allowed(name):
    for key, default in conditions.parameters(name).items():
        ok, _ = conditions.ALLOWED[key]
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
        ("kd_pt", "dose", 1.1, "0 <= dose <= 1"),
        ("topk", "k", 0.0, "a whole number of at least 1"),
        ("topk", "k", 2.5, "a whole number of at least 1"),
        ("kd_sim", "power", 0.0, "a number above 0"),
        ("kd_pt_sim", "sharpness", -1.0, "a number above 0"),
        ("dkd", "target", -0.1, "a finite number of at least 0"),
        ("nckd", "nontarget", math.inf, "a finite number of at least 0"),
    ],
)
def test_make_refuses_what_is_out_of_range(name, key, value, allowed):
    with pytest.raises(ValueError, match=says(f"{key} of condition {name!r}: found {value!r}, allowed: {allowed}")):
        make(name, **{key: value})


@pytest.mark.parametrize("name", LISTENING)
def test_a_condition_that_listens_needs_a_teacher(name):
    with pytest.raises(ValueError, match=says(f"condition {name!r} listens to a teacher; none was given")):
        target(make(name), None, LABEL, context())


@pytest.mark.parametrize("name", [n for n in ALL if n not in LISTENING])
def test_the_others_need_none(name):
    lesson = target(make(name), TEACHER, LABEL, context())
    close(target(make(name), None, LABEL, context()), lesson, atol=0)


LACKS = {
    "kd_sim": "condition 'kd_sim' needs the teacher's logit-layer rows; none were given",
    "kd_pt_sim": "condition 'kd_pt_sim' needs the teacher's logit-layer rows; none were given",
    "kd_rel": "condition 'kd_rel' needs super-classes; this data set has none",
}


@pytest.mark.parametrize("name", ALL)
def test_a_condition_says_what_it_lacks(name):
    if name in LACKS:
        with pytest.raises(ValueError, match=says(LACKS[name])):
            target(make(name), TEACHER, LABEL, Context(3))
    else:
        bare, full = (target(make(name), TEACHER, LABEL, ctx) for ctx in (Context(3, F64), context()))
        close(bare, full, atol=0)
