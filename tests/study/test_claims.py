"""Claims: the file, the rule by cases, p and verdict in step, and effects against slow twins."""

import re
from dataclasses import replace
from itertools import product

import numpy as np
import planted
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kdstudy.distill import conditions, identities
from kdstudy.engine import ask, teacher_statistics
from kdstudy.stats import headline
from kdstudy.stats.headline import Estimate
from kdstudy.study import admission, array_metrics, claims, plans
from kdstudy.study.claims import CONTRADICTED, IDENTITY, MECHANISM, MIXED, NONE, PRACTICAL, SUPPORTED, UNDECIDED, Claim
from kdstudy.study.experiment import Experiment, Study
from kdstudy.train import metrics

ALL = claims.load()
CLAIM = Claim(
    "T1", "universe", "universe", PRACTICAL, "KD beats hard labels.", "nobody", contrast={"kd": 1, "hard": -1}
)
EQUAL = replace(CLAIM, rule="equivalence")


def between(low: float, high: float, n: int = 10) -> Estimate:
    """An estimate with these limits."""
    half = Estimate(0.0, 1.0, n).half
    return Estimate((low + high) / 2, (high - low) / 2 / half, n)


# ---------------------------------------------------------------- the rule


@pytest.mark.parametrize(
    "low, high, wanted, equal",
    [
        (0.01, 0.03, SUPPORTED, CONTRADICTED),
        (-0.03, -0.01, CONTRADICTED, CONTRADICTED),
        (0.002, 0.03, SUPPORTED, UNDECIDED),
        (-0.01, 0.03, UNDECIDED, UNDECIDED),
        (-0.004, 0.004, NONE, SUPPORTED),
        (0.001, 0.004, NONE, SUPPORTED),
        (-0.004, 0.006, UNDECIDED, UNDECIDED),
    ],
)
def test_a_verdict_is_where_the_interval_lies(low, high, wanted, equal):
    found, turned = between(low, high), {SUPPORTED: CONTRADICTED, CONTRADICTED: SUPPORTED}
    assert claims.verdict(CLAIM, found) == wanted and claims.verdict(EQUAL, found) == equal
    assert claims.verdict(replace(CLAIM, direction=-1), found) == turned.get(wanted, wanted)
    assert claims.verdict(replace(EQUAL, direction=-1), found) == equal


def test_one_seed_decides_nothing_and_seeds_that_agree_decide():
    lone, sure, nil = (Estimate(m, 0.0, n) for m, n in ((0.5, 1), (0.5, 4), (0.0, 4)))
    for claim, wanted in ((CLAIM, (UNDECIDED, SUPPORTED, NONE)), (EQUAL, (UNDECIDED, CONTRADICTED, SUPPORTED))):
        assert tuple(claims.verdict(claim, e) for e in (lone, sure, nil)) == wanted
        assert [claims.p_value(claim, e) for e in (lone, sure, nil)] == [1, 0, 0]


@given(
    mean=st.floats(-0.03, 0.03), error=st.floats(0, 0.02), n=st.integers(1, 30), direction=st.sampled_from((-1, 1)),
    rule=st.sampled_from(claims.RULES), margin=st.sampled_from((0.0, 0.005, 0.02)),
)  # fmt: skip
def test_p_is_small_if_and_only_if_there_is_a_verdict(mean, error, n, direction, rule, margin):
    claim, found = replace(CLAIM, rule=rule, margin=margin, direction=direction), Estimate(mean, error, n)
    ends = [abs(abs(limit) - at) for limit in (found.low, found.high) for at in (0, margin)]
    assume(error == 0 or min(ends) > 1e-9)  # a limit on a border is on either side of it by rounding
    assert (claims.p_value(claim, found) < 0.05) == (claims.verdict(claim, found) != UNDECIDED)


