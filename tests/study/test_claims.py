"""Claims: the file, the rule by cases, planted effects that flip verdicts, and sentences that say them."""

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
from conftest import says

from kdstudy.distill import conditions, identities
from kdstudy.engine import teacher_statistics as anatomy
from kdstudy.stats import factorial, paired
from kdstudy.stats.paired import Interval
from kdstudy.study import array_metrics, claims, plans, verdicts
from kdstudy.study.claims import CONTRADICTED, MIXED, SUPPORTED, UNDECIDED, Claim, load
from kdstudy.study.measures import MEASURES, measure
from kdstudy.train import metrics

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
        (0.01, 0.03, 1, 0.02, UNDECIDED),
        (0.01, 0.03, 1, 0.05, CONTRADICTED),
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
        ([SUPPORTED, SUPPORTED, UNDECIDED], SUPPORTED),
        ([SUPPORTED, UNDECIDED], UNDECIDED),
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


def test_a_contrast_may_compare_the_parts_of_a_chapter():
    frame = planted({"digits": 0.02, "synthetic": 0.02})
    kd = frame[frame["condition"] == "kd"]
    tables = {"study": frame, "other": kd.assign(test_accuracy=kd["test_accuracy"] - 0.05)}
    claim = dataclasses.replace(CLAIM, contrast={"other:kd": 1.0, "kd": -1.0})
    found = claims.effects(claim, tables)
    assert found["effect"].to_numpy() == pytest.approx([-0.05, -0.05]) and set(found["verdict"]) == {CONTRADICTED}
    assert claims.answered(claim, tables) and not claims.answered(claim, {"study": frame})
    assert not claims.answered(claim, tables | {"other": frame[frame["condition"] == "hard"]})
    assert claims.place(claim, "other:kd") == ("other", "kd") and claims.place(claim, "kd") == ("study", "kd")


def test_a_claim_at_a_setting_does_not_search_it():
    frame = planted({"digits": 0.02})
    worse = dataclasses.replace(CLAIM, at={"tau": 2.0})
    tuned, fixed = (claims.effects(c, {"study": frame})["effect"].iloc[0] for c in (CLAIM, worse))
    assert tuned == pytest.approx(0.02, abs=0.002)
    kd = frame[(frame["condition"] == "kd") & (frame["tau"] == 2.0)]["test_accuracy"].mean()
    hard = frame[(frame["condition"] == "hard") & (frame["weight_decay"] == 1.0)]["test_accuracy"].mean()
    assert fixed == pytest.approx(kd - hard)  # hard labels have no temperature: they stay as they are
    assert not claims.answered(dataclasses.replace(CLAIM, at={"tau": 3.0}), {"study": frame})


def test_a_part_without_runs_answers_nothing():
    claim = dataclasses.replace(CLAIM, contrast={"cool:kd": 1.0, "kd": -1.0}, at={"alpha": 0.9})
    frame = planted({"digits": 0.02}).assign(alpha=0.9)
    assert not claims.answered(claim, {"study": frame, "cool": pd.DataFrame(columns=["key", "condition"])})


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


def test_phrases_say_the_same_in_short():
    rows = claims.chapter("universe", {"study": planted({"digits": 0.02, "synthetic": -0.02})})
    found, effects = verdicts.phrases(rows), rows[rows["claim"] == "U3-kd"].to_dict("records")
    numbers = "; ".join(f"{r['dataset']} {r['effect']:+.3f} [{r['low']:+.3f}, {r['high']:+.3f}]" for r in effects)
    assert len(effects) == 2 and (found["U3-kd"], found["U3-kd-numbers"]) == ("mixed", numbers)
    worst = rows.loc[rows["claim"] == "U1", "effect"].iloc[0]
    assert (found["U1"], found["U1-numbers"]) == ("supported", f"largest error {worst:.1e}")
    assert found.keys() == {f"{c}{end}" for c in rows["claim"] for end in ("", "-numbers")}


# ---------------------------------------------------------------- the file of claims, and what measures are called


