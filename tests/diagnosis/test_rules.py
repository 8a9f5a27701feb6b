"""Each finding on logits that have its fault and no other; a healthy teacher has none."""

import numpy as np
import pytest
import torch
from healthy_teacher import V, Y, healthy

from kdstudy import diagnose
from kdstudy.core.findings import Finding
from kdstudy.diagnosis.report import doubts
from kdstudy.diagnosis.rulebook import NO_RUN, limits
from kdstudy.diagnosis.rules import RULES, finding
from kdstudy.study.calibration.teachers import CORRUPTIONS

RNG = np.random.default_rng(7)


def spoilt(kind: str) -> np.ndarray:
    return CORRUPTIONS[kind](V, Y, np.random.default_rng(1))


def codes(v: object, y: object = Y, **given: object) -> tuple[str, ...]:
    return diagnose(v, y, **given).codes


@pytest.mark.parametrize(("examples", "seed"), [(1200, 0), *((n, seed) for n in (120, 400) for seed in range(5))])
def test_a_healthy_teacher_is_healthy_and_nothing_else(examples, seed):
    found = diagnose(*healthy(examples, seed))
    assert found.codes == ("healthy",) and found.ok
    assert found.findings[0].severity == "info"


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("kind", ["shuffled", "shifted", "backwards", "renamed"])
def test_misaligned_says_what_would_restore_the_pairing(kind):
    found = diagnose(spoilt(kind), Y)
    assert found.codes == ("misaligned",) and not found.ok
    evidence, advice = found.findings[0].evidence, found.findings[0].advice
    right = float((V.argmax(1) == Y).mean())
    if kind == "shifted":
        assert evidence["repair"] == "shift"
        assert np.mean(np.roll(spoilt(kind), -evidence["shift"], 0).argmax(1) == Y) == right
        assert f"np.roll(teacher_logits, {-evidence['shift']}, axis=0) (accuracy {right:.3f})" in advice
    elif kind == "backwards":
        assert evidence["repair"] == "reversal" and evidence["reversed_accuracy"] == right
    elif kind == "renamed":
        assert evidence["renaming"] == [11, *range(11)] and evidence["renamed_accuracy"] == right
    else:
        assert "repair" not in evidence and "To restore" not in advice


CAUSES = [([np.inf], "f2", "overflow"), ([np.inf, np.nan], "f4", "infinities and NaN"), ([np.nan], "f4", "NaN alone"),
          ([-np.inf], "f4", "classes masked")]  # fmt: skip


@pytest.mark.parametrize(("values", "dtype", "cause"), CAUSES)
def test_non_finite_counts_rows_and_names_the_likely_cause(values, dtype, cause):
    v = V.astype(dtype)
    v[[3, 5], 2], v[5, 4] = values[0], values[-1]
    found = diagnose(v, Y)
    evidence = found.findings[0].evidence
    assert found.codes == ("non_finite",)
    assert (evidence["rows"], evidence["first_rows"], found.facts["rows_left_out"]) == (2, [3, 5], 2)
    assert evidence["fraction"] == pytest.approx(2 / 1200)
    assert sum(evidence[k] for k in ("nan", "+inf", "-inf")) == 3
    assert evidence["likely_cause"].startswith(cause)
    assert found.findings[0].advice.endswith("Everything else here is about the 1198 finite rows.")


def test_probabilities_are_an_error_and_their_logarithms_a_warning():
    p = torch.tensor(V).softmax(-1)
    one, two = diagnose(p, Y), diagnose(p.log(), Y)
    assert one.codes == two.codes == ("not_logits",)
    assert [one.findings[0].severity, two.findings[0].severity] == ["error", "warning"]
    assert diagnose(100 * p, Y).findings[0].evidence["row_sum"] == 100
    assert diagnose(torch.tensor(V).sigmoid(), Y).findings[0].evidence["kind"] == "scores"


def test_rows_that_are_constant_or_repeated():
    v = V.copy()
    v[-100:] = 0
    assert codes(v) == ("constant_rows", "zero_rows")
    v[-100:] = 3.0
    assert codes(v) == ("constant_rows",)
    v[-200:] = V[0]
    found = diagnose(v, Y)
    assert found.codes == ("repeated_rows",)
    assert found.findings[0].evidence == {"rows": 201, "copied": pytest.approx(201 / 1200), "which": "0, 1000-1199"}


# ---------------------------------------------------------------- the teacher


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("classes", [2, 3, 12, 100])
def test_gaussian_logits_are_of_a_teacher_that_knows_nothing(scale, classes):
    found = diagnose(RNG.standard_normal((1200, classes)) * scale, RNG.integers(classes, size=1200))
    assert found.findings[0].code == "weak_teacher" and not found.ok
    assert set(found.codes) <= {"weak_teacher", "few_classes"}


