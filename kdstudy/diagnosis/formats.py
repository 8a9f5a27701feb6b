"""Files that hold logits, and the names that people give them: one reader for each format.

| format | arrays |
| --- | --- |
| .npz, .npy, .h5 | by name; one without a name is the logits, with `labels` in a file beside it |
| .pt, .pth | a dictionary of tensors, (logits, labels), or one tensor; nothing else is unpickled |
| .safetensors | by name; `class_names`, `superclass`, `tau` also as JSON in the file's metadata |
| .parquet, .arrow | columns: lists, or one a class (`teacher_logits_0`, ...); rows by `split`; metadata as above |
| .jsonl, .json | an object for each example; or one of arrays |
| a folder | of Hugging Face `datasets`, of .parquet parts, or of .npy files by name |
"""

import json
import os
import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tokenize import TokenError

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError, safe_open

from kdstudy.core.registry import Registry
from kdstudy.diagnosis.arrays import OnDisk
from kdstudy.diagnosis.inputs import WHOLE, Unusable

Arrays = dict[str, object]
Sources = dict[str, Callable[[], object]]

NEEDED = ("teacher_logits", "labels")
IN_METADATA = ("class_names", "superclass", "tau")  # may be JSON there
TOP = ("topk_indices", "tail_mass", "num_classes", "mask")
KNOWN = (
    *NEEDED,
    "student_logits",
    "heldout_teacher_logits",
    "heldout_labels",
    "student_val_logits",
    *IN_METADATA,
    *TOP,
)
HELDOUT = {"teacher_logits": "heldout_teacher_logits", "labels": "heldout_labels",
           "student_logits": "student_val_logits"}  # fmt: skip
TOPK = "topk_logits topk_values topk_logprobs top_logits top_logprobs teacher_topk_logits teacher_topk_logprobs values"
NAMES = {  # names that people use, by the one they stand for
    "teacher_logits": f"logits teacher_outputs outputs output t_logits teacher logprobs log_probs probs probabilities "
                      f"teacher_probs teacher_logprobs target_logprobs scores {TOPK}",
    "labels": "label y target targets y_true label_ids ground_truth",
    "topk_indices": "topk_ids topk_index topk_idx topk_token_ids top_indices teacher_topk_indices teacher_topk_ids "
                    "target_token_ids indices token_ids",
    "tail_mass": "tail topk_tail tail_prob rest",
    "mask": "attention_mask loss_mask target_mask",
    "num_classes": "vocab_size n_classes num_labels",
    "student_logits": "student s_logits student_outputs",
}  # fmt: skip
BROKEN = (OSError, ValueError, KeyError, EOFError, MemoryError, OverflowError, RuntimeError, SyntaxError, TokenError,
          TypeError, RecursionError, struct.error, zipfile.BadZipFile, zlib.error, pa.ArrowException, SafetensorError,
          pickle.UnpicklingError)  # fmt: skip
SPLITS = ("train", "heldout", "held-out", "held_out", "validation", "val", "valid", "dev", "test")
SAVE = "save it anew with np.savez(FILE, teacher_logits=..., labels=...)"
LARGE = 5e8  # bytes of an array, above which it stays on disk


# ---------------------------------------------------------------- formats: one reader each, named as the suffix

READERS: Registry = Registry("file format")  # path -> by name, what loads it; one without a name is ""


@READERS.register
def npz(path: str) -> Sources:
    """An archive of numpy's arrays; nothing in it is unpickled."""
    if not zipfile.is_zipfile(path):
        raise Unusable(f"found no archive of arrays (cut off, or saved by something else), allowed: .npz; {SAVE}")
    with zipfile.ZipFile(path) as archive:
        members = {m.filename.removesuffix(".npy"): m for m in archive.infolist()}
    return {name: partial(_member, path, name, member) for name, member in members.items()}


def _member(path: str, name: str, member: zipfile.ZipInfo) -> object:
    """One array; a large one stays on disk, where it is not compressed."""
    if member.file_size > LARGE and member.compress_type == zipfile.ZIP_STORED:
        with open(path, "rb") as raw:
            raw.seek(member.header_offset + 26)
            return _on_disk(path, member.header_offset + 30 + sum(struct.unpack("<HH", raw.read(4))))
    if member.file_size > WHOLE:
        todo = "save it with np.savez, not compressed"
        raise Unusable(
            f"found {member.file_size / 1e9:.1f} GB in {name}, compressed, allowed: {WHOLE / 1e9:g} GB; {todo}"
        )
    with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as archive:  # by its name, broken ones stay open
        return _numpy(name, lambda: archive[name])


