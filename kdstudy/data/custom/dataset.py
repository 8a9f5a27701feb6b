"""A user's own data set: a CSV file of texts, or a folder of images.

DataError: a file is not as `parts` describes it. ValueError: it is, but cannot be studied.
"""

import hashlib
import os
import re
from bisect import bisect_right
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kdstudy.core.paths import cache_folder
from kdstudy.core.random import generator
from kdstudy.core.spec import require
from kdstudy.data import texts as clinc
from kdstudy.data.custom.read import content, few, images, is_folder, lines, pixels, place, problem, split_of, table

VERSION = 1  # part of the data's digest: raise it when splits or features change
SPLITS = ("train", "validation", "test")
SHARE = 0.15  # of each class, to each split that is drawn
GROUPS = "superclasses.csv"

Rows = Mapping[str, Sequence[int]]  # the examples of each split


def is_path(name: str) -> bool:
    """Whether a data set's name is meant as a path: ends in .csv, has a separator, or is an existing folder."""
    separators = {"/", os.sep, os.altsep or os.sep}
    return name.lower().endswith(".csv") or any(s in name for s in separators) or is_folder(name)


def fingerprint(path: str) -> str:
    """16 hex digits of the sha256 of a CSV file's bytes, or of the names and bytes of a folder's files.

    These are the files that `parts` reads, by relative name. DataError for a path that is absent or
    neither, for images that are not in split/class, and for a file that cannot be read.
    """
    there = place(path)
    if not is_folder(path):
        return hashlib.sha256(content(there)).hexdigest()[:16]
    files, sha = images(there), hashlib.sha256()
    if (there / GROUPS).exists():
        files[GROUPS] = there / GROUPS
    for name in sorted(files):
        for part in (os.fsencode(name), content(files[name])):
            sha.update(hashlib.sha256(part).digest())
    return sha.hexdigest()[:16]


def parts(path: str, *, sha256: str = "", features: int = 256, size: int = 32) -> dict[str, object]:
    """The fields of a data set: splits (x, y) of float32 (N, D) and int64 (N,), classes, super-classes, source.

    A CSV file is UTF-8 with the columns `text` and `label` and, if wanted, `superclass` and `split`;
    others are left out. x is `kdstudy.data.texts.features` of the texts, fitted on train and kept in the
    cache of data sets; D = `features`, or, if those are fewer, the n-grams known or the texts of train.

    A folder holds split/class/image and, if wanted, superclasses.csv with the columns `class` and
    `superclass`; other files, and hidden ones, are left out. The first frame of each image, without
    transparency, is resized to `size` x `size` bilinearly: D = size * size if all are grey, else
    size * size * 3, channels last. One mean is subtracted and divided by one standard deviation, of train.

    Splits are train, test and validation (or val, valid, dev), in any case. Without any, each class is
    divided 70/15/15 at random, the same way every time; equal examples of a class stay together. Without
    validation it is 15 % of each class of train, drawn likewise. Classes are in order, as numbers if all
    are whole numbers.

    DataError: a file is not so, or the fingerprint is not `sha256` where that is given. ValueError: an
    option out of range, one class only, too few examples of a class to divide, a class that train lacks,
    examples that do not differ.
    """
    require(isinstance(features, int) and features > 0, "features", features, "a whole number of at least 1")
    require(isinstance(size, int) and 0 < size <= 1024, "size", size, "a whole number from 1 to 1024")
    there, found = place(path), fingerprint(path)
    if sha256 and found != sha256:
        todo = "The data have changed since the question was asked: ask again, or restore them"
        raise problem(path, f"content {found}", f"content {sha256}", todo)
    return _of_images(there, found, size) if is_folder(path) else _of_texts(there, found, features)


def _of_texts(file: Path, found: str, features: int) -> dict[str, object]:
    rows = table(file, ("text", "label"), ("superclass", "split"))
    texts, labels = rows["text"], rows["label"]
    named = list(map(split_of, rows.get("split", [])))
    if wrong := [i for i, split in enumerate(named) if not split]:
        unknown = f"split {rows['split'][wrong[0]]!r} {lines([rows['line'][i] for i in wrong])}"
        raise problem(file, unknown, "train, validation (val, valid, dev), test", "Correct or remove these rows")
    of = _grouping(file, labels, rows["superclass"], rows["line"]) if "superclass" in rows else {}
    keys = [" ".join(text.lower().split()) for text in texts]  # all that features can tell apart
    splits = _splits(file, labels, keys, named)
    x = clinc.cached(
        cache_folder() / "own" / f"features-{found}-{features}-v{VERSION}.{clinc.VERSION}.npz",
        lambda: _features(file, {s: [texts[i] for i in splits[s]] for s in SPLITS}, features),
    )
    x = {s: torch.from_numpy(x[s]) for s in SPLITS}
    return {**_fields(labels, splits, x, of), "source": [found, features, VERSION, clinc.VERSION]}


def _features(file: Path, texts: Mapping[str, Sequence[str]], size: int) -> clinc.Arrays:
    """`clinc150.features` of at most `size` columns: no more than n-grams, or texts, in train."""
    from sklearn.feature_extraction.text import CountVectorizer

    count = CountVectorizer(analyzer="char_wb", ngram_range=(2, 4), min_df=2)  # the n-grams of clinc150.features
    try:
        known = len(count.fit(texts["train"]).vocabulary_)
    except ValueError as error:
        found, allowed = "texts of train that share nothing", "some n-grams, of 2 to 4 characters, in two texts or more"
        raise problem(file, found, allowed, "Add texts to train", ValueError) from error
    with np.errstate(divide="ignore", invalid="ignore"):  # the share of variance, which nobody asks for, of texts alike
        return clinc.features(texts, min(size, known, len(texts["train"])))


