"""Whatever a file holds, `kdstudy diagnose` gives a diagnosis or one sentence, and never a traceback."""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from logit_files import answered, call, example, save
from safetensors.torch import save_file

SUFFIXES = (".npz", ".safetensors", ".parquet")
LOGITS = ("student_logits", "heldout_teacher_logits", "student_val_logits")
TYPES = st.sampled_from(["f2", "f4", "f8", "i1", "i8", "u1", "u8", "?", "c8", "U3", "S3", "M8[s]", "O"])
HUGE = st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, 1e-320, 65504.0, 3e38, -1.7e308])
fuzz = lambda n: settings(deadline=None, max_examples=n, suppress_health_check=list(HealthCheck))  # noqa: E731


def drawn(draw: st.DrawFn, shape: tuple[int, ...]) -> np.ndarray:
    """An array of any type; of floats often with what is not finite."""
    dtype = np.dtype(draw(TYPES))
    if dtype.kind == "O":
        return np.full(shape, None)
    if dtype.kind == "f" and draw(st.booleans()):
        with np.errstate(over="ignore", under="ignore"):
            return draw(npst.arrays(np.float64, shape, elements=HUGE)).astype(dtype)
    return draw(npst.arrays(dtype, shape))


def labels(draw: st.DrawFn, rows: int, classes: int) -> np.ndarray:
    """Labels that fit, or anything."""
    if draw(st.integers(0, 3)):
        dtype = draw(st.sampled_from(["i8", "u1", "f4", "f8"]))
        return draw(npst.arrays(dtype, rows, elements=st.integers(0, max(0, classes - 1))))
    return drawn(draw, draw(st.sampled_from([(rows,), (rows + 1,), (rows, 1), (rows, classes), ()])))


@st.composite
def contents(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """Arrays under the names that are known, many of them wrong."""
    rows, classes = draw(st.integers(0, 9)), draw(st.integers(0, 5))
    usual = draw(st.integers(0, 2))
    odd = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    shape = (rows + 1, classes + 2) if usual else draw(odd)
    element = st.floats(-30, 30, width=32) | HUGE
    logits = (lambda: draw(npst.arrays("f8", shape, elements=element))) if usual == 1 else (lambda: drawn(draw, shape))
    rows, classes = (*shape, 0, 0)[:2]
    found = {"teacher_logits": logits(), "labels": labels(draw, rows, classes)}
    found |= {name: logits() for name in draw(st.sets(st.sampled_from(LOGITS)))}
    others = {"heldout_labels": labels(draw, rows, classes), "tau": drawn(draw, ()), "more": np.zeros(1)}
    others |= {name: drawn(draw, (classes,)) for name in ("class_names", "superclass")}
    found |= {name: value for name, value in others.items() if draw(st.booleans())}
    return {k: v for k, v in found.items() if k not in draw(st.sets(st.sampled_from(["labels", "more"])))}


def tried(suffix: str, write: object, *words: str) -> str:
    """What comes of the file that `write` makes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file{suffix}"
        write(path)
        return answered(call(path, "--json", *words))


@fuzz(260)
@given(contents())
def test_any_arrays(arrays):
    tried(".npz", lambda path: np.savez(path, **arrays))


@fuzz(80)
@given(contents(), st.sampled_from([None, torch.bfloat16, torch.float8_e5m2, torch.complex64]))
def test_any_tensors(arrays, dtype):
    tensors = {k: torch.from_numpy(v.copy()) for k, v in arrays.items() if v.dtype.kind in "fiub"}
    if dtype and "teacher_logits" in tensors:
        tensors["teacher_logits"] = tensors["teacher_logits"].to(dtype)
    tried(".safetensors", lambda path: save_file(tensors, path))


CELLS = st.none() | st.floats(width=32) | st.lists(st.none() | st.floats(width=32), max_size=3)
COLUMNS = ["teacher_logits", "labels", "student_logits", "teacher_logits_0", "teacher_logits_1", "heldout_labels", "x"]


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Columns of lists, of numbers, of text, with values missing."""
    rows, width = draw(st.integers(0, 6)), draw(st.integers(0, 4))
    number = st.floats(-9, 9) | st.sampled_from([None, np.nan, np.inf])
    kinds = [st.lists(number, min_size=width, max_size=width), number, st.integers(0, 3), st.text(max_size=2),
             st.lists(number, max_size=3), st.none(), st.booleans(), st.binary(max_size=2), st.dates()]  # fmt: skip
    usual = {"labels": kinds[2], "teacher_logits": kinds[0]}
    names = ["teacher_logits", "labels"] + draw(st.lists(st.sampled_from(COLUMNS), unique=True, max_size=3))
    columns = {}
    for name in dict.fromkeys(names):
        kind = usual[name] if name in usual and draw(st.integers(0, 3)) else draw(st.sampled_from(kinds))
        columns[name] = draw(st.lists(kind, min_size=rows, max_size=rows))
    if draw(st.booleans()):
        columns["split"] = draw(st.lists(st.sampled_from(["train", "test", "x", None]), min_size=rows, max_size=rows))
    metadata = {name: draw(st.text(max_size=4) | st.just("[0, 1]")) for name in draw(st.sets(st.just("class_names")))}
    return pa.table(columns).replace_schema_metadata(metadata)


@fuzz(120)
@given(tables())
def test_any_table(table):
    tried(".parquet", lambda path: pq.write_table(table, path))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    """A file in each format that is in order."""
    folder = tmp_path_factory.mktemp("whole")
    return {s: save(folder / f"a{s}", **example(12, 3)).read_bytes() for s in SUFFIXES}


@pytest.mark.parametrize("suffix", SUFFIXES)
@fuzz(60)
@given(where=st.floats(0, 0.999), junk=st.none() | st.binary(min_size=1, max_size=4))
def test_damaged_files(whole, suffix, where, junk):
    raw = whole[suffix]
    at = int(where * len(raw))
    damaged = raw[:at] if junk is None else raw[:at] + junk + raw[at + len(junk) :]
    done = tried(suffix, lambda path: path.write_bytes(damaged))
    assert done == "refused" or junk is not None, f"cut off at {at} of {len(raw)} bytes"


@pytest.mark.parametrize("suffix", SUFFIXES)
@fuzz(30)
@given(raw=st.binary(max_size=64), start=st.sampled_from([b"", b"PK\x03\x04", b"PAR1", b"\x10" + bytes(7) + b"{"]))
def test_random_bytes(suffix, raw, start):
    assert tried(suffix, lambda path: path.write_bytes(start + raw)) == "refused"
