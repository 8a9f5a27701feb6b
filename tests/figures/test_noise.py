"""The noise chapter's figures: planted differences are found, thirds and distances counted by hand, gaps in a study."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import SMALL
from IPython.core.pylabtools import print_figure
from matplotlib.figure import Figure

from kdstudy.core.spec import Data, pairs
from kdstudy.data import registry
from kdstudy.engine import ask
from kdstudy.figures.chapters import noise
from kdstudy.stats import paired
from kdstudy.study import array_metrics, plans
from kdstudy.study.theory import smoothed_label_kl, unchanged_share

GAIN = {"hard": 0.0, "label_smoothing_matched": 0.02, "kd": 0.03}  # over hard labels at weight decay 0.01


def rows(dataset: str, share: float, seeds: int, condition: str, better: float, **setting: float) -> list[dict]:
    """One row a seed; KD gains a further tenth of the noise."""
    gain = better + GAIN[condition] + (0.1 * share if condition == "kd" else 0.0)
    options = json.dumps({"noise": share} if share else {})
    fields = {"tau": np.nan, "alpha": np.nan, "weight_decay": 0.0, "hidden": "6", "device": "CPU", "stale": False}
    return [
        fields | setting | {
            "key": f"{dataset} {condition} {share} {setting} {s}", "dataset": dataset, "options": options,
            "condition": condition, "seed": s, "test_accuracy": 0.6 - share / 2 + gain + s / 100,
            "validation_accuracy": 0.6 + gain, "train_accuracy": 0.9,
        }
        for s in range(seeds)
    ]  # fmt: skip


def tables(seeds: int = 3, noises: tuple[float, ...] = (0.0, 0.4), sets: tuple[str, ...] = ("a", "b")) -> dict:
    """A noise study by hand: hard labels lose 0.05 untuned, KD 0.01 at alpha 0.5."""
    every = []
    for d in sets:
        for n in noises:
            for decay, better in ((0.0, -0.05), (0.01, 0.0)):
                every += rows(d, n, seeds, "hard", better, weight_decay=decay)
            for alpha, better in ((0.5, -0.01), (0.9, 0.0)):
                for condition in ("label_smoothing_matched", "kd"):
                    every += rows(d, n, seeds, condition, better, alpha=alpha, tau=2.0)
    frame = pd.DataFrame(every)
    noisy = frame[frame["options"] == json.dumps({"noise": max(noises)})]
    empty = frame.iloc[:0]
    return {"noise": frame, "noisy": noisy, "crossfitted": empty, "law": empty, "exact": empty}


def test_gaps_are_those_planted_for_the_tuned_and_the_untuned_baseline():
    found = noise.gaps(tables()).set_index(["dataset", "noise", "pair"])["difference"]
    assert len(found) == 2 * 2 * 4
    for d in "ab":
        for share, extra in ((0.0, 0.0), (0.4, 0.04)):
            assert found[d, share, "kd − hard"] == pytest.approx(0.03 + extra)
            assert found[d, share, "kd − untuned"] == pytest.approx(0.08 + extra)
            assert found[d, share, "label_smoothing_matched − hard"] == pytest.approx(0.02)
            assert found[d, share, "label_smoothing_matched − untuned"] == pytest.approx(0.07)


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("sets", [("a",), ("a", "b")])
def test_gains_are_drawn_where_they_lie(seeds, sets):
    figure = noise.gains(tables(seeds, sets=sets))
    drawn = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title() for ax in drawn] == list(sets)
    kd = next(c for c in drawn[0].containers if c.get_label() == "KD − tuned")
    assert kd[0].get_ydata() == pytest.approx([0.03, 0.07])
    assert f"n = {seeds} seeds" in figure.texts[-1].get_text() and "svg" in print_figure(figure, "svg")


def said(figure: Figure) -> str:
    """What a figure that shows nothing says."""
    return figure.texts[0].get_text().removeprefix("nothing to draw: ")


def test_one_amount_of_noise_or_one_condition_leaves_nothing_to_draw():
    one = tables(noises=(0.4,))
    assert said(noise.accuracies(one)) == "the runs hold one amount of noise"
    why = "it needs hard labels, another condition and two amounts of noise"
    assert said(noise.gains(one)) == why
    plain = {k: f[f["condition"] == "hard"] for k, f in tables().items()}
    assert said(noise.gains(plain)) == why
    assert said(noise.remedies(plain)) == "KD is not among the runs"
    assert noise.weight_changes(noise.by_weight(plain)).empty
    alone = {k: f[f["condition"] == "kd"] for k, f in tables().items()}
    assert "svg" in print_figure(noise.accuracies(alone), "svg")


def test_a_larger_weight_is_worth_what_was_planted():
    given = tables()
    cross = given["noisy"][given["noisy"]["condition"] == "kd"]
    heavy = cross["test_accuracy"] + 0.02 * (cross["alpha"] == 0.9)
    given["crossfitted"] = cross.assign(test_accuracy=heavy)
    found = noise.weight_changes(noise.by_weight(given)).set_index(["dataset", "teacher"])
    assert found.index.is_unique and set(found["alpha"]) == {0.9} and set(found["less"]) == {0.5}
    assert found.loc[("a", "kd"), "difference"] == pytest.approx(0.01)
    assert found.loc[("a", "crossfitted"), "difference"] == pytest.approx(0.03)
    ax = noise.remedies(given).axes[0]
    lines = {c.get_label(): c[0].get_ydata() for c in ax.containers}
    assert lines["KD, cross-fitted teacher"] - lines["KD"] == pytest.approx([0.0, 0.02])


def test_smoothed_labels_are_as_far_from_the_law_as_their_wrong_ones():
    given = SMALL | {"noise": 0.3}
    data, classes = registry.load(Data("synthetic", pairs(given))), SMALL["classes"]
    wrong = float((data.train.y != data.extra["train"]["posterior"].argmax(-1)).double().mean())
    high, low = 0.7 + 0.3 / classes, 0.3 / classes
    expected = wrong * (high - low) * np.log(high / low)
    assert 0 < wrong < 0.5
    assert smoothed_label_kl("synthetic", json.dumps(given)) == pytest.approx(expected)
    assert smoothed_label_kl("synthetic", json.dumps(SMALL)) == 0


def test_ceiling_is_the_share_of_labels_that_noise_leaves():
    clean, noisy = (registry.load(Data("synthetic", pairs(n))).train.y for n in ({}, {"noise": 0.4}))
    assert unchanged_share(0.4, 20) == pytest.approx(float((noisy == clean).double().mean()), abs=0.02)
    assert unchanged_share(np.array([0.0, 1.0]), 20) == pytest.approx([1, 1 / 20])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the studies of this module are kept, so that each run is trained once."""
    return tmp_path_factory.mktemp("noise")


