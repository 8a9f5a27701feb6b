"""A user's own embeddings, numbers or texts as a data set: from any file of `readers`, or from arrays.

Numbers are standardised column by column, images channel by channel, by train. Texts become features a part at a time:
`texts.features` fitted on at most `FIT` texts of train and `NGRAMS` n-grams, kept in files that are mapped into memory.
`extra[split]["row"]` (N,) is each example's row in the file.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from kdstudy.core.caution import tell
from kdstudy.core.paths import cache_folder
from kdstudy.core.random import generator
from kdstudy.core.spec import Data, pairs, require
from kdstudy.data import custom, readers
from kdstudy.data.custom import SPLITS, Rows, few, problem
from kdstudy.data.dataset import DATASETS, Parts, digest_of

VERSION = 1  # part of the data's digest: raise it when splits or features change
LARGE = 4_000_000  # bytes of a .csv of texts from which it is read here, not by `custom`
FIT, NGRAMS = 20_000, 50_000
SAID = 20_000  # texts between two lines of progress
ASKED = "labels in a column or array `label` (or y), and numbers in others or lists in one called x, or text"
Words = dict[str, list[str]]


def is_table(path: str) -> bool:
    """Whether a path is read here: all but folders of images, and a small .csv with the columns text and label."""
    there = Path(path).expanduser()
    if there.is_dir():
        return bool(readers.files(there))
    if there.suffix.lower() != ".csv":
        return there.suffix.lower() in readers.SUFFIXES
    whole = there.is_file() and {n.strip().lower() for n in readers.header(there)}
    return bool(whole) and (not {"text", "label"} <= whole or there.stat().st_size > LARGE)


def fingerprint(path: str) -> str:
    """16 hex digits of the sha256 of the files that a path stands for. DataError if there is none."""
    sha = hashlib.sha256()
    try:
        for file in readers.files(Path(path).expanduser()):
            with file.open("rb") as content:
                sha.update(hashlib.file_digest(content, "sha256").digest())
    except OSError as error:
        allowed = f"a folder, or a file that ends in {', '.join(readers.SUFFIXES)}"
        todo = "Check the path; a relative one starts in the current folder"
        raise problem(path, f"none that can be read ({error.strerror})", allowed, todo) from error
    return sha.hexdigest()[:16]


def parts(path: str, *, content: str = "", features: int = 256) -> Parts:
    """The fields of a data set. Splits, classes and super-classes are those of `custom.parts`, and so are the errors.

    x is float32 (N, D), or (N, channels, height, width) of images; of texts D is at most `features`.
    """
    require(isinstance(features, int) and features > 0, "features", features, "a whole number of at least 1")
    there, found = Path(path).expanduser(), fingerprint(path)
    if content and found != content:
        todo = "The data have changed since the question was asked: ask again, or restore them"
        raise problem(path, f"content {found}", f"content {content}", todo)
    words, x, keys = _of_arrays(there) if there.suffix.lower() in (".npz", ".npy") else _of_batches(there)
    if odd := {n: len(v) for n, v in words.items() if len(v) != len(keys)}:
        raise problem(path, f"{len(keys)} examples, {odd}", "one of each for each example", "Align them")
    label, given = words["label"], words.get("split", [])
    named = list(map(custom.split_of, given))
    if unknown := {name for name, split in zip(given, named) if not split}:
        raise problem(there, f"split {few(sorted(unknown))}", ", ".join(custom.SPLIT), "Correct these rows")
    of = custom.group_of(there, label, words["superclass"], range(len(label))) if "superclass" in words else {}
    rows = custom.split_rows(there, label, keys, named)
    place = cache_folder() / "own" / f"features-{found}-{features}-v{VERSION}"
    split = _text_features(there, rows, place, features) if x is None else _standard(x, rows)
    extra = {s: {"row": torch.tensor(rows[s])} for s in SPLITS}
    return {**custom.fields_of(label, rows, split, of), "extra": extra, "source": [found, features, VERSION]}


def _standard(x: np.ndarray, rows: Rows) -> dict[str, Tensor]:
    """Each column, or channel, minus its mean of train, over its standard deviation unless that is 0."""
    over = (0,) if x.ndim == 2 else (0, 2, 3)
    train = x[rows["train"]]
    mean, std = (f(train, axis=over, keepdims=True, dtype=np.float64) for f in (np.mean, np.std))
    std = np.where(std > 0, std, 1)
    return {s: torch.from_numpy(((x[rows[s]] - mean) / std).astype(np.float32)) for s in SPLITS}


def _keys(path: Path, x: np.ndarray) -> list[int]:
    """What tells examples apart; DataError for what are no finite numbers."""
    if x.dtype.kind not in "fiub" or x.ndim not in (2, 4) or not x.size:
        allowed = "numbers (N, D), or images (N, channels, height, width)"
        raise problem(path, f"x of shape {x.shape}, {x.dtype}", allowed, "Save it so")
    if (bad := np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(1))).size:
        raise problem(path, f"no numbers in rows {few(bad.tolist())} (from 0)", "finite numbers", "Fill or drop them")
    return [hash(row.tobytes()) for row in x]


def _of_arrays(path: Path) -> tuple[Words, np.ndarray, list[int]]:
    """What an .npz or .npy holds; super-classes are for each example or for each class in order."""
    found = readers.arrays(path)
    if not {"x", "label"} <= found.keys():
        todo = f"Save them so; with a .npy, labels lie beside it in {path.stem}_y.npy"
        raise problem(path, f"arrays {few(found)}", "x and y, or x_train, y_train, x_test and y_test", todo)
    words = {n: _words(path, n, found[n]) for n in (*readers.WORDS[1:], "classes") if n in found}
    numbered = {str(i): i for i, _ in enumerate(words.get("classes", []))}
    names = words.pop("classes", custom.natural(words["label"]))
    order = {c: i for i, c in enumerate(names)} | numbered
    if absent := sorted({*words["label"]} - order.keys()):
        raise problem(path, f"label {few(absent)}", f"names of classes, or numbers below {len(names)}", "Correct them")
    at = [order[c] for c in words["label"]]
    if len(words.get("superclass", at)) == len(names) != len(at):
        words["superclass"] = [words["superclass"][i] for i in at]
    words["label"] = [names[i] for i in at]
    return words, found["x"], _keys(path, found["x"])


def _words(path: Path, name: str, values: np.ndarray) -> list[str]:
    """Labels, splits, super-classes as text: numbers must be whole."""
    if values.dtype.kind == "f" and (values == np.floor(values)).all():
        values = values.astype(np.int64)
    if values.ndim != 1 or values.dtype.kind not in "iubUS":
        found = f"{name} of shape {values.shape}, {values.dtype}"
        raise problem(path, found, "one whole number or word for each example", "Save it so")
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values.tolist()]


def _of_batches(path: Path) -> tuple[Words, np.ndarray | None, list[int]]:
    """What columns hold: of texts the keys alone, which are all that features can tell apart."""
    words, blocks, keys = {}, [], []
    for batch in readers.batches(path):
        names = batch.schema.names
        others = [n for n in names if n not in readers.WORDS]
        if len(set(names)) < len(names) or "label" not in names or not {"x", "text", *others} & {*names}:
            raise problem(path, f"columns {few(names)}", ASKED, "Name each column once")
        for name in (n for n in readers.WORDS[1:] if n in names):
            column = batch[name].to_pylist()
            words.setdefault(name, []).extend("" if v is None else str(v).strip() for v in column)
        if "x" not in names and "text" in names:
            keys += [hash(" ".join(str(t).lower().split())) for t in batch["text"].to_pylist()]
        else:
            blocks.append(_block(path, [batch[n] for n in (["x"] if "x" in names else others)]))
    if not words:
        raise problem(path, "no rows", "a row for each example", "Add rows")
    for name, values in words.items():
        if empty := [i for i, v in enumerate(values) if not v]:
            raise problem(path, f"no {name} in rows {few(empty)} (from 0)", f"a {name} in each", "Fill or drop them")
    x = np.concatenate(blocks) if blocks else None
    return words, x, keys if x is None else _keys(path, x)


def _block(path: Path, columns: Sequence[pa.Array]) -> np.ndarray:
    """Columns of numbers, or one of lists of numbers, as (rows, D) of float32."""
    try:
        if pa.types.is_nested(columns[0].type):
            return np.array(columns[0].to_pylist(), np.float32).reshape(len(columns[0]), -1)
        return np.stack([c.to_numpy(zero_copy_only=False) for c in columns], 1).astype(np.float32)
    except (ValueError, TypeError) as error:
        raise problem(path, f"no numbers ({error})", "numbers, lists of one length", "Drop or encode them") from error


def _texts(path: Path) -> Iterator[list[str]]:
    """The texts of a file, a batch at a time."""
    return ([str(t) for t in batch["text"].to_pylist()] for batch in readers.batches(path))


def _text_features(path: Path, rows: Rows, place: Path, size: int) -> dict[str, Tensor]:
    """Features of texts by split, from the files in the folder `place`, which is written whole or not at all."""
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as folder:
            _write(path, rows, Path(folder) / "x", size)
            os.replace(Path(folder) / "x", place)
    return {s: torch.from_numpy(np.load(place / f"{s}.npy", mmap_mode="c")) for s in SPLITS}


def _write(path: Path, rows: Rows, place: Path, size: int) -> None:
    """The features in a new folder, an .npy for each split, as they are computed; progress on standard error."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    total, done = sum(map(len, rows.values())), 0
    if total >= SAID:
        tell(f"{path.name}: features of {total} texts, fitted on at most {FIT}")
    fit = torch.randperm(len(rows["train"]), generator=generator(0, "own_data:fit"))[:FIT].sort().values
    chosen = {rows["train"][i] for i in fit.tolist()}
    sample = [t for i, t in enumerate(t for part in _texts(path) for t in part) if i in chosen]
    counts = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, min_df=2, max_features=NGRAMS)
    try:
        fitted = counts.fit_transform(sample)
    except ValueError as error:
        allowed = "some n-grams, of 2 to 4 characters, in two texts or more"
        raise problem(path, "texts of train that share nothing", allowed, "Add texts to train", ValueError) from error
    width = min(size, *fitted.shape)
    reduce = make_pipeline(TruncatedSVD(width, random_state=0), Normalizer()).fit(fitted)
    where = {row: (s, at) for s in SPLITS for at, row in enumerate(rows[s])}
    place.mkdir()
    files = {s: np.lib.format.open_memmap(place / f"{s}.npy", "w+", np.float32, (len(rows[s]), width)) for s in SPLITS}
    for part in _texts(path):
        for row, x in enumerate(reduce.transform(counts.transform(part)) * width**0.5, done):
            split, at = where[row]
            files[split][at] = x
        if (done + len(part)) // SAID > done // SAID:
            tell(f"{path.name}: features of {done + len(part)} of {total} texts")
        done += len(part)


