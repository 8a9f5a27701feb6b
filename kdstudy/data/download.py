"""A set's files: where they are looked for, their digests, their download."""

import hashlib
import tomllib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from kdstudy.core import paths


class DataError(RuntimeError):
    """A data set's files are absent or not what they should be."""


_LISTED = tomllib.loads(Path(__file__).with_name("sources.toml").read_text("utf-8"))
SOURCES: dict[str, tuple[str, str, Mapping[str, str]]] = {  # folder, address, digest of each file
    name: (at["folder"], at["url"], at["files"]) for name, at in _LISTED.items()
}
ALTERNATIVES = {"tiny_imagenet"}  # sets of which any one file is enough, the last the one that has an address
REMEDY = (
    "It lies in KDSTUDY_DATA and is left as it is: replace it by {}, or remove it or unset KDSTUDY_DATA "
    "to have it downloaded"
)


def places(name: str) -> list[Path]:
    """The folders that a set's files are looked for in; the last is our own, which downloads go to."""
    return [p / SOURCES[name][0] for p in (paths.data_folder(), paths.cache_folder()) if p]


def pictures(name: str) -> Path | None:
    """The folder or zip file of images that lies under a set's own name, if there is one."""
    roots = (p for p in (paths.data_folder(), paths.cache_folder()) if p)
    there = (p / file for p in roots for file in (name, f"{name}.zip"))
    return next((p for p in there if (p / "train").is_dir() or p.is_file()), None)


def at_hand(name: str) -> bool:
    """Whether a set needs no download: all its files are in one of the folders, or it has none."""
    enough = any if name in ALTERNATIVES else all
    return (
        name not in SOURCES
        or bool(pictures(name))
        or enough(any((p / f).exists() for p in places(name)) for f in SOURCES[name][2])
    )


def fetch_any(name: str) -> Path:
    """Path of the first of a set's alternative files that is there, checked; of the last, downloaded, if none is."""
    files = list(SOURCES[name][2])
    there = [f for f in files if any((p / f).exists() for p in places(name))]
    return fetch(name, (there or files[-1:])[0])


def _kind(digest: str) -> str:
    return digest if ":" in digest else f"sha256:{digest}"


def fetch(name: str, file: str) -> Path:
    """Path of one checked file of a set, downloaded if need be. DataError says what to do next."""
    _, url, digests = SOURCES[name]
    kind, expected = _kind(digests[file]).split(":")
    *_, own = folders = places(name)
    online = list(digests)[-1] if name in ALTERNATIVES else file
    for path in (folder / file for folder in folders):
        if path.exists():
            with path.open("rb") as stream:
                found = hashlib.file_digest(stream, kind).hexdigest()
            if found == expected:
                return path
            wrong = f"{path} has {kind} {found}, expected {expected}"
            if path.parent != own:
                raise DataError(f"{wrong}. {REMEDY.format(url + online)}")
            _set_aside(path, wrong)
    _download(url + online, _kind(digests[online]), own / online, f"data set {name!r}: {online} is not in", folders)
    return own / online


def _set_aside(path: Path, wrong: str) -> None:
    bad = path.with_name(f"{path.name}.bad")
    try:
        path.replace(bad)
    except OSError as error:
        raise DataError(f"{wrong}, and cannot be renamed to {bad.name} ({error}): remove it by hand") from error
    warnings.warn(f"{wrong}; kept aside as {bad.name}, downloading it again", stacklevel=2)


def _download(url: str, digest: str, path: Path, absent: str, folders: Sequence[Path]) -> None:
    """One file to `path`: whole and checked, or not at all."""
    import pooch

    try:
        pooch.retrieve(url, digest, path.name, path.parent, progressbar=True)
    except (OSError, ValueError) as error:
        here = "this folder" if len(folders) == 1 else "one of these folders"
        raise DataError(
            f"{absent} {' or '.join(map(str, folders))}, and could not be downloaded from {url} "
            f"({type(error).__name__}: {error}). Try again with a network, or put the file into {here}"
        ) from error
