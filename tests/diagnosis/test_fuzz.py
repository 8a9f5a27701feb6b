"""Whatever a file holds, an answer or one sentence: formats, shapes, types, labels, masks and damage, drawn by a seed.

By hand, more of them: PYTHONPATH=.:tests python tests/diagnosis/test_fuzz.py 1500
"""

import json
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from logit_files import answered, call
from safetensors.torch import save_file

TYPES = ("f2", "f4", "f8", "bf16", "fp8", "i1", "i8", "u1", "?", "c8", "U3", "O")
ODD = (np.nan, np.inf, -np.inf, 0.0, 1.0, 1e-320, 65504.0, 3e38, -1.7e308)
MORE = ("student_logits", "heldout_teacher_logits", "student_val_logits", "heldout_labels", "mask", "class_names",
        "superclass", "tau", "num_classes", "tail_mass", "topk_indices", "junk")  # fmt: skip


def logits(rng: np.random.Generator, shape: tuple[int, ...], classes: int) -> np.ndarray:
    """Numbers as people have them, and as nobody has."""
    v = 10 ** rng.uniform(-2, 3) * rng.standard_normal(shape)
    kind = rng.integers(8)
    if kind == 1:
        v.ravel()[rng.integers(max(1, v.size), size=v.size // 4)] = rng.choice(ODD)
    elif kind == 2:
        v = torch.tensor(v).softmax(-1).numpy() if v.ndim else v
    elif kind == 3:
        v = torch.tensor(v).log_softmax(-1).numpy() if v.ndim else v
    elif kind == 4 and v.size:
        v = np.where(v < np.quantile(v, 0.7), rng.choice([0, -100, -np.inf]), v)
    elif kind == 5:
        v = np.full(shape, rng.choice(ODD))
    return v


def labels(rng: np.random.Generator, lead: tuple[int, ...], classes: int) -> np.ndarray:
    """Labels that fit, mostly, in one of their forms; or anything."""
    y = rng.integers(max(1, classes), size=lead)
    odd = {
        1: lambda: y + rng.choice([1, -1, 100]),
        2: lambda: y[..., None],
        3: lambda: np.eye(max(1, classes))[y],
        4: lambda: (rng.random((*lead, classes)) < 0.3).astype(int),
        5: lambda: np.where(rng.random(lead) < 0.5, rng.choice([-100, 255]), y),
        6: lambda: y.astype(rng.choice(["f4", "u1", "U3"])),
        7: lambda: y.ravel()[: y.size // 2],
        8: lambda: np.full(lead, rng.choice(ODD)),
    }
    return odd.get(int(rng.integers(32)), lambda: y)()


def typed(rng: np.random.Generator, v: np.ndarray) -> object:
    """The same in any type."""
    kind = TYPES[int(rng.integers(len(TYPES)))] if not rng.integers(4) else "f4"
    with np.errstate(all="ignore"):
        if kind in ("bf16", "fp8"):
            return torch.tensor(v).to(torch.bfloat16 if kind == "bf16" else torch.float8_e5m2)
        return v.astype(kind)


def arrays(rng: np.random.Generator) -> dict[str, object]:
    """What a file is to hold."""
    n, c = int(rng.choice([0, 1, *[2, 9, 60] * 4])), int(rng.choice([0, 1, *[2, 3, 12, 40] * 4]))
    lead = [(n,), (n, 3), (n, 2, 2), (), *[(n,)] * 8][int(rng.integers(12))]
    shape = (n, c, *lead[1:]) if len(lead) == 3 else (*lead, c)
    found = {"teacher_logits": typed(rng, logits(rng, shape, c)), "labels": labels(rng, lead, c)}
    made = {
        "mask": lambda: rng.integers(2, size=lead), "class_names": lambda: [f"<{i}>" for i in range(c)],
        "superclass": lambda: list("ab" * c)[:c], "tau": lambda: rng.choice([0, 2.5, np.nan]),
        "num_classes": lambda: rng.choice([-1, 3, 90]), "tail_mass": lambda: rng.random(n),
        "topk_indices": lambda: rng.integers(-1, 90, shape), "heldout_labels": lambda: labels(rng, lead, c),
        "junk": lambda: "text",
    }  # fmt: skip
    for name in rng.choice(MORE, rng.choice([0, 0, 0, 1, 1, 2, 4]), replace=False):
        found[str(name)] = made.get(name, lambda: logits(rng, shape, c))()
    if not rng.integers(12):
        found.pop(str(rng.choice(list(found))))
    return found


def write(path: Path, found: dict[str, object]) -> None:
    """The arrays in the format of the suffix, as far as it knows their types."""
    plain = {k: v.float().numpy() if isinstance(v, torch.Tensor) else np.asarray(v) for k, v in found.items()}
    tensors = {k: torch.tensor(v) for k, v in plain.items() if v.dtype.kind in "fiub"}
    tensors |= {k: v for k, v in found.items() if isinstance(v, torch.Tensor)}
    lists = {k: v.tolist() for k, v in plain.items() if v.dtype.kind in "fiubU" and v.ndim}
    rows = min(map(len, lists.values()), default=0)
    if path.suffix == ".npz":
        np.savez(path, **plain)
    elif path.suffix == ".npy":
        np.save(path, plain.get("teacher_logits", np.zeros(1)))
        np.save(path.with_name("labels.npy"), plain.get("labels", np.zeros(1)))
    elif path.suffix == ".safetensors":
        save_file(tensors, path, metadata={k: json.dumps(v) for k, v in lists.items() if k == "class_names"})
    elif path.suffix == ".pt":
        torch.save(tensors, path)
    elif path.suffix in (".parquet", ".arrow"):
        table = pa.table({k: pa.array(v[:rows]) for k, v in lists.items()})
        if path.suffix == ".parquet":
            return pq.write_table(table, path)
        with pa.ipc.new_stream(path, table.schema) as file:
            file.write_table(table)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps({k: v[i] for k, v in lists.items()}) for i in range(rows)))
    elif path.suffix == ".json":
        path.write_text(json.dumps(lists))
    else:
        path.mkdir()
        for name, value in plain.items():
            np.save(path / f"{name}.npy", value)


def damage(rng: np.random.Generator, path: Path) -> None:
    """Cut it off, change some bytes, or put others in its place."""
    raw = bytearray(path.read_bytes())
    at = int(rng.integers(max(1, len(raw))))
    junk = rng.bytes(int(rng.integers(1, 9)))
    how = [raw[:at], raw[:at] + junk + raw[at + len(junk) :], raw[:4] + junk]
    path.write_bytes(how[int(rng.integers(3))])


SUFFIXES = ("npz", "npy", "safetensors", "pt", "parquet", "arrow", "jsonl", "json", "folder")


def tried(seed: int) -> str:
    """What comes of the file of this seed."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file.{SUFFIXES[seed % len(SUFFIXES)]}"
        write(path, arrays(rng))
        if path.is_file() and not rng.integers(6):
            damage(rng, path)
        words = [["--tau", "3"], ["--heldout", path], ["--labels", path], *[[]] * 9][int(rng.integers(12))]
        return answered(call(path, "--json", *words))


@pytest.mark.parametrize("seed", [*range(108), 2460])
def test_any_file_has_an_answer_or_one_sentence(seed):
    tried(seed)


def test_most_files_that_are_whole_are_answered_or_refused_for_a_reason():
    found = [tried(seed) for seed in range(200, 230)]
    assert {"answered", "refused"} == set(found)


if __name__ == "__main__":
    outcomes = []
    for seed in range(int(sys.argv[1])):
        try:
            outcomes.append(tried(seed))
        except (Exception, SystemExit) as error:
            print("seed", seed, repr(error)[:2000])
    gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print({word: outcomes.count(word) for word in set(outcomes)}, f"of {sys.argv[1]}, at most {gb:.2f} GB")