def _of_images(folder: Path, found: str, size: int) -> dict[str, object]:
    files = images(folder)
    split, labels = zip(*(name.split("/")[:2] for name in files))
    of, x = _folder_groups(folder, labels), pixels(files.values(), size)
    splits = _splits(folder, labels, [row.tobytes() for row in x], list(map(split_of, split)))
    train = x[splits["train"]]
    mean, std = (moment(dtype=np.float64).item() for moment in (train.mean, train.std))
    x = {s: (torch.from_numpy(x[rows]).float() - mean) / std for s, rows in splits.items()}
    return {**_fields(labels, splits, x, of), "source": [found, size, VERSION]}


def _folder_groups(folder: Path, labels: Sequence[str]) -> dict[str, str]:
    """The super-class of each class as superclasses.csv says; empty without that file."""
    file = folder / GROUPS
    if not file.exists():
        return {}
    rows = table(file, ("class", "superclass"))
    of = _grouping(file, rows["class"], rows["superclass"], rows["line"])
    if absent := set(labels) - set(of):
        raise problem(file, f"no class {few(_natural(absent))}", "a row for each class", "Add these classes")
    return of


def _grouping(file: Path, labels: Sequence[str], groups: Sequence[str], numbers: Sequence[int]) -> dict[str, str]:
    """The super-class of each label."""
    of: dict[str, str] = {}
    if clash := [i for i, label in enumerate(labels) if of.setdefault(label, groups[i]) != groups[i]]:
        i = clash[0]
        found = f"class {labels[i]!r} in {of[labels[i]]!r} and {groups[i]!r} ({lines([numbers[i] for i in clash])})"
        raise problem(file, found, "one super-class for each class", "Correct these rows")
    return of


def _splits(path: Path, labels: Sequence[str], keys: Sequence[Hashable], named: Sequence[str]) -> Rows:
    """Splits as `named`, a name for each example or none at all; what is not named is drawn."""
    if len(set(labels)) < 2:
        raise problem(path, f"one class, {labels[0]!r}", "at least two", "Add examples of another class", ValueError)
    rows = {s: [i for i, name in enumerate(named) if name == s] for s in SPLITS}
    if named and not (rows["train"] and rows["test"]):
        there = " and ".join(s for s in SPLITS if rows[s])
        raise problem(
            path, f"{there} only", "train and test, with or without validation", "Add the split that is absent"
        )
    if not named:
        rows = _drawn(path, range(len(labels)), labels, keys, ("test", "validation"))
    elif not rows["validation"]:
        rows |= _drawn(path, rows["train"], labels, keys, ("validation",))
    for split in SPLITS[1:]:
        if new := {labels[i] for i in rows[split]} - {labels[i] for i in rows["train"]}:
            todo = "Add examples of these classes to train, or remove them"
            raise problem(path, f"{few(_natural(new))} in {split}", "classes of train", todo, ValueError)
    if len({keys[i] for i in rows["train"]}) < 2:
        raise problem(path, "equal examples throughout train", "some that differ", "Check the files", ValueError)
    return rows


def _drawn(
    path: Path, rows: Iterable[int], labels: Sequence[str], keys: Sequence[Hashable], drawn: Sequence[str]
) -> dict[str, list[int]]:
    """`rows` divided: of each class the fraction SHARE to each split `drawn`, the others to train."""
    equal: dict[str, dict[Hashable, list[int]]] = {}
    for i in rows:
        equal.setdefault(labels[i], {}).setdefault(keys[i], []).append(i)
    if scarce := [c for c in _natural(equal) if len(equal[c]) <= len(drawn)]:
        found = few((f"{len(equal[c])} of {c!r}" for c in scarce), str)
        allowed = f"at least {len(drawn) + 1} different examples of each class to draw {' and '.join(drawn)} from"
        raise problem(path, found, allowed, "Add examples, remove these classes, or name all splits", ValueError)
    to: dict[str, list[int]] = {split: [] for split in ("train", *drawn)}
    for label, alike in equal.items():
        ends = [max(k, round(k * SHARE * len(alike))) for k in range(1, len(drawn) + 1)]
        order = torch.randperm(len(alike), generator=generator(0, f"own_data:{label}")).tolist()
        for at, members in zip(order, alike.values()):
            to[(*drawn, "train")[bisect_right(ends, at)]] += members
    return {split: sorted(members) for split, members in to.items()}


def _natural(names: Iterable[str]) -> list[str]:
    """Names in order, once each; as numbers if all are whole numbers."""
    once = set(names)
    whole = all(re.fullmatch("[+-]?[0-9]{1,18}", name) for name in once)
    return sorted(once, key=lambda name: (int(name) if whole else 0, name))


def _fields(labels: Sequence[str], rows: Rows, x: Mapping[str, Tensor], of: Mapping[str, str]) -> dict[str, object]:
    """The data set's fields but its source; `of`: the super-class of each class, or empty."""
    classes = _natural(labels)
    number = {label: c for c, label in enumerate(classes)}
    fields = {s: (x[s], torch.tensor([number[labels[i]] for i in rows[s]])) for s in SPLITS}
    if not of:
        return {**fields, "classes": tuple(classes)}
    groups = _natural(of[c] for c in classes)
    superclass = torch.tensor([groups.index(of[c]) for c in classes])
    return {**fields, "classes": tuple(classes), "superclass": superclass, "superclasses": tuple(groups)}
