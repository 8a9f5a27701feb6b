"""Verdicts: the rule by cases, planted effects that flip them, and sentences that say them."""

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
from conftest import says

from kdstudy.distill import conditions, identities
from kdstudy.engine import teacher_statistics as anatomy
from kdstudy.stats import paired
from kdstudy.stats.paired import Interval
from kdstudy.study import claims, verdicts
from kdstudy.study.claims import CONTRADICTED, MIXED, SUPPORTED, UNDECIDED, Claim, load
from kdstudy.study.measures import MEASURES, measure

ALL = load()
CLAIM = Claim(
    "T1", "universe", "universe", "difference", "KD beats hard labels.", "nobody",
    contrast={"kd": 1.0, "hard": -1.0}, measure="test_accuracy", direction=1,
)  # fmt: skip
DATASETS = ("digits", "synthetic", "clinc150")
SEEDS = 6


def planted(effect: dict[str, float], condition: str = "kd", seeds: int = SEEDS) -> pd.DataFrame:
    """Runs in which `condition` is better than hard labels by `effect[dataset]`, give or take 0.001 a seed.

    Each has two settings; the one that is worse on validation is far better on test.
    """
    random, rows = np.random.default_rng(0), []
    for dataset, gain in effect.items():
        for seed, luck in enumerate(random.normal(0, 0.05, seeds)):
            for name, accuracy in (("hard", 0.7), (condition, 0.7 + gain + random.normal(0, 0.001))):
                common = {"dataset": dataset, "condition": name, "seed": seed}
                chosen, other = ({"tau": t} if name == "kd" else {"weight_decay": t} for t in (1.0, 2.0))
                rows.append(common | chosen | {"validation_accuracy": 0.8, "test_accuracy": accuracy + luck})
                rows.append(common | other | {"validation_accuracy": 0.6, "test_accuracy": 0.99})
    frame = pd.DataFrame(rows).sample(frac=1, random_state=0, ignore_index=True)
    return frame.assign(test_confidence=frame["test_accuracy"], test_ece=-frame["test_accuracy"])


def decided(frame: pd.DataFrame, claim: Claim = CLAIM) -> str:
    """The verdict over all data sets of a table."""
    return claims.overall(list(claims.judge(claim, {"study": frame})["verdict"]))


# ---------------------------------------------------------------- the rule


@pytest.mark.parametrize(
    "low, high, direction, margin, wanted",
    [
        (0.01, 0.03, 1, 0.0, SUPPORTED),
        (-0.03, -0.01, 1, 0.0, CONTRADICTED),
        (-0.01, 0.03, 1, 0.0, UNDECIDED),
        (0.0, 0.03, 1, 0.0, UNDECIDED),
        (-0.03, 0.0, 1, 0.0, UNDECIDED),
        (-0.03, -0.01, -1, 0.0, SUPPORTED),
        (0.01, 0.03, -1, 0.0, CONTRADICTED),
        (-0.03, 0.01, -1, 0.0, UNDECIDED),
        (0.01, 0.03, 1, 0.005, SUPPORTED),
        (0.01, 0.03, 1, 0.02, UNDECIDED),
        (0.01, 0.03, 1, 0.05, CONTRADICTED),
        (-0.03, -0.01, -1, 0.005, SUPPORTED),
        (-0.03, -0.01, -1, 0.05, CONTRADICTED),
        (-math.inf, math.inf, 1, 0.0, UNDECIDED),
        (0.0, 0.0, 1, 0.0, UNDECIDED),
    ],
)
def test_verdict_of_an_interval(low, high, direction, margin, wanted):
    assert claims.verdict(Interval((low + high) / 2, low, high, 5, 0.5), direction, margin) == wanted


@pytest.mark.parametrize(
    "several, wanted",
    [
        ([SUPPORTED], SUPPORTED),
        ([CONTRADICTED], CONTRADICTED),
        ([UNDECIDED], UNDECIDED),
        ([SUPPORTED, SUPPORTED, UNDECIDED], SUPPORTED),
        ([SUPPORTED, UNDECIDED], UNDECIDED),
        ([SUPPORTED, UNDECIDED, UNDECIDED], UNDECIDED),
        ([CONTRADICTED, UNDECIDED, CONTRADICTED], CONTRADICTED),
        ([SUPPORTED, SUPPORTED, SUPPORTED, CONTRADICTED], MIXED),
        ([CONTRADICTED, UNDECIDED, SUPPORTED], MIXED),
        ([], UNDECIDED),
    ],
)
def test_verdict_over_data_sets(several, wanted):
    assert claims.overall(several) == wanted


