"""A user's own data set, read and split: a CSV file of texts, or a folder of images.

DataError: a file is not as `parts` describes it, with the lines at fault. ValueError: it is, but cannot be studied.
"""

import csv
import hashlib
import io
import os
import re
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from kdstudy.core.paths import cache_folder
from kdstudy.core.random import generator
from kdstudy.core.spec import require
from kdstudy.data import texts as clinc
from kdstudy.data.download import DataError

VERSION = 1  # part of the data's digest: raise it when splits or features change
SPLITS = ("train", "validation", "test")
SHARE = 0.15  # of each class, to each split that is drawn
GROUPS = "superclasses.csv"
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # what PIL may take a file for, whatever its name
SPLIT = {s: s for s in ("train", "validation", "test")} | dict.fromkeys(("val", "valid", "dev"), "validation")
LAYOUT = "images as split/class/image, with splits train, test and, if wanted, validation"

Rows = Mapping[str, Sequence[int]]  # the examples of each split


def is_path(name: str) -> bool:
    """Whether a data set's name is meant as a path: ends in .csv, has a separator, or is an existing folder."""
    separators = {"/", os.sep, os.altsep or os.sep}
    return name.lower().endswith(".csv") or any(s in name for s in separators) or _is_folder(name)


def fingerprint(path: str) -> str:
    """16 hex digits of the sha256 of a CSV file's bytes, or of the names and bytes of a folder's files.

    These are the files that `parts` reads, by relative name. DataError for a path that is absent or
    neither, for images that are not in split/class, and for a file that cannot be read.
    """
    there = _resolve(path)
    if not _is_folder(path):
        return hashlib.sha256(_read_bytes(there)).hexdigest()[:16]
    files, sha = _list_images(there), hashlib.sha256()
    if (there / GROUPS).exists():
        files[GROUPS] = there / GROUPS
    for name in sorted(files):
        for part in (os.fsencode(name), _read_bytes(files[name])):
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
    there, found = _resolve(path), fingerprint(path)
    if sha256 and found != sha256:
        todo = "The data have changed since the question was asked: ask again, or restore them"
        raise problem(path, f"content {found}", f"content {sha256}", todo)
    return _of_images(there, found, size) if _is_folder(path) else _of_texts(there, found, features)


def _of_texts(file: Path, found: str, features: int) -> dict[str, object]:
    rows = _read_csv(file, ("text", "label"), ("superclass", "split"))
    texts, labels = rows["text"], rows["label"]
    named = list(map(split_of, rows.get("split", [])))
    if wrong := [i for i, split in enumerate(named) if not split]:
        unknown = f"split {rows['split'][wrong[0]]!r} {_lines([rows['line'][i] for i in wrong])}"
        raise problem(file, unknown, "train, validation (val, valid, dev), test", "Correct or remove these rows")
    of = group_of(file, labels, rows["superclass"], rows["line"]) if "superclass" in rows else {}
    keys = [" ".join(text.lower().split()) for text in texts]  # all that features can tell apart
    splits = split_rows(file, labels, keys, named)
    x = clinc.cached(
        cache_folder() / "own" / f"features-{found}-{features}-v{VERSION}.{clinc.VERSION}.npz",
        lambda: _features(file, {s: [texts[i] for i in splits[s]] for s in SPLITS}, features),
    )
    x = {s: torch.from_numpy(x[s]) for s in SPLITS}
    return {**fields_of(labels, splits, x, of), "source": [found, features, VERSION, clinc.VERSION]}


def _features(file: Path, texts: Mapping[str, Sequence[str]], size: int) -> clinc.Arrays:
    """`texts.features` of at most `size` columns: no more than n-grams, or texts, in train."""
    from sklearn.feature_extraction.text import CountVectorizer

    count = CountVectorizer(analyzer="char_wb", ngram_range=(2, 4), min_df=2)  # the n-grams of texts.features
    try:
        known = len(count.fit(texts["train"]).vocabulary_)
    except ValueError as error:
        found, allowed = "texts of train that share nothing", "some n-grams, of 2 to 4 characters, in two texts or more"
        raise problem(file, found, allowed, "Add texts to train", ValueError) from error
    with np.errstate(divide="ignore", invalid="ignore"):  # the share of variance, which nobody asks for, of texts alike
        return clinc.features(texts, min(size, known, len(texts["train"])))


def _of_images(folder: Path, found: str, size: int) -> dict[str, object]:
    files = _list_images(folder)
    split, labels = zip(*(name.split("/")[:2] for name in files))
    of, x = _folder_groups(folder, labels), _read_images(files.values(), size)
    splits = split_rows(folder, labels, [row.tobytes() for row in x], list(map(split_of, split)))
    train = x[splits["train"]]
    mean, std = (moment(dtype=np.float64).item() for moment in (train.mean, train.std))
    x = {s: (torch.from_numpy(x[rows]).float() - mean) / std for s, rows in splits.items()}
    return {**fields_of(labels, splits, x, of), "source": [found, size, VERSION]}


