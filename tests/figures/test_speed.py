"""The Speed page: planted timings come back as the ratios, fractions and slopes they were made from."""

import nbformat
import numpy as np
import pandas as pd
import pytest
from IPython.core.pylabtools import print_figure

from kdstudy import figures
from kdstudy.core.paths import ROOT
from kdstudy.figures.chapters import speed as drawn
from kdstudy.study import speed

CPU = {"device": "cpu", "hardware": "Chip", "cores": 2, "torch": "2.11", "load": 0.1}
GPU = CPU | {"device": "cuda", "hardware": "Card"}


def distil() -> pd.DataFrame:
    """The engine makes 4, 5 and 6 times the images of the loop, whose speed drifts."""
    rows = []
    for i, ratio in enumerate((4, 5, 6)):
        rows += [CPU | {"side": s, "images": n, "seconds": t, "repeat": i}
                 for s, n, t in (("warm", 800, 8 / ratio / (1 + i)), ("plain loop", 100, 1 / (1 + i)))]  # fmt: skip
    return pd.DataFrame(rows).assign(teacher="resnet56", student="resnet20", data="random", classes=100)


def ways() -> pd.DataFrame:
    """R networks at 100 images per second one by one, 300 in processes, 50 grouped; 10 GFLOP each image."""
    speeds = {("engine", 2, 1): 100, ("processes", 1, 2): 300, ("grouped", 2, 1): 50, ("engine", 1, 1): 75}
    return pd.DataFrame([
        CPU | {"way": way, "net": "resnet20", "r": r, "dtype": "bfloat16", "layout": "channels last", "threads": t,
               "processes": p, "batch": 64, "flops": 1e10, "repeat": i, "seconds": r * 64 / rate * (1 + 0.1 * i)}
        for (way, t, p), rate in speeds.items() for r in (2, 4) for i in (-1, 0, 1)
    ])  # fmt: skip


def ceilings() -> pd.DataFrame:
    """Products at 2 TFLOP/s on one core and 4 on two, memory at 50 GB/s; slower timings beside them."""
    rows = [CPU | {"what": "matmul", "dtype": "bfloat16", "threads": t, "n": n, "done": 2e12, "seconds": s / t}
            for t in (1, 2) for n, s in ((256, 3), (512, 1))]  # fmt: skip
    copy = {"what": "copy", "dtype": "float32", "threads": 1, "n": 9, "done": 5e10, "seconds": 1.0}
    return pd.DataFrame([*rows, CPU | copy]).assign(repeat=0)


def step() -> pd.DataFrame:
    """Six seconds in convolutions at half the ceiling, three in norms at 20 GB/s, one in all else."""
    what = CPU | {"dtype": "bfloat16", "threads": 1, "steps": 10, "batch": 6, "flops": 1e11, "moved": 1e9}
    spent = {"convolution": 6.0, "batch norm, sum, ReLU": 3.0, "other": 1.0}
    return pd.DataFrame([what | {"kind": k, "seconds": s} for k, s in spent.items()])


def growth() -> pd.DataFrame:
    """Runs cost 1 + 2 n seconds, epochs n squared."""
    law = {"runs": lambda n: 1 + 2 * n, "epochs": lambda n: n**2}
    return pd.DataFrame([CPU | {"kind": "perceptrons", "axis": axis, "n": n, "seconds": float(f(n)), "repeat": i}
                         for axis, f in law.items() for n in (1, 2, 4) for i in range(2)])  # fmt: skip


def accuracies(shift: float) -> pd.DataFrame:
    """Four seeds; the engine better by `shift`, give or take."""
    noise = (0.02, -0.02, 0.01, -0.01)
    return pd.DataFrame([CPU | {"side": side, "seed": s, "accuracy": 0.5 + (shift + e) * (side == "engine")}
                         for s, e in enumerate(noise) for side in ("engine", "plain loop")])  # fmt: skip


def precisions() -> pd.DataFrame:
    """Three seeds; bfloat16 worse than float32, the two ways alike."""
    rows = [{"side": f"{way}, {dtype}", "seed": s, "accuracy": 0.5 + 0.1 * s + e - 0.1 * (dtype == "bfloat16")}
            for s, e in enumerate((0.0, 0.01, 0.02))
            for way, dtype in (("side by side", "bfloat16"), ("one by one", "bfloat16"), ("one by one", "float32"))
            ]  # fmt: skip
    return pd.DataFrame([CPU | row for row in rows])


