"""What the book says in short is shown where results bear it out, refused at default parameters, dropped at others."""

import pandas as pd
import pytest

from kdstudy.figures import in_short
from kdstudy.study import claims, plans, verdicts

TEXT = """
[universe.gain]
text = "KD gains {U0} points, {U0@digits, few[]} on digits, on {U0=supported} beds; it costs {-U0@flat}."
holds = {U0 = "supported", "U0@digits, few" = "supported", "U0@flat" = "contradicted"}

[universe.plain]
text = "Smoothing does *not*."
holds = {U2 = "undecided"}
"""
DEFAULT = {name: p.default for name, p in plans.known("universe").items()}


def rows(**verdict: str) -> pd.DataFrame:
    """Rows of universe's claims, of which all but that of `flat` vote."""
    beds = {"digits, few labels (10)": (0.03, True), "digits, same": (0.01, True), "flat, few labels": (-0.004, False)}
    given = {"U0": "supported", "U2": "undecided"} | verdict
    found = [(c, bed, "own", e, e - 0.0102, e + 0.01, given[c] if votes else "contradicted", votes)
             for c in given for bed, (e, votes) in beds.items()]  # fmt: skip
    return pd.DataFrame(found, columns=["claim", "dataset", "at", "effect", "low", "high", "verdict", "votes"])


@pytest.fixture(autouse=True)
def two(tmp_path, monkeypatch):
    """Two sentences in place of the book's."""
    (tmp_path / "in_short.toml").write_text(TEXT, "utf-8")
    monkeypatch.setattr(in_short, "FILE", tmp_path / "in_short.toml")


def test_a_sentence_that_holds_is_said_with_its_numbers():
    box = in_short.box("universe", rows(), DEFAULT | {"executor": "ray"})
    assert "- KD gains 1.0 to 3.0 points, 3.0 [2.0, 4.0] on digits, on 2 of 2 beds; it costs 0.4.\n" in box
    assert "- Smoothing does *not*.\n```" in box and in_short.report(rows()) == "2 of 2 sentences of the book hold."


def test_opposite_results_are_refused_at_default_parameters():
    with pytest.raises(ValueError, match=r'universe.gain, "KD gains.*": expected U0 supported, found contr'):
        in_short.box("universe", rows(U0="contradicted"), DEFAULT)
    assert "1 of 2" in in_short.report(rows(U0="mixed")) and "found mixed" in in_short.report(rows(U0="mixed"))


@pytest.mark.parametrize("given", [{"seeds": 3}, {"dataset": "digits"}, {"conditions": "kd"}])
def test_opposite_results_are_left_out_with_other_parameters(given):
    box = in_short.box("universe", rows(U0="contradicted"), DEFAULT | given)
    assert "KD gains" not in box and "- Smoothing does *not*." in box
    assert "1 of 2 sentences do not hold with these, and are left out" in box
    assert in_short.said("universe", rows(U2="mixed"), default=False)["plain"] == ""


def test_other_pages_get_every_sentence_as_plain_text():
    other = {"dataset": "digits", "seeds": 20}
    assert in_short.pasted(rows(), DEFAULT)["universe-plain"] == "Smoothing does not."
    assert in_short.pasted(rows(U2="mixed"), other)["universe-plain"] == in_short.DROPPED
    with pytest.raises(ValueError, match="universe.plain"):
        in_short.pasted(rows(U2="mixed"), DEFAULT)


def test_what_is_not_judged_or_names_two_beds_holds_nowhere():
    assert in_short.fault(rows(), {"U3-ls": "supported"}) == "expected U3-ls supported, found not judged"
    assert in_short.fault(rows(), {"U0@digits": "supported"}).endswith("found not judged")


def test_every_number_of_the_books_sentences_is_guarded(monkeypatch):
    monkeypatch.undo()
    known = {c.id for c in claims.load()}
    for page, sentences in in_short.load().items():
        assert page == "front" or (page in plans.PLANS and len(sentences) <= 5)
        for s in sentences.values():
            used = {m["claim"] + (m["bed"] or "") for m in in_short.NUMBER.finditer(s["text"])}
            loose = {u for u in used if not {u, u.partition("@")[0]} & s["holds"].keys()}
            assert not loose and {h.partition("@")[0] for h in s["holds"]} <= known
            assert {*s["holds"].values()} <= verdicts.SIGNS.keys() and "{" not in in_short.NUMBER.sub("", s["text"])
