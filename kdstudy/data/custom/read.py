"""A user's own files: CSV tables and folders of images, found, read and checked.

Those that read raise `DataError` for a file that is not what their docstring says, with the lines at fault.
"""

import csv
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from kdstudy.data.download import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # what PIL may take a file for, whatever its name
SPLIT = {s: s for s in ("train", "validation", "test")} | dict.fromkeys(("val", "valid", "dev"), "validation")
LAYOUT = "images as split/class/image, with splits train, test and, if wanted, validation"


def problem(where: object, found: str, allowed: str, todo: str, kind: type[Exception] = DataError) -> Exception:
    """The error that says what was found where, what is allowed, and what to do next."""
    return kind(f"{where}: found {found}, allowed: {allowed}. {todo}")


def few(values: Iterable[object], show: Callable[[object], str] = repr) -> str:
    """The first five of several values in words, each cut after 60 characters."""
    shown = [word if len(word) <= 60 else f"{word[:60]}..." for word in map(show, values)]
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")


def lines(numbers: Sequence[int]) -> str:
    """The first five of several line numbers in words."""
    return f"in line{'s' if len(numbers) > 1 else ''} {few(numbers)}"


def is_folder(path: str) -> bool:
    """Whether there is such a folder; a leading ~ is the user's home."""
    return os.path.isdir(os.path.expanduser(path))


def place(path: str) -> Path:
    """The .csv file or folder at `path`."""
    there, allowed = os.path.expanduser(path), "a .csv file of texts, or a folder of images"
    if not os.path.exists(there):
        todo = "Check the path; a relative one starts in the current folder"
        raise problem(path, "no such file or folder", allowed, todo)
    if not os.path.isdir(there) and not (os.path.isfile(there) and there.lower().endswith(".csv")):
        todo = "Save texts as CSV with columns text and label, and give images as their folder"
        raise problem(path, "a file of another kind", allowed, todo)
    return Path(there)


def content(file: Path) -> bytes:
    """The file's bytes."""
    try:
        return file.read_bytes()
    except OSError as error:
        todo = "Check the file and its permissions, or remove it"
        raise problem(file, f"{type(error).__name__} ({error.strerror})", "a file that can be read", todo) from error


# ---------------------------------------------------------------- tables


def text(file: Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark, without NUL."""
    raw = content(file)
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


def rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file that are not blank, each with the line it starts in."""
    reader, line = csv.reader(io.StringIO(text(file), newline=""), strict=True), 1
    try:
        for row in reader:
            if len(row) > 1 or "".join(row).strip():
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        todo = "Put a field with commas, quotes or line breaks inside into quotes, and double the quotes inside"
        raise problem(file, f"a broken row from line {line} on ({error})", "CSV with commas", todo) from error


def table(file: Path, needed: Sequence[str], wanted: Sequence[str] = ()) -> dict[str, list]:
    """The columns of a CSV file by name, those `wanted` only if they are there, and "line" of each row.

    Names in any case; other columns are left out. Values without blanks around them, none empty.
    """
    names, found = _header(file, needed, wanted)
    if wrong := [line for line, row in found if len(row) != len(names)]:
        todo = "Put fields with commas inside into quotes, and leave none out"
        raise problem(file, f"more or fewer fields {lines(wrong)}", f"{len(names)} fields, one for each column", todo)
    known = [name for name in (*needed, *wanted) if name in names]
    columns = {name: [row[names.index(name)].strip() for _, row in found] for name in known}
    columns["line"] = [line for line, _ in found]
    for name in known:
        if empty := [line for line, value in zip(columns["line"], columns[name]) if not value]:
            todo = f"Fill in or remove these rows{', or remove the column' if name in wanted else ''}"
            raise problem(file, f"an empty {name} {lines(empty)}", f"a {name} in each row", todo)
    return columns


def _header(file: Path, needed: Sequence[str], wanted: Sequence[str]) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The names of the columns, and the rows below them."""
    found = list(rows(file))
    names = [name.strip().lower() for name in found[0][1]] if found else []
    if not set(needed) <= set(names) or any(names.count(name) > 1 for name in (*needed, *wanted)):
        there = f"columns {few(names)}" if names else "an empty file"
        allowed = f"columns {', '.join(needed)}" + (f" and, if wanted, {', '.join(wanted)}" if wanted else "")
        raise problem(file, there, allowed, "Name each column once in the first line, separated by commas")
    if not found[1:]:
        raise problem(file, "no rows", "a row for each example", "Add rows below the names of the columns")
    return names, found[1:]


# ---------------------------------------------------------------- images


def images(folder: Path) -> dict[str, Path]:
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


def pixels(files: Iterable[Path], size: int) -> UInt8[np.ndarray, "N D"]:
    """Images of size x size, by rows and columns: D = size * size if all are grey, else with R, G, B last."""
    x = np.stack([_image(file, size) for file in files])
    grey = (x == x[..., :1]).all()
    return x[..., : 1 if grey else 3].reshape(len(x), -1)


def _image(file: Path, size: int) -> UInt8[np.ndarray, "H W 3"]:
    from PIL import Image

    raw, todo = content(file), "Save it anew, or remove it"
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
