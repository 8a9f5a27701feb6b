"""Noise: gains, remedies and teachers are what the runs say, on the noise that each side was taught."""

import pytest
from IPython.core.pylabtools import print_figure

from kdstudy.data import registry
from kdstudy.figures.chapters import noise
from kdstudy.study import array_metrics
from kdstudy.study.experiment import Study


@pytest.fixture
def study(perform) -> Study:
    """Two amounts of noise."""
    return perform("noise", noise=0.4, others=0.2, ratio=4.0)


def test_gains_are_over_hard_labels_of_the_same_data(study):
    accuracy = study.tables["practical"].groupby("condition")["test_accuracy"].mean()
    found = noise.gains(study).set_index(["line", "noise"])["effect"]
    where = {(noise.MORE, 0.0): "", (noise.MORE, 0.2): "noise 0.2:", (noise.MORE, 0.4): "noisy:",
             (noise.CHOSEN, 0.4): "noisy validation:", (noise.SAME, 0.0): "same labels:",
             (noise.SAME, 0.4): "same labels noisy:"}  # fmt: skip
    expected = {k: accuracy[f"{at}kd"] - accuracy[f"{at}hard"] for k, at in where.items()}
    expected[noise.MATCHED, 0.4] = accuracy["noisy:label_smoothing_matched"] - accuracy["noisy:hard"]
    assert found.to_dict() == pytest.approx(expected, abs=1e-7)


def test_figures_draw_every_line_and_remedy(study):
    gains, remedies = noise.against_noise(study), noise.remedies(study)
    ax = gains.axes[0]
    assert {c.get_label() for c in ax.containers} == {how.name for how in noise.LOOKS.values()}
    names = [t.get_text() for t in remedies.axes[0].get_yticklabels()]
    assert names == [name for _, name in noise.REMEDIES.values()]
    assert all("svg" in print_figure(figure, "svg") for figure in (gains, remedies))


def test_teachers_are_those_that_each_side_heard(study):
    found = noise.teachers(study).set_index("side")
    heard = study.tables["teachers"].groupby("condition")[["train_accuracy", "test_accuracy"]].mean()
    hard = study.tables["practical"].groupby("condition")["test_accuracy"].mean()
    assert set(found.index) == {s for s in heard.index if s.endswith("kd") and not s.startswith("imbalanced")}
    for side, own in (
        ("kd", "hard"),
        ("crossfitted:kd", "noisy:hard"),
        ("same labels noisy:kd", "same labels noisy:hard"),
    ):
        row = found.loc[side]
        assert row["teacher, test"] == pytest.approx(heard.loc[side, "test_accuracy"])
        assert row["repeated by the teacher"] == pytest.approx(heard.loc[side, "train_accuracy"])
        assert row["hard labels, test"] == pytest.approx(hard[own])
    assert found["labels as they were"].to_dict()["noise 0.2:kd"] == pytest.approx(1 - 0.2 * 5 / 6)


def test_rare_classes_are_those_with_the_fewest_examples_of_the_run_itself(study):
    frame = study.tables["practical"]
    frame = frame[frame["condition"] == "imbalanced:kd"]
    found = array_metrics.tail_accuracy(frame, {})
    for value, key, run in zip(found, frame["key"], frame["run"]):
        y = registry.load(run.data).train.y.tolist()
        rare = sorted(range(6), key=y.count)[:2]
        right, examples = array_metrics.ask.arrays(frame, "per_class")[key]
        assert value == pytest.approx(sum(right[c] / examples[c] for c in rare) / 2)
