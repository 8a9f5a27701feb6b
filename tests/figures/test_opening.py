"""How a chapter opens, and its claims drawn."""

import planted
import pytest
from IPython.core.pylabtools import print_figure

from kdstudy import figures
from kdstudy.figures.shared import search
from kdstudy.study import claims
from kdstudy.study.experiment import PARTS, Study


@pytest.fixture
def study(monkeypatch) -> Study:
    """Digits, KD's weight at an edge."""
    return Study([planted.experiment(monkeypatch, {"kd": planted.chosen("kd", edges=(("alpha", 1),))})])


def test_the_opening_says_who_votes_what_was_chosen_and_what_was_run(study, monkeypatch):
    (bed,) = search.beds(study).to_dict("records")
    assert (bed["bed"], bed["vote"], bed["n"]) == (study.experiments[0].name, "yes", 6)
    assert bed["KD"].startswith("+") and bed["epochs doubled"].lstrip("+−") == "0.00"
    chosen = search.settings(study).set_index("side")
    assert chosen.loc["KD", "α"].endswith(" ↑") and chosen.loc["hard labels", "α"] == ""
    assert chosen["learning rate"].eq("0.1").all() and "↑" not in "".join(chosen.loc["hard labels"].astype(str))
    counted = search.counts(study)
    assert dict(zip(counted["what"], counted["runs"]))["each run once"] == len(study.runs)
    assert (
        set(counted["part"][:-1])
        == {name.replace("_", " ") for name in study.tables}
        <= {name.replace("_", " ") for name in PARTS}
    )
    displayed = []
    monkeypatch.setattr(search, "display", lambda *each: displayed.extend(each))
    figures.opening(study)
    said, table, *folded = displayed
    assert "Which beds vote" in said.data and bed["bed"] in table.to_html()
    assert ["<details>" in each.data for each in folded] == [True, True]


def test_a_forest_has_a_panel_a_claim_and_two_dots_where_two_settings_are_shown(study):
    rows = claims.chapter("universe", study)
    own = rows[rows["claim"].isin(["U0", "U2-free"])]
    figure = figures.forest(own, study)
    assert "svg" in print_figure(figure, "svg")
    assert [ax.get_title() for ax in figure.axes] == ["U0\nKD − hard labels", "U2-free\nlabel smoothing − hard labels"]
    assert "‡" in "".join(t.get_text() for t in figure.axes[0].texts)  # KD's choice lies at an edge
    (ax,) = figures.forest(rows[rows["claim"] == "U3-kd"], study).axes
    dots = [line for line in ax.lines if line.get_marker() not in ("None", "")]
    assert len(dots) == 2 and dots[1].get_markerfacecolor() == "white"  # beside, without a vote
    (empty,) = figures.forest(rows[rows["dataset"] == claims.IDENTITY], study).axes
    assert not empty.lines
