"""Where everything lies: beside the package in a checkout, else shipped in the package or in the user's folders.

| what | of one's own choice | in a checkout | installed |
| --- | --- | --- | --- |
| store, what else is written | KDSTUDY_ROOT | the checkout | the user's data folder |
| book, published results, benchmarks | KDSTUDY_ROOT | the checkout | in the package, read-only |
| published results alone | KDSTUDY_RESULTS | data/results | in the package, read-only |
| the working store alone | KDSTUDY_STORE | data/store/runs.sqlite | in the user's data folder |
| data sets' files, read | KDSTUDY_DATA | | |
| downloads, caches | KDSTUDY_CACHE | data/downloads | the user's cache folder |
| executed notebooks and pages | -o | out | out in the folder one is in |
"""

import os
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
SHIPPED = PACKAGE / "shipped"  # setup.py puts book and data there when it builds a wheel
STORE = Path("data/store/runs.sqlite")


def _chosen(name: str) -> Path | None:
    """A path from the environment; None if the variable is unset or empty."""
    text = os.environ.get(name)
    return Path(text).expanduser() if text else None


def _folder(name: str) -> Path | None:
    """A folder from the environment, which may be absent; ValueError for a file."""
    if (path := _chosen(name)) and path.is_file():
        raise ValueError(f"{name}: found {str(path)!r}, a file, allowed: a folder")
    return path


def _user(kind: str) -> Path:
    """The user's own folder for kdstudy: `kind` is "data" or "cache"."""
    import platformdirs

    return Path(getattr(platformdirs, f"user_{kind}_dir")("kdstudy", appauthor=False))


def _checkout() -> Path | None:
    """The repository that this package is part of; None for an installed one."""
    folder = PACKAGE.parent
    return folder if (folder / "pyproject.toml").is_file() and (folder / "book").is_dir() else None


CHECKOUT = _checkout()
ROOT = _chosen("KDSTUDY_ROOT") or CHECKOUT or _user("data")


def published(part: str) -> Path:
    """A folder of what is published, such as "book" or "data/results": under the root, else as shipped.

    Raises FileNotFoundError, with what to do, if it is in neither.
    """
    places = dict.fromkeys((ROOT / part, SHIPPED / part))
    for place in places:
        if place.exists():
            return place
    raise FileNotFoundError(
        f"{part}: found in neither {' nor '.join(map(str, places))}; set KDSTUDY_ROOT to a checkout of kdstudy"
    )


def study_root() -> Path:
    """The folder that holds `book` and `data`, from which chapters name files."""
    return published("book").parent


def results_folder() -> Path:
    """$KDSTUDY_RESULTS, else the published results; data/results under the root if there are none."""
    there = (p for p in (ROOT / "data/results", SHIPPED / "data/results") if p.is_dir())
    return _folder("KDSTUDY_RESULTS") or next(there, ROOT / "data/results")


def store_file() -> Path:
    """$KDSTUDY_STORE, else data/store/runs.sqlite under the root."""
    return _chosen("KDSTUDY_STORE") or ROOT / STORE


def data_folder() -> Path | None:
    """$KDSTUDY_DATA, the user's own folder of data sets, which nothing is written to; None if there is none."""
    return _folder("KDSTUDY_DATA")


def cache_folder() -> Path:
    """$KDSTUDY_CACHE, else data/downloads of a checkout, else the user's cache folder."""
    return _folder("KDSTUDY_CACHE") or (CHECKOUT / "data/downloads" if CHECKOUT else _user("cache"))


def output_folder() -> Path:
    """Where executed notebooks go unless they are sent elsewhere: out of a checkout, else of the folder one is in."""
    return (CHECKOUT or Path.cwd()) / "out"
