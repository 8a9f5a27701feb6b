"""What results of `check_loss` and `diagnose` have in common: words, JSON and tables of their findings."""

import json
from dataclasses import dataclass

import numpy as np

from kdstudy.core.findings import Finding, Report, as_text, plain

FAULT = Finding("big", "error", {"size": 3.14159, "rows": [*range(7)], "share": None}, "make <it> smaller.", "a | b")


@dataclass(frozen=True)
class Result(Report):
    """A result of one field."""

    findings: tuple[Finding, ...]
    headline = "of <one> thing"


def test_a_finding_in_words():
    told = "error big: a | b [size 3.142, rows [0, 1, 2, 3, 4, …], share –]. To do: make <it> smaller."
    assert str(FAULT) == told and str(Finding("fine", "info", {}, "nothing")) == "info fine. To do: nothing."


def test_a_result_has_codes_and_is_wrong_by_errors_alone():
    assert Result((FAULT,)).codes == ("big",) and not Result((FAULT,)).ok
    assert Result(()).ok and Result((Finding("x", "warning", {}, ""),)).ok
    assert str(Result((FAULT,))) == f"of <one> thing\n{FAULT}"


def test_tables_escape_what_they_show():
    assert "of &lt;one&gt; thing" in (page := Result((FAULT,))._repr_html_()) and "make &lt;it&gt;" in page
    assert "| error | `big` | a \\| b | size 3.142," in Result((FAULT,))._repr_markdown_()


def test_json_holds_plain_values_alone():
    odd = {"a": np.float64("nan"), 1: (np.int64(3), np.arange(2.0)), "b": float("inf"), "c": int, "d": True, "e": None}
    assert plain(odd) == {"a": None, "1": [3, [0.0, 1.0]], "b": None, "c": "<class 'int'>", "d": True, "e": None}
    assert json.loads(Result((FAULT,)).as_json()) == Result((FAULT,)).as_dict()
    assert as_text([]) == "[]"