def test_a_ratio_is_taken_within_a_repeat():
    row = speed.compared(distil(), "images", "plain loop").iloc[0]
    assert row[["side", "against", "n"]].tolist() == ["warm", "plain loop", 3]
    np.testing.assert_allclose(row[["ratio", "lowest", "highest"]].astype(float), [5, 4, 6])
    np.testing.assert_allclose(row[["per second", "per second, against"]].astype(float), [1000, 200])


def test_perceptrons_are_compared_at_each_batch_size():
    rows = [CPU | {"side": s, "batch": b, "r": 8, "steps": 100, "seconds": t * b, "repeat": 0}
            for s, t in (("side by side", 1), ("one by one", 3), ("plain loop", 2)) for b in (16, 64)]  # fmt: skip
    found = speed.stacked(pd.DataFrame(rows))
    assert found.set_index(["against", "batch"])["ratio"].to_dict() == {
        ("one by one", 16): 3, ("one by one", 64): 3, ("plain loop", 16): 2, ("plain loop", 64): 2,
    }  # fmt: skip


@pytest.mark.parametrize("shift, verdict", [(0.0, "no difference is seen"), (0.2, "**they differ**")])
def test_accuracies_are_compared_by_seed(shift, verdict):
    frame = accuracies(shift)
    found = speed.reached(frame, "engine", "plain loop")
    row = found.iloc[0]
    np.testing.assert_allclose([row["difference"], row["mean"], row["n"]], [shift, 0.5 + shift, 4])
    assert row["low"] < shift < row["high"]
    said = speed.same(found)
    assert verdict in said and f"{100 * shift:+.2f} points" in said


def test_ways_and_precisions_are_compared_by_seed():
    found = speed.precisions(precisions())
    np.testing.assert_allclose(found["difference"], [0, -0.1], atol=1e-12)
    assert found["n"].tolist() == [3, 3] and speed.precisions(speed.rows("none")).empty
    near, far = speed.same(found).split("\n\n")
    assert near.endswith("no difference is seen, within these limits.") and far.endswith("**they differ**.")


def test_costs_are_those_of_published_networks_for_images():
    rows = pd.DataFrame([{"dataset": "d", "net": net, "epochs": 5, "device": "CPU", "seconds": s}
                         for net, s in (("cnn4", 1800), ("cnn4", 1800), ("cnn4", 7200), (None, 1))])  # fmt: skip
    row = speed.costs(rows).iloc[0]
    assert [row["net"], row["runs"], row["seconds for a run"], row["hours"]] == ["cnn4", 3, 3600, 3]
    assert len(speed.costs(rows)) == 1 and speed.costs(rows.drop(columns="net")).empty


def test_rates_are_medians_and_only_the_whole_machine_is_compared():
    found = speed.ways(ways(), "resnet20")
    np.testing.assert_allclose(found["R = 4"], [300, 100, 50])  # the fastest first, in the words of the page
    assert found.index[0][1] == "one process a core"
    assert speed.fastest(ways()) == (
        "- resnet20 on Chip: R = 2 one process a core, bfloat16, channels last (3.00 times one by one, bfloat16, "
        "channels last); R = 4 one process a core, bfloat16, channels last (3.00 times one by one, bfloat16, "
        "channels last)"
    )
    assert speed.kept(ways()) == (
        "What the engine does on Chip, one process a core, makes 3.00 to 3.00 times the images of the fastest "
        "other way, where several networks are trained."
    )


def test_fractions_are_of_the_best_product_on_as_many_cores():
    found = speed.fractions(ways(), ceilings()).set_index(["way", "used", "r"])["fraction"]
    np.testing.assert_allclose(found[("engine", 2, 2)], 1000 / 4000)
    np.testing.assert_allclose(found[("engine", 1, 2)], 750 / 2000)
    np.testing.assert_allclose(found[("processes", 2, 4)], 3000 / 4000)
    assert speed.limits(ceilings())["best"].tolist() == [2000, 4000, 50]