@pytest.mark.parametrize("claim", ALL, ids=lambda c: c.id)
def test_a_claim_names_what_exists(claim):
    assert claim.chapter in plans.PLANS
    assert claim.statement.endswith(".") and claim.source and claim.level
    if claim.rule == "identity":
        assert claim.identity in identities.IDENTITIES
        assert (claim.contrast, claim.measure, claim.direction) == ({}, "", 0)
        return
    measured = {f"{s}_{m}" for s in metrics.SPLITS for m in metrics.MEASURES}
    assert claim.measure in measured | array_metrics.DERIVED.keys() | {*anatomy.NAMES}
    assert claim.direction in (-1, 1) and not claim.identity
    parts = plans.PLANS[claim.chapter](seeds=1)
    for name in claim.contrast:
        part, condition = claims.place(claim, name)
        able = [r for r in parts[part] if r.condition.name == condition]
        held = [r for r in able if all(dict(r.condition.params).get(k, v) == v for k, v in claim.at.items())]
        assert held, f"no run of {name} at {claim.at}"
    asked = parts[claim.part]
    total = sum(claim.contrast.values())
    assert total == pytest.approx(0, abs=1e-12) or list(claim.contrast.values()) == [1.0]
    if claim.rule == "slope":
        assert len({dict(r.data.options)[claim.over] for r in asked}) > 2


def test_shapley_claims_have_the_weights_of_shapley_values():
    names = sorted(set(factorial.LEVELS.values()))
    unit = {c: np.array([float(c == other) for other in names]) for c in names}
    values = factorial.shapley({s: unit[c] for s, c in factorial.LEVELS.items()})
    for level, weights in values.items():
        claim = next(c for c in ALL if c.id == f"A2-{level}")
        assert [claim.contrast.get(c, 0.0) for c in names] == pytest.approx(list(weights))


def toml(*rows: dict[str, object]) -> str:
    return "\n".join("[[claim]]\n" + "\n".join(f"{k} = {v!r}" for k, v in row.items()) for row in rows)


ROW = {"id": "T1", "level": "a", "chapter": "b", "rule": "difference", "statement": "c", "source": "d"}
FIELDS = ", ".join(sorted(f.name for f in dataclasses.fields(Claim)))


def test_load_reads_claims(tmp_path):
    path = tmp_path / "claims.toml"
    path.write_text(toml(ROW | {"direction": -1, "margin": 0.5}, ROW | {"id": "T2"}), "utf-8")
    first, second = load(path)
    assert first == Claim("T1", "a", "b", "difference", "c", "d", direction=-1, margin=0.5)
    assert second == Claim("T2", "a", "b", "difference", "c", "d")


def test_weights_are_numbers_or_fractions(tmp_path):
    path = tmp_path / "claims.toml"
    path.write_text(toml(ROW) + '\ncontrast = { kd = "1/3", hard = -1, kd_pt = "-0.5" }', "utf-8")
    assert load(path)[0].contrast == {"kd": 1 / 3, "hard": -1.0, "kd_pt": -0.5}
    path.write_text(toml(ROW) + '\ncontrast = { kd = "1/0" }', "utf-8")
    message = "claim 'T1': weight '1/0', allowed: a number or a fraction such as '-1/2'"
    with pytest.raises(ValueError, match=says(message)):
        load(path)


@pytest.mark.parametrize(
    "rows, message",
    [
        ([ROW | {"margn": 0.1, "colour": 1}], f"claim 'T1': unknown field colour, margn; there are: {FIELDS}"),
        ([ROW | {"rule": "guess"}], "claim 'T1': rule 'guess', allowed: 'difference', 'slope', 'identity'"),
        ([{k: v for k, v in ROW.items() if k not in ("rule", "source")}], "claim 'T1': lacks rule, source"),
        ([{k: v for k, v in ROW.items() if k != "id"}], "claim None: lacks id"),
        ([ROW, ROW], "claims.toml: an id occurs twice"),
    ],
)
def test_load_refuses(tmp_path, rows, message):
    path = tmp_path / "claims.toml"
    path.write_text(toml(*rows), "utf-8")
    with pytest.raises(ValueError, match=says(message)):
        load(path)


def test_every_derived_measure_has_a_label():
    assert array_metrics.DERIVED.keys() <= MEASURES.keys()
    assert all(m.name == name and m.unit in ("%", "nats", "") for name, m in MEASURES.items())
    assert {c.measure for c in ALL if c.measure in anatomy.NAMES} <= MEASURES.keys()
    assert {n for n in anatomy.NAMES if "_" in n and not n[-1].isdigit()} <= MEASURES.keys()


def test_a_fraction_is_shown_as_percent_and_its_differences_as_points():
    accuracy, nll = measure("test_accuracy"), measure("test_nll")
    assert (accuracy.scale, accuracy.axis_label) == (100, "test accuracy (%)")
    assert accuracy.difference_label == "difference in test accuracy (points)"
    assert (nll.scale, nll.difference_label) == (1, "difference in test NLL (nats)")


def test_a_measure_without_an_entry_goes_by_its_name_in_words():
    assert [measure(m).label for m in ("test_accuracy", "test_nll")] == ["test accuracy", "test NLL"]
    assert measure("test_my_ece").label == measure("test_my_ece").axis_label == "test my ECE"
