"""A diagnosis in words: what was given, what a level means, what follows; and a summary for the terminal."""

import re
from inspect import getdoc

import pandas as pd
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kdstudy.diagnosis.api import DiagnosisReport
from kdstudy.diagnosis.rulebook import NO_RUN, RULES, costs

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
    return f"none: {reason}" if low is None else f"{low:g} to {high:g} ({reason})"


def level_table(d: DiagnosisReport) -> pd.DataFrame:
    """The levels over τ as text: mean mass off the label, shares with 95 % intervals."""
    taus, masses = (d.levels["universe"].get(k, []) for k in ("tau", "mass"))
    cells = [[_interval(d.levels[level], i, 2) or "–" for level in MEANINGS] for i in range(len(taus))]
    rows = [[f"{tau:g}", f"{mass:.3f}", *row] for tau, mass, row in zip(taus, masses, cells)]
    return pd.DataFrame(rows, columns=["τ", "mass", *MEANINGS])


def every_finding() -> pd.DataFrame:
    """What can be found: its code, its severity, what is wrong, what that cost students, and what to do."""
    from kdstudy.diagnosis import watch  # noqa: F401  enters what only a run shows

    rows = []
    for code, rule in RULES.items():
        what, _, advice = (getdoc(rule) or "").partition("\n")
        advice = " ".join(re.sub(r"\{.*?\}", "…", advice).lstrip("\n…").split()) or "it depends: the report says"
        rows.append((code, rule.severity, what.rstrip("."), costs().get(rule.claim, NO_RUN), advice))
    return pd.DataFrame(rows, columns=["code", "severity", "what is wrong", "what it costs", "what to do"])


# ---------------------------------------------------------------- sentences


def sentences(d: DiagnosisReport, level: str) -> str:
    """Whether a level is there, and what its numbers say, in a few sentences.

    They speak of the temperature in use, else of the listed one that is nearest the middle of the range.
    """
    taus, asked = d.levels["universe"]["tau"], d.facts["signals"].get("asked")
    if not taus:
        return "No row of logits is finite: there is nothing to say."
    middle = asked or (1.0 if d.tau["low"] is None else (d.tau["low"] * d.tau["high"]) ** 0.5)
    at = min(range(len(taus)), key=lambda i: abs(taus[i] / middle - 1))
    codes, share = doubts(d, level), _interval(d.levels[level], at, 3)
    verdict = f"In doubt: {', '.join(codes)}." if codes else "Nothing found against it."
    held = f"it is {share} of all that the targets add to the labels" if share else "the targets are the labels"
    more = {"universe": _universe, "domain": _domain, "instance": _instance}[level](d.levels[level], at)
    return " ".join([verdict, f"At τ = {taus[at]:g} {held}.", *more])


def _interval(level: dict[str, object], i: int, digits: int) -> str:
    """A share with its interval, as far as they are defined."""
    share, *ends = (level[k][i] for k in ("share", "share_low", "share_high"))
    if share is None:
        return ""
    return f"{share:.{digits}f}" + ("" if None in ends else f" [{', '.join(f'{end:.{digits}f}' for end in ends)}]")


def _universe(level: dict[str, object], at: int) -> list[str]:
    return [f"The teacher takes {level['mass'][at]:.1%} of the probability off the label, which stays its likeliest "
            f"class for {level['label_largest'][at]:.1%} of the examples."]  # fmt: skip


def _domain(level: dict[str, object], at: int) -> list[str]:
    structure, groups = level["structure"], level["superclass"]
    if structure["reason"]:
        return [f"Class structure was not measured: {structure['reason']}."]
    low, _, high = structure["null"]
    words = [
        f"An example's label explains {structure['statistic']:.1%} of how its other classes' logits differ; by chance "
        f"it would be {low:.1%} to {high:.1%} (p = {structure['p']:.2g})."
    ]
    if groups["correlation"] is not None:
        words.append(f"Classes that it finds alike are those of a super-class: r = {groups['correlation']:.2f}, "
                     f"p = {groups['p']:.2g} (Mantel).")  # fmt: skip
    return words


def _instance(level: dict[str, object], at: int) -> list[str]:
    students = {"a student that knows nothing": level["weights"], "the student given": level["student_weights"]}
    words = [
        f"For {name} most examples weigh {w['low'][at]:.2f} to {w['high'][at]:.2f} times what they do with the label "
        f"alone, as if {w['effective'][at]:.0%} of them counted."
        for name, w in students.items()
        if w and w["effective"][at] is not None
    ]
    rank, hard = level["difficulty"]["rank"][at], level["difficulty"]
    if rank is None:
        return [*words, f"Whether its doubt follows how hard examples are is not known: {hard['reason']}."]
    return [*words, f"Its doubt follows how hard examples are ({hard['with']}) with a rank correlation of {rank:.2f}."]


# ---------------------------------------------------------------- terminal


def print_summary(d: DiagnosisReport, console: Console) -> None:
    """Print what is wrong and what to do, what the levels hold, the range of τ, numbers over τ, what was given."""
    console.print(Text(d.headline, style="bold"))
    for f in d.findings:
        console.print(Text(f"\n{f.severity} ", style=COLOURS[f.severity]) + Text(f.code, style="bold"))
        what = f"{f.message}." if f.code != "healthy" else ""
        parts = {"": what, "to do: ": f.advice, "cost: ": f.cost, "numbers: ": f.numbers}
        for name, text in parts.items():
            if text:
                console.print(_indented(f"{name}{text}", "dim" if name == "numbers: " else ""))
    console.print(Text("\nWhat its answers add to the labels", style="bold"))
    for level, meaning in MEANINGS.items():
        console.print(_indented(f"{level}: {meaning}"))
        console.print(_indented(sentences(d, level), "dim", 4))
    console.print(Text("\nrecommended τ: ", style="bold") + Text(recommended_range(d), style="default not bold"))
    if len(frame := level_table(d)):
        console.print(Text("\nShares of the levels over τ [95 % interval]; mass: mean probability off the label"))
        table = Table(*frame.columns, box=None, padding=(0, 2, 0, 0))
        for row in frame.itertuples(index=False):
            table.add_row(*row)
        console.print(table)
    console.print(Text("\nWhat was read", style="bold"))
    for name, text in facts_in_words(d).items():
        console.print(_indented(f"{name}: {text}"))


def _indented(text: str, style: str = "", by: int = 2) -> Padding:
    return Padding(Text(text, style=style), (0, 0, 0, by), expand=False)
