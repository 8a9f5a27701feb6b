"""What measures are called."""

from kdstudy.engine import teacher_statistics as anatomy
from kdstudy.study import array_metrics
from kdstudy.study.measures import MEASURES, measure


def test_every_derived_measure_has_a_label():
    assert array_metrics.DERIVED.keys() <= MEASURES.keys()
    assert all(m.name == name and m.unit in ("%", "nats", "") for name, m in MEASURES.items())
    assert {n for n in anatomy.NAMES if "_" in n and not n[-1].isdigit()} <= MEASURES.keys()


def test_a_fraction_is_shown_as_percent_and_its_differences_as_points():
    accuracy, nll = measure("test_accuracy"), measure("test_nll")
    assert (accuracy.scale, accuracy.axis_label) == (100, "test accuracy (%)")
    assert accuracy.difference_label == "difference in test accuracy (points)"
    assert (nll.scale, nll.difference_label) == (1, "difference in test NLL (nats)")


def test_a_measure_without_an_entry_goes_by_its_name_in_words():
    assert measure("test_my_ece").label == measure("test_my_ece").axis_label == "test my ECE"
