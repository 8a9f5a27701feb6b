"""What the book says in short: sentences by a person (in_short.toml), each with the verdicts that it rests on.

A sentence is shown only where these hold. At a chapter's default parameters one that does not hold is an error: it has
to be written anew. With others the page says how many it leaves out. The head of the file says how to write one.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from kdstudy.study import claims, plans, verdicts

FILE = Path(__file__).with_suffix(".toml")
NUMBER = re.compile(r"\{(?P<turned>-?)(?P<claim>\w[\w-]*)(?P<bed>@[^}\[]+)?(?P<limits>\[\])?(=(?P<count>[^}]+))?\}")
ABSENT = "not judged"
LEFT_OUT = "*Written for the published parameters: {} of {} sentences do not hold with these, and are left out.*"
DROPPED = "(What is said here for the published parameters does not hold with these.)"


def load() -> dict[str, dict[str, dict]]:
    """The sentences of each page by name, each with its `text` and what `holds`."""
    return tomllib.loads(FILE.read_text("utf-8"))


def _rows(rows: pd.DataFrame, asked: str) -> pd.DataFrame:
    """The rows of "CLAIM" that vote, or the one of "CLAIM@BED", by the beginning of the bed's name; "CLAIM@BED|at_hard"
    at hard labels' setting.
    """
    name, _, bed = asked.partition("@")
    bed, _, at = bed.partition("|")
    place = at or {c.id: claims.places(c)[0] for c in claims.load()}.get(name)
    mine = rows[(rows["claim"] == name) & (rows["at"] == place)]
    return mine[mine["dataset"].str.startswith(bed)] if bed else mine[mine["votes"].astype(bool)]


def fault(rows: pd.DataFrame, holds: Mapping[str, str]) -> str:
    """What is expected and not found among the rows of `claims.chapter`; nothing if all holds."""
    wrong = []
    for asked, expected in holds.items():
        mine = _rows(rows, asked)
        found = claims.overall(list(mine["verdict"])) if len(mine) == 1 or ("@" not in asked and len(mine)) else ABSENT
        wrong += [f"expected {asked} {expected}, found {found}"] * (found != expected)
    return "; ".join(wrong)


def filled(rows: pd.DataFrame, text: str) -> str:
    """A sentence with its numbers."""
    known = {c.id: c for c in claims.load()}

    def one(match: re.Match) -> str:
        mine = _rows(rows, match["claim"] + (match["bed"] or ""))
        if match["count"]:
            return f"{Counter(mine['verdict'])[match['count']]} of {len(mine)}"
        values = mine[["effect", "low", "high"]].to_numpy(float) * (-1 if match["turned"] else 1)
        effects, limits = (
            dict.fromkeys(verdicts.number(v, known[match["claim"]], "") for v in (part.min(), part.max()))
            for part in (values[:, 0], values)
        )
        return " to ".join(effects) + (f" [{', '.join(limits)}]" if match["limits"] else "")

    return NUMBER.sub(one, text)


def said(page: str, rows: pd.DataFrame, default: bool) -> dict[str, str]:
    """A page's sentences by name, "" for those that do not hold.

    ValueError, at `default` parameters, for those that do not hold, naming what was expected and what was found.
    """
    every = load()[page]
    wrong = {name: why for name, s in every.items() if (why := fault(rows, s["holds"]))}
    if wrong and default:
        told = "; ".join(f'{page}.{name}, "{every[name]["text"]}": {why}' for name, why in wrong.items())
        raise ValueError(f"the book says what results do not: {told}; write it anew in {FILE.name}")
    return {name: "" if name in wrong else filled(rows, s["text"]) for name, s in every.items()}


def published(chapter: str, given: Mapping[str, object]) -> bool:
    """Whether a notebook's variables have its chapter's default parameters, of which results are published."""
    known = plans.known(chapter).items()
    return all(plans.several(given.get(n)) == plans.several(p.default) for n, p in known if n != "executor")


def box(chapter: str, rows: pd.DataFrame, given: Mapping[str, object]) -> str:
    """Markdown: the box that a chapter opens with; `given` are the variables of its notebook."""
    every = said(chapter, rows, published(chapter, given))
    held = [f"- {text}" for text in every.values() if text]
    note = ["", LEFT_OUT.format(len(every) - len(held), len(every))] if len(held) < len(every) else []
    return "\n".join(["```{admonition} In short", ":class: tip", *held, *note, "```"])


def pasted(rows: pd.DataFrame, given: Mapping[str, object]) -> dict[str, str]:
    """All sentences of all pages for `verdicts.glue` on the scoreboard, as "PAGE-NAME", without marks of Markdown."""
    every = {page: said(page, rows, published("scoreboard", given)) for page in load()}
    return {f"{p}-{n}": text.replace("*", "") or DROPPED for p, page in every.items() for n, text in page.items()}


def report(rows: pd.DataFrame) -> str:
    """How many of the book's sentences hold, and which do not."""
    every = {f"{page}.{name}": s for page, sentences in load().items() for name, s in sentences.items()}
    wrong = [f"- {name}, {s['text']!r}: {why}" for name, s in every.items() if (why := fault(rows, s["holds"]))]
    return "\n".join([f"{len(every) - len(wrong)} of {len(every)} sentences of the book hold.", *wrong])
