"""Files that hold logits: a table of readers by suffix (`READERS`), and the names that people give arrays (`NAMES`).

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

from kdstudy.diagnosis.arrays import OnDisk
from kdstudy.diagnosis.inputs import WHOLE, unusable

Arrays = dict[str, object]
Sources = dict[str, Callable[[], object]]  # by name, what loads an array; one without a name is ""

NEEDED = ("teacher_logits", "labels")
IN_METADATA = ("class_names", "superclass", "tau")  # may be JSON there
HELDOUT = {"teacher_logits": "heldout_teacher_logits", "labels": "heldout_labels",
           "student_logits": "student_val_logits"}  # fmt: skip
KNOWN = (*HELDOUT, *HELDOUT.values(), *IN_METADATA, "topk_indices", "tail_mass", "num_classes", "mask")
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
LARGE = 1e8  # bytes of an array, above which it stays on disk


# ---------------------------------------------------------------- arrays by name


def _fits(size: float, what: str, todo: str = SAVE, most: float = WHOLE) -> None:
    """Refuse what would fill memory."""
    if size > most:
        raise unusable(f"{size / 1e9:.1f} GB {what}", f"{most / 1e9:g} GB; {todo}")


def npz(path: str) -> Sources:
    """An archive of numpy's arrays; nothing in it is unpickled."""
    if not zipfile.is_zipfile(path):
        raise unusable("no archive of arrays (cut off, or saved by something else)", f".npz; {SAVE}")
    with zipfile.ZipFile(path) as archive:
        return {m.filename.removesuffix(".npy"): partial(_member, path, m) for m in archive.infolist()}


def _member(path: str, member: zipfile.ZipInfo) -> object:
    """One array; a large one stays on disk, where it is not compressed."""
    name = member.filename.removesuffix(".npy")
    if member.file_size > LARGE and member.compress_type == zipfile.ZIP_STORED:
        with open(path, "rb") as raw:
            raw.seek(member.header_offset + 26)
            return _on_disk(path, member.header_offset + 30 + sum(struct.unpack("<HH", raw.read(4))))
    _fits(member.file_size, f"in {name}, compressed", "save it with np.savez, not compressed")
    with zipfile.ZipFile(path) as archive, archive.open(member) as raw:
        return _numpy(name, raw)


def npy(path: str) -> Sources:
    """One array of numpy's."""

    def load() -> object:
        if os.path.getsize(path) > LARGE:
            return _on_disk(path, 0)
        with open(path, "rb") as raw:
            return _numpy("it", raw)

    return {"": load}


def _numpy(name: str, raw: object) -> np.ndarray:
    """The array of an open .npy."""
    try:
        return np.lib.format.read_array(raw, allow_pickle=False)
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        todo = "np.array(names, dtype=str)" if name == "class_names" else "np.asarray(rows, dtype=np.float32)"
        raise unusable(f"Python objects (pickled) in {name}", f"numbers or text; save {todo}") from None


def _on_disk(path: str, start: int) -> object:
    """An .npy array from `start` on, whose rows stay on disk unless they are few enough to be held."""
    with open(path, "rb") as file:
        file.seek(start)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, columns_first, dtype = read[np.lib.format.read_magic(file)](file)
        rows = OnDisk(path, file.tell(), dtype, shape)
    if columns_first or dtype.kind not in "fiub" or not shape:
        raise unusable(f"a large array of {dtype} with columns first", "np.ascontiguousarray(array)")
    size = int(np.prod(shape)) * dtype.itemsize
    if rows.offset + size > os.path.getsize(path):
        raise unusable(f"less than the {size} bytes of an array {shape}", "a whole file")
    return rows if size > LARGE and len(shape) > 1 else rows[slice(0, shape[0])]


def safetensors(path: str) -> Sources:
    """Tensors by name, in torch's types."""
    with safe_open(path, framework="pt") as file:
        names, metadata = list(file.keys()), file.metadata() or {}
    with open(path, "rb") as raw:
        size = int.from_bytes(raw.read(8), "little")
        header = json.loads(raw.read(size))
    return _from_metadata(metadata) | {name: partial(_tensor, path, name, 8 + size, header[name]) for name in names}


