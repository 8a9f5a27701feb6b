"""The diagnosis of a file as JSON, as a summary for the terminal, and in words: what a level means, what follows."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kdstudy import logitfiles
from kdstudy.diagnosis import Diagnosis, Finding, diagnose
from kdstudy.executors import one_thread

MEANS = {
    "universe": "How much of a target leaves the label, spread evenly: what label smoothing gives without a teacher.",
    "domain": "Which classes the mass goes to, the same for all examples of a class: what the teacher finds alike.",
    "instance": "How an example differs from others of its class: in its mass, which weighs it, and in its shape.",
}
TOUCHED = {  # levels that a finding puts in doubt; errors put all three
    "smoothed_teacher": ("domain", "instance"),
    "saturated_teacher": ("universe", "domain", "instance"),
    "train_memorised": ("instance",),
    "no_class_structure": ("domain",),
    "few_classes": ("domain",),
    "few_examples": ("universe", "domain", "instance"),
    "temperature_low": ("universe", "domain", "instance"),
    "temperature_high": ("domain", "instance"),
}
COLOURS = {"error": "bold red", "warning": "yellow", "info": "green"}


def read(path: str, heldout: str | None = None, tau: float | None = None) -> Diagnosis:
    """The diagnosis of a file, with its name and the names it left out among the facts.

    `heldout`: a second file, of held-out examples. `tau` goes before the file's own. Raises Unusable.
    """
    arrays, names = logitfiles.read(path, heldout)
    with one_thread():
        found = diagnose(**(arrays if tau is None else arrays | {"tau": tau}))
    told = {"file": logitfiles.shown(Path(path).name), "ignored": logitfiles.ignored(names)}
    return replace(found, facts=found.facts | told)


def as_json(d: Diagnosis) -> str:
    """levels, findings, facts and tau as JSON; null where a number is not defined."""
    return json.dumps(d.as_dict(), indent=2, allow_nan=False)


# ---------------------------------------------------------------- words


def headline(d: Diagnosis) -> str:
    """The outcome in one sentence."""
    errors, warnings = ([f.code for f in d.findings if f.severity == severity] for severity in ("error", "warning"))
    if errors:
        return f"Not usable as it is: {', '.join(errors)}." + (f" Also: {', '.join(warnings)}." if warnings else "")
    return f"Usable, with warnings: {', '.join(warnings)}." if warnings else "No fault found."


def doubts(d: Diagnosis, level: str) -> list[str]:
    """Codes of the findings that put a level in doubt."""
    return [f.code for f in d.findings if f.severity == "error" or level in TOUCHED.get(f.code, ())]


def verdict(d: Diagnosis, level: str) -> str:
    """Whether a level is there, in one sentence."""
    codes = doubts(d, level)
    return f"In doubt: {', '.join(codes)}." if codes else "Nothing found against it."


def facts(d: Diagnosis) -> dict[str, str]:
    """What was given, in words."""
    f = d.facts
    also = {"heldout": "held-out examples", "student": "a student", "student_val": "a student on held-out examples",
            "superclass": "super-classes", "class_names": "class names"}  # fmt: skip
    there = [name for key, name in also.items() if f[key]]
    rows = {
        "file": f.get("file"),
        "data": f"{f['examples']} examples, {f['classes']} classes, {f['dtype']} ({f['kind']})",
        "also given": ", ".join(there) or "nothing else",
        "rows left out": f"{f['rows_left_out']}, which are not finite" if f["rows_left_out"] else None,
        "names left out": ", ".join(f.get("ignored") or []),
    }
    return {name: str(value) for name, value in rows.items() if value}


def evidence(finding: Finding) -> str:
    """The numbers behind a finding, on one line."""
    return ", ".join(f"{name} {value(v)}" for name, v in finding.evidence.items())


def value(v: object) -> str:
    """One value: four digits, at most five items of a list."""
    if isinstance(v, list):
        return f"[{', '.join(map(value, v[:5]))}{', …' if len(v) > 5 else ''}]"
    return "–" if v is None else f"{v:.4g}" if isinstance(v, float) else str(v)


def recommended(d: Diagnosis) -> str:
    """The range of temperatures worth a trial, or why there is none."""
    low, high, reason = (d.tau[k] for k in ("low", "high", "reason"))
    if low is None:
        return f"none: {reason}"
    return f"{low:g}{'' if low == high else f' to {high:g}'} ({reason})"


def place(d: Diagnosis) -> int | None:
    """Where the temperature stands that sentences speak of: the one in use, else nearest the range's middle."""
    taus, asked = d.levels["universe"]["tau"], d.facts["signals"].get("asked")
    low, high = d.tau["low"], d.tau["high"]
    middle = asked or (1.0 if low is None else (low * high) ** 0.5)
    return min(range(len(taus)), key=lambda i: abs(taus[i] / middle - 1)) if taus else None