def test_each_kind_of_operation_has_its_own_ceiling():
    found = speed.step(step(), ceilings()).set_index("kind")
    np.testing.assert_allclose(found["share"], [0.6, 0.3, 0.1])
    np.testing.assert_allclose(found["fraction"], [0.5, 0.4, np.nan])
    assert found["unit"].tolist() == ["GFLOP/s", "GB/s", ""]


def test_growth_has_a_fixed_part_and_a_slope():
    found = speed.growth(growth()).set_index("axis")
    np.testing.assert_allclose(found.loc["runs", ["fixed", "slope", "r²"]].astype(float), [1, 2, 1], atol=1e-9)
    np.testing.assert_allclose(found["of proportional"], [9 / 3 / 4, 16 / 4])
    assert speed.linear(growth()) == (
        "1 of 2 times grow no faster than in proportion; the fastest growing, perceptrons by epochs, at 4.00 of "
        "proportional growth."
    )


def test_a_device_without_timings_is_named():
    assert speed.absent(distil()) == "**Not measured on a GPU:** no GPU was at hand."
    assert speed.absent(pd.concat([distil(), pd.DataFrame([GPU])])) == ""
    assert speed.absent(speed.rows("none")).count("Not measured") == 2


def test_tables_name_the_hardware_only_where_it_varies():
    one = pd.DataFrame([{"device": "cpu", "hardware": "Chip", "cores": 2, "torch": "2.11", "ratio": 3.0}])
    assert list(speed.lean(one)) == ["ratio"]
    assert list(speed.lean(pd.concat([one, one.assign(hardware="Other")]))) == ["hardware", "ratio"]
    assert speed.sides(speed.rows("none")).empty


def test_figures_say_hardware_n_and_versions():
    table = speed.compared(distil(), "images", "plain loop")
    figures_drawn = [
        drawn.ratios(table, distil(), ["side", "against"]),
        drawn.ways(ways().assign(repeat=lambda f: f["repeat"] + 1)),
        drawn.fractions(ways().assign(repeat=lambda f: f["repeat"] + 1), ceilings()),
        drawn.growth(growth()),
    ]
    for figure, n in zip(figures_drawn, (3, 3, 3, 2)):
        said = " ".join(figure.texts[-1].get_text().split())
        assert said.startswith(f"Chip, 2 cores, torch 2.11 · n = {n} timings · load before them 0.1 to 0.1 ")
        assert "svg" in print_figure(figure, "svg")
    assert [t.get_text() for t in figures_drawn[0].axes[0].get_yticklabels()] == ["warm, against plain loop"]
    heights = [p.get_width() for p in figures_drawn[2].axes[0].patches]
    np.testing.assert_allclose(heights, [75, 25, 12.5, 37.5])


def test_nothing_measured_is_said():
    none = speed.rows("none")
    for figure in (drawn.ratios(speed.stacked(none), none, []), drawn.ways(none),
                   drawn.fractions(none, none), drawn.growth(none)):  # fmt: skip
        assert figure.texts[0].get_text().startswith("nothing to draw: ")


@pytest.mark.parametrize("measured", [True, False])
def test_page_is_computed_from_the_timings(measured, monkeypatch):
    planted = {"distil": distil().assign(**dict.fromkeys(SIDES, 1)), "distil_accuracy": accuracies(0),
               "side_by_side": ways(), "ceilings": ceilings(), "step": step(), "growth": growth(),
               "precision": precisions()}  # fmt: skip
    none = speed.rows("none")
    monkeypatch.setattr(speed, "rows", lambda part, folder=None: planted.get(part, none) if measured else none)
    monkeypatch.setattr(figures, "use_style", lambda: None)
    page = nbformat.read(ROOT / "book/chapters/speed.ipynb", as_version=4)
    names: dict[str, object] = {}
    for cell in (c for c in page.cells if c.cell_type == "code"):
        exec(cell.source, names)
    assert ("Chip" in figures.listing(names["speed"].ways(names["ways"], "resnet20")).to_html()) == measured


SIDES = ("students", "seeds", "epochs", "batch", "dtype", "processes", "threads", "loaders")