def _folder_groups(folder: Path, labels: Sequence[str]) -> dict[str, str]:
    """The super-class of each class as superclasses.csv says; empty without that file."""
    file = folder / GROUPS
    if not file.exists():
        return {}
    rows = _read_csv(file, ("class", "superclass"))
    of = group_of(file, rows["class"], rows["superclass"], rows["line"])
    if absent := set(labels) - set(of):
        raise problem(file, f"no class {few(natural(absent))}", "a row for each class", "Add these classes")
    return of


def group_of(file: Path, labels: Sequence[str], groups: Sequence[str], numbers: Sequence[int]) -> dict[str, str]:
    """The super-class of each label."""
    of: dict[str, str] = {}
    if clash := [i for i, label in enumerate(labels) if of.setdefault(label, groups[i]) != groups[i]]:
        i = clash[0]
        found = f"class {labels[i]!r} in {of[labels[i]]!r} and {groups[i]!r} ({_lines([numbers[i] for i in clash])})"
        raise problem(file, found, "one super-class for each class", "Correct these rows")
    return of


def split_rows(path: Path, labels: Sequence[str], keys: Sequence[Hashable], named: Sequence[str]) -> Rows:
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
            raise problem(path, f"{few(natural(new))} in {split}", "classes of train", todo, ValueError)
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
    if scarce := [c for c in natural(equal) if len(equal[c]) <= len(drawn)]:
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


def natural(names: Iterable[str]) -> list[str]:
    """Names in order, once each; as numbers if all are whole numbers."""
    once = set(names)
    whole = all(re.fullmatch("[+-]?[0-9]{1,18}", name) for name in once)
    return sorted(once, key=lambda name: (int(name) if whole else 0, name))


def fields_of(labels: Sequence[str], rows: Rows, x: Mapping[str, Tensor], of: Mapping[str, str]) -> dict[str, object]:
    """The data set's fields but its source; `of`: the super-class of each class, or empty."""
    classes = natural(labels)
    number = {label: c for c, label in enumerate(classes)}
    fields = {s: (x[s], torch.tensor([number[labels[i]] for i in rows[s]])) for s in SPLITS}
    if not of:
        return {**fields, "classes": tuple(classes)}
    groups = natural(of[c] for c in classes)
    superclass = torch.tensor([groups.index(of[c]) for c in classes])
    return {**fields, "classes": tuple(classes), "superclass": superclass, "superclasses": tuple(groups)}


# ---------------------------------------------------------------- files


def problem(where: object, found: str, allowed: str, todo: str, kind: type[Exception] = DataError) -> Exception:
    """The error that says what was found where, what is allowed, and what to do next."""
    return kind(f"{where}: found {found}, allowed: {allowed}. {todo}")


def few(values: Iterable[object], show: Callable[[object], str] = repr) -> str:
    """The first five of several values in words, each cut after 60 characters."""
    shown = [word if len(word) <= 60 else f"{word[:60]}..." for word in map(show, values)]
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")


def _lines(numbers: Sequence[int]) -> str:
    """The first five of several line numbers in words."""
    return f"in line{'s' if len(numbers) > 1 else ''} {few(numbers)}"


def _is_folder(path: str) -> bool:
    """Whether there is such a folder; a leading ~ is the user's home."""
    return os.path.isdir(os.path.expanduser(path))


def _resolve(path: str) -> Path:
    """The .csv file or folder at `path`."""
    there, allowed = os.path.expanduser(path), "a .csv file of texts, or a folder of images"
    if not os.path.exists(there):
        todo = "Check the path; a relative one starts in the current folder"
        raise problem(path, "no such file or folder", allowed, todo)
    if not os.path.isdir(there) and not (os.path.isfile(there) and there.lower().endswith(".csv")):
        todo = "Save texts as CSV with columns text and label, and give images as their folder"
        raise problem(path, "a file of another kind", allowed, todo)
    return Path(there)


def _read_bytes(file: Path) -> bytes:
    """The file's bytes."""
    try:
        return file.read_bytes()
    except OSError as error:
        todo = "Check the file and its permissions, or remove it"
        raise problem(file, f"{type(error).__name__} ({error.strerror})", "a file that can be read", todo) from error


# ---------------------------------------------------------------- tables