def test_p_of_planted_seeds_is_that_of_a_t_test():
    x = np.array([0.01, 0.03, 0.02, 0.015])
    found = headline.over_seeds(x)
    t = x.mean() / (x.std(ddof=1) / 2)
    draws = np.random.default_rng(0).standard_t(3, 400_000)
    assert claims.p_value(CLAIM, found) == pytest.approx((np.abs(draws) > t).mean(), rel=0.05)


@pytest.mark.parametrize(
    "verdicts, wanted",
    [
        ([], UNDECIDED),
        ([SUPPORTED], SUPPORTED),
        ([SUPPORTED, UNDECIDED], UNDECIDED),
        ([SUPPORTED, SUPPORTED, UNDECIDED], SUPPORTED),
        ([CONTRADICTED, UNDECIDED, CONTRADICTED], CONTRADICTED),
        ([NONE, NONE, SUPPORTED], NONE),
        ([NONE, SUPPORTED], MIXED),
        ([NONE, SUPPORTED, UNDECIDED, UNDECIDED], MIXED),
        ([SUPPORTED, SUPPORTED, SUPPORTED, CONTRADICTED], MIXED),
        ([UNDECIDED, UNDECIDED, SUPPORTED], UNDECIDED),
    ],
)
def test_the_verdict_over_beds(verdicts, wanted):
    assert claims.overall(verdicts) == claims.overall(verdicts[::-1]) == wanted


# ---------------------------------------------------------------- an experiment without training


@pytest.fixture
def experiment(monkeypatch) -> Experiment:
    """Digits with planted answers."""
    return planted.experiment(monkeypatch)


