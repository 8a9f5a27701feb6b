"""A user's own rows from a file or folder: columns, a batch at a time, or arrays, under the names of `NAMES`.

| path | what it holds |
| --- | --- |
| .csv, .tsv, .jsonl, .parquet, .arrow | columns; numbers in columns of their own, or as lists in one column x |
| a folder | the same: .arrow as `datasets` saves and caches it, .parquet as its hub has it, or train.csv, test.csv |
| .npz, .npy | arrays; beside `x.npy` lies `y.npy`, beside `name.npy` lies `name_y.npy` |
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from kdstudy.data.custom import SUFFIXES as IMAGES
from kdstudy.data.custom import few, problem, split_of

NAMES = {  # in any case; the first of each is what errors call it
    "x": ("x", "features", "embedding", "embeddings", "vector"),
    "text": ("text", "texts", "sentence"),
    "label": ("label", "labels", "y", "target"),
    "superclass": ("superclass", "superclasses"),
    "split": ("split", "splits"),
    "classes": ("classes", "class_names", "target_names"),
}
WORDS = ("text", "label", "superclass", "split")
MEANT = {alias: name for name, aliases in NAMES.items() for alias in aliases}
NUMBERED = ("", "unnamed: 0", "__index_level_0__")  # where pandas writes the numbers of rows
SEPARATED = (".csv", ".tsv", ".jsonl")
SUFFIXES = (".npz", ".npy", ".arrow", ".parquet", *SEPARATED)
PART = re.compile(r"-\d+-of-\d+(-[0-9a-f]+)?$")  # which of several files of a split
BROKEN = (OSError, ValueError, KeyError, EOFError, pa.ArrowException)


def meaning(name: str) -> str:
    """What a column's name stands for."""
    return MEANT.get(name.strip().lower(), name)


def header(path: Path, mark: str = ",") -> list[str]:
    """The names of the columns of separated fields, as they stand there."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return [name.strip('"') for name in file.readline().rstrip("\r\n").split(mark)]


def files(path: Path) -> list[Path]:
    """The files that a path stands for: of a folder those with rows, of an .npy what lies beside it too."""
    if path.is_dir():
        return _below(path)
    stem = "" if path.stem == "x" else f"{path.stem}_"
    near = [path.with_name(f"{stem}{alias}.npy") for name in NAMES for alias in NAMES[name] if name != "x"]
    return [path, *(p for p in near if path.suffix.lower() == ".npy" and p.is_file())]


def _below(folder: Path) -> list[Path]:
    """Files of the first kind there is, those alone that are named as splits if any is.

    SEPARATED ones must be, by names of their own, and beside no image.
    """
    every = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))}
    there = [path for name, path in every.items() if not re.search(r"(^|/)(\.|cache-)", name)]
    images = any(path.suffix.lower() in IMAGES for path in there)
    for kinds in ((".arrow",), (".parquet",), () if images else SEPARATED):
        found = [path for path in there if path.suffix.lower() in kinds]
        named = [path for path in found if _split(path, path.parent if kinds == SEPARATED else folder)]
        if named or (found and kinds != SEPARATED):
            return named or found
    return []


def _split(file: Path, folder: Path) -> str:
    """The split that a file's name ends in, part aside, else that of the folder below `folder`; "" if none."""
    words = (re.split("[-_.]", PART.sub("", file.stem))[-1], file.parent.name if file.parent != folder else "")
    return next((word for word in words if split_of(word)), "")


def _separated(path: Path, mark: str) -> Iterator[pa.RecordBatch]:
    """Texts and what belongs to them; without texts labels and numbers."""
    names = header(path, mark)
    words = [n for n in names if meaning(n) in WORDS]
    kinds = dict.fromkeys(names, pa.float64()) | dict.fromkeys(words, pa.string())
    kept = words if "text" in map(meaning, words) else names
    how = pa.csv.ParseOptions(delimiter=mark, newlines_in_values=True)
    known = "label" in map(meaning, words)  # else what is refused are the names
    what = pa.csv.ConvertOptions(column_types=kinds if known else None, include_columns=kept if known else None)
    yield from pa.csv.open_csv(path, parse_options=how, convert_options=what)


