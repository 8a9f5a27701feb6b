"""Findings, and what `check_loss` and `diagnose` have in common: a result made of findings, in words and as JSON."""

import html
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

SEVERITIES = ("error", "warning", "info")
COLUMNS = ("", "finding", "what", "evidence", "to do", "cost")
SHOWN = 5  # items of a list that are shown as text


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    `code`: its name. `severity`: one of `SEVERITIES`. `evidence`: the numbers behind it, by name. `advice`: what to do.
    `message`: what is wrong, in words. `cost`: what it cost students, where that is known.
    """

    code: str
    severity: str
    evidence: dict[str, object]
    advice: str
    message: str = ""
    cost: str = ""

    @property
    def numbers(self) -> str:
        """The evidence on one line."""
        return ", ".join(f"{name} {as_text(value)}" for name, value in self.evidence.items())

    def __str__(self) -> str:
        message = f": {self.message}" if self.message else ""
        numbers = f" [{self.numbers}]" if self.evidence else ""
        return f"{self.severity} {self.code}{message}{numbers}. To do: {self.advice.rstrip('.')}. {self.cost}".rstrip()

    def as_dict(self) -> dict[str, object]:
        """All of it as JSON knows it."""
        return plain(vars(self))


class Report:
    """The base of a result: `findings`, and a `headline` that says in one line what they are about.

    A subclass is a dataclass with a field `findings`; it gives the headline, and extends `as_dict` by its own fields.
    """

    findings: tuple[Finding, ...]

    @property
    def headline(self) -> str:
        """What was looked at, and how it went, in one line."""
        raise NotImplementedError

    @property
    def ok(self) -> bool:
        """Whether no finding is an error; warnings are allowed."""
        return not any(f.severity == "error" for f in self.findings)

    @property
    def codes(self) -> tuple[str, ...]:
        """The names of all findings."""
        return tuple(f.code for f in self.findings)

    def as_dict(self) -> dict[str, object]:
        """All of it as JSON knows it: None where a number is not defined."""
        return {"ok": self.ok, "findings": [f.as_dict() for f in self.findings]}

    def as_json(self) -> str:
        """All of it as JSON."""
        return json.dumps(self.as_dict(), indent=2, allow_nan=False)

    def __str__(self) -> str:
        return "\n".join([self.headline, *map(str, self.findings)])

    @property
    def _table(self) -> list[tuple[str, ...]]:
        """COLUMNS and a row for each finding; without costs where none is known."""
        rows = [(f.severity, f.code, f.message, f.numbers, f.advice, f.cost) for f in self.findings]
        return [row[: None if any(r[-1] for r in rows) else -1] for row in (COLUMNS, *rows)]

    def _repr_html_(self) -> str:
        head, *rows = self._table
        body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        head = "".join(f"<th>{name}</th>" for name in head)
        return f"<p>{html.escape(self.headline)}</p><table><tr>{head}</tr>{body}</table>"

    def _repr_markdown_(self) -> str:
        head, *found = self._table
        rows = [head, ["---"] * len(head)]
        for severity, code, *texts in found:
            words = (" ".join(text.split()) for text in texts)
            rows.append((severity, f"`{code}`", *(re.sub(r"[|<>&\[$`]", r"\\\g<0>", text) for text in words)))
        return "\n".join([self.headline, "", *(f"| {' | '.join(row)} |" for row in rows)])


def escaped(text: object) -> str:
    """Text that Markdown, in a table too, and HTML in it leave as it is, on one line."""
    return re.sub(r"[\\`*_{}\[\]<>|$&~#@]", r"\\\g<0>", " ".join(str(text).split()))


def as_text(value: object) -> str:
    """One value: four digits of a number, five items of a list, a dash where it is not defined."""
    if isinstance(value, list):
        return f"[{', '.join(map(as_text, value[:SHOWN]))}{', …' if len(value) > SHOWN else ''}]"
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def plain(value: object) -> object:
    """Numbers, lists and dictionaries as JSON knows them; None for what is no finite number, text for all else."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # numbers and arrays of numpy or torch
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)
