"""A diagnosis in words: it says what the numbers say, and why there are none."""

import numpy as np
import pytest
from diagnoses import EXTREMES, empty, given
from logit_files import example

from kdstudy.diagnosis.api import diagnose, diagnose_file
from kdstudy.diagnosis.inputs import Unusable
from kdstudy.diagnosis.report import MEANINGS, doubts, level_table, sentences


def test_the_headline_names_what_is_wrong():
    whole = example()
    spoilt = diagnose(whole["teacher_logits"], whole["labels"][::-1], tau=400)
    assert given().headline == "No fault found."
    assert given(tau=400).headline == "Usable, with warnings: temperature_high."
    assert spoilt.headline == "Not usable as it is: misaligned."


def test_findings_put_levels_in_doubt():
    high = ["temperature_high"]
    assert [doubts(given(tau=400), level) for level in ("universe", "domain", "instance")] == [[], high, high]
    assert {tuple(doubts(empty(), level)) for level in MEANINGS} == {empty().codes}


def test_sentences_say_the_numbers():
    d = given(tau=2)
    at = d.levels["universe"]["tau"].index(2.0)
    universe, domain, instance = (sentences(d, level) for level in MEANINGS)
    assert universe.startswith("Nothing found against it. At τ = 2 its share of E‖ρ − e‖²")
    assert f"is {d.levels['universe']['share'][at]:.3f} [" in universe
    assert f"{d.levels['universe']['mass'][at]:.1%} of the mass leaves the label" in universe
    assert f"r = {d.levels['domain']['superclass']['correlation']:.2f}" in domain
    assert f"{d.levels['instance']['difficulty']['rank'][at]:.2f}." in instance


@pytest.mark.parametrize("extreme", EXTREMES)
@pytest.mark.parametrize("level", MEANINGS)
def test_sentences_where_there_is_nothing_to_say(extreme, level):
    said = sentences(EXTREMES[extreme](), level)
    assert said.endswith(".") and "None" not in said and "nan" not in said


def test_the_table_has_a_row_for_each_temperature():
    d = given(tau=3)
    frame, level = level_table(d), d.levels["domain"]
    share, low, high = (level[k][1] for k in ("share", "share_low", "share_high"))
    assert list(frame["τ"]) == ["0.5", "1", "2", "3", "4", "8", "16"]
    assert frame["domain"][1] == f"{share:.2f} [{low:.2f}, {high:.2f}]"
    assert len(level_table(empty())) == 0


def test_a_file_is_named_and_what_it_leaves_out(tmp_path):
    np.savez(tmp_path / "a.npz", **example(), lables=np.zeros(1))
    facts = diagnose_file(str(tmp_path / "a.npz")).facts
    assert (facts["file"], facts["ignored"]) == ("a.npz", ["lables (did you mean labels?)"])
    with pytest.raises(Unusable, match="tau: found 5000.0, allowed: a number from 0.001 to 1000"):
        diagnose_file(str(tmp_path / "a.npz"), tau=5000.0)