# ---------------------------------------------------------------- verdicts follow the data


@pytest.mark.parametrize(
    "effects, wanted",
    [
        ((0.02, 0.02, 0.02), SUPPORTED),
        ((-0.02, -0.02, -0.02), CONTRADICTED),
        ((0.0, 0.0, 0.0), UNDECIDED),
        ((0.02, 0.02, 0.0), SUPPORTED),
        ((0.02, 0.0, 0.0), UNDECIDED),
        ((0.02, 0.02, -0.02), MIXED),
    ],
)
def test_a_verdict_moves_with_the_data(effects, wanted):
    assert decided(planted(dict(zip(DATASETS, effects)))) == wanted


def test_direction_turns_a_verdict_and_margin_takes_it_back():
    frame = planted(dict.fromkeys(DATASETS, 0.02))
    for change, wanted in (
        ({"direction": -1}, CONTRADICTED),
        ({"margin": 0.01}, SUPPORTED),
        ({"margin": 0.02}, UNDECIDED),
        ({"margin": 0.03}, CONTRADICTED),
        ({"measure": "test_ece", "direction": -1}, SUPPORTED),
        ({"contrast": {"hard": 1.0, "kd": -1.0}}, CONTRADICTED),
        ({"contrast": {"kd": 0.5, "hard": -0.5}, "margin": 0.009}, SUPPORTED),
        ({"contrast": {"kd": 0.5, "hard": -0.5}, "margin": 0.011}, CONTRADICTED),
        ({"direction": -1, "margin": -0.03}, SUPPORTED),
        ({"contrast": {"kd": 1.0}, "margin": 0.5}, SUPPORTED),
    ):
        assert decided(frame, dataclasses.replace(CLAIM, **change)) == wanted


def test_effects_are_paired_tuned_and_widened_for_all_data_sets():
    effects = {"digits": 0.02, "synthetic": -0.01, "clinc150": 0.0}
    frame = planted(effects)
    found = claims.effects(CLAIM, {"study": frame})
    assert set(found["dataset"]) == set(DATASETS) and set(found["n"]) == {SEEDS} and set(found["claim"]) == {"T1"}
    assert dict(zip(found["dataset"], found["effect"])) == pytest.approx(effects, abs=0.001)
    best = frame[(frame["validation_accuracy"] == 0.8) & (frame["dataset"] == "digits")]
    d = best.pivot(index="seed", columns="condition", values="test_accuracy").eval("kd - hard")
    i, row = paired.interval(d, family=3), found.set_index("dataset").loc["digits"]
    assert [row["effect"], row["low"], row["high"], row["p"]] == pytest.approx([i.mean, i.low, i.high, i.p])
    alone = claims.effects(CLAIM, {"study": frame[frame["dataset"] == "digits"]}).iloc[0]
    assert row["low"] < alone["low"] < alone["high"] < row["high"]


def test_one_seed_decides_nothing():
    assert decided(planted({"digits": 0.5}, seeds=1)) == UNDECIDED


def test_other_conditions_in_the_table_change_nothing():
    frame = planted(dict.fromkeys(DATASETS, 0.02))
    other = frame[frame["condition"] == "kd"].assign(condition="label_smoothing_matched", test_accuracy=0.1)
    more = {"study": pd.concat([frame, other])}
    pd.testing.assert_frame_equal(claims.judge(CLAIM, more), claims.judge(CLAIM, {"study": frame}))


def test_an_unpaired_table_is_an_error():
    frame = planted({"digits": 0.02})
    message = "{'condition': 'kd'} and {'condition': 'hard'} are not paired: seeds [2] have one of the two"
    with pytest.raises(ValueError, match=says(message)):
        claims.judge(CLAIM, {"study": frame[(frame["condition"] == "hard") | (frame["seed"] != 2)]})


def test_a_data_set_without_all_conditions_is_left_out():
    frame = planted({"digits": 0.02, "synthetic": 0.02})
    some = frame[(frame["dataset"] == "digits") | (frame["condition"] == "hard")]
    assert list(claims.effects(CLAIM, {"study": some})["dataset"]) == ["digits"]
    assert claims.effects(CLAIM, {"study": frame[frame["condition"] == "hard"]}).empty


SLOPE = dataclasses.replace(CLAIM, rule="slope", part="alike", over="similarity")


