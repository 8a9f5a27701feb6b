"""Claims that compare parts of a chapter, or conditions at a setting that is not searched."""

import dataclasses

import pandas as pd
import pytest
from test_claims import CLAIM, planted

from kdstudy.study import claims
from kdstudy.study.claims import CONTRADICTED


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
