"""A diagnosis in words: what was given, what a level means, what follows; and a summary for the terminal."""

import re
from inspect import getdoc

import pandas as pd
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kdstudy.core.findings import Finding
from kdstudy.diagnosis import rulebook
from kdstudy.diagnosis.api import DiagnosisReport
from kdstudy.diagnosis.rulebook import RULES

MEANINGS = {
    "universe": "How unsure the teacher is on the whole: label smoothing gives that without a teacher.",
    "domain": "Which classes the teacher finds alike: where its doubt goes, the same for all examples of a class.",
    "instance": "How an example differs from others of its class: how unsure the teacher is of it, and between what.",
}
ALSO = {"heldout": "held-out examples", "student": "a student", "student_val": "a student on held-out examples",
        "superclass": "super-classes", "class_names": "class names"}  # fmt: skip
COLOURS = {"error": "bold red", "warning": "yellow", "info": "green"}


def facts_in_words(d: DiagnosisReport) -> dict[str, str]:
    """What was given, in words."""
    f = d.facts
    rows = {
        "file": f.get("file"),
        "data": f"{f['examples']} examples, {f['classes']} classes, {f['dtype']} ({f['kind']})",
        "read so": "; ".join(f.get("notes") or []),
        "also given": ", ".join(name for key, name in ALSO.items() if f[key]) or "nothing else",
        "rows left out": f"{f['rows_left_out']}, which are not finite" if f["rows_left_out"] else None,
        "names left out": ", ".join(f.get("ignored") or []),
    }
    return {name: str(value) for name, value in rows.items() if value}


def doubts(d: DiagnosisReport, level: str) -> list[str]:
    """Codes of the findings that put a level in doubt: all errors, and what says so of itself where it is entered."""
    return [f.code for f in d.findings if f.severity == "error" or (f.code in RULES and level in RULES[f.code].doubts)]


def recommended_range(d: DiagnosisReport) -> str:
    """The range of temperatures worth a trial, or why there is none."""
    low, high, reason = (d.tau[k] for k in ("low", "high", "reason"))
    if low is None:
        return f"none: {reason}"
    return f"{low:g}{'' if low == high else f' to {high:g}'} ({reason})"


def level_table(d: DiagnosisReport) -> pd.DataFrame:
    """The levels over τ as text: mean mass off the label, shares with 95 % intervals."""
    taus, masses = (d.levels["universe"].get(k, []) for k in ("tau", "mass"))
    cells = [[_interval(d.levels[level], i, 2) or "–" for level in MEANINGS] for i in range(len(taus))]
    rows = [[f"{tau:g}", f"{mass:.3f}", *row] for tau, mass, row in zip(taus, masses, cells)]
    return pd.DataFrame(rows, columns=["τ", "mass", *MEANINGS])


def every_finding() -> pd.DataFrame:
    """What can be found: its code, its severity, what is wrong, what that cost students, and what to do."""
    from kdstudy.diagnosis import watch  # noqa: F401  enters what only a run shows

    rows, costs, unknown = [], getattr(rulebook, "costs", dict)(), "not measured: no run of this study has the fault"
    for code, rule in RULES.items():
        what, _, advice = (getdoc(rule) or "").partition("\n")
        advice = " ".join(re.sub(r"\{.*?\}", "…", advice).lstrip("\n…").split()) or "it depends: the report says"
        severity, claim = getattr(rule, "severity", "by what is found"), getattr(rule, "claim", "")
        rows.append((code, severity, what.rstrip("."), costs.get(claim, unknown), advice))
    return pd.DataFrame(rows, columns=["code", "severity", "what is wrong", "what it costs", "what to do"])


# ---------------------------------------------------------------- sentences


def sentences(d: DiagnosisReport, level: str) -> str:
    """Whether a level is there, and what its numbers say, in a few sentences."""
    if (at := _spoken_of(d)) is None:
        return "No row of logits is finite: there is nothing to say."
    codes, share, tau = doubts(d, level), _interval(d.levels[level], at, 3), d.levels[level]["tau"][at]
    verdict = f"In doubt: {', '.join(codes)}." if codes else "Nothing found against it."
    if share:
        held = f"At τ = {tau:g} it is {share} of what the targets add to the labels (its share of E‖ρ − e‖²)."
    else:
        held = f"At τ = {tau:g} the targets are the labels: no level has a share."
    more = {"universe": _universe, "domain": _domain, "instance": _instance}[level](d.levels[level], at)
    return " ".join([verdict, held, *more])


