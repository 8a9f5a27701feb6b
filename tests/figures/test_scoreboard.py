"""The page of all claims, drawn."""

import pandas as pd
import pytest
from IPython.core.pylabtools import print_figure

from kdstudy.figures.chapters import scoreboard
from kdstudy.study import claims
from kdstudy.study.experiment import Study

EVERY = {c.id: c for c in claims.load()}
BEDS = ("a, few labels (10)", "b, same labels")


RUNS = pd.DataFrame({"key": BEDS, "dataset": BEDS, "hidden": "6", "seed": 0, "device": "CPU", "stale": False})


@pytest.fixture(autouse=True)
def runs(monkeypatch):
    """Studies with one run of every bed."""
    monkeypatch.setattr(Study, "tables", {"practical": RUNS})


def rows(*ids: str) -> pd.DataFrame:
    """Rows of these claims: on the first bed decided, on the second not, on a third without a vote."""
    cells = [{"claim": k, "dataset": bed, "at": "own", "effect": e, "low": e - 0.01, "high": e + 0.01, "n": 9,
              "p": 0.01, "verdict": v, "votes": votes} for k in ids
             for bed, e, v, votes in ((BEDS[0], 0.02, "supported", True), (BEDS[1], 0.0, "undecided", True),
                                      ("c, silent", 0.5, "supported", False))]  # fmt: skip
    return pd.DataFrame(cells, columns=claims.COLUMNS)


@pytest.mark.parametrize("ids", [("U0", "D5", "U3-ls", "D1"), ("I6",), ("D1", "I2")])
def test_strips_draw_the_claims_of_beds_that_vote(ids):
    figure = scoreboard.strips(rows(*ids), {"universe": Study([])})
    assert "svg" in print_figure(figure, "svg")
    shown = [t.get_text() for ax in figure.axes for t in ax.get_yticklabels()]
    signs = {k: "=" if EVERY[k].rule == "equivalence" else "▲" if EVERY[k].direction > 0 else "▼" for k in ids}
    assert sorted(shown) == sorted(f"{k} {sign}" for k, sign in signs.items())
    points = [line for ax in figure.axes for line in ax.lines if line.get_marker() not in ("None", "")]
    assert len(points) == 2 * len(ids)
    assert sum(p.get_markerfacecolor() == "white" for p in points) == len(ids)  # undecided ones are open


def test_strips_without_votes_say_so():
    (ax,) = scoreboard.strips(rows("U0").assign(votes=False), {}).axes
    assert not ax.lines
