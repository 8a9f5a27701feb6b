"""`kdstudy claims`: every claim with its verdict, computed once for each state of results, claims and code."""

import hashlib
import json
from pathlib import Path

from kdstudy.cli.console import out, plainly
from kdstudy.core import paths, plugins

SOURCES = (".py", ".toml", ".json")


def list_claims() -> None:
    """Print every claim with its verdict on the published parameters, and what the book says against them."""
    with plainly():
        out.print(sentences(), markup=False, highlight=False, soft_wrap=True)


def sentences() -> str:
    """The verdicts in words: those kept beside the working store if nothing has changed since, else computed now."""
    kept = paths.store_file().with_name("claims.json")
    before = state()
    if (held := _held(kept)).get("state") == before:
        return held["text"]
    from kdstudy.engine.ask import Unanswered
    from kdstudy.figures import in_short
    from kdstudy.store.working import Store
    from kdstudy.study import claims, verdicts

    Store()  # a new one is a file more
    before = state()
    try:
        rows = claims.board(executor="stored")[0]
        text = f"{verdicts.sentences(rows)}\n\n{in_short.report(rows)}"
    except Unanswered as error:
        raise ValueError(f"claims cannot be judged: {error}; published results are read from $KDSTUDY_RESULTS, here "
                         f"{paths.results_folder()}") from error  # fmt: skip
    kept.write_text(json.dumps({"state": before, "text": text}), "utf-8")
    return text


def _held(kept: Path) -> dict[str, str]:
    """The verdicts kept, with their state; nothing of a file that is absent or broken."""
    try:
        held = json.loads(kept.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) and isinstance(held.get("text"), str) else {}


def state() -> str:
    """A digest of all that verdicts depend on: the sources of package and plugins, published results, working store."""
    files = [p for p in paths.PACKAGE.rglob("*") if p.suffix in SOURCES and paths.SHIPPED not in p.parents]
    files += [p for p in paths.results_folder().glob("*") if p.is_file()] + plugins.sources() + plugins.claims()
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    store = paths.store_file()  # which may be large: when it was changed last, and its size
    stamp = (store.stat().st_mtime_ns, store.stat().st_size) if store.exists() else ()
    return f"{digest.hexdigest()} {store} {stamp}"
