"""How figures look: what there is nothing to draw of, unknown conditions, one seed, panels, the line of facts."""

import numpy as np
import pandas as pd
import pytest
from IPython.core.pylabtools import print_figure

from kdstudy.engine import ask
from kdstudy.figures import primitives, style, tables
from kdstudy.figures.chapters import universe
from kdstudy.stats import paired
from kdstudy.study.beds import TEACHER_SEED


def table(seeds: int) -> pd.DataFrame:
    """Hard labels, and KD at two temperatures that gain 0.01 and 0.03."""
    rows = [("hard", np.nan, np.nan, 0.5), ("kd", 1.0, 0.9, 0.51), ("kd", 4.0, 0.9, 0.53)]
    return pd.DataFrame(
        {"dataset": "digits", "condition": name, "tau": tau, "alpha": alpha, "weight_decay": 0.0, "seed": seed,
         "test_accuracy": mean + seed / 100, "validation_accuracy": mean, "hidden": "6", "device": "CPU",
         "stale": False}
        for name, tau, alpha, mean in rows for seed in range(seeds)
    )  # fmt: skip


def test_nothing_to_draw_is_said_where_a_notebook_shows_it():
    empty = style.nothing("no runs")
    assert [t.get_text() for t in empty.texts] == ["nothing to draw: no runs"]
    assert "svg" in print_figure(empty, "svg")


def test_a_condition_registered_elsewhere_is_drawn_under_its_own_name(monkeypatch):
    frame = table(3).replace({"condition": {"kd": "mine"}})
    best = frame.drop_duplicates(["condition", "seed"]).assign(key=lambda f: f.index.map(str))
    monkeypatch.setattr(ask, "arrays", lambda frame, name: {k: np.ones((3, 15)) for k in frame["key"]})
    assert "mine" in [t.get_text() for t in universe.reliability(best).legends[0].get_texts()]
    drawn = primitives.dots(paired.summary(best, "test_accuracy", ["dataset", "condition"]), best, "condition",
                            lambda row: style.look(row["condition"]))  # fmt: skip
    assert [t.get_text() for t in drawn.axes[0].get_yticklabels()] == ["hard labels", "mine"]
    assert style.look("mine").colour not in [how.colour for how in style.CONDITIONS.values()]


def test_looks_tell_conditions_temperatures_and_signs_apart():
    looks = [(str(how.colour), how.marker) for how in style.CONDITIONS.values()]
    assert len(set(looks)) == len(looks)
    assert (style.tau_looks([2, 4])[4].colour == style.tau_looks([1, 4, 8])[4].colour).all()
    assert len({how.marker for how in style.VERDICTS.values()}) == len(style.VERDICTS)


@pytest.mark.parametrize("x", ["tau", "noise"])
def test_lines_are_drawn_side_by_side_and_a_missing_limit_is_not(x):
    rows = pd.DataFrame({"dataset": "d", "condition": ["kd", "hard"] * 2, x: [1.0, 1.0, 2.0, 2.0], "mean": 0.5,
                         "low": [0.4, -np.inf] * 2, "high": [0.6, np.inf] * 2})  # fmt: skip
    (ax,) = primitives.lines(rows, table(2), x).axes
    (left, right), error = ([c.lines[0].get_xdata()[0] for c in ax.containers], ax.containers[1].lines[2][0])
    assert left < 1 < right and np.ptp(error.get_segments()[0][:, 1]) == 0


def test_a_heat_map_leaves_empty_cells_empty_and_frames_one():
    values = pd.DataFrame([[0.1, np.nan], [0.2, -0.1]], ["a", "b"], [1.0, 2.0])
    _, axes = style.panels(["x"])
    primitives.heat(
        axes["x"], values, primitives.strongest(values), text=values.map("{:g}".format).where(values.notna())
    )
    assert [t.get_text() for t in axes["x"].texts] == ["0.1", "0.2", "-0.1"]
    assert [t.get_text() for t in axes["x"].get_xticklabels()] == ["1", "2"]


def test_a_teacher_is_of_its_students_seed():
    students = table(3)
    both = pd.concat([students, students.assign(seed=students["seed"] + TEACHER_SEED)])
    assert style.facts(both) == style.facts(students) and "n = 3 seeds" in style.facts(both)


def test_of_many_beds_the_line_below_a_figure_says_how_many():
    beds = [table(3).assign(dataset=f"bed {i}") for i in range(5)]
    assert "bed 0, bed 1, bed 2 (MLP" in style.facts(pd.concat(beds[:3]))
    assert style.facts(pd.concat(beds)).startswith("5 beds (MLP")


def test_an_axis_that_gets_another_measure_gets_its_numbers():
    _, axes = style.panels("a")
    for measure in ("test_accuracy", "geometry_teacher", "test_accuracy"):
        primitives.value_axis(axes["a"], measure, "difference in", "x")
        axes["a"].set_xlim(0, 1)
        axes["a"].figure.canvas.draw()
        last = axes["a"].get_xticklabels()[-1].get_text()
        assert last == ("100" if measure == "test_accuracy" else "1.0")


@pytest.mark.parametrize("height", [2, 25])
def test_a_legend_stands_above_the_panels(height):
    figure, axes = style.panels("a", height)
    axes["a"].plot([0, 1], label="line")
    axes["a"].set_title("")
    primitives.legend(figure)
    figure.tight_layout()
    figure.canvas.draw()
    low = figure.legends[0].get_window_extent().y0
    assert axes["a"].get_window_extent().y1 < low < axes["a"].get_window_extent().y1 + figure.dpi


def test_the_lowest_panel_of_each_column_has_its_ticks():
    _, axes = style.panels("abcd", wide=3, sharex=True)
    told = {name: ax.xaxis.get_tick_params()["labelbottom"] for name, ax in axes.items()}
    assert told == {"a": False, "b": True, "c": True, "d": True}


def test_names_from_files_are_no_markup():
    name = "<script>$\\alph$ a|b"
    frame = pd.DataFrame({"dataset": [name], name: [1.0]})
    assert "<script>" not in tables.listing(frame).to_html() and "&lt;script&gt;" in tables.listing(frame).to_html()
    assert tables.bullets({name: "x"}, "") == r"- **\<script\>\$\\alph\$ a\|b**: x"
    figure, axes = style.panels([name, "b"])
    style.finish_with(figure, name).canvas.draw()  # a formula that is none would not be drawn
    assert style.nothing(name) and list(axes) == [name, "b"]


def test_a_figure_is_described_by_panels_axes_and_names():
    figure, axes = style.panels(["a bed", "another"])
    for ax in axes.values():
        ax.plot([1, 2], [-3, 4], label="KD")
        ax.set(xlabel="temperature\nτ", ylabel="gain")
    assert style.described(figure) == (
        "Seen: 2 panels (a bed; another); x: temperature τ, from 1 to 2; y: gain, from −3 to 4; drawn: KD."
    )
    assert style.described(style.nothing("no runs")) == "nothing to draw: no runs"