def _folder(folder: Path) -> Iterator[pa.RecordBatch]:
    """The batches of a folder's files, each with its split, if its name says one."""
    split = {file: _split(file, folder) for file in files(folder)}
    for name in {*split.values()} - {""}:
        homes = sorted({f.parent.relative_to(folder).as_posix() for f in split if split[f] == name})
        if len(homes) > 1:
            raise problem(
                folder, f"{name} in {few(homes)}", "each split in one folder", "Give the path of one of these"
            )
    for file, name in split.items():
        for batch in _read(file):
            yield batch.append_column("split", pa.array([name] * len(batch))) if name else batch


def _read(path: Path) -> Iterator[pa.RecordBatch]:
    """The batches of a path, as it has them."""
    kind = path.suffix.lower()
    if path.is_dir():
        yield from _folder(path)
    elif kind == ".arrow":
        with pa.memory_map(str(path)) as source:
            yield from pa.ipc.open_stream(source)
    elif kind == ".jsonl":
        yield from pa.json.open_json(path)
    elif kind == ".parquet":
        yield from pa.parquet.ParquetFile(path).iter_batches(10_000)
    else:
        yield from _separated(path, "\t" if kind == ".tsv" else ",")


def batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The rows of a file, some thousands at a time; labels by name where `datasets` keeps the names in its schema.

    DataError for what cannot be read.
    """
    try:
        for batch in _read(path):
            names, columns = batch.schema.names, batch.columns
            meta = json.loads((batch.schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {})
            for i, known in enumerate(map(meta.get("features", {}).get, names)):
                if isinstance(known, dict) and known.get("names"):
                    numbers = pa.compute.if_else(pa.compute.less(columns[i], 0), None, columns[i])
                    columns[i] = pa.compute.take(pa.array(known["names"]), numbers)
            kept = [i for i, name in enumerate(names) if name.strip().lower() not in NUMBERED]
            yield pa.RecordBatch.from_arrays([columns[i] for i in kept], [meaning(names[i]) for i in kept])
    except BROKEN as error:
        raise _broken(path, error, "Mend it, or save it anew") from error


def _broken(path: Path, error: Exception, todo: str) -> Exception:
    found = f"{type(error).__name__} ({' '.join(str(error).split())[:200]})"
    return problem(path, found, "a whole file, of numbers but for labels, texts and splits", todo)


def raw(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz by their names, or of the files beside an .npy. DataError if they hold objects."""
    try:
        if path.suffix.lower() == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return dict(file)
        x, *others = files(path)
        return {"x": np.load(x)} | {p.stem.removeprefix(f"{x.stem}_"): np.load(p) for p in others}
    except BROKEN as error:
        raise _broken(path, error, "Save it anew with np.savez(FILE, x=..., y=...), names as text") from error


def arrays(path: Path) -> dict[str, np.ndarray]:
    """The same under the names of NAMES, arrays of splits (`joined`) as one."""
    return {meaning(name): value for name, value in joined(raw(path)).items()}


def joined(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays given as x_train, y_train, x_test, ... below each other, with their split."""
    parts = {name: name.rpartition("_")[::2] for name in found if split_of(name.rpartition("_")[2])}
    splits, roots = (list(dict.fromkeys(part[i] for part in parts.values())) for i in (1, 0))
    whole = {root: np.concatenate([found[f"{root}_{s}"] for s in splits]) for root in roots}
    if whole:
        whole["split"] = np.repeat(splits, [len(found[f"{roots[0]}_{s}"]) for s in splits])
    return {name: value for name, value in found.items() if name not in parts} | whole
