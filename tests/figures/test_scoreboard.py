"""The page of all claims: what multiplicity leaves of the verdicts, and a table that says what the rows say."""

import numpy as np
import pandas as pd
import pytest
from IPython.core.pylabtools import print_figure
from scipy import stats as scipy_stats

from kdstudy.figures.chapters import scoreboard
from kdstudy.stats import paired
from kdstudy.study import claims, verdicts

EVERY = {c.id: c for c in claims.load()}


def judged(claim: str, *values: np.ndarray) -> pd.DataFrame:
    """A claim's rows with these effects over seeds, one for each data set a, b, ..."""
    own, found = EVERY[claim], []
    for name, x in zip("abcdef", values):
        i = paired.interval(x, family=len(values))
        found.append({"claim": claim, "dataset": name, "effect": i.mean, "low": i.low, "high": i.high, "n": i.n,
                      "p": i.p, "verdict": claims.verdict(i, own.direction, own.margin)})  # fmt: skip
    return pd.DataFrame(found, columns=claims.COLUMNS)


def around(mean: float, sd: float = 0.01, n: int = 10) -> np.ndarray:
    """n values of this mean and standard deviation."""
    x = np.random.default_rng(n).normal(size=n)
    return mean + sd * (x - x.mean()) / x.std(ddof=1)


IDENTITY = pd.DataFrame([["U1", "identity", 1e-15, np.nan, np.nan, 50, np.nan, "supported"]], columns=claims.COLUMNS)
ROWS = pd.concat(
    [IDENTITY, judged("U2", around(0.02), around(-0.02)), judged("U3-ece", around(-0.0085), around(0.001)),
     judged("D5", around(0.008), around(-0.02), around(-0.004)), judged("I2", around(-0.4))], ignore_index=True,
)  # fmt: skip


def tables(rows: pd.DataFrame) -> dict[str, claims.Tables]:
    """One run of every condition and data set that the claims compare."""
    found = {}
    for claim in EVERY.values():
        part = [{"key": f"{d} {c}", "dataset": d, "condition": c, "hidden": "6", "seed": 0, "device": "CPU",
                 "stale": False} for d in rows["dataset"].unique() for c in claim.contrast]  # fmt: skip
        found.setdefault(claim.chapter, {}).setdefault(claim.part, []).extend(part)
    return {k: {p: pd.DataFrame(v) for p, v in parts.items() if v} for k, parts in found.items()}


def test_p_is_that_of_a_t_test_against_the_margin():
    x = around(0.004)
    (p,) = verdicts.p_values(judged("D5", x))
    assert p == pytest.approx(scipy_stats.ttest_1samp(x, EVERY["D5"].margin).pvalue)
    both = verdicts.p_values(judged("D5", x, around(-0.01)))  # not changed by how many data sets there are
    assert both[0] == pytest.approx(p)


@pytest.mark.parametrize("mean", [-0.02, -0.0068, -0.0066, 0.0, 0.0066, 0.0068, 0.02])
def test_a_verdict_is_a_small_p(mean):
    rows = judged("U2", around(mean), around(mean / 2), around(0.0))
    assert ((3 * verdicts.p_values(rows) < 0.05) == (rows["verdict"] != "undecided")).all()


def test_seeds_that_agree_or_stand_alone_have_a_p_too():
    equal, none = np.full(4, 0.01), np.zeros(4)
    assert verdicts.p_values(judged("U2", equal, none, np.array([0.1]))).tolist() == [0, 1, 1]


def test_one_family_takes_verdicts_away_and_gives_none():
    got = verdicts.holm_adjusted(ROWS)
    assert np.isnan(got["holm"][0]) and got["kept"][0] == "supported"  # an identity is no test
    p = verdicts.p_values(ROWS)[1:]
    assert got["holm"][1:].to_numpy() == pytest.approx(paired.holm(p))
    ece = got[got["claim"] == "U3-ece"].iloc[0]
    assert (ece["verdict"], ece["kept"]) == ("supported", "undecided")
    assert (got["kept"][got["verdict"] == "undecided"] == "undecided").all()


