"""The report on a diagnosis: it stands alone, escapes what it is given, says what the numbers say, and is drawn."""

import base64
import re
import shutil
from dataclasses import replace
from html import escape

import check_browser
import matplotlib.pyplot as plt
import numpy as np
import pytest
from diagnoses import EXTREMES, NASTY, given
from logit_files import example

from kdstudy.book.offline import offline_report
from kdstudy.diagnosis.api import DiagnosisReport, diagnose
from kdstudy.figures.report_page import page
from kdstudy.figures.shared import diagnose as drawn


@pytest.fixture(params=EXTREMES)
def extreme(request) -> DiagnosisReport:
    """Diagnoses of all that can be given, and of hardly anything."""
    return EXTREMES[request.param]()


def test_a_page_stands_alone(extreme, tmp_path):
    before = plt.get_fignums()
    text = page(extreme, "a <file> & more.npz")
    (tmp_path / "index.html").write_text(text, "utf-8")
    assert offline_report(tmp_path) == []
    assert "<script" not in text and "http-equiv" not in text
    assert "What this teacher can tell: a &lt;file&gt; &amp; more.npz" in text
    assert text.count("<figure>") == 4
    assert plt.get_fignums() == before


def test_a_page_escapes_what_it_is_given():
    d = diagnose([[1.0, 2.0]], [0], class_names=["<i>", "x"])
    told = DiagnosisReport(d.facts | {"file": "<u>", "ignored": ["<s>"]}, d.levels, d.tau, tuple(
        type(f)(f.code, f.severity, {"<em>": "<q>"}, "<b>") for f in d.findings))  # fmt: skip
    text = page(told, "<h6>")
    for word in ("<u>", "<s>", "<em>", "<q>", "<h6>"):
        assert word not in text and escape(word) in text


def test_figures_are_inline_and_the_same_each_time():
    d = given()
    found = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page(d, "a"))
    assert len(found) == 4
    assert all(base64.b64decode(data).lstrip().startswith(b"<?xml") for data in found)
    assert page(d, "a") == page(d, "a")


@pytest.mark.skipif(not any(map(shutil.which, check_browser.BROWSERS)), reason="no Chromium")
def test_a_browser_shows_it_in_both_schemes_and_on_a_phone(tmp_path):
    (tmp_path / "index.html").write_text(page(given(class_names=NASTY), "a" * 90), "utf-8")
    assert check_browser.check(tmp_path) == []


def test_shares_are_drawn_as_they_are():
    d = given()
    ax = drawn.shares(d).axes[0]
    curves = {c.get_label(): c[0].get_ydata() for c in ax.containers}
    assert curves.keys() == {"universe", "domain", "instance"}
    for level, values in curves.items():
        np.testing.assert_array_equal(values, d.levels[level]["share"])


def test_the_recommended_range_is_shaded():
    d = given()
    [span] = drawn.leaves(d).axes[0].patches
    low, high = span.get_x(), span.get_x() + span.get_width()
    assert low == pytest.approx(max(d.tau["low"], 0.5 / 1.15))
    assert high == pytest.approx(min(d.tau["high"], 16 * 1.15))


def test_one_recommended_temperature_is_a_line():
    d = replace(given(), tau={"low": 1.0, "high": 1.0, "reason": "why"})
    ax = drawn.leaves(d).axes[0]
    assert not ax.patches and [1.0, 1.0] in [list(line.get_xdata()) for line in ax.lines]


def test_classes_are_drawn_by_super_class():
    whole = example()
    d = diagnose(**whole, superclass=[1, 0, 1, 0, 1], class_names=list("abcde"))
    ax = drawn.similarity(d).axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "c", "e", "b", "d"]
    shown = ax.images[0].get_array().filled(np.nan)
    assert shown[0, 1] == d.similarity[0, 2]


def test_figures_say_why_they_are_empty(extreme):
    for draw in (drawn.leaves, drawn.shares, drawn.similarity,
                 drawn.weights):  # fmt: skip
        figure = draw(extreme)
        figure.canvas.draw()
        has_data = any(ax.has_data() for ax in figure.axes)
        assert has_data or figure.texts[0].get_text().startswith("nothing to draw: ")
