"""A user's own rows from a file: columns, a batch at a time, or arrays, under the names of `NAMES`.

| file | what it holds |
| --- | --- |
| .csv, .tsv, .jsonl, .parquet | columns; numbers in columns of their own, or as lists in one column x |
| a folder that `datasets` (Hugging Face) saved or cached | the same, in .arrow files |
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

from kdstudy.data.custom import problem, split_of

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
SUFFIXES = (".npz", ".npy", ".csv", ".tsv", ".jsonl", ".parquet")
SHARD = re.compile(r"-([a-z]+)(-\d+-of-\d+)?\.arrow$")  # in the cache of `datasets`
BROKEN = (OSError, ValueError, KeyError, EOFError, pa.ArrowException)


def meaning(name: str) -> str:
    """What a column's name stands for."""
    return MEANT.get(name.strip().lower(), name)


def header(path: Path, mark: str = ",") -> list[str]:
    """The names of the columns of separated fields, as they stand there."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return [name.strip('"') for name in file.readline().rstrip("\r\n").split(mark)]


def files(path: Path) -> list[Path]:
    """The files that a path stands for: .arrow below a folder, what lies beside an .npy."""
    if path.is_dir():
        return sorted(path.rglob("*.arrow"))
    stem = "" if path.stem == "x" else f"{path.stem}_"
    near = [path.with_name(f"{stem}{alias}.npy") for name in NAMES for alias in NAMES[name] if name != "x"]
    return [path, *(p for p in near if path.suffix.lower() == ".npy" and p.is_file())]


def _separated(path: Path, mark: str) -> Iterator[pa.RecordBatch]:
    """Texts and what belongs to them; without texts labels and numbers."""
    names = header(path, mark)
    words = [n for n in names if meaning(n) in WORDS]
    kinds = dict.fromkeys(names, pa.float64()) | dict.fromkeys(words, pa.string())
    kept = words if "text" in map(meaning, words) else names
    how = pa.csv.ParseOptions(delimiter=mark, newlines_in_values=True)
    what = pa.csv.ConvertOptions(column_types=kinds, include_columns=kept)
    yield from pa.csv.open_csv(path, parse_options=how, convert_options=what)


def _saved(folder: Path) -> Iterator[pa.RecordBatch]:
    """The splits of `datasets`: a folder each, or named at the end of a file's name; of others nothing is read."""
    for file in files(folder):
        cached = SHARD.search(file.name)
        split = cached[1] if cached and split_of(cached[1]) else file.parent.name if file.parent != folder else ""
        with pa.memory_map(str(file)) as source:
            for batch in pa.ipc.open_stream(source) if not split or split_of(split) else ():
                yield batch.append_column("split", pa.array([split] * len(batch))) if split else batch


def _read(path: Path) -> Iterator[pa.RecordBatch]:
    """The batches of a file, as it has them."""
    kind = path.suffix.lower()
    if path.is_dir():
        return _saved(path)
    if kind == ".jsonl":
        return pa.json.open_json(path)
    if kind == ".parquet":
        return pa.parquet.ParquetFile(path).iter_batches(10_000)
    return _separated(path, "\t" if kind == ".tsv" else ",")


def batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The rows of a file, some thousands at a time; labels by name where `datasets` keeps the names in its schema.

    DataError for what cannot be read.
    """
    try:
        for batch in _read(path):
            names = list(map(meaning, batch.schema.names))
            meta = json.loads((batch.schema.metadata or {}).get(b"huggingface", b"{}"))
            for i, known in enumerate(meta.get("info", {}).get("features", {}).values()):
                if isinstance(known, dict) and known.get("names"):
                    numbers = pa.compute.if_else(pa.compute.less(batch[i], 0), None, batch[i])
                    batch = batch.set_column(i, names[i], pa.compute.take(pa.array(known["names"]), numbers))
            kept = [i for i, name in enumerate(names) if name.strip().lower() not in NUMBERED]
            yield batch.select(kept).rename_columns([names[i] for i in kept])
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