def _text(file: Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark, without NUL."""
    raw = _read_bytes(file)
    try:
        whole = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{raw[error.start]:02x} at offset {error.start} in line {line}"
        raise problem(file, found, "UTF-8", "Save the file as UTF-8") from error
    if (at := whole.find("\0")) >= 0:
        line = whole.count("\n", 0, at) + 1
        raise problem(file, f"a NUL byte in line {line}", "text without NUL bytes", "Save the file as UTF-8 text")
    return whole.removeprefix("\ufeff")


def _rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file that are not blank, each with the line it starts in."""
    reader, line = csv.reader(io.StringIO(_text(file), newline=""), strict=True), 1
    try:
        for row in reader:
            if len(row) > 1 or "".join(row).strip():
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        todo = "Put a field with commas, quotes or line breaks inside into quotes, and double the quotes inside"
        raise problem(file, f"a broken row from line {line} on ({error})", "CSV with commas", todo) from error


def _read_csv(file: Path, needed: Sequence[str], wanted: Sequence[str] = ()) -> dict[str, list]:
    """The columns of a CSV file by name, those `wanted` only if they are there, and "line" of each row.

    Names in any case; other columns are left out. Values without blanks around them, none empty.
    """
    names, found = _header(file, needed, wanted)
    if wrong := [line for line, row in found if len(row) != len(names)]:
        todo = "Put fields with commas inside into quotes, and leave none out"
        raise problem(file, f"more or fewer fields {_lines(wrong)}", f"{len(names)} fields, one for each column", todo)
    known = [name for name in (*needed, *wanted) if name in names]
    columns = {name: [row[names.index(name)].strip() for _, row in found] for name in known}
    columns["line"] = [line for line, _ in found]
    for name in known:
        if empty := [line for line, value in zip(columns["line"], columns[name]) if not value]:
            todo = f"Fill in or remove these rows{', or remove the column' if name in wanted else ''}"
            raise problem(file, f"an empty {name} {_lines(empty)}", f"a {name} in each row", todo)
    return columns


def _header(file: Path, needed: Sequence[str], wanted: Sequence[str]) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The names of the columns, and the rows below them."""
    found = list(_rows(file))
    names = [name.strip().lower() for name in found[0][1]] if found else []
    if not set(needed) <= set(names) or any(names.count(name) > 1 for name in (*needed, *wanted)):
        there = f"columns {few(names)}" if names else "an empty file"
        allowed = f"columns {', '.join(needed)}" + (f" and, if wanted, {', '.join(wanted)}" if wanted else "")
        raise problem(file, there, allowed, "Name each column once in the first line, separated by commas")
    if not found[1:]:
        raise problem(file, "no rows", "a row for each example", "Add rows below the names of the columns")
    return names, found[1:]


# ---------------------------------------------------------------- images


def _list_images(folder: Path) -> dict[str, Path]:
    """The images of a folder by relative name, in order: split/class/image, some in each class of train.

    Hidden files, and those without the suffix of an image, are left out.
    """
    inside = _inside(folder)
    found = {name: path for name, path in inside.items() if path.suffix.lower() in SUFFIXES and not path.is_dir()}
    todo = "Arrange the images so, with these names of splits"
    if not found:
        there = f"no image, but {few(n for n in inside if '/' not in n)}" if inside else "nothing in it"
        raise problem(folder, there, f"{LAYOUT}, ending in {', '.join(SUFFIXES)}", todo)
    if astray := [name for name in found if name.count("/") != 2 or not split_of(name)]:
        raise problem(folder, few(astray), LAYOUT, todo)
    filled = {name.rpartition("/")[0] for name in found}
    classes = [name for name, path in inside.items() if name.count("/") == 1 and path.is_dir()]
    if empty := [name for name in classes if split_of(name) == "train" and name not in filled]:
        todo = "Add images, or remove the folder"
        raise problem(folder, f"no image in {few(empty)}", "at least one in each class of train", todo)
    return found


def _inside(folder: Path) -> dict[str, Path]:
    """All that is not hidden, by relative name, in order; a level deeper than images should be."""
    paths = [path for depth in range(1, 5) for path in folder.glob("/".join("*" * depth))]
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: names[name] for name in sorted(names) if not re.search(r"(^|/)\.", name)}


def split_of(name: str) -> str:
    """The split that a name, or the first folder of a relative name, means; "" if none."""
    return SPLIT.get(name.split("/")[0].lower(), "")


def _read_images(files: Iterable[Path], size: int) -> UInt8[np.ndarray, "N D"]:
    """Images of size x size, by rows and columns: D = size * size if all are grey, else with R, G, B last."""
    x = np.stack([_image(file, size) for file in files])
    grey = (x == x[..., :1]).all()
    return x[..., : 1 if grey else 3].reshape(len(x), -1)


def _image(file: Path, size: int) -> UInt8[np.ndarray, "H W 3"]:
    from PIL import Image

    raw, todo = _read_bytes(file), "Save it anew, or remove it"
    try:
        with Image.open(io.BytesIO(raw), formats=FORMATS) as image:
            image.load()
    except Exception as error:  # broken files make PIL raise OSError, SyntaxError, ValueError, struct.error, ...
        reason = str(error).partition(" <")[0]  # without the address of a file in memory
        raise problem(file, f"{type(error).__name__} ({reason})", "an image that can be read", todo) from error
    if image.mode[0] in "IF":  # 16 bits and more: PIL would clip them at 255
        raise problem(file, f"pixels of mode {image.mode}", "8 bits for each channel", "Convert it to 8 bits")
    if image.mode == "P":  # a palette may be transparent, which only RGBA can say
        image = image.convert("RGBA")
    return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