def _numpy(name: str, load: Callable[[], object]) -> np.ndarray:
    try:
        value = load()
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        todo = "np.array(names, dtype=str)" if name == "class_names" else "np.asarray(rows, dtype=np.float32)"
        raise Unusable(f"found Python objects (pickled) in {name}, allowed: numbers or text; save {todo}") from None
    if not isinstance(value, np.ndarray):
        raise Unusable(f"found bytes that are no array in {name}, allowed: .npy inside .npz; {SAVE}")
    return value


def _on_disk(path: str, start: int) -> object:
    """An .npy array from `start` on, whose rows stay on disk."""
    with open(path, "rb") as file:
        file.seek(start)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, columns_first, dtype = read[np.lib.format.read_magic(file)](file)
        if columns_first or dtype.kind not in "fiub" or not shape:
            raise Unusable(f"found a large array of {dtype} with columns first, allowed: np.ascontiguousarray(array)")
        return _whole(OnDisk(path, file.tell(), dtype, shape))


def _whole(rows: OnDisk) -> object:
    """The rows themselves, where they are few enough to be held."""
    size = int(np.prod(rows.shape)) * rows.dtype.itemsize
    if rows.offset + size > os.path.getsize(rows.path):
        raise Unusable(f"found less than the {size} bytes of an array {rows.shape}, allowed: a whole file")
    return rows if size > LARGE and len(rows.shape) > 1 else rows[slice(0, rows.shape[0])]


@READERS.register
def npy(path: str) -> Sources:
    """One array of numpy's."""
    if os.path.getsize(path) > LARGE:
        return {"": lambda: _on_disk(path, 0)}
    return {"": lambda: _numpy("it", lambda: np.load(path, allow_pickle=False))}


@READERS.register
def safetensors(path: str) -> Sources:
    """Tensors by name, in torch's types."""
    with safe_open(path, framework="pt") as file:
        names, metadata = list(file.keys()), file.metadata() or {}
    with open(path, "rb") as raw:
        size = int.from_bytes(raw.read(8), "little")
        header = json.loads(raw.read(size))
    said = {name: (lambda v=value: v) for name, value in _from_metadata(metadata).items()}
    return said | {name: partial(_tensor, path, name, 8 + size, header[name]) for name in names}


def _tensor(path: str, name: str, start: int, header: Mapping[str, object]) -> object:
    first, last = header["data_offsets"]
    kind = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}
    if last - first > LARGE and header["dtype"] in kind and len(header["shape"]) > 1:
        return OnDisk(path, start + first, kind[header["dtype"]], tuple(header["shape"]))
    with safe_open(path, framework="pt") as file:
        return file.get_tensor(name)


