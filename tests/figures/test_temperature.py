"""Figures of the temperature chapter: planted effects, penalties and ranges come back; the first step is autograd's."""

import numpy as np
import pandas as pd
import pytest
import torch
from IPython.core.pylabtools import print_figure
from torch.nn.functional import cross_entropy

from kdstudy.distill import levels
from kdstudy.engine import ask
from kdstudy.figures.chapters import temperature
from kdstudy.figures.shared.effects import effect_lines, effect_signs, heat_penalties, level_effects
from kdstudy.figures.tables import with_hard
from kdstudy.store.published import Classes
from kdstudy.study import theory

TAUS, ALPHAS = (1.0, 2.0, 4.0), (0.1, 0.9)
PLANTED = {"label_smoothing_matched": 0.01, "class_matched": 0.03, "kd_pt": -0.02, "kd": 0.05}  # over hard labels
FALLS = {"class_matched": 0.04, "kd": 0.1}  # more at the highest temperature and weight


def table(seeds: int = 3, datasets: tuple[str, ...] = ("digits", "mine"), lacking: tuple[str, ...] = ()):
    """Planted accuracies: hard labels at two weight decays, the others at every tau and alpha."""
    rows = []
    for d, s in ((d, s) for d in datasets for s in range(seeds)):
        base = 0.7 + 0.01 * s
        rows += [(d, "hard", s, np.nan, np.nan, w, base - w) for w in (0.0, 0.1)]
        for c, tau, alpha in ((c, t, a) for c in PLANTED if c not in lacking for t in TAUS for a in ALPHAS):
            fall = FALLS.get(c, 0.0) * (tau == TAUS[-1]) * (alpha == ALPHAS[-1])
            rows.append((d, c, s, tau, alpha, 0.0, base + PLANTED[c] - fall))
    columns = ["dataset", "condition", "seed", "tau", "alpha", "weight_decay", "test_accuracy"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(
        key=[str(i) for i in range(len(frame))], validation_accuracy=frame["test_accuracy"], train_accuracy=0.9,
        options="{}", hidden="4", device="CPU", stale=False, target_mass=frame["tau"] / 10,
        target_universe=0.2, target_domain=0.05, target_instance=0.1,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def four_classes(monkeypatch):
    monkeypatch.setattr(ask, "classes", lambda name, frame=None: Classes(("a", "b", "c", "d")))


def wide(seeds: int = 3) -> pd.DataFrame:
    """KD at the largest weight in three widths; the widest has no fall at the highest temperature."""
    kd = table(seeds)[lambda t: (t["condition"] == "kd") & (t["alpha"] == 0.9)]
    widest = kd.assign(hidden="16", test_accuracy=kd["test_accuracy"] + 0.1 * (kd["tau"] == TAUS[-1]))
    return pd.concat([kd, kd.assign(hidden="8"), widest])


def test_planted_effects_come_back_at_each_temperature():
    rows = level_effects(with_hard(table(), 0.9), ["dataset", "tau"]).query("dataset == 'mine'")
    found = rows.set_index(["level", "tau"])["difference"].unstack()
    expected = {"universe": (0.01,) * 3, "domain": (0.02, 0.02, -0.02), "instance": (-0.03,) * 3,
                "all: KD": (0.05, 0.05, -0.05)}  # fmt: skip
    assert {*found.index} == {*expected}
    for level, values in expected.items():
        np.testing.assert_allclose(found.loc[level], values, atol=1e-12)


def test_shares_sum_to_the_gain_of_kd_at_each_temperature():
    rows = temperature.gain_shares(table(), 0.9).groupby(["dataset", "tau"])["mean"].sum()
    np.testing.assert_allclose(rows, [0.05, 0.05, -0.05] * 2, atol=1e-12)
    assert temperature.gain_shares(table(lacking=("kd_pt",)), 0.9).empty


def test_where_intervals_leave_zero_is_said():
    rows = level_effects(with_hard(table(datasets=("mine",)), 0.9), ["dataset", "tau"])
    assert effect_signs(rows[rows["level"].isin(["domain", "universe"])], "tau", "τ") == (
        "- **mine**: universe above at τ = 1, 2, 4; domain above at τ = 1, 2 and below at τ = 4"
    )
    alone = level_effects(with_hard(table(1, ("mine",)), 0.9), ["dataset", "tau"])
    assert effect_signs(alone[alone["level"] == "domain"], "tau", "τ") == "- **mine**: domain nowhere apart from zero"
    assert effect_signs(rows.iloc[:0], "tau", "τ") == "No data set has the conditions that this compares."


def test_penalties_are_those_of_the_highest_temperature_at_each_weight_and_width():
    by_weight = heat_penalties(table(), ["dataset", "alpha"]).set_index(["dataset", "alpha"])["difference"]
    np.testing.assert_allclose(by_weight["digits"].loc[[0.1, 0.9]], [0, -0.1], atol=1e-12)
    by_width = heat_penalties(wide(), ["dataset", "hidden"]).set_index(["dataset", "hidden"])["difference"]
    np.testing.assert_allclose(by_width["mine"].loc[["4", "8", "16"]], [-0.1, -0.1, 0], atol=1e-12)
    assert heat_penalties(table()[lambda t: t["tau"] == 4.0], ["dataset", "alpha"]).empty


def test_a_wider_search_is_never_worse_on_validation_and_ends_where_all_is_searched():
    rows = temperature.reach(table()).query("dataset == 'mine'").set_index(["level", "top"])["difference"].unstack()
    np.testing.assert_allclose(rows.loc["all: KD"], [0.05] * 3, atol=1e-12)
    rising = table().assign(validation_accuracy=lambda t: t["tau"].fillna(0))
    rows = temperature.reach(rising[rising["alpha"].isna() | (rising["alpha"] == 0.9)]).query("dataset == 'mine'")
    np.testing.assert_allclose(rows.query("level == 'all: KD'").sort_values("top")["difference"], [0.05, 0.05, -0.05])


def test_the_range_within_half_a_point_is_found_with_its_masses():
    row = temperature.plateau(table(datasets=("mine",)), 0.9).set_index("condition").loc["kd"]
    assert row["best τ"] == 1 and row["τ near it"] == "1–2" and row["mass"] == "0.1–0.2"
    assert row["at best"] - row["highest τ"] == pytest.approx(0.1)


@pytest.mark.parametrize(("tau", "alpha"), [(0.5, 1.0), (2.0, 0.9), (8.0, 0.5)])
def test_the_first_step_is_that_of_autograd(tau, alpha):
    g = torch.Generator().manual_seed(0)
    teacher, label = 3 * torch.randn(50, 4, generator=g, dtype=torch.float64), torch.arange(50) % 4
    rho, z = (teacher / tau).softmax(-1), torch.zeros(50, 4, dtype=torch.float64, requires_grad=True)
    hard = cross_entropy(z, label, reduction="sum")
    (plain,) = torch.autograd.grad(hard, z, retain_graph=True)
    loss = (1 - alpha) * hard + alpha * tau**2 * cross_entropy(z / tau, rho, reduction="sum")
    (first,) = torch.autograd.grad(loss, z)
    parts = {f"target_{k}": [float(v)] for k, v in levels.level_split(rho, label).items()}
    mass = float(1 - rho[torch.arange(50), label].mean())
    frame = pd.DataFrame(
        {"dataset": ["mine"], "options": "{}", "tau": tau, "alpha": alpha, "target_mass": mass} | parts
    )
    assert theory.first_steps(frame)["step"].iloc[0] == pytest.approx(float(first.norm() / plain.norm()), rel=1e-9)


def test_collapsed_runs_are_counted_against_chance_and_hard_labels():
    frame = table(datasets=("mine",))
    lost = (frame["condition"] == "kd") & (frame["tau"] == 4) & (frame["alpha"] == 0.9) & (frame["seed"] < 2)
    frame.loc[lost, "train_accuracy"] = 0.57  # the middle of 0.25 and 0.9 is 0.575
    found = temperature.collapses(frame, ["dataset", "alpha"])
    assert list(found.columns) == ["τ = 1", "τ = 2", "τ = 4"]
    assert found.loc[("mine", 0.9), "τ = 4"].endswith(", 2 of 3 collapsed")
    assert "collapsed" not in found.loc[("mine", 0.1), "τ = 4"]


def test_merged_classes_are_counted():
    frame = table(1)[:2].assign(options=["{}", '{"merge": 3}'])
    assert list(theory.with_classes(frame)["classes"]) == [4, 3]


def test_an_interval_far_wider_than_the_others_leaves_the_panel_and_that_is_said():
    rows = pd.DataFrame({"dataset": "mine", "level": "domain", "x": [1.0, 2, 4], "mean": [0.1, 0.2, 0.3]})
    half = pd.Series([0.01, 0.02, 5.0])
    wide, even = (rows.assign(low=rows["mean"] - h, high=rows["mean"] + h) for h in (half, half.clip(upper=0.02)))
    said, tops = [], []
    for drawn_rows in (wide, even):
        figure = effect_lines(drawn_rows, table(datasets=("mine",)), "x", "a note")
        said.append("leave the panel" in figure.texts[-1].get_text().replace("\n", " "))
        tops.append(figure.axes[0].get_ylim()[1])
    assert said == [True, False] and 0.4 < tops[0] < 0.6 and tops[1] < 0.4


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("datasets", [("digits",), ("digits", "mine")])
def test_every_figure_draws(seeds, datasets):
    frame = table(seeds, datasets)
    figure = temperature.effects(with_hard(frame, 0.9), 0.9)
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title() for ax in shown] == list(datasets) and all(len(ax.containers) == 4 for ax in shown)
    line = next(c.lines[0] for c in shown[0].containers if c.get_label() == "all: KD")
    np.testing.assert_allclose(np.asarray(line.get_ydata(), float), [0.05, 0.05, -0.05], atol=1e-12)
    several = temperature.widths(wide(seeds))
    assert [t.get_text()[-1] for t in several.legends[0].get_texts()] == ["1", "2", "4"]
    assert all("svg" in print_figure(f, "svg") for f in (figure, several))


def test_without_the_conditions_an_empty_figure_says_why():
    none = with_hard(table(lacking=tuple(PLANTED)), 0.9)
    empty = [temperature.effects(none, 0.9), temperature.widths(wide().iloc[:0])]
    assert [f.texts[0].get_text() for f in empty] == [
        "nothing to draw: no data set has the conditions that this compares",
        "nothing to draw: KD is not among the runs",
    ]
