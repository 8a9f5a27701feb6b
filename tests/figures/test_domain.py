"""The domain chapter's figures: right numbers on small studies, and a word where there is nothing to draw."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import SMALL
from IPython.core.pylabtools import print_figure
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from kdstudy import figures
from kdstudy.data import registry
from kdstudy.engine import ask
from kdstudy.figures.chapters import domain
from kdstudy.figures.shared import geometry
from kdstudy.stats import mantel, paired
from kdstudy.store.published import Classes
from kdstudy.study import array_metrics, claims, plans

CONDITIONS = "hard, label_smoothing_matched, class_matched, kd_sim, class_permuted, kd"
SHAPES = ["class_matched", "kd_sim", "class_permuted"]
CONTROL = "label_smoothing_matched"


def answered(conditions: str = CONDITIONS, seeds: int = 2, **options: object) -> dict[str, pd.DataFrame]:
    """A small domain study: two temperatures, two weight decays of hard labels, two similarities of classes."""
    given = {"tau": [1.0, 4.0], "alpha": 0.9, "weight_decay": [0.0, 0.1], "seeds": seeds, "hidden": 5, "epochs": 2}
    asked = plans.study(registry.variant("synthetic", **SMALL | options), conditions, **given)
    near = [registry.variant("synthetic", **SMALL, similarity=s) for s in (0.0, 0.8)]
    alike = plans.study(near, plans.ALIKE, **given)
    return ask.answer({"study": asked, "alike": alike, "teachers": plans.teachers(asked)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the studies of this module are kept, so that each run is trained once."""
    return tmp_path_factory.mktemp("domain")


@pytest.fixture(autouse=True)
def shared(folder, own_store, monkeypatch) -> None:
    """One store for the module, and no question but the test's own."""
    monkeypatch.setenv("KDSTUDY_STORE", str(folder / "runs.sqlite"))


def all_of_them(tables: dict[str, pd.DataFrame]) -> dict[str, Figure]:
    """Every figure of the chapter."""
    study = tables["study"]
    best = domain.measured(paired.tuned(study), tables)
    verdicts = claims.chapter("domain", {part: rows for part, rows in tables.items() if len(rows)})
    return {
        "shares": domain.shares(study, 0.9),
        "heatmaps": geometry.heatmaps(best, tables, "synthetic"),
        "levels": domain.dots(best, "geometry_teacher"),
        "differences": domain.dots(best, "means_teacher", "hard"),
        "accuracy": domain.dots(best, "test_accuracy", "hard"),
        "forest": figures.forest(verdicts[verdicts["claim"].isin(["D1", "D1-class", "D1-super"])], tables),
        "restated": domain.restatements(domain.restated("D1", tables, "means_teacher"), tables),
        "followed": domain.followed_geometry(study, tables, 0.9),
        "gaps": domain.gaps(study, SHAPES, CONTROL, "test_accuracy", 0.9),
        "alike": domain.alike(tables["alike"], 0.9),
    }


def empty(drawn: dict[str, Figure]) -> dict[str, str]:
    """What the figures that show nothing say, by name; all are shown as a notebook does."""
    assert all("svg" in print_figure(f, "svg") for f in drawn.values())
    said = {name: " ".join(t.get_text() for t in f.texts) for name, f in drawn.items()}
    return {name: text.removeprefix("nothing to draw: ") for name, text in said.items() if text.startswith("nothing")}


@pytest.mark.parametrize("seeds", [1, 2])
def test_every_figure_is_drawn_with_any_number_of_seeds(seeds):
    drawn = all_of_them(answered(seeds=seeds))
    assert empty(drawn) == {}
    titles = [ax.get_title() for ax in drawn["heatmaps"].axes if ax.get_title()]
    assert titles == ["teacher", "hard labels", "matched smoothing", "KD-sim", "class shape", "KD"]
    assert f"n = {seeds} seeds" in drawn["heatmaps"].texts[-1].get_text()


def test_two_classes_have_no_geometry_to_compare():
    tables = answered(classes=2, superclasses=1)
    why = "a rank correlation needs 3 classes, a teacher"
    said = empty(all_of_them(tables))
    assert said["levels"] == why and said["differences"] == why + " and hard labels"
    assert said["heatmaps"] == "synthetic has 2 classes, hence one pair: there is no structure to see"
    assert said.keys() == {"levels", "differences", "heatmaps", "forest", "restated", "followed"}
    assert geometry.mantel_table(paired.tuned(tables["study"]), tables).empty


@pytest.mark.parametrize("conditions", ["hard", "label_smoothing_matched, class_matched", "hard, kd"])
def test_missing_conditions_leave_figures_that_say_so(conditions):
    tables = answered(conditions)
    said = empty(all_of_them(tables))
    assert ("shares" in said) == ("kd" not in conditions)
    assert ("gaps" in said) == ("class" not in conditions)
    assert ("restated" in said) == ("hard, kd" != conditions)
    assert "heatmaps" not in said and "alike" not in said
    best = paired.tuned(tables["study"])
    assert set(geometry.siblings(best, tables)["condition"]) >= set(best["condition"])
    geometry.mantel_table(best, tables, 9)
    domain.both_ways(tables["study"], SHAPES, CONTROL, 0.9)


def test_without_superclasses_classes_are_clustered(monkeypatch):
    tables = answered()
    monkeypatch.setattr(ask, "classes", lambda name, frame=None: Classes(tuple("abcdef")))
    best = paired.tuned(tables["study"])
    drawn = geometry.heatmaps(best, tables, "synthetic")
    assert "clustering of the teacher's" in drawn.texts[-1].get_text().replace("\n", " ")
    assert sorted(t.get_text() for t in drawn.axes[0].get_yticklabels()) == list("abcdef")
    assert geometry.siblings(best, tables).empty
    assert list(geometry.mantel_table(best, tables, 9).columns) == [
        "dataset", "condition", "r, teacher", "p, teacher", "n", "permutations",
    ]  # fmt: skip


