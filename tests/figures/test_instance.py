"""Figures of the instance chapter: planted weights and masses come back; what is missing is said, not crashed on."""

import numpy as np
import pandas as pd
import pytest
from IPython.core.pylabtools import print_figure

from kdstudy.engine import ask
from kdstudy.figures.chapters import instance
from kdstudy.store.published import Classes
from kdstudy.study import array_metrics

PROBE, CHECKS = 25, 5
CONDITIONS = ("hard", "label_smoothing_matched", "kd_pt", "cwtm", "instance_matched", "example_permuted", "kd")
MASSES = np.linspace(0.1, 0.85, PROBE)  # of four classes: the ceiling is 0.75
LOSS = {("kd_pt", 4.0): 0.1, ("example_permuted", 4.0): 0.12, ("kd", 4.0): 0.02}  # of accuracy


def table(seeds: int, datasets: tuple[str, ...] = ("digits", "mine"), conditions=CONDITIONS) -> pd.DataFrame:
    """Each condition at two temperatures, hard labels at two weight decays, with the losses planted."""
    rows = []
    for d in datasets:
        for s in range(seeds):
            for c in conditions:
                for i, tau in enumerate((1.0, 4.0)):
                    setting = (np.nan, np.nan, 0.1 * i) if c == "hard" else (tau, 0.9, 0.0)
                    right = 0.8 - LOSS.get((c, tau), 0.0) + 0.01 * s + (0.001 * s if c == "kd" else 0)
                    rows.append((f"{d}{s}{c}{i}", d, c, s, *setting, right))
    columns = ["key", "dataset", "condition", "seed", "tau", "alpha", "weight_decay", "test_accuracy"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(train_accuracy=frame["test_accuracy"], validation_accuracy=frame["test_accuracy"], epochs=9.0,
                        hidden="6", device="CPU", stale=False, options="{}", target_mass=0.5)  # fmt: skip


def dosed(seeds: int) -> pd.DataFrame:
    """KD-pt by doses that cost 0.1 at full strength."""
    full = table(seeds, conditions=("kd_pt",))
    return pd.concat(full.assign(dose=d, test_accuracy=0.8 - 0.1 * d) for d in (0.0, 0.5, 1.0))


@pytest.fixture(autouse=True)
def planted(monkeypatch):
    """Weights that fall with difficulty, beyond what float16 squares hold; masses that rise with it."""
    arrays = {
        "w": np.tile(np.linspace(3e4, -3e4, PROBE), (CHECKS, 1)).astype(np.float16),
        "mass": np.stack([MASSES, MASSES / 2]).astype(np.float16),
    }

    def held(frame: pd.DataFrame, name: str) -> dict[str, np.ndarray]:
        flat = {"mass": np.stack([np.full(PROBE, MASSES.mean()), MASSES]).astype(np.float16)}
        even = frame["condition"] == "label_smoothing_matched"
        return {k: (flat if e else arrays).get(name, arrays[name]) for k, e in zip(frame["key"], even)}

    monkeypatch.setattr(ask, "arrays", held)
    monkeypatch.setattr(ask, "classes", lambda name, frame=None: Classes(("a", "b", "c", "d")))
    monkeypatch.setattr(
        array_metrics, "difficulty", lambda tables: dict.fromkeys(("digits", "mine"), np.arange(PROBE) / 9)
    )


def titles(figure) -> list[str]:
    return [ax.get_title() for ax in figure.axes if ax.get_visible()]


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("datasets", [("digits",), ("digits", "mine")])
def test_every_figure_draws(seeds, datasets):
    frame = table(seeds, datasets)
    tables = {"study": frame, "doses": dosed(seeds)}
    best = instance.at_best(frame)
    drawn = [
        instance.spread(best),
        instance.deciles(best, tables),
        instance.ranks(instance.ranked(frame, tables, 0.9)),
        instance.gaps(frame, "test_accuracy", 0.9),
        instance.gaps(frame, "train_accuracy", 0.9),
        instance.doses(tables["doses"], 0.9),
        instance.learnt(frame, 0.9),
    ]
    assert all("svg" in print_figure(figure, "svg") for figure in drawn)
    assert titles(drawn[-1]) == [f"{d}, τ = 4" for d in datasets]


@pytest.mark.parametrize("conditions", [("hard",), ("hard", "random_teacher")])
def test_without_the_conditions_an_empty_figure_says_why(conditions):
    frame = table(2, conditions=conditions)
    empty = [
        instance.spread(instance.at_best(frame)),
        instance.deciles(instance.at_best(frame), {}),
        instance.ranks(instance.ranked(frame, {}, 0.9)),
        instance.gaps(frame, "test_accuracy", 0.9),
        instance.learnt(frame, 0.9),
        instance.doses(dosed(2), 0.5),
    ]
    assert [f.texts[0].get_text().removeprefix("nothing to draw: ") for f in empty] == [
        "no condition that weighs examples is among the runs",
        "no condition that weighs examples is among the runs",
        "no condition among the runs has w at every temperature",
        "no pair of conditions among the runs differs in the masses alone",
        "KD-pt and matched smoothing are not both among the runs",
        "the runs hold fewer than two doses",
    ]


def test_planted_losses_come_back_by_shape_and_temperature():
    found = instance.masses(table(3), "test_accuracy", 0.9).query("dataset == 'digits'")
    by = found.set_index(["masses", "tau"])["difference"].unstack().loc[list(instance.PAIRS)]
    np.testing.assert_allclose(by[1.0], [0, 0, 0.001, 0], atol=1e-12)
    np.testing.assert_allclose(by[4.0], [-0.1, -0.12, -0.019, 0], atol=1e-12)


def test_hard_labels_stand_at_the_weight_decay_of_the_others():
    frame = table(2)
    frame.loc[(frame["condition"] == "hard") & (frame["weight_decay"] > 0), "test_accuracy"] = 0.99
    found = instance.masses(frame, "test_accuracy", 0.9).query("masses.str.startswith('weights')")
    np.testing.assert_allclose(found["difference"], 0, atol=1e-12)


def test_watched_examples_are_ranked_counted_and_weighed():
    found = instance.ranked(table(1), {}, 0.9).set_index(["dataset", "tau", "condition"])
    row = found.loc["digits", 4.0, "kd_pt"]
    assert row["mass_difficulty"] == pytest.approx(1) and row["weight_difficulty"] == pytest.approx(-1)
    assert row["below_0"] == pytest.approx(12 / 25) and row["near_0"] == pytest.approx(1 / 25)
    m = MASSES.astype(np.float16).astype(float)
    w = 0.1 + 0.9 * 4 * (1 - m / 0.75)
    assert row["lost"] == (m > 0.75).mean() and row["spread"] == pytest.approx(m.std())
    assert row["effective"] == pytest.approx(w.sum() ** 2 / (25 * (w**2).sum()))
    even = found.loc["digits", 4.0, "label_smoothing_matched"]
    assert np.isnan(even["mass_difficulty"]) and even["effective"] == pytest.approx(1)


@pytest.mark.parametrize("n", [1, 3, 10, 25, 512])
def test_tenths_are_even_and_in_order(n):
    values = np.random.default_rng(0).permutation(n).astype(float)
    found = instance.tenths(values)
    counts = np.bincount(found)
    assert len(counts) == min(10, n) and counts.max() - counts.min() <= 1
    assert (np.diff(found[values.argsort()]) >= 0).all()


def test_weights_are_widened_before_arithmetic():
    """The middle half of the weights spans more than float16 holds when it is subtracted."""
    figure = instance.spread(instance.at_best(table(1, ("digits",))))
    (line,) = [x for x in figure.axes[0].get_lines() if len(x.get_ydata()) == CHECKS]
    assert np.isfinite(line.get_ydata()).all() and line.get_ydata()[0] == pytest.approx(0, abs=1)


# ---------------------------------------------------------------- students of several widths


def wide_table(seeds: int = 4) -> pd.DataFrame:
    """KD-pt loses 0.08 over the number of hidden units, give or take a thousandth a seed."""
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {"dataset": d, "condition": c, "tau": tau, "alpha": 0.9, "hidden": str(h), "seed": s, "device": "CPU",
         "stale": False, "test_accuracy": 0.8 - (c == "kd_pt") * 0.08 / h + random.normal(0, 0.001)}
        for d in ("digits", "synthetic") for c in ("kd_pt", "label_smoothing_matched") for tau in (4.0, 8.0)
        for h in (1, 2, 4) for s in range(seeds)
    )  # fmt: skip


@pytest.mark.parametrize("seeds", [1, 4])
def test_a_panel_a_data_set_and_a_line_a_temperature(seeds):
    figure = instance.widths(wide_table(seeds), "kd_pt", "label_smoothing_matched")
    assert titles(figure) == ["digits", "synthetic"]
    assert all(len(ax.containers) == 2 for ax in figure.axes)


def test_without_both_conditions_there_is_nothing_to_draw():
    only = wide_table()[lambda t: t["condition"] == "kd_pt"]
    for frame in (only, only.iloc[:0]):
        figure = instance.widths(frame, "kd_pt", "label_smoothing_matched")
        assert figure.texts[0].get_text() == "nothing to draw: KD-pt and matched smoothing are not both among the runs"