def test_the_summary_counts():
    text = verdicts.claims_summary(ROWS)
    assert text.startswith("Of 5 claims: **2 supported**, **0 contradicted**, **2 mixed**, **1 undecided**.")
    tested = verdicts.holm_adjusted(ROWS)[1:]
    decided, kept = ((tested[c] != "undecided").sum() for c in ("verdict", "kept"))
    assert f"on 8 intervals, one for each claim and data set, of which {decided} decide" in text
    assert f"{kept} still do" in text
    assert ("no claim would have another verdict." in text) == (
        verdicts.by_claim(ROWS) == verdicts.by_claim(verdicts.holm_adjusted(ROWS), "kept")
    )
    lone = pd.concat([judged("I3", around(0.0085)), *(judged(k, around(0.0)) for k in ("I4", "I5", "A3"))])
    said = verdicts.claims_summary(lone.reset_index(drop=True))
    assert said.endswith("1 claim would have another verdict: undecided would be I3.")
    assert verdicts.by_level(ROWS).loc["universe"].tolist() == [1, 0, 1, 1]
    assert verdicts.claims_summary(ROWS.iloc[:0]) == verdicts.claims_table(ROWS.iloc[:0])


def test_the_table_has_a_row_for_each_claim_and_a_sign_beside_every_colour():
    head, rule, *lines = verdicts.claims_table(ROWS).splitlines()
    assert head == "| claim | statement | a | b | c |"
    assert {line.count(" | ") for line in (head, *lines)} == {4} and rule.count("---") == 5
    assert [line.split("|")[1].split("<")[0].strip() for line in lines] == [f"[{k}]({EVERY[k].chapter}.ipynb)" for k in
                                                              ("U1", "U2", "U3-ece", "D5", "I2")]  # fmt: skip
    ece = lines[2].split(" | ")
    assert ">(●) −0.8<" in ece[2] or ">(●) −0.9<" in ece[2]
    assert ">◆ +0.1<" in ece[3] and ece[4].startswith("–")
    assert ">◐ mixed<" in lines[1] and "largest error 1.0e-15" in lines[0]
    assert ">● −0.40<" in lines[4] and "w against difficulty" in lines[4]


def test_a_claims_text_stays_text():
    assert verdicts.escaped("w = p_t | a*b < $1") == "w = p\\_t \\| a\\*b \\< \\$1"


@pytest.mark.parametrize("rows", [ROWS, ROWS[ROWS["dataset"] != "b"], judged("D4", np.array([0.1]))])
def test_strips_draw_any_claims(rows):
    figure = scoreboard.strips(rows, tables(rows))
    assert "svg" in print_figure(figure, "svg")
    shown = [t.get_text() for ax in figure.axes for t in ax.get_yticklabels()]
    assert sorted(s[:-2] for s in shown) == sorted(set(rows.loc[rows["dataset"] != "identity", "claim"]))
    assert {s[-1] for s in shown} <= {"▲", "▼"}


def test_strips_without_effects_say_so():
    (ax,) = scoreboard.strips(IDENTITY, {}).axes
    assert not ax.lines


def test_the_gain_is_told_against_both_baselines():
    rows = [
        {"dataset": "digits", "condition": name, "weight_decay": w, "tau": tau, "seed": s, "options": "{}",
         "test_accuracy": at + s / 100, "validation_accuracy": at}
        for name, w, tau, at in (("hard", 0.0, np.nan, 0.5), ("hard", 0.01, np.nan, 0.6), ("kd", 0.0, 2.0, 0.62))
        for s in range(3)
    ]  # fmt: skip
    better = pd.DataFrame(rows[6:]).assign(test_accuracy=lambda t: t["test_accuracy"] + 0.1)
    found = verdicts.kd_gains(pd.DataFrame(rows), better)
    assert found["kd-gain-decayed"].startswith("digits +12.0 [")
    assert found["kd-gain"].startswith("digits +2.0 [") and found["kd-gain-untuned"].startswith("digits +12.0 [")
    alone = verdicts._gain(pd.DataFrame(rows[:6]))
    assert alone == "KD and hard labels are not both among the runs"