def test_order_puts_alike_classes_beside_each_other():
    groups = np.array([0, 1, 0, 1, 0, 1])
    at = geometry.class_order(mantel.blocks(groups), None)
    assert list(groups[at]) in ([0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0])
    assert geometry.class_order(np.eye(6), groups.tolist()).tolist() == [0, 2, 4, 1, 3, 5]


def test_a_thousand_classes_are_drawn_without_labels():
    known = Classes(tuple(map(str, range(1000))), tuple(k // 50 for k in range(1000)), tuple("abcdefghijklmnopqrst"))
    figure = Figure()
    ax = figure.subplots()
    geometry.name_classes(ax, known, geometry.class_order(np.eye(1000), known.superclass), named=True)
    assert ax.get_yticklabels() == [] and len(ax.lines) == 2 * 19


def test_similarities_are_means_over_seeds_and_siblings_means_over_pairs():
    tables = answered()
    best = paired.tuned(tables["study"])
    kd = best[best["condition"] == "kd"]
    held = ask.arrays(kd, "similarity")
    mean = sum(held[k][0].astype(float) for k in kd["key"]) / len(kd)
    assert mantel.upper(geometry.similarities(best)["kd"]) == pytest.approx(mean)
    groups = ask.classes("synthetic", best).superclass
    pairs = [(i, j) for i in range(6) for j in range(i + 1, 6)]
    near = np.mean([m for m, (i, j) in zip(mean, pairs) if groups[i] == groups[j]])
    (row,) = geometry.siblings(kd, tables).query("condition == 'kd'").to_dict("records")
    assert row["rows within"] == pytest.approx(near) and row["n"] == 2


def test_mantel_table_agrees_with_the_measure():
    tables = answered()
    best = domain.measured(paired.tuned(tables["study"]), tables)
    found = geometry.mantel_table(best, tables, 99).set_index("condition")
    for condition, group in best.groupby("condition"):
        assert found.loc[condition, "r, teacher"] == pytest.approx(group["geometry_teacher"].median())
        assert 0.01 <= found.loc[condition, "p, teacher"] <= 1
    teachers = tables["teachers"]
    blocks = mantel.upper(mantel.blocks(np.array(ask.classes("synthetic", best).superclass)))
    own = [spearmanr(v, blocks).statistic for v in array_metrics.geometry(teachers).values()]
    assert found.loc["teacher", "r, siblings"] == pytest.approx(np.median(own))
    assert np.isnan(found.loc["teacher", "r, teacher"]) and (found["permutations"] == 99).all()


def test_a_claim_restated_begins_as_judged_and_ends_with_the_lightest_baseline():
    tables = answered()
    found = domain.restated("D1", tables, "means_teacher").set_index("variant")
    judged = claims.chapter("domain", tables).set_index("claim").loc["D1"]
    assert found.loc["as judged", "effect"] == judged["effect"]
    study = domain.measured(tables["study"], tables)
    light = study[(study["condition"] == "hard") & (study["weight_decay"] == 0)]
    kd = paired.tuned(study[study["condition"] == "kd"])
    least = kd["geometry_teacher"].mean() - light["geometry_teacher"].mean()
    assert found.loc["hard labels untuned", "effect"] == pytest.approx(least)


def test_verdicts_that_differ_are_told():
    judged = pd.DataFrame(
        {"variant": v, "dataset": d, "effect": e, "low": e - 0.1, "high": e + 0.1, "verdict": w}
        for v, d, e, w in (
            ("as judged", "x", -0.2, "contradicted"),
            ("class means", "x", 0.2, "supported"),
            ("as judged", "y", 0.2, "supported"),
            ("class means", "y", 0.3, "supported"),
        )
    )
    assert domain.verdict_changes(judged) == (
        "The verdicts differ on\n\n- x: as judged -0.200 [-0.300, -0.100], contradicted; "
        "class means +0.200 [+0.100, +0.300], supported."
    )
    assert domain.verdict_changes(judged[judged["dataset"] == "y"]) == "On no data set do the verdicts differ."


def test_signs_are_counted_where_both_intervals_leave_out_zero():
    gains = {"class_matched": (0.1, 0.1), "kd_sim": (0.1, -0.1), "class_permuted": (0.0, 0.1), CONTROL: (0.0, 0.0)}
    frame = pd.DataFrame(
        {"dataset": "d", "condition": c, "tau": 2.0, "alpha": 0.9, "seed": s,
         "train_accuracy": 0.5 + train, "test_accuracy": 0.5 + test + s / 1000}
        for c, (train, test) in gains.items() for s in range(3)
    )  # fmt: skip
    found = domain.both_ways(frame, SHAPES, CONTROL, 0.9)
    assert found.loc["d"].tolist() == [3, 2, 1]


def test_shares_are_those_of_the_targets():
    tables = answered()
    kd = tables["study"].query("condition == 'kd' and tau == 4.0")
    share = (kd["target_domain"] / kd[["target_universe", "target_domain", "target_instance"]].sum(axis=1)).mean()
    (ax,) = domain.shares(tables["study"], 0.9).axes
    drawn = {c.get_label(): c.lines[0].get_ydata() for c in ax.containers}
    assert drawn["domain"][-1] == pytest.approx(share)
    assert sum(drawn.values()) == pytest.approx([1.0, 1.0])
