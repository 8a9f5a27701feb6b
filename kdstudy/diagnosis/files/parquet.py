"""Columns of a Parquet file as arrays: lists of numbers, or one column a class; rows by their split."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool

from kdstudy.diagnosis.inputs import Unusable

TRAIN = ("train",)
HELDOUT = ("heldout", "held-out", "held_out", "validation", "val", "valid", "dev", "test")

Arrays = dict[str, np.ndarray]


def columns(path: str, wanted: Sequence[str]) -> tuple[Arrays, Arrays, list[str], Mapping[str, str]]:
    """Wanted columns of training and of held-out rows by name, the names that the file has, and its metadata.

    Columns `name_0`, `name_1`, ... count as one, `name`. Without a column `split` all rows are training ones.
    """
    with pq.ParquetFile(path) as file:
        names = list(dict.fromkeys(file.schema_arrow.names))
        metadata = {k.decode("utf-8", "replace"): v.decode("utf-8", "replace")
                    for k, v in (file.schema_arrow.metadata or {}).items()}  # fmt: skip
        heldout = _heldout(file) if "split" in names else None
        arrays, used = {}, {"split"}
        for name in wanted:
            if each := [name] if name in names else _numbered(name, names):
                arrays[name] = _rows(file, name) if each == [name] else _stacked(file, each)
                used |= set(each)
    names = [*arrays, *(n for n in names if n not in used)]
    if heldout is None or not heldout.any():
        return arrays, {}, names, metadata
    return *({n: v[at] for n, v in arrays.items()} for at in (~heldout, heldout)), names, metadata


def _numbered(name: str, names: Sequence[str]) -> list[str]:
    """`name_0`, `name_1`, ... in order, if there are any; Unusable if one is left out."""
    found = {int(m[1]): n for n in names if (m := re.fullmatch(rf"{name}_([0-9]{{1,6}})", n))}
    if gaps := [i for i in range(len(found)) if i not in found]:
        raise Unusable(f"found columns {name}_... without number {gaps[0]}, allowed: 0, 1, ... without a gap")
    return [found[i] for i in range(len(found))]


def _heldout(file: pq.ParquetFile) -> Bool[np.ndarray, " N"]:
    """Which rows are held out."""
    chunks = file.read(columns=["split"]).column(0).chunks
    words = [str(word) for chunk in chunks for word in _plain(chunk).to_pylist()]
    if unknown := sorted(word for word in set(words) if word.lower() not in TRAIN + HELDOUT):
        raise Unusable(f"found split {unknown[0][:40]!r}, allowed: {', '.join(TRAIN + HELDOUT)}")
    return np.array([word.lower() in HELDOUT for word in words], dtype=bool)


def _stacked(file: pq.ParquetFile, each: Sequence[str]) -> np.ndarray:
    """One column a class, as (N, C); one column is read at a time."""
    out = None
    for j, name in enumerate(each):
        column = _rows(file, name)
        if column.ndim != 1:
            raise Unusable(f"found lists in {name}, allowed: numbers in {name}, or lists in one column")
        if out is None:
            out = np.empty((len(column), len(each)), dtype=column.dtype)
        out = out.astype(np.result_type(out.dtype, column.dtype), copy=False)
        out[:, j] = column
    return out


def _rows(file: pq.ParquetFile, name: str) -> np.ndarray:
    """One column: numbers (N,), or lists of equal length as (N, C). Missing numbers are NaN."""
    chunks = [_plain(chunk) for chunk in file.read(columns=[name]).column(0).chunks]
    parts = [chunk.to_numpy(zero_copy_only=False) for chunk in chunks if not _is_list(chunk)]
    lists = [chunk for chunk in chunks if _is_list(chunk)]
    lengths = {n for chunk in lists for n in pc.list_value_length(chunk).unique().to_pylist()}
    if len(lengths) > 1 or None in lengths:
        shown = ", ".join(sorted("none" if n is None else str(n) for n in lengths)[:5])
        raise Unusable(f"found lists of different lengths in {name} ({shown}), allowed: C numbers in each row")
    if lengths:
        inner = [_plain(chunk.flatten()) for chunk in lists]
        if any(_is_list(values) for values in inner):
            raise Unusable(f"found lists of lists in {name}, allowed: C numbers in each row")
        size = lengths.pop()
        parts = [v.to_numpy(zero_copy_only=False).reshape(len(c), size) for v, c in zip(inner, lists)]
    return np.concatenate(parts) if parts else np.zeros(0)


def _plain(array: pa.Array) -> pa.Array:
    """Extension types and dictionaries as what they stand for."""
    array = array.storage if isinstance(array, pa.ExtensionArray) else array
    return array.dictionary_decode() if isinstance(array, pa.DictionaryArray) else array


def _is_list(array: pa.Array) -> bool:
    kind = array.type
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
