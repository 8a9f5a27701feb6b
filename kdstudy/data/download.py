"""A set's files: where they are looked for, their digests, their download."""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from kdstudy.core import paths


class DataError(RuntimeError):
    """A data set's files are absent or not what they should be."""


SOURCES: dict[str, tuple[str, str, Mapping[str, str]]] = {  # folder, address, sha256 (or "md5:" and md5) of each file
    "fashion_mnist": (
        "FashionMNIST/raw",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
    ),
    "clinc150": (
        "clinc150",
        "https://raw.githubusercontent.com/clinc/oos-eval/828f8093932c8fe6ca7936c3d2e52903b1c523de/data/",
        {
            "data_full.json": "36923c3705a59e08fe9c3883d8bc2dd966ef93e22cb78ac41171782a698d56e0",
            "data_small.json": "050e17476e6b4fa88f8518edaf09921c8f5e3a86dc8b63615361102a20b2ac01",
            "data_imbalanced.json": "4886730b20c51eece26aa392ecae2717bfe9908680419e96255351c6148eb4cc",
            "domains.json": "b947b579d3b8e74b06f93b01083d8efaff2888b43a3e362533bd88a6e1211b3a",
        },
    ),
    "tiny_imagenet": (
        "tiny-imagenet",
        "http://cs231n.stanford.edu/",
        {
            "tiny-imagenet-100.zip": "78e043a5657c5af61d631bf7a156c4b27268bae9e9cc70a559884aab8b8c0572",
            "tiny-imagenet-200.zip": "md5:90528d7ca1a48142e341f4ef8d21d0de",
        },
    ),
    "cifar10": (  # read through torchvision, which has the same md5 sums
        "cifar/cifar-10-batches-py",
        "https://www.cs.toronto.edu/~kriz/",
        {
            "data_batch_1": "md5:c99cafc152244af753f735de768cd75f",
            "data_batch_2": "md5:d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "md5:54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "md5:634d18415352ddfa80567beed471001a",
            "data_batch_5": "md5:482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "md5:40351d587109b95175f43aff81a1287e",
            "batches.meta": "md5:5ff9c542aee3614f3951f8cda6e48888",
        },
    ),
    "cifar100": (
        "cifar/cifar-100-python",
        "https://www.cs.toronto.edu/~kriz/",
        {
            "train": "md5:16019d7e3df5f24257cddd939b257f8d",
            "test": "md5:f0ef6b0ae62326f3e7ffdfab6717acfc",
            "meta": "md5:7973b15100ade9c7d40fb424638fde48",
        },
    ),
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
