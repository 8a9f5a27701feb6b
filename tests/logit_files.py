"""Small files of logits in every format, and what `kdstudy diagnose` says to them."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from kdstudy.cli.main import app

Arrays = dict[str, object]


def example(examples: int = 300, classes: int = 5, seed: int = 0) -> dict[str, np.ndarray]:
    """Logits of a teacher that is mostly right and finds neighbouring classes alike, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(examples) % classes)
    alike = -np.abs(np.subtract.outer(np.arange(classes), np.arange(classes)))
    logits = rng.normal(size=(examples, classes)) + 1.5 * alike[labels]
    logits[np.arange(examples), labels] += rng.gamma(4, 1, examples)
    return {"teacher_logits": logits.astype(np.float32), "labels": labels}


def said(arrays: Arrays) -> dict[str, str]:
    """Names and super-classes as a file's metadata holds them."""
    return {
        k: json.dumps(np.asarray(v).tolist()) for k, v in arrays.items() if k in ("class_names", "superclass", "tau")
    }


def save(path: Path, **arrays: object) -> Path:
    """Write arrays in the format that the suffix names; in Parquet, those of held-out examples go to a split."""
    meta, plain = said(arrays), {k: v for k, v in arrays.items() if k not in said(arrays)}
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".safetensors":
        tensors = {
            k: torch.as_tensor(np.asarray(v)) if not isinstance(v, torch.Tensor) else v for k, v in plain.items()
        }
        save_file({k: v.contiguous() for k, v in tensors.items()}, path, metadata=meta)
    else:
        columns = {k: list(v) if np.ndim(v) == 2 else v for k, v in plain.items()}
        pq.write_table(pa.table(columns).replace_schema_metadata(meta), path)
    return path


def call(*words: object) -> Result:
    """`kdstudy diagnose` with these words."""
    return CliRunner().invoke(app, ["diagnose", *map(str, words)], env={"COLUMNS": "80"})


def strict(text: str) -> dict:
    """JSON without NaN or infinity."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def answered(result: Result) -> str:
    """What came of it, if it is one of the two things allowed: a diagnosis as JSON, or one sentence and exit code 2."""
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    if result.exit_code == 2:
        assert result.stdout == ""
        assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.stderr
        return "refused"
    found = strict(result.stdout)
    assert found.keys() == {"ok", "levels", "findings", "facts", "tau"}
    assert result.exit_code == any(f["severity"] == "error" for f in found["findings"])
    assert result.stderr == ""
    return "answered"