def _spoken_of(d: DiagnosisReport) -> int | None:
    """The place of the temperature that sentences speak of: the one in use, else nearest the range's middle."""
    taus, asked = d.levels["universe"]["tau"], d.facts["signals"].get("asked")
    low, high = d.tau["low"], d.tau["high"]
    middle = asked or (1.0 if low is None else (low * high) ** 0.5)
    return min(range(len(taus)), key=lambda i: abs(taus[i] / middle - 1)) if taus else None


def _interval(level: dict[str, object], i: int, digits: int) -> str:
    """A share with its interval, as far as they are defined."""
    share, *ends = (level[k][i] for k in ("share", "share_low", "share_high"))
    if share is None:
        return ""
    return f"{share:.{digits}f}" + ("" if None in ends else f" [{', '.join(f'{end:.{digits}f}' for end in ends)}]")


def _universe(level: dict[str, object], at: int) -> list[str]:
    return [f"{level['mass'][at]:.1%} of the mass leaves the label; the label is the largest target of "
            f"{level['label_largest'][at]:.1%} of the examples."]  # fmt: skip


def _domain(level: dict[str, object], at: int) -> list[str]:
    structure, groups = level["structure"], level["superclass"]
    if structure["reason"]:
        return [f"Class structure was not measured: {structure['reason']}."]
    low, _, high = structure["null"]
    words = [
        f"The label explains {structure['statistic']:.1%} of the variation of the other classes' logits; with these "
        f"moved about at random, {low:.1%} to {high:.1%} (p = {structure['p']:.2g})."
    ]
    if groups["correlation"] is not None:
        words.append(f"Similarity of classes follows the super-classes: r = {groups['correlation']:.2f}, "
                    f"p = {groups['p']:.2g} (Mantel).")  # fmt: skip
    return words


def _instance(level: dict[str, object], at: int) -> list[str]:
    students = {"a student that knows nothing": level["weights"], "the student given": level["student_weights"]}
    words = [
        f"For {name}, weights w are {w['low'][at]:.2f} to {w['high'][at]:.2f} (5 to 95 %), and their effective "
        f"fraction is {w['effective'][at]:.2f}."
        for name, w in students.items()
        if w and w["effective"][at] is not None
    ]
    rank, hard = level["difficulty"]["rank"][at], level["difficulty"]
    if rank is None:
        return [*words, f"Whether masses follow difficulty is not known: {hard['reason']}."]
    return [*words, f"Rank correlation of the masses with difficulty ({hard['with']}): {rank:.2f}."]


# ---------------------------------------------------------------- terminal


def print_summary(d: DiagnosisReport, console: Console) -> None:
    """Print facts, what is wrong and what to do, what the levels hold, the recommended range, numbers over τ."""
    for name, text in facts_in_words(d).items():
        console.print(Text(f"{name}: {text}"))
    console.print(Text(f"\n{d.headline}", style="bold"))
    for finding in d.findings:
        console.print(_printed(finding))
    for level, meaning in MEANINGS.items():
        console.print(_heading(level, meaning))
        console.print(_indented(sentences(d, level)))
    console.print(_heading("recommended τ", recommended_range(d)))
    if d.levels["universe"]["tau"]:
        console.print(Text("\nShares of the levels over τ [95 % interval]; mass: mean that leaves the label"))
        frame = level_table(d)
        table = Table(*frame.columns, box=None, padding=(0, 2, 0, 0))
        for row in frame.itertuples(index=False):
            table.add_row(*row)
        console.print(table)


def _printed(finding: Finding) -> RenderableType:
    head = Text.from_markup(f"[{COLOURS[finding.severity]}]{finding.severity}[/] [bold]{escape(finding.code)}[/]")
    numbers = [_indented(finding.numbers, "dim")] if finding.evidence else []
    what = f"{finding.message}. " if finding.message and finding.code != "healthy" else ""
    return Group(head, _indented(f"{what}{finding.advice}"), *numbers)


def _heading(name: str, text: str) -> Text:
    return Text(f"\n{name}: ", style="bold") + Text(text, style="default not bold")


def _indented(text: str, style: str = "") -> Padding:
    return Padding(Text(text, style=style), (0, 0, 0, 2), expand=False)