def test_an_untrained_network_is_weak_and_a_poor_teacher_a_warning():
    torch.manual_seed(0)
    x = torch.tensor(V) + torch.randn(1200, 12)
    net = torch.nn.Sequential(torch.nn.Linear(12, 64), torch.nn.ReLU(), torch.nn.Linear(64, 12))
    assert codes(net(x)) == ("weak_teacher",)
    v, wrong = V.copy(), RNG.random(1200) < 0.5
    v[wrong] = RNG.permutation(v[wrong])
    found = diagnose(v, Y)
    assert found.codes == ("partly_misaligned", "weak_teacher") and found.ok


@pytest.mark.parametrize("classes", [2, 12])
def test_a_smoothed_teacher(classes):
    y = RNG.integers(classes, size=1200)
    at = np.log(0.9 * (classes - 1) / 0.1)
    v = at * (y[:, None] == np.arange(classes)) + 0.3 * RNG.standard_normal((1200, classes))
    assert codes(v, y) == ("smoothed_teacher", "few_classes")[: 1 + (classes == 2)]


CLEAR = np.sort(V, 1)[:, -1] - np.sort(V, 1)[:, -2] > 2
ALONE = [
    (spoilt("overflow"), Y, "non_finite"),  # and not saturated
    (5 * V[CLEAR], V[CLEAR].argmax(1), "saturated_teacher"),
    (spoilt("structureless"), Y, "no_class_structure"),
    (np.stack([V[:, :6].max(1), V[:, 6:].max(1)], 1), (Y >= 6).astype(int), "few_classes"),
    (V[:99], Y[:99], "few_examples"),
    (V[:100], Y[:100], "healthy"),
]


@pytest.mark.parametrize(("v", "y", "code"), ALONE)
def test_a_fault_has_its_code_alone(v, y, code):
    assert codes(v, y) == (code,)
    assert diagnose(v[:1], y[:1]).codes[-1] == "few_examples"


def test_a_memorised_training_set():
    out, labels = healthy(600, seed=1)
    assert codes(V, heldout_teacher_logits=out, heldout_labels=labels) == ("healthy",)
    wrong = np.where(RNG.random(600) < 0.4, RNG.integers(12, size=600), labels)
    found = diagnose(V, Y, heldout_teacher_logits=out, heldout_labels=wrong)
    assert found.codes == ("train_memorised",)
    assert found.findings[0].evidence["mass_gap"] > 0.3


def test_a_student_that_beats_its_teacher_on_held_out_examples_and_on_the_training_set():
    out, labels = healthy(600, seed=1)
    better = out + 9 * (labels[:, None] == np.arange(12))
    worse = out + 4 * RNG.standard_normal(out.shape)
    given = {"heldout_teacher_logits": worse, "heldout_labels": labels, "student_val_logits": better}
    found = {f.code: f.evidence for f in diagnose(V, Y, **given).findings}["student_beats_teacher"]
    assert (found["examples"], found["student_accuracy"]) == ("held-out", float((better.argmax(1) == labels).mean()))
    poor = V + 4 * RNG.standard_normal(V.shape).astype(np.float32)
    assert "student_beats_teacher" in codes(poor, student_logits=V + 9 * (Y[:, None] == np.arange(12)))
    assert codes(V, student_logits=V) == ("healthy",)


def test_temperatures_outside_the_recommended_range():
    low, high = (diagnose(V, Y).tau[k] for k in ("low", "high"))
    assert 0.25 <= low < high
    assert codes(V, tau=high + 0.1) == ("temperature_high",)
    assert codes(V, tau=(low + high) / 2) == ("healthy",)
    assert codes(2 * V, tau=diagnose(2 * V, Y).tau["low"] * 0.9) == ("temperature_low",)
    evidence = diagnose(V, Y, tau=2 * high).findings[0].evidence
    assert evidence["tau"] == 2 * high and evidence["high"] == high and evidence["mass"] > 0.5


# ---------------------------------------------------------------- how rules are entered


def test_a_rule_is_one_function_and_is_silent_where_another_explains_it():
    @finding(shows="examples", unless="few_classes", doubts="domain")
    def sizes(s, limit):
        """Any teacher.

        Nothing to do.
        """
        return s["classes"] < 20

    try:
        d = diagnose(V, Y)
        told = Finding("sizes", "warning", {"examples": 1200}, "Nothing to do.", "Any teacher", NO_RUN)
        assert d.findings == (told,)
        assert [doubts(d, level) for level in ("universe", "domain")] == [[], ["sizes"]]
        assert "sizes" not in codes(V[:, :2], np.zeros(1200))
        assert "sizes" not in codes(np.repeat(V, 2, 1))
    finally:
        RULES.pop("sizes")


def test_what_rules_name_exists():
    for rule in RULES.values():
        assert set(rule.unless) <= RULES.keys() and set(rule.doubts) <= {"universe", "domain", "instance"}
    assert limits() is limits()
    assert all(isinstance(v, int | float) for v in limits().values())
