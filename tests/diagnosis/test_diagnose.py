"""`diagnose` as a whole: what it returns, that it returns always, what it refuses, what it costs."""

import json
import tracemalloc

import numpy as np
import pytest
import torch
from conftest import says
from healthy_teacher import GROUP, V, Y

from kdstudy import diagnose, shapes
from kdstudy.diagnosis.api import TAUS, Unusable

RNG = np.random.default_rng(11)


def strict(value: object) -> str:
    return json.dumps(value, allow_nan=False)


def test_shares_over_temperatures_are_those_of_the_levels():
    levels, v, y = diagnose(V, Y, tau=3).levels, torch.tensor(V).double(), torch.tensor(Y)
    taus = sorted([*TAUS, 3.0])
    pieces = [shapes.level_split((v / tau).softmax(-1), y) for tau in taus]
    for level in ("universe", "domain", "instance"):
        found = levels[level]
        assert found["tau"] == taus
        assert found["share"] == pytest.approx([p[level] / sum(p.values()) for p in pieces], abs=1e-9)
        intervals = zip(*(found[k] for k in ("share_low", "share", "share_high")))
        assert all(low <= share <= high for low, share, high in intervals)
    assert levels["universe"]["mass"] == pytest.approx([float(shapes.off_label_mass(v, y, tau).mean()) for tau in taus])


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
    found = diagnose(V, Y, class_names=["<b>"] * 12, superclass=GROUP, student_logits=V, tau=2)
    whole = found.as_dict()
    assert json.loads(found.as_json()) == json.loads(strict(whole)) == whole
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
    for given in ({}, other | {"superclass": np.zeros(shape[1]), "tau": 2}):
        found = diagnose(v, y, **given)
        assert found.codes and strict(found.as_dict())


@pytest.mark.parametrize("seed", range(20))
def test_random_shapes_scales_and_holes_are_diagnosed(seed):
    rng = np.random.default_rng(seed)
    n, c = int(rng.integers(1, 40)), int(rng.integers(2, 12))
    v = rng.standard_normal((n, c)) * 10 ** rng.uniform(-8, 8)
    with np.errstate(over="ignore"):
        v = v.astype(rng.choice([np.float16, np.float32, np.float64]))
    v[rng.random((n, c)) < 0.05 * (seed % 3)] = rng.choice([np.nan, np.inf, -np.inf])
    student, tau = rng.standard_normal((n, c)), float(rng.uniform(0.1, 9))
    found = diagnose(v, rng.integers(c, size=n), student_logits=student, tau=tau)
    assert strict(found.as_dict())
    assert found.facts["rows_left_out"] == int((~np.isfinite(v).all(1)).sum())


def test_rows_that_either_lacks_are_left_out_of_both():
    v, z = V.copy(), V / 2
    v[:10, 0], z[5:20, 0] = np.nan, np.nan
    one, two = diagnose(v, Y, student_logits=z), diagnose(V[20:], Y[20:], student_logits=z[20:])
    assert one.levels["instance"]["student_weights"] == two.levels["instance"]["student_weights"]


NAMES, GROUPS = "a list of 12 names, one for each class", "12, the super-class of each class in order"
REFUSED = [
    ({"tau": 0}, "tau: found 0, allowed: a number from 0.001 to 1000"),
    ({"class_names": ["a"]}, f"class_names: found 1 names, allowed: {NAMES}"),
    ({"class_names": "abc"}, f"class_names: found str, allowed: {NAMES}"),
    ({"superclass": [0]}, f"superclass: found 1 entries, allowed: {GROUPS}"),
    ({"superclass": np.array(3)}, f"superclass: found int, allowed: {GROUPS}"),
    ({"student_logits": V[:, :3]}, "student_logits: found 3 classes, allowed: 12, as teacher_logits have"),
    ({"student_logits": V[:7]}, "labels: found 1200 labels for 7 rows of student_logits, allowed: equally many"),
    ({"heldout_teacher_logits": V}, "heldout_teacher_logits: found without labels, allowed: together with "
                                    "heldout_labels"),
    ({"heldout_labels": Y}, "heldout_labels: found without logits, allowed: together with heldout_teacher_logits"),
    ({"heldout_teacher_logits": V, "heldout_labels": Y[:5]}, "heldout_labels: found 5 labels for 1200 rows of "
                                                             "heldout_teacher_logits, allowed: equally many"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_refusals_say_found_and_allowed(given, message):
    with pytest.raises(Unusable, match=says(message)):
        diagnose(V, Y, **given)


def test_class_names_that_are_a_generator_or_an_array_are_read():
    for names in (np.array([str(c) for c in range(12)]), (str(c) for c in range(12))):
        assert diagnose(V, Y, class_names=names).facts["class_names"] == [str(c) for c in range(12)]


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