@READERS.register
def pt(path: str) -> Sources:
    """What torch saved: a dictionary, (logits, labels), or one tensor; `weights_only`, and mapped, not read."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError:
        todo = "allowed: tensors; save torch.save({'teacher_logits': logits, 'labels': labels}, FILE)"
        raise Unusable(f"found more than tensors (other Python objects, or a broken file), {todo}") from None
    if isinstance(found, list | tuple) and len(found) in (2, 3) and all(isinstance(v, torch.Tensor) for v in found):
        found = dict(zip(("teacher_logits", "labels", "student_logits"), found))
    found = found if isinstance(found, Mapping) else {"": found}
    return {str(name): partial(_as_array, str(name), value) for name, value in found.items()}


def _as_array(name: str, value: object) -> object:
    """A tensor, or a list, a number or text as an array."""
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, list) and value and all(isinstance(v, torch.Tensor) for v in value):
        return torch.cat([v.reshape(-1, v.shape[-1]) if v.ndim > 1 else v for v in value])  # batches, or sequences
    return _rows(name, pa.array(value)) if isinstance(value, list) else np.array(value)


@READERS.register
def h5(path: str) -> Sources:
    """Arrays of HDF5, by name."""
    try:
        import h5py
    except ImportError:
        raise Unusable(f"found HDF5, which needs h5py, allowed: pip install h5py, or {SAVE}") from None

    def load(name: str) -> np.ndarray:
        with h5py.File(path) as file:
            if file[name].nbytes > WHOLE:
                raise Unusable(f"found {file[name].nbytes / 1e9:.1f} GB in {name}, allowed: {WHOLE / 1e9:g} GB; {SAVE}")
            return file[name][()]

    with h5py.File(path) as file:
        return {name: partial(load, name) for name, value in file.items() if isinstance(value, h5py.Dataset)}


@READERS.register
def parquet(path: str) -> Sources:
    """Columns, of which a column `split` may hold out rows."""
    with pq.ParquetFile(path) as file:
        schema, sizes = (
            file.schema_arrow,
            [file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups)],
        )

    def column(name: str) -> pa.Array:
        with pq.ParquetFile(path) as file:
            return file.read(columns=[name]).column(0).combine_chunks()

    if sum(sizes) > 2 * WHOLE:
        raise Unusable(
            f"found {sum(sizes) / 1e9:.1f} GB, allowed in .parquet: {2 * WHOLE / 1e9:g} GB; use .safetensors"
        )
    return _columns(schema, column)


@READERS.register
def arrow(path: str) -> Sources:
    """Columns of Arrow's stream, or of its file."""
    return _of_table(_arrow_table(path))


def _arrow_table(path: str) -> pa.Table:
    source = pa.memory_map(path)
    try:
        return pa.ipc.open_stream(source).read_all()
    except pa.ArrowInvalid:
        return pa.ipc.open_file(source).read_all()


def _of_table(table: pa.Table) -> Sources:
    return _columns(table.schema, lambda name: table.column(name).combine_chunks())


@READERS.register
def jsonl(path: str) -> Sources:
    """An object for each example; {class: logit} is values and their classes."""
    if os.path.getsize(path) > WHOLE / 4:
        raise Unusable(f"found {os.path.getsize(path) / 1e9:.1f} GB of text, allowed: {WHOLE / 4e9:g} GB; {SAVE}")
    with open(path, encoding="utf-8") as file:
        return _of_records([json.loads(line) for line in file if line.strip()])


def _json(path: str) -> Sources:
    """A list of objects, one for each example, or an object of arrays."""
    if os.path.getsize(path) > WHOLE / 4:
        raise Unusable(f"found {os.path.getsize(path) / 1e9:.1f} GB of text, allowed: {WHOLE / 4e9:g} GB; {SAVE}")
    found = json.loads(Path(path).read_text("utf-8"))
    return _of_records(found) if isinstance(found, list) else {k: partial(_as_array, k, v) for k, v in found.items()}


READERS["json"] = _json


def _of_records(records: list[dict[str, object]]) -> Sources:
    if not all(isinstance(record, dict) for record in records):
        raise Unusable(
            'found lines that are no objects, allowed: {"teacher_logits": [...], "label": 0} for each example'
        )
    columns = {name: [record.get(name) for record in records] for record in records[:1] for name in record}
    for name, values in list(columns.items()):
        if all(isinstance(v, dict) and v and all(k.isdecimal() for k in v) for v in values):
            width = max(map(len, values))
            columns[name] = [[*map(float, v.values())] + [-1e30] * (width - len(v)) for v in values]
            columns["topk_indices"] = [[*map(int, v)] + [-1] * (width - len(v)) for v in values]
    return {name: partial(_as_array, name, values) for name, values in columns.items()}