def varied(slope: float) -> pd.DataFrame:
    """Runs at four similarities; KD's gain over hard labels grows by `slope` for each unit."""
    parts = [
        planted({"synthetic": slope * s}).assign(options=json.dumps({"similarity": s})) for s in (0.0, 0.3, 0.6, 0.9)
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("slope, wanted", [(0.05, SUPPORTED), (0.0, UNDECIDED), (-0.05, CONTRADICTED)])
def test_a_slope_is_judged_over_the_option_it_names(slope, wanted):
    (row,) = claims.judge(SLOPE, {"alike": varied(slope)}).to_dict("records")
    assert row["verdict"] == wanted and row["n"] == SEEDS
    assert row["effect"] == pytest.approx(slope, abs=0.002)


def test_a_slope_needs_a_table_that_varies_the_option():
    message = "data set option 'similarity': found noise, allowed: a table that varies it"
    frame = varied(0.05).assign(options=json.dumps({"noise": 0.1}))
    with pytest.raises(ValueError, match=says(message)):
        claims.judge(SLOPE, {"alike": frame})


def test_an_identity_is_judged_by_its_error(monkeypatch):
    claim = Claim("T2", "universe", "universe", "identity", "α = 0 is hard.", "nobody", identity="kd_without_teacher")
    assert decided(pd.DataFrame(), claim) == SUPPORTED
    row = claims.judge(claim, {"study": pd.DataFrame()}).iloc[0]
    assert (row["dataset"], row["n"]) == ("identity", identities.DRAWS) and row["effect"] < 1e-12
    right = conditions.loss
    monkeypatch.setattr(conditions, "loss", lambda *args: 1.01 * right(*args))
    assert decided(pd.DataFrame(), claim) == CONTRADICTED


# ---------------------------------------------------------------- chapters and sentences


def test_a_chapter_judges_its_claims_whose_conditions_are_there():
    mine = [c for c in ALL if c.chapter == "universe"]
    found = claims.chapter("universe", {"study": planted({"digits": 0.02})})
    judged = {c.id for c in mine if c.rule == "identity" or set(c.contrast) == {"kd", "hard"}}
    assert set(found["claim"]) == judged
    more = claims.chapter("universe", {"study": planted({"digits": 0.02}, condition="label_smoothing")})
    assert {"U1", "U2-free", "U3-ls", "U3-ece"} <= set(more["claim"])
    assert not {"U2", "U2-rest", "U3-kd"} & set(more["claim"])


def test_sentences_say_the_verdicts_and_the_numbers():
    frame = planted({"digits": 0.02, "synthetic": -0.02}, condition="label_smoothing")
    rows = claims.chapter("universe", {"study": frame})
    text = verdicts.sentences(rows)
    assert "- **U1: supported.** KD with a uniform teacher" in text
    for claim_id, group in rows.groupby("claim"):
        assert f"- **{claim_id}: {claims.overall(list(group['verdict']))}.**" in text
    assert "**U2-free: mixed.**" in text
    for row in rows[rows["claim"] == "U2-free"].itertuples():
        numbers = f"{row.effect:+.4f} [{row.low:+.4f}, {row.high:+.4f}], n = {SEEDS}"
        assert f"    - {row.dataset}: test accuracy {numbers}: {row.verdict}" in text.splitlines()
    error = rows[rows["claim"] == "U1"].iloc[0]["effect"]
    assert f"    - largest error {error:.1e} over {identities.DRAWS} random cases" in text.splitlines()


def test_measures_in_words():
    words = {"test_accuracy": "test accuracy", "test_nll": "test NLL", "test_ece": "test ECE"}
    assert {m: measure(m).label for m in words} == words
    assert {c.measure for c in ALL if c.measure in anatomy.NAMES} <= MEASURES.keys()


def test_phrases_say_the_same_in_short():
    rows = claims.chapter("universe", {"study": planted({"digits": 0.02, "synthetic": -0.02})})
    found, effects = verdicts.phrases(rows), rows[rows["claim"] == "U3-kd"].to_dict("records")
    numbers = "; ".join(f"{r['dataset']} {r['effect']:+.3f} [{r['low']:+.3f}, {r['high']:+.3f}]" for r in effects)
    assert len(effects) == 2 and (found["U3-kd"], found["U3-kd-numbers"]) == ("mixed", numbers)
    worst = rows.loc[rows["claim"] == "U1", "effect"].iloc[0]
    assert (found["U1"], found["U1-numbers"]) == ("supported", f"largest error {worst:.1e}")
    assert found.keys() == {f"{c}{end}" for c in rows["claim"] for end in ("", "-numbers")}
