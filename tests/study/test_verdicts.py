"""Verdicts in words: what multiplicity leaves of them, the marks they carry, and texts that say what the rows say."""

import pandas as pd
import pytest

from kdstudy.core import paths
from kdstudy.stats import headline, paired
from kdstudy.study import claims, preregistration, verdicts
from kdstudy.study.claims import IDENTITY, UNDECIDED

EVERY = {c.id: c for c in claims.load()}
BEDS = ("digits, few labels (10)", "synthetic, soft truth (100)", "clinc150, same labels", "digits, privileged (8)")


def around(mean: float, sd: float = 0.01, n: int = 10) -> headline.Estimate:
    """The estimate of n seeds of this mean and standard deviation."""
    return headline.Estimate(mean, sd / n**0.5, n)


def judged(claim: str, *means: float, votes: int = 3, edge: tuple = (), search: tuple = ()) -> pd.DataFrame:
    """A claim's rows with these effects, one for each bed, of which the first few vote."""
    own, rows = EVERY[claim], []
    for i, (bed, mean) in enumerate(zip(BEDS, means)):
        for at in claims.places(own):
            found = around(mean)
            rows.append({"claim": claim, "dataset": bed, "at": at, "effect": mean, "low": found.low, "high": found.high,
                         "n": found.n, "p": claims.p_value(own, found), "detectable": found.detectable,
                         "verdict": claims.verdict(own, found), "edge": i in edge, "search": i in search,
                         "votes": i < votes and at == claims.places(own)[0]})  # fmt: skip
    return pd.DataFrame(rows, columns=claims.COLUMNS)


ALONE = pd.DataFrame(
    [{"claim": "U1", "dataset": IDENTITY, "effect": 1e-15, "n": 50, "verdict": "supported", "votes": True}],
    columns=claims.COLUMNS,
)
ROWS = pd.concat(
    [ALONE, judged("U0", 0.02, 0.0076, 0.03, 0.0), judged("U2", 0.02, -0.02), judged("U2-mass", 0.0, 0.0001, edge=(0,)),
     judged("U3-ece", -0.0075, 0.001, search=(1,))], ignore_index=True,
)  # fmt: skip


def test_one_family_takes_verdicts_away_and_gives_none():
    got = verdicts.marked(ROWS)
    tested = got["holm"].notna()
    assert (tested == (ROWS["votes"].astype(bool) & (ROWS["dataset"] != IDENTITY))).all()
    p = ROWS.loc[tested, "p"].astype(float)
    assert got.loc[tested, "holm"].to_numpy() == pytest.approx(paired.holm(p))
    undone = got[got["kept"] != got["verdict"]]
    assert len(undone) and (undone["kept"] == UNDECIDED).all() and (undone["holm"] >= 0.05).all()
    assert (got["kept"][got["holm"] < 0.05] == got["verdict"][got["holm"] < 0.05]).all()
    for row in got.to_dict("records"):
        wanted = {"†": row["kept"] != row["verdict"], "‡": row["edge"] == True, "§": row["search"] == True}  # noqa: E712  NaN for identities
        assert row["marks"] == "".join(sign for sign, holds in wanted.items() if holds)


def test_a_claims_verdict_has_counts_where_mixed_and_marks_of_what_it_rests_on():
    mixed = verdicts.marked(judged("U2", 0.02, -0.02, 0.02))
    assert verdicts.summary(mixed) == ("mixed (2 for, 1 against)", "")
    assert verdicts.summary(verdicts.marked(judged("U2", 0.02, -0.02, votes=1))) == ("supported", "")
    assert verdicts.summary(verdicts.marked(judged("U2", 0.02, votes=0))) == ("undecided (no bed votes)", "")
    rests = {(0,): "", (0, 1): "‡"}  # of three beds that support: with one left over of three the verdict stands
    for edge, marks in rests.items():
        rows = verdicts.marked(judged("U2", 0.02, 0.02, 0.0, edge=edge))
        left = claims.overall(list(rows.loc[~rows["edge"].astype(bool), "verdict"]))
        assert ("‡" in verdicts.summary(rows)[1]) == (left != "supported") and (marks == "" or left != "supported")
    assert verdicts.summary(verdicts.marked(judged("U2", 0.02, 0.02, search=(1,))))[1] == "§"


def test_sentences_have_a_line_for_each_claim_and_bed_with_both_settings():
    lines = verdicts.sentences(ROWS).splitlines()
    heads = [line for line in lines if line.startswith("- ")]
    assert [h.split("**")[1].split(":")[0] for h in heads] == list(dict.fromkeys(ROWS["claim"]))
    assert "    - largest error 1.0e-15 over 50 random cases" in lines
    kd = next(line for line in lines if line.startswith(f"    - {BEDS[0]}: +2.0 points"))  # of U0
    assert "n = 10, p < .001" in kd and "smallest detectable 1.0" in kd and ": supported" in kd
    (mass,) = (line for line in lines if "at KD's setting +0.0 points" in line and BEDS[0] in line)
    assert "; at hard labels' setting +0.0 points" in mass and mass.count("‡") == 2
    assert any(line.startswith(f"    - {BEDS[3]} (does not vote): ") for line in lines)
    assert lines[-1].startswith("† undecided if") and "; ‡ rests on" in lines[-1]
    assert verdicts.sentences(ROWS.iloc[:0]) == verdicts.claims_table(ROWS.iloc[:0]) == verdicts.NO_CLAIM


