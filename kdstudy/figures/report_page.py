"""A diagnosis as one HTML file that loads nothing: words, numbers, and figures as data addresses."""

import base64
import io
from collections.abc import Callable
from html import escape

import matplotlib
from matplotlib.figure import Figure

from kdstudy.diagnosis import report
from kdstudy.diagnosis.api import DiagnosisReport, Finding
from kdstudy.figures import style
from kdstudy.figures.shared import diagnose as figures

CSS = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5b6169; --page: #fff; --card: #f5f6f8; --line: #d9dce1;
  --error: #b3261e; --warning: #8a5300; --info: #1b6e3c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e7e9; --soft: #a3a9b2; --page: #15171a; --card: #202327;
  --line: #3a3f46; --error: #ff8a80; --warning: #ffc169; --info: #7bd69b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 50rem; padding: 1rem; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin-top: 2rem; }
.outcome { font-weight: 600; }
.finding { background: var(--card); border-left: 4px solid var(--tone); border-radius: 4px; margin: .75rem 0;
  padding: .5rem .9rem; }
.finding p { margin: .25rem 0; } .finding b { color: var(--tone); }
.error { --tone: var(--error); } .warning { --tone: var(--warning); } .info { --tone: var(--info); }
.numbers, figcaption, footer { color: var(--soft); font-size: .875rem; }
.wide { overflow-x: auto; } figure { margin: 1rem 0; }
.wide img { display: block; width: 100%; min-width: 32rem; background: #fff; border-radius: 4px; padding: .5rem; }
table { border-collapse: collapse; font-size: .875rem; } td, th { border-bottom: 1px solid var(--line);
  overflow-wrap: normal; padding: .25rem .75rem .25rem 0; text-align: left; vertical-align: top; }
.levels td, .levels th { white-space: nowrap; }
"""

CAPTIONS: dict[str, tuple[Callable[[DiagnosisReport], Figure], str]] = {
    "leaves": (figures.leaves, "What leaves the label over τ. Where the label is no longer the largest target, the "
                               "teacher contradicts it."),
    "shares": (figures.shares, "What the targets hold: the share of each level in E‖ρ − e‖²."),
    "similarity": (figures.similarity, "Which classes the teacher finds alike, averaged over the examples of a class."),
    "weights": (figures.weights, "How much examples weigh: a weight w is the gradient at the label's logit over that "
                                 "of cross-entropy. Below 0, the teacher takes back what the label asks."),
}  # fmt: skip
UNDER = {"universe": ("leaves", "shares"), "domain": ("similarity",), "instance": ("weights",)}


def page(d: DiagnosisReport, title: str) -> str:
    """The whole file; text from the input is escaped."""
    style.use_style()
    name = escape(title)
    rows = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in report.facts_in_words(d).items())
    levels = "".join(_level(d, level) for level in report.MEANINGS)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Diagnosis of {name}</title><style>{CSS}</style></head><body><main>
<h1>What this teacher can tell: {name}</h1>
<p class="outcome">{escape(d.headline)}</p>
<table>{rows}</table>
<h2>Findings</h2>{"".join(map(_finding, d.findings))}
<h2>Temperature</h2><p>Recommended τ: {escape(report.recommended_range(d))}.</p>
{_table(d)}{levels}
<footer><p>Levels of a teacher's knowledge after Tang et al. 2020, Understanding and Improving Knowledge Distillation.
Shares say how much of a level the targets hold, not what a student gains from it.</p></footer>
</main></body></html>
"""


def _finding(f: Finding) -> str:
    numbers = f'<p class="numbers">{escape(f.numbers)}</p>' if f.evidence else ""
    head = f"<p><b>{escape(f.severity)}: {escape(f.code)}</b></p>"
    words = "".join(f"<p>{escape(text)}</p>" for text in (f.message, f.advice, f.cost) if text)
    return f'<div class="finding {escape(f.severity)}">{head}{words}{numbers}</div>'


def _table(d: DiagnosisReport) -> str:
    """The levels over τ."""
    frame = report.level_table(d)
    table = frame.to_html(index=False, border=0, classes="levels") if len(frame) else ""
    return table and f'<div class="wide">{table}</div>'


def _level(d: DiagnosisReport, level: str) -> str:
    """A level: what it means, what is there, what follows."""
    sentences = escape(report.sentences(d, level))
    drawn = "".join(_drawn(d, name) for name in UNDER[level])
    return f"<h2>{level.capitalize()}</h2><p>{escape(report.MEANINGS[level])}</p><p>{sentences}</p>{drawn}"


def _drawn(d: DiagnosisReport, name: str) -> str:
    """A figure inline, as an address that holds its data."""
    draw, caption = CAPTIONS[name]
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "kdstudy"}):
        draw(d).savefig(file, format="svg", metadata={"Date": None})
    data = base64.b64encode(file.getvalue()).decode()
    image = f'<img alt="{escape(caption)}" src="data:image/svg+xml;base64,{data}">'
    return f'<figure><div class="wide">{image}</div><figcaption>{escape(caption)}</figcaption></figure>'
