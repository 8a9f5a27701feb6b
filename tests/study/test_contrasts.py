"""Tables of paired contrasts: planted differences come back, and intervals hold together where they are said to."""

import numpy as np
import pandas as pd
import pytest

from kdstudy.stats import paired
from kdstudy.study.contrasts import against, contrasts, minus

SEEDS = 4
GAIN = {"hard": 0.0, "kd": 0.03, "kd_pt": -0.01}


def table(sets: tuple[str, ...] = ("a", "b"), taus: tuple[float, ...] = (1.0, 4.0)) -> pd.DataFrame:
    """Every condition gains tau times its gain over hard labels, give or take; data set b lacks KD-pt."""
    noise = np.random.default_rng(0)
    return pd.DataFrame(
        {"dataset": d, "condition": c, "tau": tau, "seed": s, "key": f"{d}{c}{tau}{s}",
         "test_accuracy": 0.5 + s / 10 + tau * gain + noise.normal(0, 1e-3)}
        for d in sets for c, gain in GAIN.items() if (d, c) != ("b", "kd_pt") for tau in taus for s in range(SEEDS)
    )  # fmt: skip


def gap(frame: pd.DataFrame, dataset: str, tau: float, one: str = "kd", other: str = "hard") -> pd.Series:
    part = frame[(frame["dataset"] == dataset) & (frame["tau"] == tau)]
    return paired.difference(part, {"condition": one}, {"condition": other}, "test_accuracy")


@pytest.mark.parametrize(("jointly", "family"), [((), 6), (["contrast"], 4), (["dataset"], 4), (["dataset", "tau"], 2)])
def test_rows_are_those_of_each_cell_with_joint_intervals(jointly, family):
    frame = table()
    rows = contrasts(frame, against(GAIN, "hard"), by=["dataset", "tau"], jointly=jointly)
    assert list(rows.columns) == ["dataset", "tau", "contrast", "difference", "low", "high", "n"] and len(rows) == 6
    row = rows[(rows["dataset"] == "a") & (rows["tau"] == 4) & (rows["contrast"] == "kd")].iloc[0]
    expected = paired.interval(gap(frame, "a", 4.0), family=family)
    assert tuple(row[3:]) == pytest.approx((expected.mean, expected.low, expected.high, SEEDS), rel=1e-12)


def test_sums_may_weigh_more_than_two_conditions_and_are_called_as_named():
    frame = table(("a",), (1.0,))
    (row,) = contrasts(frame, {"both": {"kd": 1, "kd_pt": 1, "hard": -2}}, name="what").to_dict("records")
    expected = gap(frame, "a", 1.0) + gap(frame, "a", 1.0, "kd_pt")
    assert row["what"] == "both" and row["difference"] == pytest.approx(expected.mean())
    assert minus([("kd", "hard")]) == {"kd − hard": {"kd": 1, "hard": -1}} == minus({"kd − hard": ("kd", "hard")})


def test_without_the_conditions_there_are_no_rows():
    for frame in (table()[:0], table()[lambda t: t["condition"] == "kd"]):
        assert contrasts(frame, against(["kd"], "hard"), jointly=["dataset"]).empty
