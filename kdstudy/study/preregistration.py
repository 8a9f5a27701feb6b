"""Whether claims were written before the results that judge them, by the git history of both."""

import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path

from kdstudy.core import paths
from kdstudy.study import claims

SETTLED = ("kind", "contrast", "measure", "direction", "margin", "rule", "part", "identity")  # what a verdict rests on


def _git(*words: str) -> str:
    """What git says in the checkout; nothing where there is no git, or no history of what is asked."""
    if shutil.which("git") is None:
        return ""
    done = subprocess.run(["git", "-C", str(paths.ROOT), *words], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def first_results(chapter: str) -> tuple[str, str]:
    """Commit and date at which a chapter's published results were added; two empty texts where they were not."""
    table = paths.results_folder() / f"{chapter}.parquet"
    found = _git("log", "-1", "--diff-filter=A", "--format=%H %cI", "--", str(table))
    commit, _, date = found.partition(" ")
    return commit, date


def written_before(commit: str) -> Mapping[str, dict]:
    """The claims as they stood in the commit before this one, by id."""
    file = claims.FILE.relative_to(paths.ROOT).as_posix()
    text = _git("show", f"{commit}~1:{file}")
    return {row["id"]: row for row in tomllib.loads(text).get("claim", [])} if text else {}


def order() -> dict[str, tuple[str, bool]]:
    """Of each claim that git knows results of: the date of these, and whether it was written, as it stands, before."""
    file = Path(claims.FILE)
    if not (paths.ROOT / ".git").exists() or paths.ROOT not in file.parents:
        return {}
    found, now = {}, {row["id"]: row for row in tomllib.loads(file.read_text("utf-8"))["claim"]}
    for chapter in dict.fromkeys(row["chapter"] for row in now.values()):
        commit, date = first_results(chapter)
        before = written_before(commit) if commit else {}
        for key, row in now.items():
            if commit and row["chapter"] == chapter:
                same = key in before and all(row.get(k) == before[key].get(k) for k in SETTLED)
                found[key] = (date, same)
    return found


def sentence() -> str:
    """Markdown: which claims were written before the results that judge them."""
    found = order()
    if not found:
        return "Whether claims came before results cannot be shown here: there is no git history of both."
    late = [key for key, (_, before) in found.items() if not before]
    said = (
        f"By the git history, {len(found) - len(late)} of {len(found)} claims stood as they are in `claims.toml` before"
    )
    return f"{said} the results that judge them were added" + (f"; not {', '.join(late)}." if late else ".")
