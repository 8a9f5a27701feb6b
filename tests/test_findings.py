"""Each finding on logits that have its fault and no other; a healthy teacher has none."""

import numpy as np
import pytest
import torch

from kdstudy import diagnose, findings
from kdstudy.calibration_plan import SPOILT
from kdstudy.findings_base import finding

GROUP = np.repeat(np.arange(4), 3)  # super-classes of the 12 classes


def healthy(examples: int = 1200, seed: int = 0, scale: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a sure teacher: examples of a class differ in difficulty, classes of a super-class are alike."""
    rng = np.random.default_rng(seed)
    y = rng.integers(12, size=examples)
    near = (y[:, None] == np.arange(12)) * 1.5 + (GROUP[y][:, None] == GROUP) * 0.8
    ease = rng.uniform(0.5, 1.5, (examples, 1))
    return (scale * (near * ease + 0.3 * rng.standard_normal((examples, 12)))).astype(np.float32), y


V, Y = healthy()
RNG = np.random.default_rng(7)


def test_a_healthy_teacher_is_healthy_and_nothing_else():
    found = diagnose(V, Y)
    assert found.codes == ["healthy"] and found.ok
    assert found.findings[0].severity == "info"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("examples", [120, 400])
def test_a_healthy_teacher_of_few_examples_is_healthy(seed, examples):
    assert diagnose(*healthy(examples, seed)).codes == ["healthy"]


@pytest.mark.parametrize("kind", ["shuffled", "shifted", "backwards", "renamed"])
def test_misaligned_says_what_would_restore_the_pairing(kind):
    found = diagnose(SPOILT[kind](V, Y, np.random.default_rng(1)), Y)
    assert found.codes == ["misaligned"] and not found.ok
    evidence, advice = found.findings[0].evidence, found.findings[0].advice
    right = float((V.argmax(1) == Y).mean())
    if kind == "shifted":
        assert evidence["repair"] == "shift"
        assert (
            np.mean(np.roll(SPOILT[kind](V, Y, np.random.default_rng(1)), -evidence["shift"], 0).argmax(1) == Y)
            == right
        )
        assert f"shift the logits by {evidence['shift']} rows (accuracy {right:.3f})" in advice
    elif kind == "backwards":
        assert evidence["repair"] == "reversal" and evidence["reversed_accuracy"] == right
    elif kind == "renamed":
        assert evidence["renaming"] == [11, *range(11)] and evidence["renamed_accuracy"] == right
    else:
        assert "repair" not in evidence and "To restore" not in advice


@pytest.mark.parametrize(
    ("values", "dtype", "cause"),
    [
        ([np.inf], np.float16, "overflow"),
        ([np.inf, np.nan], np.float32, "infinities and NaN"),
        ([np.nan], np.float32, "NaN alone"),
        ([-np.inf], np.float32, "classes masked"),
    ],
)
def test_non_finite_counts_rows_and_names_the_likely_cause(values, dtype, cause):
    v = V.astype(dtype)
    v[[3, 5], 2], v[5, 4] = values[0], values[-1]
    found = diagnose(v, Y)
    evidence = found.findings[0].evidence
    assert found.codes == ["non_finite"]
    assert (evidence["rows"], evidence["first_rows"]) == (2, [3, 5])
    assert evidence["fraction"] == pytest.approx(2 / 1200)
    assert sum(evidence[k] for k in ("nan", "+inf", "-inf")) == 3
    assert evidence["likely_cause"].startswith(cause)
    assert found.facts["rows_left_out"] == 2
    assert found.findings[0].advice.endswith("Everything else here is about the 1198 finite rows.")


def test_overflow_in_half_precision_is_that_and_not_a_saturated_teacher():
    assert diagnose(SPOILT["overflow"](V, Y, RNG), Y).codes == ["non_finite"]


def test_probabilities_are_an_error_and_their_logarithms_a_warning():
    p = torch.tensor(V).softmax(-1)
    one, two = diagnose(p, Y), diagnose(p.log(), Y)
    assert one.codes == two.codes == ["not_logits"]
    assert [one.findings[0].severity, two.findings[0].severity] == ["error", "warning"]
    assert diagnose(100 * p, Y).findings[0].evidence["row_sum"] == 100
    assert diagnose(torch.tensor(V).sigmoid(), Y).findings[0].evidence["kind"] == "scores"


def test_rows_that_are_constant_or_repeated():
    v = V.copy()
    v[-100:] = 0
    assert diagnose(v, Y).codes == ["constant_rows"]
    v[-200:] = V[0]
    found = diagnose(v, Y)
    assert found.codes == ["constant_rows"]
    assert found.findings[0].evidence == {"constant": 0.0, "repeated": pytest.approx(201 / 1200)}


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("classes", [2, 3, 12, 100])
def test_gaussian_logits_are_of_a_teacher_that_knows_nothing(scale, classes):
    found = diagnose(RNG.standard_normal((1200, classes)) * scale, RNG.integers(classes, size=1200))
    assert found.findings[0].code == "weak_teacher" and found.findings[0].severity == "error"
    assert set(found.codes) <= {"weak_teacher", "few_classes"}


def test_an_untrained_network_is_weak():
    torch.manual_seed(0)
    x = torch.tensor(V) + torch.randn(1200, 12)
    net = torch.nn.Sequential(torch.nn.Linear(12, 64), torch.nn.ReLU(), torch.nn.Linear(64, 12))
    assert diagnose(net(x), Y).codes == ["weak_teacher"]


def test_a_poor_teacher_is_a_warning():
    v = V.copy()
    wrong = RNG.random(1200) < 0.7
    v[wrong] = RNG.permutation(v[wrong])
    found = diagnose(v, Y)
    assert found.codes == ["weak_teacher"] and found.ok


def test_a_saturated_teacher():
    clear = np.sort(V, 1)[:, -1] - np.sort(V, 1)[:, -2] > 2
    assert diagnose(5 * V[clear], V[clear].argmax(1)).codes == ["saturated_teacher"]


@pytest.mark.parametrize("classes", [2, 12])
def test_a_smoothed_teacher(classes):
    y = RNG.integers(classes, size=1200)
    at = np.log(0.9 * (classes - 1) / 0.1)
    v = at * (y[:, None] == np.arange(classes)) + 0.3 * RNG.standard_normal((1200, classes))
    expected = ["smoothed_teacher"] + ["few_classes"] * (classes == 2)
    assert diagnose(v, y).codes == expected


def test_few_examples_are_said_to_be_few():
    assert diagnose(V[:99], Y[:99]).codes == ["few_examples"]
    assert diagnose(V[:100], Y[:100]).codes == ["healthy"]
    one = diagnose(V[:1], Y[:1])
    assert "few_examples" in one.codes and one.findings[-1].evidence["examples"] == 1


def test_a_memorised_training_set():
    out, labels = healthy(600, seed=1)
    same = diagnose(V, Y, heldout_teacher_logits=out, heldout_labels=labels)
    assert same.codes == ["healthy"]
    wrong = np.where(RNG.random(600) < 0.4, RNG.integers(12, size=600), labels)
    found = diagnose(V, Y, heldout_teacher_logits=out, heldout_labels=wrong)
    assert found.codes == ["train_memorised"]
    assert found.findings[0].evidence["mass_gap"] > 0.3


def test_no_class_structure():
    assert diagnose(SPOILT["structureless"](V, Y, RNG), Y).codes == ["no_class_structure"]


def test_two_classes_leave_no_domain_and_three_do():
    two = np.stack([V[:, :6].max(1), V[:, 6:].max(1)], 1)
    assert diagnose(two, (Y >= 6).astype(int)).codes == ["few_classes"]


def test_a_student_that_beats_its_teacher_on_held_out_examples_and_on_the_training_set():
    out, labels = healthy(600, seed=1)
    better = out + 9 * (labels[:, None] == np.arange(12))
    worse = out + 4 * RNG.standard_normal(out.shape)
    given = {"heldout_teacher_logits": worse, "heldout_labels": labels, "student_val_logits": better}
    found = {f.code: f for f in diagnose(V, Y, **given).findings}
    assert found["student_beats_teacher"].evidence["examples"] == "held-out"
    assert found["student_beats_teacher"].evidence["student_accuracy"] == float((better.argmax(1) == labels).mean())
    poor = V + 4 * RNG.standard_normal(V.shape).astype(np.float32)
    codes = diagnose(poor, Y, student_logits=V + 9 * (Y[:, None] == np.arange(12))).codes
    assert "student_beats_teacher" in codes
    assert diagnose(V, Y, student_logits=V).codes == ["healthy"]


def test_temperatures_outside_the_recommended_range():
    found = diagnose(V, Y)
    low, high = found.tau["low"], found.tau["high"]
    assert 0.25 <= low < 1 < high
    assert diagnose(V, Y, tau=high + 0.1).codes == ["temperature_high"]
    assert diagnose(V, Y, tau=(low + high) / 2).codes == ["healthy"]
    sharp = diagnose(2 * V, Y)
    assert diagnose(2 * V, Y, tau=sharp.tau["low"] * 0.9).codes == ["temperature_low"]
    evidence = diagnose(V, Y, tau=20).findings[0].evidence
    assert evidence["tau"] == 20 and evidence["high"] == high and evidence["mass"] > 0.5


def test_a_rule_is_one_function_and_is_silent_where_another_explains_it():
    @finding(unless="few_classes")
    def sizes(s, limit):
        """Any teacher."""
        return "warning", {"examples": s["examples"]}, "Nothing to do."

    try:
        assert diagnose(V, Y).codes == ["sizes"]
        assert "sizes" not in diagnose(V[:, :2], np.zeros(1200)).codes
    finally:
        findings.RULES.pop("sizes")


def test_limits_are_read_once_and_are_numbers():
    assert findings.limits() is findings.limits()
    assert all(isinstance(v, int | float) for v in findings.limits().values())