def test_right_answers_are_weighed_example_by_example(experiment):
    frame, contrast = experiment.tables["practical"], {"kd": 0.5, "label_smoothing": 0.5, "hard": -1.0}
    got, bits = claims.correctness(contrast, frame), ask.arrays(frame, "right")
    key = {(r["condition"], r["seed"]): r["key"] for r in frame.to_dict("records")}
    assert got.shape == (6, planted.EXAMPLES)
    for seed, example in product(range(6), range(planted.EXAMPLES)):
        each = {c: bits[key[c, seed]][example // 8] >> (7 - example % 8) & 1 for c in contrast}
        assert got[seed, example] == pytest.approx(sum(w * each[c] for c, w in contrast.items()))
    accuracy = frame.pivot(index="seed", columns="condition", values="test_accuracy")
    assert got.mean(1) == pytest.approx(
        (accuracy[["kd", "label_smoothing"]].mean(axis=1) - accuracy["hard"]).to_numpy()
    )


def test_accuracy_varies_over_examples_too_and_other_measures_over_seeds(experiment):
    table = experiment.tables["practical"]
    found = claims.effect(CLAIM, table, experiment.tables)
    assert found == headline.over_seeds_and_examples(claims.correctness(CLAIM.contrast, table))
    ece = table.pivot(index="seed", columns="condition", values="test_ece")
    other = claims.effect(replace(CLAIM, measure="test_ece"), table, experiment.tables)
    assert (other.mean, other.n) == pytest.approx(((ece["kd"] - ece["hard"]).mean(), 6))
    lost = table.assign(diverged=((table["seed"] == 3) & (table["condition"] == "kd")).astype(float))
    less = claims.effect(CLAIM, lost, experiment.tables)
    assert less == claims.effect(CLAIM, table[table["seed"] != 3], experiment.tables) and less.n == 5


def test_the_search_moves_an_effect_as_far_as_its_sides_move(experiment):
    got, right = claims.shifts(CLAIM, experiment), {}
    for row in experiment.tables["instead"].to_dict("records"):
        right[row["condition"], row["run"].recipe.lr, row["seed"]] = row["test_accuracy"]
    far = [right["kd", 0.2, s] - right["kd", 0.1, s] - right["hard", 0.2, s] + right["hard", 0.1, s] for s in range(6)]
    assert got.keys() == {(2, 0), (1, 1), (0, 2)}
    assert got[0, 2] == pytest.approx(far) and not got[2, 0].any() and not got[1, 1].any()


def test_a_practical_claim_has_a_row_a_bed_and_a_mechanism_two(experiment):
    study = Study([experiment])
    (own,) = claims.judge(CLAIM, study, [experiment.name]).to_dict("records")
    assert (own["at"], own["n"], own["votes"], own["edge"]) == ("own", 6, True, False)
    bare = claims.effect(CLAIM, experiment.tables["practical"], experiment.tables)
    assert own["effect"] == bare.mean and own["high"] - own["low"] > bare.high - bare.low  # the search is in it
    rows = claims.judge(replace(CLAIM, kind=MECHANISM), study, [experiment.name])
    assert rows["at"].tolist() == ["at_kd", "at_hard"] and rows["votes"].tolist() == [True, False]
    for row in rows.to_dict("records"):
        same = claims.effect(CLAIM, experiment.tables[row["at"]], experiment.tables)
        assert (row["effect"], row["low"], row["high"]) == (same.mean, same.low, same.high)
    assert not claims.judge(CLAIM, study, []).loc[0, "votes"]
    assert claims.judge(replace(CLAIM, contrast={"kd": 1, "class_mean": -1}), study, []).empty


def test_where_sides_see_other_examples_only_what_kd_gains_is_asked(monkeypatch):
    smoothed, rest = ({"label_smoothing": 1, "hard": -1}, {"kd": 1, "label_smoothing": -1})
    asked = [CLAIM, replace(CLAIM, contrast=smoothed), replace(CLAIM, contrast=rest), replace(CLAIM, kind=MECHANISM)]
    for regime, wanted in (("few_labels", [1, 1, 1, 2]), ("transfer_set", [1, 1, 0, 0])):
        study = Study([planted.experiment(monkeypatch, regime=regime)])
        assert [len(claims.judge(claim, study, [])) for claim in asked] == wanted


def test_an_edge_counts_where_its_setting_is_used(experiment):
    choices = {"kd": planted.chosen("kd", edges=(("tau", 1),)), "hard": planted.chosen("hard", edges=(("lr", -1),)),
               "label_smoothing": planted.chosen("label_smoothing", edges=(("epsilon", 1),))}  # fmt: skip
    study = Study([replace(experiment, choices=choices)])
    smoothing = replace(CLAIM, contrast={"label_smoothing": 1, "hard": -1})
    without = replace(experiment, choices=choices | {"kd": planted.chosen("kd")})
    mechanism = {"kind": MECHANISM}

    def edges(claim: Claim, study: Study) -> list[bool]:
        return claims.judge(claim, study, []).sort_values("at")["edge"].tolist()

    assert edges(CLAIM, study) == [True] and edges(replace(CLAIM, **mechanism), study) == [True, True]
    at_hard, at_kd = edges(replace(CLAIM, **mechanism), Study([without]))
    assert at_hard and not at_kd  # hard labels' learning rate is used only there
    assert edges(replace(smoothing, **mechanism), Study([without])) == [True, True]  # its own parameter


def test_a_chapter_is_judged_on_beds_that_are_admitted(experiment, monkeypatch):
    study = Study([experiment])
    rows = claims.chapter("universe", study)
    mine = [c for c in ALL if c.chapter == "universe" and (c.kind == IDENTITY or {*c.contrast} <= {*planted.GAIN})]
    assert set(rows["claim"]) == {c.id for c in mine} and claims.by_claim(rows).keys() == set(rows["claim"])
    first = rows["at"].isin(["own", "at_kd"])
    assert admission.admitted(study) == [experiment.name] and rows.loc[first, "votes"].all()
    monkeypatch.setattr(admission, "ADVANTAGE", 1.0)
    refused = claims.chapter("universe", study)
    assert (refused["votes"] == (refused["dataset"] == IDENTITY)).all()


def test_an_identity_is_judged_by_its_error(monkeypatch):
    claim = Claim("T2", "universe", "universe", IDENTITY, "α = 0 is hard.", "nobody", identity="kd_without_teacher")
    row = claims.judge(claim, Study([]), []).iloc[0]
    assert (row["dataset"], row["n"], row["verdict"]) == (IDENTITY, identities.DRAWS, SUPPORTED) and row["votes"]
    right = conditions.loss
    monkeypatch.setattr(conditions, "loss", lambda *args: 1.01 * right(*args))
    assert claims.judge(claim, Study([]), []).loc[0, "verdict"] == CONTRADICTED


def test_the_board_asks_every_plan_and_joins_its_rows(experiment, monkeypatch):
    asked = {}
    monkeypatch.setattr(plans, "PLANS", dict.fromkeys(("universe", "admission")))
    monkeypatch.setattr(plans, "study", lambda name, **given: asked.setdefault(name, (Study([experiment]), given))[0])
    rows, studies = claims.board(seeds=6)
    assert asked.keys() == studies.keys() == plans.PLANS.keys() and all(g == {"seeds": 6} for _, g in asked.values())
    assert set(claims.chapter("universe", Study([experiment]))["claim"]) <= set(rows["claim"])


# ---------------------------------------------------------------- the file


@pytest.mark.parametrize("claim", ALL, ids=lambda c: c.id)
def test_a_claim_names_what_exists(claim):
    assert claim.chapter in plans.PLANS and claim.statement.endswith(".") and claim.source and claim.level
    if claim.kind == IDENTITY:
        assert claim.identity in identities.IDENTITIES and not claim.contrast
        return
    measured = {f"{s}_{m}" for s in metrics.SPLITS for m in metrics.MEASURES}
    assert claim.measure in measured | array_metrics.DERIVED.keys() | {*teacher_statistics.NAMES}
    assert claim.direction in (-1, 1) and claim.margin > 0 and not claim.identity
    names = {c.rpartition(":")[2] for c in claim.contrast}
    assert all(n.partition(",")[0] in conditions.CONDITIONS for n in names)
    assert len(claim.contrast) == 1 or sum(claim.contrast.values()) == pytest.approx(0)  # a difference, not a level


@pytest.mark.parametrize(
    "text, message",
    [
        ('[[claim]]\nid = "X"\ncolour = 1', "claim 'X': unknown field colour; there are: chapter, contrast"),
        ('[[claim]]\nid = "X"', "claim 'X': lacks level, chapter, kind, statement, source"),
        ('[[claim]]\nid = "X"\nKIND', "claim 'X': kind 'both', allowed: 'practical', 'mechanism', 'identity'"),
        ('[[claim]]\nid = "X"\nRULE', "claim 'X': rule 'slope', allowed: 'difference', 'equivalence'"),
        ('[[claim]]\nid = "X"\nWEIGHT', "claim 'X': weight 'half', allowed: a number or a fraction such as '-1/2'"),
        ("", "found no claims"),
        ("[[", "found no claims"),
        ('[[claim]]\nid = "X"\nREST\n[[claim]]\nid = "X"\nREST', "an id occurs twice"),
    ],
)
def test_a_faulty_file_is_refused(tmp_path, text, message):
    rest = 'level = "a"\nchapter = "b"\nstatement = "c."\nsource = "d"\n'
    words = {"KIND": 'kind = "both"', "RULE": 'kind = "practical"\nrule = "slope"',
             "WEIGHT": 'kind = "practical"\ncontrast = {kd = "half"}', "REST": 'kind = "practical"'}  # fmt: skip
    for word, line in words.items():
        text = text.replace(word, rest + line)
    (tmp_path / "claims.toml").write_text(text, "utf-8")
    with pytest.raises(ValueError, match=re.escape(message)):
        claims.load(tmp_path / "claims.toml")
