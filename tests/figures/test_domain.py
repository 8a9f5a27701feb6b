"""Figures of universe and domain, and gains by bed: right numbers on one small study, and what is drawn."""

import numpy as np
import pytest
from conftest import SMALL
from IPython.core.pylabtools import print_figure
from matplotlib.figure import Figure

from kdstudy import figures
from kdstudy.core.spec import Recipe
from kdstudy.data import registry
from kdstudy.engine import ask
from kdstudy.figures.chapters import domain, universe
from kdstudy.figures.shared import geometry
from kdstudy.figures.shared.gains import gain_table, gains
from kdstudy.stats import mantel
from kdstudy.store.published import Classes
from kdstudy.study import array_metrics, claims, experiment, search
from kdstudy.study.beds import Bed
from kdstudy.study.experiment import Design, Study, sides
from kdstudy.study.plans import levels
from kdstudy.study.plans.levels import GEOMETRY
from kdstudy.study.search import Protocol

NAMES = ("hard", "label_smoothing", "label_smoothing_matched", "class_matched", "kd")
CONTROL = "label_smoothing_matched"
ALIKE = (0.0, 0.8)


def tiny(regime: str, **options: object) -> Bed:
    """A bed on which a run takes milliseconds."""
    data = registry.variant("synthetic", **SMALL | options)
    return Bed(data, regime, 8, Recipe((9,), 2, 16), Recipe((5,), 2, 16))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the study of this module is kept, so that each run is trained once."""
    return tmp_path_factory.mktemp("domain")


@pytest.fixture(autouse=True)
def shared(folder, own_store, monkeypatch) -> None:
    """One store for the module."""
    monkeypatch.setenv("KDSTUDY_STORE", str(folder / "runs.sqlite"))


@pytest.fixture(scope="module")
def study(folder) -> Study:
    """Two beds of six classes, one of them with sides of two similarities."""
    soft, few = (Design(b, sides(b, NAMES)) for b in (tiny("soft_truth"), tiny("few_labels")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDSTUDY_WORKERS", "1")
        patch.setenv("KDSTUDY_STORE", str(folder / "runs.sqlite"))
        patch.setenv("KDSTUDY_RESULTS", str(folder / "results"))
        patch.setattr(search, "_edges", lambda *_: [])
        return experiment.study([levels._alike(soft, ALIKE), few], Protocol(3, 2, 2, 2))


def texts(figure: Figure) -> str:
    """All that a figure says; it can be shown as a notebook does."""
    assert "svg" in print_figure(figure, "svg")
    return " ".join(t.get_text() for t in figure.texts).replace("\n", " ")


# ---------------------------------------------------------------- gains


def test_gains_are_mean_differences_from_the_control_on_each_bed(study):
    rows = gain_table(study, "hard, kd, class_matched, cwtm", "at_hard, practical", control="hard")
    table = study.tables["at_hard"]
    mean = table.groupby(["dataset", "condition"])["test_accuracy"].mean()
    assert list(rows["dataset"].unique()) == [e.name for e in study.experiments] and len(rows) == 2 * 2 * 2
    for row in rows[rows["part"] == "at_hard"].to_dict("records"):
        expected = mean[row["dataset"], row["condition"]] - mean[row["dataset"], "hard"]
        assert row["effect"] == pytest.approx(expected, abs=1e-7) and row["n"] == 2
    wide = rows.assign(width=rows["high"] - rows["low"]).groupby("part")["width"].min()
    assert (wide > 0).all()


def test_what_is_not_admitted_is_hollow_and_the_second_part_paler(study, monkeypatch):
    monkeypatch.setattr("kdstudy.study.admission.admitted", lambda study: [study.experiments[0].name])
    figure = gains(study, ["kd", "class_matched"], "at_kd, at_hard", "test_confidence")
    assert "above, at KD's setting · below, at hard labels' setting" in texts(figure)
    first, second = ([bars.lines[0] for bars in ax.containers] for ax in figure.axes)
    assert [bar.get_markerfacecolor() == "white" for bar in (*first, *second)] == [False] * 4 + [True] * 4
    dark, pale = ([np.mean(bar.get_color()) for bar in first[i::2]] for i in (0, 1))
    assert sorted(dark + pale)[-2:] != sorted(dark)
    assert texts(gains(study, "kd", control="cwtm")).startswith("nothing to draw: no bed has CWTM")


# ---------------------------------------------------------------- geometry


def test_heat_maps_show_kds_teachers_and_the_students(study):
    figure = geometry.heatmaps(study.experiments[0])
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles == ["teacher", "hard labels", "matched smoothing", "class shape", "KD"]
    assert "n = 2 seeds" in texts(figure) and "classes by super-class" in texts(figure)


def test_without_superclasses_classes_are_clustered(study, monkeypatch):
    monkeypatch.setattr(ask, "classes", lambda name, frame=None: Classes(tuple("abcdef")))
    drawn = geometry.heatmaps(study.experiments[1])
    assert "clustering of the teacher's" in texts(drawn)
    assert sorted(t.get_text() for t in drawn.axes[0].get_yticklabels()) == list("abcdef")
    assert domain.seen(study)["geometry_superclass"].isna().all()
    monkeypatch.setattr(ask, "classes", lambda name, frame=None: Classes(("a", "b")))
    assert "2 classes are one pair" in texts(geometry.heatmaps(study.experiments[0]))


def test_order_puts_alike_classes_beside_each_other():
    groups = np.array([0, 1, 0, 1, 0, 1])
    at = geometry.class_order(mantel.blocks(groups), None)
    assert list(groups[at]) in ([0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0])
    assert geometry.class_order(np.eye(6), groups.tolist()).tolist() == [0, 2, 4, 1, 3, 5]


def test_a_thousand_classes_are_drawn_without_labels():
    known = Classes(tuple(map(str, range(1000))), tuple(k // 50 for k in range(1000)), tuple("abcdefghijklmnopqrst"))
    ax = Figure().subplots()
    geometry.name_classes(ax, known, geometry.class_order(np.eye(1000), known.superclass), named=True)
    assert ax.get_yticklabels() == [] and len(ax.lines) == 2 * 19


def test_similarities_are_means_over_seeds(study):
    kd = study.experiments[0].tables["at_kd"].query("condition == 'kd'")
    held = ask.arrays(kd, "similarity")
    mean = sum(held[k][0].astype(float) for k in kd["key"]) / len(kd)
    assert mantel.upper(geometry.similarities(kd)["kd"]) == pytest.approx(mean)


# ---------------------------------------------------------------- the domain chapter


def test_what_students_see_of_classes_is_the_mean_over_seeds(study):
    found = domain.seen(study)
    table = study.tables["at_kd"]
    for name in ("hard", "kd"):
        mine = table[(table["dataset"] == study.experiments[1].name) & (table["condition"] == name)]
        row = found.loc[study.experiments[1].name, name]
        assert row["geometry_teacher"] == pytest.approx(array_metrics.geometry_teacher(mine, study.tables).mean())
        assert row["student_domain"] == pytest.approx(mine["student_domain"].mean()) and row["n"] == 2
    assert set(found.index.get_level_values("condition")) == set(NAMES) & set(GEOMETRY)


def test_one_bed_of_each_data_set_has_its_heat_maps(study, monkeypatch):
    assert [e.name for e in domain.mapped(study)] == [study.experiments[0].name]
    monkeypatch.setattr(domain, "FEW", 5)
    assert domain.mapped(study) == []


def test_gains_by_similarity_are_those_of_the_sides_at_it(study):
    rows = domain.alike(study)
    mean = (
        study.tables["practical"].groupby(["dataset", "condition"])["test_accuracy"].mean()[study.experiments[0].name]
    )
    assert sorted(set(rows["similarity"])) == list(ALIKE) and len(rows) == 4
    for row in rows.to_dict("records"):
        side = f"similarity {row['similarity']:g}:"
        assert row["effect"] == pytest.approx(mean[side + domain.LINES[row["line"]]] - mean[side + CONTROL], abs=1e-7)
    assert "n = 2 seeds" in texts(domain.by_similarity(study))
    assert "no bed has classes of several similarities" in texts(domain.by_similarity(Study(study.experiments[1:])))


@pytest.mark.parametrize("chapter", ["universe", "domain"])
def test_the_claims_of_the_chapters_can_be_judged_and_drawn(study, chapter):
    judged = claims.chapter(chapter, study)
    able = [c for c in claims.load() if c.chapter == chapter and {*c.contrast} <= {*NAMES}]
    assert {*judged["claim"]} == {c.id for c in able}
    assert texts(figures.forest(judged[judged["at"] != "at_kd"], study))


def test_a_claim_is_not_judged_where_its_measure_is_not_defined(study, monkeypatch):
    monkeypatch.setattr(ask, "classes", lambda name, frame=None: Classes(tuple("abcdef")))
    judged = claims.chapter("domain", study)
    assert "D1-super" not in {*judged["claim"]} and "D1" in {*judged["claim"]}


# ---------------------------------------------------------------- the universe chapter


def test_every_setting_that_was_tried_has_its_mean_and_one_is_chosen(study):
    rows = universe.tried(study)
    tuning = study.tables["tuning"].query("condition == 'label_smoothing'")
    mean = tuning.groupby(["dataset", "lr", "weight_decay", "epsilon"])["validation_accuracy"].mean()
    assert len(rows) == len(mean) >= 6 and rows.groupby("dataset")["chosen"].sum().tolist() == [1, 1]
    for row in rows.to_dict("records"):
        assert row["score"] == pytest.approx(mean[row["dataset"], row["lr"], row["weight_decay"], row["epsilon"]])
    best = rows.loc[rows.groupby("dataset")["score"].idxmax(), "score"].tolist()
    assert rows.loc[rows["chosen"], "score"].tolist() == pytest.approx(best)
    assert "n = 2 seeds" in texts(universe.smoothing(study))


def test_reliability_bins_are_added_over_runs():
    one = np.array([[90, 10, 0], [45.0, 8.0, 0.0], [30, 9, 0]])
    rows = universe.pooled({"a": one, "b": one, "c": 7 * one}, ["a", "b"])
    assert rows.to_numpy().tolist() == [[0.5, pytest.approx(1 / 3)], [0.8, 0.9]]


def test_reliability_is_drawn_by_bed_and_condition(study):
    figure = universe.reliability(study.tables["practical"].query("condition in ['hard', 'kd']"))
    assert [ax.get_title() for ax in figure.axes] == [e.name for e in study.experiments]
    assert "15 equal bins" in texts(figure)