@pytest.fixture
def study(folder, own_store, monkeypatch):
    """A noise study of the synthetic task with one epoch, answered."""
    monkeypatch.setenv("KDSTUDY_STORE", str(folder / "runs.sqlite"))

    def answered(seeds: int) -> dict[str, pd.DataFrame]:
        given = {"tau": 1.0, "alpha": (0.5, 1.0), "weight_decay": (0.0, 0.1), "epochs": 1, "hidden": 5}
        return ask.answer(plans.PLANS["noise"]("synthetic", noise=(0.0, 0.4), seeds=seeds, **given))

    return answered


@pytest.mark.parametrize("seeds", [1, 2])
def test_every_figure_of_a_study_is_drawn(study, seeds):
    held = study(seeds)
    thirds = noise.unequal(held)
    drawn = [noise.memorised(held), noise.distance(held), noise.accuracies(held),
             noise.gains(held), noise.remedies(held), noise.tails(thirds)]  # fmt: skip
    for figure in drawn:
        assert "svg" in print_figure(figure, "svg") and not said(figure).startswith("nothing")
        assert f"n = {seeds} seeds" in figure.texts[-1].get_text()


def test_what_a_study_shows_of_teachers_is_what_their_logits_say(study):
    held = study(2)
    shown = noise.portrait(held)
    teachers = noise.with_noise(held["teachers"])
    noisy = teachers[(teachers["noise"] == 0.4) & (teachers["composed"] == "")]
    row = shown.loc[("synthetic", "its own", 0.4)]
    assert row["train_accuracy"] == pytest.approx(noisy["train_accuracy"].mean()) and row["n"] == 2
    assert row["law_2"] == pytest.approx(array_metrics.anatomies(noisy)["law_2"].mean())
    assert row["unchanged"] == pytest.approx(1 - 0.4 * 19 / 20)
    assert not set(held["imbalanced"]["teacher"]) & set(noise.noisy_teachers(held)["key"])
    ax = noise.distance(held).axes[0]
    lines = {c.get_label(): c[0].get_ydata() for c in ax.containers}
    assert lines["teacher, τ = 2"][-1] == pytest.approx(row["law_2"])
    assert lines["cross-fitted, τ = 1"] == pytest.approx([shown.loc[("synthetic", "crossfitted", 0.4), "law_1"]])