def test_phrases_say_the_same_in_short():
    found = verdicts.phrases(ROWS)
    assert found["U2"] == "mixed (1 for, 1 against)" and found["U2-range"] == "−2.0 to +2.0"
    assert found["U0-numbers"].count("; ") == 2 and BEDS[3] not in found["U0-numbers"]  # of beds that vote
    assert found["U1"] == "supported" and found["U1-numbers"] == "largest error 1.0e-15"
    assert found["I3"] == "not judged"


def test_the_summary_counts_votes_and_no_identities():
    text = verdicts.claims_summary(ROWS)
    given = claims.by_claim(ROWS[ROWS["dataset"] != IDENTITY])
    assert text.startswith(f"Of {len(given)} claims: **{list(given.values()).count('supported')} supported**")
    assert f"on {int(verdicts.marked(ROWS)['holm'].notna().sum())} votes" in text and "1 identities" in text
    lone = judged("I3", 0.0076, votes=1)
    more = pd.concat([lone, *(judged(k, 0.004, votes=1) for k in ("I4", "I5", "A3"))], ignore_index=True)
    assert "1 claim would have another verdict: undecided would be I3." in verdicts.claims_summary(more)
    assert verdicts.by_level(ROWS).loc["universe"].sum() == len(given)


def test_the_table_has_a_row_for_each_claim_and_a_sign_beside_every_colour():
    head, rule, *lines = verdicts.claims_table(ROWS, (claims.PRACTICAL, claims.MECHANISM)).splitlines()
    rows = [line for line in lines if line.startswith("| [")]
    assert [r.split("]")[0][3:] for r in rows] == [c for c in EVERY if c in set(ROWS["claim"]) - {"U1"}]
    assert {r.replace("\\|", "").count("|") for r in (head, rule, *rows)} == {4}
    u2 = rows[1]
    assert ">◐ mixed (1 for, 1 against)<" in u2 and f"● +2.0 points [+1.3, +2.7] {BEDS[0]}" in u2
    assert f"(◆ +0.0 points [−0.7, +0.7] {BEDS[3]})" in rows[0]
    (identity,) = (r for r in verdicts.claims_table(ROWS, (IDENTITY,)).splitlines() if r.startswith("| ["))
    assert "largest error 1.0e-15" in identity
    assert verdicts.escaped("w = p_t | a*b < $1") == "w = p\\_t \\| a\\*b \\< \\$1"


def test_changes_list_the_claims_whose_verdict_is_another():
    former = pd.read_csv(paths.published("book") / "former_verdicts.csv")
    assert set(former["bed_verdict"]) <= {"supported", "contradicted", "undecided"} and former["claim"].nunique() == 63
    got = verdicts.changes(ROWS, former).set_index("claim")
    was, given = former.groupby("claim")["verdict"].first(), claims.by_claim(ROWS)
    assert {k for k in got.index if k in given} == {k for k in given if k in was and given[k] != was[k]}
    assert "U2" not in got.index and got.loc["F7-order", "this protocol"] == "not judged"
    assert got.loc["F4-high-domain", "this protocol"] == "dropped"


def test_glue_pastes_every_phrase(monkeypatch):
    import myst_nb

    pasted = {}
    monkeypatch.setattr(myst_nb, "glue", lambda name, text, display: pasted.setdefault(name, text))
    verdicts.glue(ROWS, {"more": "1"})
    assert pasted == {**verdicts.phrases(ROWS), "seeds": "10", "more": "1"}


# ---------------------------------------------------------------- the order of claims and results


@pytest.fixture
def history(tmp_path, monkeypatch):
    """A checkout in which R1 was written before its chapter's results, and R3 changed after its own."""
    folder = tmp_path / "checkout"
    file, results = folder / "study/claims.toml", folder / "data/results"
    results.mkdir(parents=True)
    file.parent.mkdir()
    monkeypatch.setattr(paths, "ROOT", folder)
    monkeypatch.setattr(paths, "results_folder", lambda: results)
    monkeypatch.setattr(claims, "FILE", file)

    def commit() -> None:
        preregistration._git("add", ".")
        preregistration._git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-m", "x")

    def claim(key: str, chapter: str, margin: float) -> str:
        return f'[[claim]]\nid = "{key}"\nchapter = "{chapter}"\nmargin = {margin}\nstatement = "{margin}"\n'

    preregistration._git("init")
    file.write_text(claim("R1", "regimes", 0.1) + claim("R3", "admission", 0.1), "utf-8")
    commit()
    for chapter in ("regimes", "admission"):
        (results / f"{chapter}.parquet").write_text("runs", "utf-8")
    commit()
    file.write_text(claim("R1", "regimes", 0.1) + claim("R3", "admission", 0.2) + claim("A1", "none", 1), "utf-8")
    commit()
    return folder


def test_claims_that_changed_after_their_results_are_named(history):
    assert {key: before for key, (_, before) in preregistration.order().items()} == {"R1": True, "R3": False}
    assert "1 of 2 claims stood as they are" in preregistration.sentence()
    assert preregistration.sentence().endswith("; not R3.")


def test_without_git_the_order_is_not_claimed(history, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", history.parent / "nowhere")
    assert preregistration.order() == {} and "cannot be shown" in preregistration.sentence()