def of_arrays(x: object, y: object = None, *, name: str = "mine", **more: object) -> Data:
    """Arrays as a data set, kept in the cache by content: x (N, D), y (N,), perhaps superclass, split, classes.

    Or a scikit-learn bunch. The same as a file of these arrays: `ask`, `plans.study(dataset=...)` and beds take it.
    """
    if isinstance(x, Mapping):
        more = {"classes": x["target_names"]} if "target_names" in x and y is None else more
        x, y = x["data"], x["target"] if y is None else y
    given = {"x": x, "y": y} | {k: v for k, v in more.items() if v is not None}
    arrays = {k: np.asarray(v) for k, v in given.items()}
    arrays = {k: a.astype(str) if a.dtype == object else a for k, a in arrays.items()}
    digest = digest_of(*(part for k, a in arrays.items() for part in (k, a.shape, a.dtype.str, a.tobytes().hex())))
    file = cache_folder() / "own" / digest / f"{name}.npz"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            np.savez(Path(folder) / file.name, **arrays)
            os.replace(Path(folder) / file.name, file)
    return Data(str(file), pairs({"content": fingerprint(str(file))}))


DATASETS.other = ", or a path to your own (a file of embeddings, numbers or texts, a folder of images)"
DATASETS.found = lambda name: partial(parts, name) if isinstance(name, str) and is_table(name) else None
DATASETS.made = of_arrays
