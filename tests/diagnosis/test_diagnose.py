"""`diagnose` as a whole: what it returns, that it returns always, what it costs; and a diagnosis in words."""

import json
import tracemalloc

import numpy as np
import pytest
import reference_statistics as reference
import torch
from diagnoses import EXTREMES, empty, given
from healthy_teacher import GROUP, V, Y
from logit_files import example

from kdstudy import diagnose
from kdstudy.diagnosis.api import TAUS, diagnose_file
from kdstudy.diagnosis.inputs import Unusable
from kdstudy.diagnosis.report import MEANINGS, doubts, level_table, sentences

RNG = np.random.default_rng(11)


def test_levels_are_listed_over_temperatures_and_the_one_in_use():
    levels, taus = diagnose(V, Y, tau=3).levels, sorted([*TAUS, 3.0])
    pieces = [reference.shares(V, Y, tau) for tau in taus]
    for level, found in levels.items():
        assert found["tau"] == taus
        assert found["share"] == pytest.approx([p[level] for p in pieces], abs=1e-9)


def test_what_each_level_says():
    found = diagnose(V, Y, superclass=GROUP.tolist(), student_logits=V / 2)
    structure, superclass = (found.levels["domain"][k] for k in ("structure", "superclass"))
    difficulty, weights, its = (found.levels["instance"][k] for k in ("difficulty", "weights", "student_weights"))
    assert structure["p"] == 0.01 and structure["null"][2] < structure["statistic"]
    assert superclass["p"] < 0.01 and superclass["n_classes"] == 12
    assert difficulty["rank"][1] > 0.9 and difficulty["with"] == "the student's 1 - q_t, by example"
    assert len(weights["effective"]) == len(TAUS) == len(its["negative"])
    assert all(0 < e <= 1 for e in weights["effective"])


def test_without_a_student_difficulty_is_by_class_or_says_what_it_needs():
    alone = diagnose(V, Y).levels["instance"]
    assert alone["student_weights"] is None
    assert alone["difficulty"]["reason"] == "needs student_logits, or heldout_teacher_logits and their labels"
    held = diagnose(V, Y, heldout_teacher_logits=V[:300], heldout_labels=Y[:300]).levels["instance"]["difficulty"]
    assert held["with"] == "the teacher's held-out 1 - p_t, by class" and held["reason"] is None
    assert -1 <= held["rank"][0] <= 1


def test_super_classes_may_have_names_and_domain_says_why_there_is_no_test():
    names = [f"group {g}" for g in GROUP]
    one, two, none, alone = (diagnose(V, Y, superclass=g).levels["domain"]["superclass"]
                             for g in (names, GROUP, None, range(12)))  # fmt: skip
    assert one == two
    assert none["reason"] == "no superclass given"
    assert alone["reason"] == "super-classes that are all one, or one for each class, order nothing"


def test_everything_is_json_and_html_is_escaped():
    names = [f"<b>{c}" for c in range(12)]
    found = diagnose(V, Y, class_names=iter(names), superclass=GROUP, student_logits=V, tau=2)
    assert found.facts["class_names"] == diagnose(V, Y, class_names=np.array(names)).facts["class_names"] == names
    whole = found.as_dict()
    assert json.loads(found.as_json()) == whole
    assert whole.keys() == {"ok", "facts", "levels", "tau", "findings"}
    assert tuple(f["code"] for f in whole["findings"]) == found.codes
    assert "<b>" not in found._repr_html_() and "healthy" in found._repr_html_()
    assert str(found).startswith("No fault found.\ninfo healthy") and repr(found) == str(found)


def test_inputs_are_left_as_they_are():
    given = [V.copy(), Y.copy(), torch.tensor(V)]
    diagnose(given[0], given[1], student_logits=given[2])
    for after, before in zip(given, (V, Y, V)):
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("fill", [0.0, 1.0, -1e308, 1e308, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(1, 2), (3, 3), (5, 40)])
def test_any_numbers_are_diagnosed(fill, shape):
    v, y = np.full(shape, fill), np.arange(shape[0]) % shape[1]
    v[0, 0] = 1.0
    other = {"student_logits": v, "heldout_teacher_logits": v, "heldout_labels": y, "student_val_logits": v}
    for more in ({}, other | {"superclass": np.zeros(shape[1]), "tau": 2}):
        found = diagnose(v, y, **more)
        assert found.codes and found.as_json()
        assert found.facts["rows_left_out"] == int((~np.isfinite(v).all(1)).sum())


def test_rows_that_either_lacks_are_left_out_of_both():
    v, z = V.copy(), V / 2
    v[:10, 0], z[5:20, 0] = np.nan, np.nan
    one, two = diagnose(v, Y, student_logits=z), diagnose(V[20:], Y[20:], student_logits=z[20:])
    assert one.levels["instance"]["student_weights"] == two.levels["instance"]["student_weights"]


def test_many_classes_are_read_in_bounded_memory():
    """A thousand classes: what is held beside the logits does not grow with the examples."""
    peaks = []
    for n in (2000, 8000):
        y = RNG.integers(1000, size=n)
        v = RNG.standard_normal((n, 1000), dtype=np.float32)
        v[np.arange(n), y] += 12
        tracemalloc.start()
        found = diagnose(v, y)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.ok
    assert peaks[1] - peaks[0] < 6000 * 1000  # numpy's part, less than a byte for each logit


# ---------------------------------------------------------------- in words


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
    assert universe.startswith("Nothing found against it. At τ = 2 it is ")
    assert f"it is {d.levels['universe']['share'][at]:.3f} [" in universe
    assert f"takes {d.levels['universe']['mass'][at]:.1%} of the probability off the label" in universe
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
