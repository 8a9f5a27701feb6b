"""Somebody's logits from a file (.npz, .safetensors, .parquet): the arguments of `diagnose`.

| format | arrays | what has another length than N |
| --- | --- | --- |
| .npz | by name | by name |
| .safetensors | by name | by name; `class_names`, `superclass`, `tau` also as JSON in the file's metadata |
| .parquet | columns: lists, or one a class (`teacher_logits_0`, ...) | rows by `split`; metadata as above |

With `heldout`, a second file's `teacher_logits`, `labels` and `student_logits` are those of held-out examples.
"""

import difflib
import json
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from tokenize import TokenError

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool
from safetensors import SafetensorError, safe_open

from kdstudy.core.registry import Registry
from kdstudy.diagnosis.inputs import Unusable

Arrays = dict[str, object]

NEEDED = ("teacher_logits", "labels")
IN_METADATA = ("class_names", "superclass", "tau")  # may be JSON there
KNOWN = (*NEEDED, "student_logits", "heldout_teacher_logits", "heldout_labels", "student_val_logits", *IN_METADATA)
HELDOUT = {"teacher_logits": "heldout_teacher_logits", "labels": "heldout_labels",
           "student_logits": "student_val_logits"}  # fmt: skip
BROKEN = (OSError, ValueError, KeyError, EOFError, MemoryError, OverflowError, RuntimeError, SyntaxError, TokenError,
          struct.error, zipfile.BadZipFile, zlib.error, pa.ArrowException, SafetensorError)  # fmt: skip
SPLITS = ("train", "heldout", "held-out", "held_out", "validation", "val", "valid", "dev", "test")
SAVE = "save it anew with np.savez(FILE, teacher_logits=..., labels=...)"


def read(path: str, heldout: str | None = None) -> tuple[Arrays, list[str]]:
    """The arguments of `diagnose` that a file holds, and the names it holds beside them, which are left out.

    Logits and labels stay as they are; names become text, super-classes whole numbers.
    Raises Unusable: no such file, none that can be read, an array missing or of objects.
    """
    arrays, names = _read_one(path)
    if heldout is not None:
        other, more = _read_one(heldout)
        if stated := [name for name in HELDOUT.values() if name in arrays]:
            raise Unusable(f"{heldout}: found {stated[0]} in {printable(path)} too, allowed: held-out examples once")
        arrays |= {new: other[old] for old, new in HELDOUT.items() if old in other}
        names += [name for name in more if name not in names]
    return arrays, names


def _read_one(path: str) -> tuple[Arrays, list[str]]:
    """What one file holds: arrays that are known, names that are not."""
    where = printable(path)
    suffix = _suffix(path, where)
    try:
        arrays, names = READERS[suffix.removeprefix(".")](path)
        arrays = {name: _checked(name, value) for name, value in arrays.items()}
    except Unusable as error:
        raise Unusable(f"{where}: {error}") from None
    except BROKEN as error:
        why = " ".join(str(error).split()) or type(error).__name__
        why = printable(why if len(why) <= 160 else f"{why[:160]}...")
        found = f"found a file that is cut off or broken ({why})"
        raise Unusable(f"{where}: {found}, allowed: a whole one; {SAVE}") from None
    others = [name for name in names if name not in KNOWN]
    if missing := [name for name in NEEDED if name not in arrays]:
        there = f"arrays {_listed(names)}" if names else "no arrays"
        meant = "".join(f"; rename {guess} if it is the {name}" for name in missing for guess in _near(name, others))
        lacks = f"but no {' and no '.join(missing)}, allowed: both under these names{meant}"
        raise Unusable(f"{where}: found {there}, {lacks}")
    return arrays, others


def _suffix(path: str, where: str) -> str:
    """The kind of file, if it is one that can be read."""
    try:
        kind = os.stat(path).st_mode
        if stat.S_ISREG(kind):
            open(path, "rb").close()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        todo = "allowed: a file of logits; check the path"
        raise Unusable(f"{where}: found no file that can be read ({why}), {todo}") from None
    if not stat.S_ISREG(kind):
        found = "a folder" if stat.S_ISDIR(kind) else "no ordinary file"
        raise Unusable(f"{where}: found {found}, allowed: a file of logits; name the file itself")
    suffix = os.path.splitext(path)[1].lower()
    if suffix.removeprefix(".") not in READERS:
        allowed = ", ".join(f".{name}" for name in READERS)
        raise Unusable(f"{where}: found the suffix {suffix!r}, allowed: {allowed}; {SAVE}")
    return suffix