def said(d: Diagnosis, level: str) -> str:
    """Whether a level is there, and what its numbers say, in a few sentences."""
    if (at := place(d)) is None:
        return "No row of logits is finite: there is nothing to say."
    words = {"universe": _universe, "domain": _domain, "instance": _instance}[level](d, at)
    return " ".join([verdict(d, level), _share(d, level, at), *words])


def _universe(d: Diagnosis, at: int) -> list[str]:
    u = d.levels["universe"]
    return [f"{u['mass'][at]:.1%} of the mass leaves the label; the label is the largest target of "
            f"{u['label_largest'][at]:.1%} of the examples."]  # fmt: skip


def _share(d: Diagnosis, level: str, at: int) -> str:
    tau = d.levels[level]["tau"][at]
    share, low, high = (d.levels[level][k][at] for k in ("share", "share_low", "share_high"))
    if share is None:
        return f"At τ = {tau:g} the targets are the labels: no level has a share."
    interval = "" if low is None else f" [{low:.3f}, {high:.3f}]"
    return f"At τ = {tau:g} its share of E‖ρ − e‖², what separates targets from labels, is {share:.3f}{interval}."


def _domain(d: Diagnosis, at: int) -> list[str]:
    found, groups = d.levels["domain"]["structure"], d.levels["domain"]["superclass"]
    if found["reason"]:
        return [f"Class structure was not measured: {found['reason']}."]
    words = [
        f"The label explains {found['statistic']:.1%} of the variation of the other classes' logits; with these moved "
        f"about at random, {found['null'][0]:.1%} to {found['null'][2]:.1%} (p = {found['p']:.2g})."
    ]
    if groups["correlation"] is not None:
        words.append(f"Similarity of classes follows the super-classes: r = {groups['correlation']:.2f}, "
                    f"p = {groups['p']:.2g} (Mantel).")  # fmt: skip
    return words


def _instance(d: Diagnosis, at: int) -> list[str]:
    level, words = d.levels["instance"], []
    for name, w in (
        ("a student that knows nothing", level["weights"]),
        ("the student given", level["student_weights"]),
    ):
        if w and w["effective"][at] is not None:
            words.append(f"For {name}, weights w are {w['low'][at]:.2f} to {w['high'][at]:.2f} (5 to 95 %), "
                        f"and their effective fraction is {w['effective'][at]:.2f}.")  # fmt: skip
    rank, hard = level["difficulty"]["rank"][at], level["difficulty"]
    if rank is None:
        return [*words, f"Whether masses follow difficulty is not known: {hard['reason']}."]
    return [*words, f"Rank correlation of the masses with difficulty ({hard['with']}): {rank:.2f}."]


def table(d: Diagnosis) -> pd.DataFrame:
    """The levels over τ as text: mean mass off the label, shares with 95 % intervals."""
    taus, masses = (d.levels["universe"].get(k, []) for k in ("tau", "mass"))
    rows = [
        [f"{tau:g}", f"{mass:.3f}", *(_cell(d.levels[level], i) for level in MEANS)]
        for i, (tau, mass) in enumerate(zip(taus, masses))
    ]
    return pd.DataFrame(rows, columns=["τ", "mass", *MEANS])


def _cell(level: dict[str, object], i: int) -> str:
    share, low, high = (level[k][i] for k in ("share", "share_low", "share_high"))
    return "–" if share is None else f"{share:.2f}" + ("" if low is None else f" [{low:.2f}, {high:.2f}]")


# ---------------------------------------------------------------- terminal


def show(d: Diagnosis, console: Console) -> None:
    """Print the summary: facts, findings with advice, levels over τ, the recommended range."""
    for name, text in facts(d).items():
        console.print(Text(f"{name}: {text}"))
    console.print(Text(f"\n{headline(d)}", style="bold"))
    for finding in d.findings:
        console.print(_found(finding))
    if d.levels["universe"]["tau"]:
        console.print(Text("\nShares of the levels over τ [95 % interval]; mass: mean that leaves the label"))
        console.print(_table(d))
    for level, meaning in MEANS.items():
        console.print(Text(f"\n{level}: ", style="bold") + Text(meaning, style="default not bold"))
        console.print(Padding(Text(said(d, level)), (0, 0, 0, 2), expand=False))
    console.print(Text("\nrecommended τ: ", style="bold") + Text(recommended(d), style="default not bold"))


def _found(finding: Finding) -> RenderableType:
    head = Text.from_markup(f"[{COLOURS[finding.severity]}]{finding.severity}[/] [bold]{escape(finding.code)}[/]")
    lines = [Padding(Text(finding.advice), (0, 0, 0, 2), expand=False)]
    if finding.evidence:
        lines.append(Padding(Text(evidence(finding), style="dim"), (0, 0, 0, 2), expand=False))
    return Group(head, *lines)


def _table(d: Diagnosis) -> Table:
    frame = table(d)
    drawn = Table(*frame.columns, box=None, padding=(0, 2, 0, 0))
    for row in frame.itertuples(index=False):
        drawn.add_row(*row)
    return drawn