def _tensor(path: str, name: str, start: int, header: Mapping[str, object]) -> object:
    first, last = header["data_offsets"]
    kind = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}
    if last - first > LARGE and header["dtype"] in kind and len(header["shape"]) > 1:
        return OnDisk(path, start + first, kind[header["dtype"]], tuple(header["shape"]))
    with safe_open(path, framework="pt") as file:
        return file.get_tensor(name)


def pt(path: str) -> Sources:
    """What torch saved: a dictionary, (logits, labels), or one tensor; `weights_only`, and mapped, not read."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError:
        todo = "tensors; save torch.save({'teacher_logits': logits, 'labels': labels}, FILE)"
        raise unusable("more than tensors (other Python objects, or a broken file)", todo) from None
    if isinstance(found, list | tuple) and len(found) in (2, 3) and all(isinstance(v, torch.Tensor) for v in found):
        found = dict(zip(HELDOUT, found))
    found = found if isinstance(found, Mapping) else {"": found}
    return {str(name): partial(_as_array, str(name), value) for name, value in found.items()}


def _as_array(name: str, value: object) -> object:
    """A tensor, or a list, a number or text as an array."""
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, list) and value and all(isinstance(v, torch.Tensor) for v in value):
        return torch.cat([v.reshape(-1, v.shape[-1]) if v.ndim > 1 else v for v in value])  # batches, or sequences
    return _rows(name, pa.array(value)) if isinstance(value, list) else np.array(value)


def h5(path: str) -> Sources:
    """Arrays of HDF5, by name."""
    try:
        import h5py
    except ImportError:
        raise unusable("HDF5, which needs h5py", f"pip install h5py, or {SAVE}") from None

    def load(name: str) -> np.ndarray:
        with h5py.File(path) as file:
            _fits(file[name].nbytes, f"in {name}")
            return file[name][()]

    with h5py.File(path) as file:
        return {name: partial(load, name) for name, value in file.items() if isinstance(value, h5py.Dataset)}


# ---------------------------------------------------------------- tables: a row for each example


def text(path: str) -> Sources:
    """A line of JSON, or an item of one list, for each example; or one object of arrays.

    {class: logit} is values and their classes.
    """
    _fits(os.path.getsize(path), "of text", most=WHOLE / 8)
    whole = Path(path).read_text("utf-8")
    lines = Path(path).suffix.lower() != ".json"
    found = [json.loads(line) for line in whole.splitlines() if line.strip()] if lines else json.loads(whole)
    if isinstance(found, dict):
        return {name: partial(_as_array, name, value) for name, value in found.items()}
    if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
        raise unusable("lines that are no objects", '{"teacher_logits": [...], "label": 0} for each example')
    columns = {name: [record.get(name) for record in found] for record in found[:1] for name in record}
    for name, values in list(columns.items()):
        if all(isinstance(v, dict) and v and all(k.isdecimal() for k in v) for v in values):
            width = max(map(len, values))
            columns[name] = [[*map(float, v.values())] + [-1e30] * (width - len(v)) for v in values]
            columns["topk_indices"] = [[*map(int, v)] + [-1] * (width - len(v)) for v in values]
    return {name: partial(_as_array, name, values) for name, values in columns.items()}


def folder(path: str) -> Sources:
    """A data set of Hugging Face (one, or one for each split), parts of .parquet, or .npy files by name."""
    here = Path(path)
    if arrays := sorted(here.glob("*.npy")):
        return {file.stem: npy(str(file))[""] for file in arrays}
    files = [f for kind in ("arrow", "parquet") for f in here.glob(f"**/*.{kind}") if not f.name.startswith("cache-")]
    if not files:
        raise unusable("a folder without .npy, .arrow or .parquet", "a file of logits; name the file itself")
    return table(*map(str, sorted(files)))


def table(*files: str) -> Sources:
    """Columns, of one file or of parts; a column `split`, else the parts' names, may hold out rows."""
    parts = [_arrow(file) if file.endswith(".arrow") else pq.ParquetFile(file) for file in files]
    stored = [p.metadata for p in parts if isinstance(p, pq.ParquetFile)]
    size = sum(m.row_group(i).total_byte_size for m in stored for i in range(m.num_row_groups))
    size += sum(p.nbytes for p in parts if isinstance(p, pa.Table))
    _fits(size, "of rows", "use .safetensors", 2 * WHOLE)
    schemas = [p.schema if isinstance(p, pa.Table) else p.schema_arrow for p in parts]
    counts = [p.num_rows if isinstance(p, pa.Table) else p.metadata.num_rows for p in parts]

    def column(name: str) -> pa.Array:
        read = [p.select([name]) if isinstance(p, pa.Table) else p.read(columns=[name]) for p in parts]
        return pa.concat_tables(read).column(0).combine_chunks()

    names, metadata = list(dict.fromkeys(schemas[0].names)), schemas[0].metadata or {}
    words = [(Path(f).parent.name, *re.split(r"[-.]", Path(f).name)) for f in files]
    splits = [next((w for w in some if w in SPLITS), None) for some in words]
    said = {k.decode(errors="replace"): v.decode(errors="replace") for k, v in metadata.items()}
    sources = _from_metadata(said) | _columns(names, column)
    if "split" not in names and None not in splits and len(set(splits)) > 1:
        sources["split"] = lambda: np.repeat(splits, counts).tolist()
    return sources