@READERS.register
def folder(path: str) -> Sources:
    """A data set of Hugging Face (one, or one for each split), parts of .parquet, or .npy files by name."""
    here = Path(path)
    if arrays := sorted(here.glob("*.npy")):
        return {file.stem: npy(str(file))[""] for file in arrays}
    files = sorted(
        f for kind in ("arrow", "parquet") for f in here.glob(f"**/*.{kind}") if not f.name.startswith("cache-")
    )
    if not files:
        raise Unusable(
            "found a folder without .npy, .arrow or .parquet, allowed: a file of logits; name the file itself"
        )
    if sum(f.stat().st_size for f in files) > 2 * WHOLE:
        raise Unusable(
            f"found more than {2 * WHOLE / 1e9:g} GB in a folder, allowed: .safetensors or .npy of that size"
        )
    tables = [_arrow_table(str(f)) if f.suffix == ".arrow" else pq.read_table(f) for f in files]
    splits = [next((w for w in (f.parent.name, *re.split(r"[-.]", f.name)) if w in SPLITS), None) for f in files]
    if None not in splits and len(set(splits)) > 1 and "split" not in tables[0].column_names:
        tables = [t.append_column("split", pa.array([w] * len(t))) for t, w in zip(tables, splits)]
    return _of_table(pa.concat_tables(tables))


# ---------------------------------------------------------------- columns of a table


def _columns(schema: pa.Schema, column: Callable[[str], pa.Array]) -> Sources:
    """What loads each column, or each group of numbered ones; names that are no columns from the metadata."""
    names, metadata = list(dict.fromkeys(schema.names)), schema.metadata or {}
    if misplaced := [name for name in KNOWN[:9] if name in names and name not in HELDOUT]:
        elsewhere = "rows with split = heldout, or --heldout FILE"
        where = "JSON in the file's metadata" if misplaced[0] in IN_METADATA else elsewhere
        raise Unusable(f"found {misplaced[0]} as a column, allowed in .parquet: {where}")
    said = _from_metadata({k.decode(errors="replace"): v.decode(errors="replace") for k, v in metadata.items()})
    sources = {name: (lambda v=value: v) for name, value in said.items()}
    for name in dict.fromkeys([*HELDOUT, *(w for words in NAMES.values() for w in words.split())]):
        if name not in names and (each := _numbered(name, names)):
            sources[name] = partial(_stacked, each, column)
            names = [n for n in names if n not in each]
    plain = {name: partial(lambda n: _rows(n, column(n)), name) for name in names if name != "split"}
    return sources | plain | ({"split": lambda: _plain(column("split")).to_pylist()} if "split" in names else {})


def _numbered(name: str, names: Sequence[str]) -> list[str]:
    """`name_0`, `name_1`, ... in order, if there are any; Unusable if one is left out."""
    found = {int(m[1]): n for n in names if (m := re.fullmatch(rf"{name}_([0-9]{{1,6}})", n))}
    if gaps := [i for i in range(len(found)) if i not in found]:
        raise Unusable(f"found columns {name}_... without number {gaps[0]}, allowed: 0, 1, ... without a gap")
    return [found[i] for i in range(len(found))]


def _stacked(each: Sequence[str], load: Callable[[str], pa.Array]) -> np.ndarray:
    """One column a class, as (N, C); one column is read at a time."""
    for j, name in enumerate(each):
        column = _rows(name, load(name))
        if column.ndim != 1:
            raise Unusable(f"found lists in {name}, allowed: numbers in {name}, or lists in one column")
        if j == 0:
            out = np.empty((len(column), len(each)), dtype=column.dtype)
        out = out.astype(np.result_type(out.dtype, column.dtype), copy=False)
        out[:, j] = column
    return out


def _rows(name: str, column: pa.Array) -> np.ndarray:
    """One column: numbers (N,), lists of equal length as (N, C), lists of lists as a row for each inner one.

    Lists of different lengths are sequences of one number for each token. Missing numbers are NaN.
    """
    column = _plain(column)
    if not _is_list(column):
        return column.to_numpy(zero_copy_only=False)
    inner = _plain(column.flatten())
    if _is_list(inner):
        return _rows(name, inner)
    lengths = pc.list_value_length(column).unique().to_pylist()
    if len(lengths) > 1 or None in lengths:
        if name in ("labels", "mask", *NAMES["labels"].split(), *NAMES["mask"].split()) and None not in lengths:
            return inner.to_numpy(zero_copy_only=False)
        shown = ", ".join(sorted("none" if n is None else str(n) for n in lengths)[:5])
        raise Unusable(f"found lists of different lengths in {name} ({shown}), allowed: C numbers in each row")
    return inner.to_numpy(zero_copy_only=False).reshape(len(column), *lengths)


def _plain(array: pa.Array) -> pa.Array:
    """Extension types and dictionaries as what they stand for."""
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
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
