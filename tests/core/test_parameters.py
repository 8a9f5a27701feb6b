"""Parameters: what text means, which values are refused and in which words, what a signature says of itself."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import pytest
from conftest import TINY, says

from kdstudy.core import parameters
from kdstudy.core.parameters import Parameter, Several, parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12), ("0.5", 0.5), ("1e-3", 0.001), ("-2E+1", -20.0), ("clinc150", "clinc150"), ("null", None),
        ("true", True), ("[1, 2.5]", [1, 2.5]), ("[1e-4, 1e-3]", [1e-4, 1e-3]), ("1,2", [1, 2]),
        ("digits, clinc150", ["digits", "clinc150"]), ("'a,b'", "a,b"), ("", None),
    ],
)  # fmt: skip
def test_text_is_read_as_yaml_in_which_commas_make_a_list(text, value):
    found = parse("x", text)
    assert (found, type(found)) == (value, type(value))
    with pytest.raises(ValueError, match=r"^parameter x: found '\[1, 2', allowed: YAML such as 3, 0.5, kd or \[1, 2\]"):
        parse("x", "[1, 2")


KNOWN = {
    p.name: p
    for p in (
        Parameter("tau", "float | list[float]", 4.0, "temperature, in (0, 1000]"),
        Parameter("dataset", "str | list[str] | None", None),
        Parameter("seeds", "int", 3, "seeds, in [1, 10]"),
        Parameter("quick", "bool", False),
        Parameter("share", "float", 0.5, "a share, in [0, 1)"),
        Parameter("any", "float", 1.0),
        Parameter("own", "Path | None", None),
    )
}
GOOD = [
    ("tau", 1, 1), ("tau", [1, 2.5], [1, 2.5]), ("tau", (1.0,), [1.0]), ("tau", "1, 2", [1, 2]), ("tau", 1000, 1000),
    ("tau", np.float64(2), 2.0), ("tau", np.array([1.0, 2]), [1.0, 2.0]), ("dataset", "digits", "digits"),
    ("dataset", ["a", TINY], ["a", TINY]), ("dataset", TINY, TINY), ("dataset", None, None), ("seeds", "3", 3),
    ("seeds", 10, 10), ("quick", "true", True), ("share", 0, 0), ("any", -3e300, -3e300), ("own", 4, 4),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "value"), GOOD, ids=str)
def test_what_is_of_the_type_and_in_the_range_is_taken(name, given, value):
    found = parameters.check("chapter a", {name: given}, KNOWN)
    assert found == {name: value} and type(found[name]) is type(value)


TAU = "float | list[float], each in (0, 1000], such as 4.0"
BAD = [
    ("tau", "hot", TAU), ("tau", True, TAU), ("tau", [], TAU), ("tau", [1.0, "x"], TAU), ("tau", None, TAU),
    ("tau", 0, TAU), ("tau", -1.0, TAU), ("tau", float("inf"), TAU), ("tau", [1.0, float("nan")], TAU),
    ("tau", 1001, TAU), ("tau", {"a": 1}, TAU), ("seeds", 1.5, "int in [1, 10], such as 3"),
    ("seeds", 100_000_000, "int in [1, 10], such as 3"), ("quick", 1, "bool, such as False"),
    ("share", 1.0, "float in [0, 1), such as 0.5"), ("any", float("inf"), "float, such as 1.0"),
    ("dataset", 3, "str | list[str] | None, such as None"), ("dataset", [None], "str | list[str] | None, such as None"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "allowed"), BAD, ids=str)
def test_what_is_not_is_refused_in_a_sentence(name, given, allowed):
    with pytest.raises(ValueError, match=says(f"chapter a: parameter {name}: found {given!r}, allowed: {allowed}")):
        parameters.check("chapter a", {name: given}, KNOWN)
    known = "chapter a has no parameter 'taus'; it has: tau, dataset, seeds, quick, share, any, own"
    with pytest.raises(ValueError, match=says(f"{known}; did you mean 'tau'?")):
        parameters.check("chapter a", {"taus": 1}, KNOWN)


def test_a_signature_is_a_description():
    def plan(
        needed: int, labels: Annotated[int | None, "of each class, in [1, inf)"] = None,
        names: Several[str] = ("a", "b"), floor=(0.0, 0.2), plain=3, several: Sequence[int] = (1,), **rest: object,
    ) -> None:  # fmt: skip
        """Nothing."""

    assert list(map(str, parameters.of(plan).values())) == [
        "labels: int | None = None  # of each class, in [1, inf)",
        'names: str | list[str] = "a, b"',
        "floor: float | list[float] = [0.0, 0.2]",
        "plain: int = 3",
        "several: list[int] = [1]",
    ]