def _arrow(path: str) -> pa.Table:
    """Arrow's stream or its file, mapped."""
    source = pa.memory_map(path)
    try:
        return pa.ipc.open_stream(source).read_all()
    except pa.ArrowInvalid:
        return pa.ipc.open_file(source).read_all()


def _columns(names: Sequence[str], column: Callable[[str], pa.Array]) -> Sources:
    """What loads each column, or each group of numbered ones."""
    if misplaced := [name for name in (*HELDOUT.values(), *IN_METADATA) if name in names]:
        elsewhere = "rows with split = heldout, or --heldout FILE"
        where = "JSON in the file's metadata" if misplaced[0] in IN_METADATA else elsewhere
        raise unusable(f"{misplaced[0]} as a column", f"in a table: {where}")
    sources: Sources = {}
    for name in dict.fromkeys([*HELDOUT, *(w for words in NAMES.values() for w in words.split())]):
        if name not in names and (each := _numbered(name, names)):
            sources[name] = partial(_stacked, name, each, column)
            names = [n for n in names if n not in each]
    plain = {name: partial(lambda n: _rows(n, column(n)), name) for name in names if name != "split"}
    return sources | plain | ({"split": lambda: _plain(column("split")).to_pylist()} if "split" in names else {})


def _numbered(name: str, names: Sequence[str]) -> list[str]:
    """`name_0`, `name_1`, ... in order, if there are any; Unusable if one is left out."""
    found = {int(m[1]): n for n in names if (m := re.fullmatch(rf"{name}_([0-9]{{1,6}})", n))}
    if gaps := [i for i in range(len(found)) if i not in found]:
        raise unusable(f"columns {name}_... without number {gaps[0]}", "0, 1, ... without a gap")
    return [found[i] for i in range(len(found))]


def _stacked(name: str, each: Sequence[str], load: Callable[[str], pa.Array]) -> np.ndarray:
    """One column a class, as (N, C)."""
    columns = [_rows(one, load(one)) for one in each]
    if any(c.ndim != 1 for c in columns):
        raise unusable(f"lists in {name}_0, ...", "a number in each, or lists in one column")
    return np.stack(columns, 1)


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
        raise unusable(f"lists of different lengths in {name} ({shown})", "C numbers in each row")
    return inner.to_numpy(zero_copy_only=False).reshape(len(column), *lengths)


def _plain(array: pa.Array) -> pa.Array:
    """Extension types and dictionaries as what they stand for."""
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    array = array.storage if isinstance(array, pa.ExtensionArray) else array
    return array.dictionary_decode() if isinstance(array, pa.DictionaryArray) else array


def _is_list(array: pa.Array) -> bool:
    kind = array.type
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _from_metadata(metadata: Mapping[str, str]) -> Sources:
    """What a file's metadata says in JSON."""
    arrays = {}
    for name in IN_METADATA:
        if name in metadata:
            try:
                value = np.array(json.loads(metadata[name]))
            except (ValueError, RecursionError):
                raise unusable(f"metadata {name} that is no JSON", "a list, or a number for tau") from None
            arrays[name] = partial(lambda v: v, value)
    return arrays


READERS: dict[str, Callable[[str], Sources]] = {
    "npz": npz,
    "npy": npy,
    "safetensors": safetensors,
    "pt": pt,
    "h5": h5,
    "parquet": table,
    "arrow": table,
    "jsonl": text,
    "json": text,
    "folder": folder,
}
ALIASES = {"pth": "pt", "hdf5": "h5", "ndjson": "jsonl"}