# ---------------------------------------------------------------- formats: one reader each, named as the suffix

READERS: Registry = Registry("file format")  # path -> known arrays by name, all names that the file has


@READERS.register
def npz(path: str) -> tuple[Arrays, list[str]]:
    """An archive of numpy's arrays; nothing in it is unpickled."""
    if not zipfile.is_zipfile(path):
        raise Unusable(f"found no archive of arrays (cut off, or saved by something else), allowed: .npz; {SAVE}")
    with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as archive:  # by its name, broken ones stay open
        return {name: _member(archive, name) for name in KNOWN if name in archive.files}, list(archive.files)


def _member(archive: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    try:
        value = archive[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        todo = "np.array(names, dtype=str)" if name == "class_names" else "np.asarray(rows, dtype=np.float32)"
        raise Unusable(f"found Python objects (pickled) in {name}, allowed: numbers or text; save {todo}") from None
    if not isinstance(value, np.ndarray):
        raise Unusable(f"found bytes that are no array in {name}, allowed: .npy inside .npz; {SAVE}")
    return value


@READERS.register
def safetensors(path: str) -> tuple[Arrays, list[str]]:
    """Tensors by name, in torch's types."""
    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
        tensors = {name: file.get_tensor(name) for name in KNOWN if name in names}
        return _from_metadata(file.metadata() or {}) | tensors, names


@READERS.register
def parquet(path: str) -> tuple[Arrays, list[str]]:
    """Columns, of which a column `split` may hold out rows."""
    with pq.ParquetFile(path) as file:
        names, metadata = list(dict.fromkeys(file.schema_arrow.names)), file.schema_arrow.metadata or {}
        if misplaced := [name for name in KNOWN if name in names and name not in HELDOUT]:
            elsewhere = "rows with split = heldout, or --heldout FILE"
            where = "JSON in the file's metadata" if misplaced[0] in IN_METADATA else elsewhere
            raise Unusable(f"found {misplaced[0]} as a column, allowed in .parquet: {where}")
        arrays = _from_metadata({k.decode(errors="replace"): v.decode(errors="replace") for k, v in metadata.items()})
        heldout, there = _heldout(file), []
        for name in HELDOUT:
            if each := [name] if name in names else _numbered(name, names):
                rows = _rows(file, name) if each == [name] else _stacked(file, each)
                parts = {name: rows[~heldout], HELDOUT[name]: rows[heldout]} if heldout.any() else {name: rows}
                arrays, there, names = arrays | parts, [*there, name], [n for n in names if n not in each]
    return arrays, there + [name for name in names if name != "split"]


def _numbered(name: str, names: Sequence[str]) -> list[str]:
    """`name_0`, `name_1`, ... in order, if there are any; Unusable if one is left out."""
    found = {int(m[1]): n for n in names if (m := re.fullmatch(rf"{name}_([0-9]{{1,6}})", n))}
    if gaps := [i for i in range(len(found)) if i not in found]:
        raise Unusable(f"found columns {name}_... without number {gaps[0]}, allowed: 0, 1, ... without a gap")
    return [found[i] for i in range(len(found))]


def _heldout(file: pq.ParquetFile) -> Bool[np.ndarray, " N"]:
    """Which rows are held out; none, without a column `split`."""
    if "split" not in file.schema_arrow.names:
        return np.zeros(file.metadata.num_rows, dtype=bool)
    words = [str(word) for word in _column(file, "split").to_pylist()]
    if unknown := sorted(word for word in set(words) if word.lower() not in SPLITS):
        raise Unusable(f"found split {unknown[0][:40]!r}, allowed: {', '.join(SPLITS)}")
    return np.array([word.lower() != SPLITS[0] for word in words], dtype=bool)


def _stacked(file: pq.ParquetFile, each: Sequence[str]) -> np.ndarray:
    """One column a class, as (N, C); one column is read at a time."""
    for j, name in enumerate(each):
        column = _rows(file, name)
        if column.ndim != 1:
            raise Unusable(f"found lists in {name}, allowed: numbers in {name}, or lists in one column")
        if j == 0:
            out = np.empty((len(column), len(each)), dtype=column.dtype)
        out = out.astype(np.result_type(out.dtype, column.dtype), copy=False)
        out[:, j] = column
    return out


def _rows(file: pq.ParquetFile, name: str) -> np.ndarray:
    """One column: numbers (N,), or lists of equal length as (N, C). Missing numbers are NaN."""
    column = _column(file, name)
    if not _is_list(column):
        return column.to_numpy(zero_copy_only=False)
    lengths = pc.list_value_length(column).unique().to_pylist()
    if len(lengths) > 1 or None in lengths:
        shown = ", ".join(sorted("none" if n is None else str(n) for n in lengths)[:5])
        raise Unusable(f"found lists of different lengths in {name} ({shown}), allowed: C numbers in each row")
    numbers = _plain(column.flatten())
    if _is_list(numbers):
        raise Unusable(f"found lists of lists in {name}, allowed: C numbers in each row")
    return numbers.to_numpy(zero_copy_only=False).reshape(len(column), *lengths)


def _column(file: pq.ParquetFile, name: str) -> pa.Array:
    """A column in one piece."""
    return _plain(file.read(columns=[name]).column(0).combine_chunks())


def _plain(array: pa.Array) -> pa.Array:
    """Extension types and dictionaries as what they stand for."""
    array = array.storage if isinstance(array, pa.ExtensionArray) else array
    return array.dictionary_decode() if isinstance(array, pa.DictionaryArray) else array


def _is_list(array: pa.Array) -> bool:
    kind = array.type
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _from_metadata(metadata: Mapping[str, str]) -> Arrays:
    """What a file's metadata says in JSON."""
    arrays = {}
    for name in IN_METADATA:
        if name in metadata:
            try:
                arrays[name] = np.array(json.loads(metadata[name]))
            except (ValueError, RecursionError):
                raise Unusable(f"found metadata {name} that is no JSON, allowed: a list, or a number for tau") from None
    return arrays


# ---------------------------------------------------------------- values


def _checked(name: str, value: object) -> object:
    """Numbers as they are, names as a list of text, super-classes as whole numbers, tau as one number."""
    if not isinstance(value, np.ndarray):  # a tensor; bfloat16 is none of numpy's types
        return _checked(name, np.array(value.tolist())) if name in IN_METADATA else value
    if name == "class_names":
        return [_text(v) for v in value.ravel().tolist()]
    if name == "superclass" and value.dtype.kind in "US":
        return np.unique(value.ravel(), return_inverse=True)[1].tolist()
    if value.dtype.kind not in "fiub":
        example = f", such as {printable(str(value.ravel()[0])[:40])!r}" if value.size else ""
        todo = "; number the classes 0, 1, ... and give their names as class_names" if "labels" in name else ""
        raise Unusable(f"found {value.dtype.name} in {name}{example}, allowed: numbers{todo}")
    if name == "tau":
        if value.size != 1:
            raise Unusable(f"found {value.size} values in tau, allowed: one temperature")
        return float(value.ravel()[0])
    return value.ravel().tolist() if name == "superclass" else value


def _text(value: object) -> str:
    """One name; bytes as UTF-8."""
    try:
        return value.decode() if isinstance(value, bytes) else printable(str(value))
    except UnicodeDecodeError:
        raise Unusable(f"found a class name that is not UTF-8 ({value!r}), allowed: UTF-8") from None


def printable(text: str) -> str:
    """Text that any terminal and any file can take: what is no Unicode is escaped, and it stays on one line."""
    plain = str(text).encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in plain)


def _listed(names: Iterable[str]) -> str:
    names = [printable(name) for name in names]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _near(name: str, others: Iterable[str]) -> list[str]:
    """The name that may be meant."""
    return [printable(guess) for guess in difflib.get_close_matches(name, list(others), n=1, cutoff=0.5)]


def ignored(names: Iterable[str]) -> list[str]:
    """What is left out, each with the known name that it is near to."""
    return [printable(name) + "".join(f" (did you mean {near}?)" for near in _near(name, KNOWN)) for name in names]