def test_without_a_law_there_is_no_distance(study, monkeypatch):
    held = study(1)
    blind = lambda frame: pd.DataFrame(np.nan, frame.index, ["law_1", "law_2", "law_4", "sure_train"])  # noqa: E731
    monkeypatch.setattr(array_metrics, "anatomies", blind)
    assert said(noise.distance(held)) == "no data set among the runs knows the law of its labels"
    assert "law_1" not in noise.portrait(held)


def test_thirds_are_means_over_classes_and_the_rarest_as_the_claim_has_it(study):
    held = study(2)
    best = paired.tuned(held["imbalanced"])
    found = noise.thirds(best, held)
    tail = found[found["third"] == "rarest"].set_index("key")["third_accuracy"]
    assert tail[best["key"]].to_list() == pytest.approx(array_metrics.tail_accuracy(best, held).to_list())
    sizes = noise.sizes(held).iloc[0]
    assert sizes["classes"] == 20 and 9 < sizes["commonest"] / sizes["rarest"] < 11
    whole = found.assign(sum=found["third_accuracy"] * found["third"].map({"rarest": 6, "middle": 8, "commonest": 6}))
    each = ask.arrays(best, "per_class")
    means = {k: float((each[k][0] / each[k][1]).mean()) for k in best["key"]}
    assert means == pytest.approx((whole.groupby("key")["sum"].sum() / 20).to_dict())
    by = noise.by_third(noise.unequal(held))
    assert {"hard", "untuned", "kd", "teacher"} <= set(by.index.get_level_values("condition")) and set(by["n"]) == {2}


def test_gains_on_thirds_are_paired_and_drawn(monkeypatch):
    frame = pd.DataFrame(
        {"dataset": "a", "condition": c, "seed": s, "third": t, "third_accuracy": 0.5 + s / 10 + gain * sign,
         "hidden": "6", "device": "CPU", "stale": False}
        for c, gain in (("hard", 0.0), ("kd", 0.1)) for s in range(3)
        for t, sign in zip(noise.THIRDS, (-1, 0, 1))
    )  # fmt: skip
    found = noise.third_gains(frame).set_index("third")["difference"]
    assert found.to_dict() == pytest.approx({"rarest": -0.1, "middle": 0.0, "commonest": 0.1})
    (line,) = noise.tails(frame).axes[0].containers
    assert line[0].get_ydata() == pytest.approx([-0.1, 0.0, 0.1])
    alone = frame[frame["condition"] == "kd"]
    assert said(noise.tails(alone)) == "hard labels and another condition are not both among the runs"
