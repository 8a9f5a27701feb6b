"""Admission: which beds may vote, by what hard labels, KD and the teacher reach on seeds of their own."""

import pandas as pd
import pytest
from conftest import TINY

from kdstudy.study import admission
from kdstudy.study.beds import TEACHER_SEED, bed
from kdstudy.study.experiment import Design, Experiment
from kdstudy.study.search import Protocol

NOISE = (-0.004, 0.001, 0.003, 0.0)


@pytest.fixture(scope="module")
def design() -> Design:
    return Design(bed(TINY, "few_labels", 3), {})


def experiment(design: Design, gain: float = 0.05, ahead: float = 0.1, longer: float = 0.001) -> Experiment:
    """Hard labels reach 0.6, KD `gain` more, the teacher `ahead`, and twice as long training `longer`."""
    rows, twice = [], []
    for seed, noise in enumerate(NOISE, 2000):
        each = {"hard": 0.6, "kd": 0.6 + gain + noise}
        rows += [{"condition": c, "seed": seed, "test_accuracy": v} for c, v in each.items()]
        rows += [{"condition": "teacher", "seed": TEACHER_SEED + seed, "test_accuracy": 0.6 + ahead - noise}]
        twice += [{"condition": "hard", "seed": seed, "test_accuracy": 0.6 + longer + noise}]
    return Experiment(design, Protocol(), {}, {"admission": pd.DataFrame(rows), "doubled": pd.DataFrame(twice)})


def test_a_bed_with_a_gain_a_teacher_and_trained_students_votes(design):
    row = admission.of(experiment(design))
    assert list(row) == admission.COLUMNS
    assert row["admitted"] and not row["why not"] and row["n"] == 4
    assert [row[k] for k in ("hard", "teacher − hard", "epochs doubled", "KD − hard")] == pytest.approx(
        [0.6, 0.1, 0.001, 0.05]
    )
    assert row["low"] < row["KD − hard"] < row["high"]


@pytest.mark.parametrize(
    "lacks, why",
    [
        ({"ahead": 0.019}, "the teacher is ahead by less than 2 points"),
        ({"longer": 0.004}, "twice the epochs raise hard labels by 0.3 points or more"),
        ({"gain": 0.002}, "KD has no sure gain"),
        ({"gain": -0.05}, "KD has no sure gain"),
        ({"gain": 0.0, "ahead": 0.0}, "the teacher is ahead by less than 2 points; KD has no sure gain"),
    ],
)
def test_a_bed_without_one_of_them_does_not_and_says_why(design, lacks, why):
    row = admission.of(experiment(design, **lacks))
    assert (row["admitted"], row["why not"]) == (False, why)


def test_longer_training_that_only_overfits_is_no_reason(design):
    assert admission.of(experiment(design, longer=-0.02))["admitted"]


def test_beds_that_were_not_evaluated_have_no_row(design):
    unseen = Experiment(design, Protocol(), {}, {})
    rows = admission.table([experiment(design), unseen, experiment(design, gain=0.0)])
    assert list(rows["admitted"]) == [True, False]
    assert admission.admitted([experiment(design), unseen]) == [design.bed.name]
    assert admission.admitted([unseen]) == [] and list(admission.table([]).columns) == admission.COLUMNS
