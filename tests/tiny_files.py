"""Data sets of a few examples, published in a test; what every data set promises."""

import hashlib
import json
import os
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kdstudy.core.spec import Data, pairs
from kdstudy.data import download, registry
from kdstudy.data.dataset import Dataset

REAL = os.environ.get("KDSTUDY_DATA")
SPLITS = ("train", "validation", "test")
NAMES = "synthetic, digits, fashion_mnist, fashion_images, tiny_imagenet, cifar10, cifar100, clinc150"
NOWHERE = "http://127.0.0.1:9/"  # the discard port: nobody listens


def load(name: str, **options: object) -> Dataset:
    """A data set read anew."""
    registry.load.cache_clear()
    return registry.load(Data(name, pairs(options)))


def rows(x: Tensor) -> set[bytes]:
    return {row.numpy().tobytes() for row in x}


def well_formed(data: Dataset, dtype: torch.dtype = torch.float32) -> None:
    """What every data set promises."""
    assert re.fullmatch("[0-9a-f]{16}", data.digest)
    seen: set[bytes] = set()
    for split in SPLITS:
        x, y = getattr(data, split).x, getattr(data, split).y
        assert x.dtype == dtype and y.dtype == torch.int64 and len(x) == len(y)
        assert x.isfinite().all() and 0 <= y.min() and y.max() < len(data.classes)
        assert not seen & rows(x), f"{split} shares examples with a split before it"
        seen |= rows(x)
    assert data.train.y.unique().tolist() == list(range(len(data.classes)))


def publish(monkeypatch: pytest.MonkeyPatch, name: str, files: dict[str, bytes], url: str = NOWHERE) -> str:
    """Make `files` the published files of a set; returns the set's folder."""
    folder = download.SOURCES[name][0]
    sha256 = {file: hashlib.sha256(data).hexdigest() for file, data in files.items()}
    monkeypatch.setitem(download.SOURCES, name, (folder, url, sha256))
    return folder


def put(root: Path, files: dict[str, bytes]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for file, data in files.items():
        (root / file).write_bytes(data)
    return root


DOMAINS = {"money": ["pay", "balance"], "food": ["recipe", "order"]}


def tiny_clinc(test: list[list[str]] | None = None) -> dict[str, bytes]:
    """32 training sentences of four intents in two domains; all else as in the published file."""
    objects = ("a bill", "my rent", "the pasta", "a coffee", "one pizza", "this card", "our loan", "two eggs")
    train = [
        [f"please {intent} {thing}", intent] for intent in ("recipe", "pay", "order", "balance") for thing in objects
    ]
    rows = {
        "oos_val": [["what is love", "oos"]],
        "val": [["recipe for pasta", "recipe"], ["pay this rent", "pay"]],
        "train": train,
        "oos_test": [["tell me a joke", "oos"]],
        "test": test or [["order some coffee", "order"], ["balance of this card", "balance"], ["~~~ 4711", "pay"]],
        "oos_train": [["who am i", "oos"]],
    }
    return {"data_full.json": json.dumps(rows).encode(), "domains.json": json.dumps(DOMAINS).encode()}


def real(*files: str) -> pytest.MarkDecorator:
    there = REAL is not None and all((Path(REAL) / f).exists() for f in files)
    return pytest.mark.skipif(not there, reason=f"KDSTUDY_DATA does not have {', '.join(files)}")
