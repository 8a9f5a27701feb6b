"""A user's own teacher: its logits from a file, in place of a network that is trained.

The file is an .npz with logits (N, C) for the training part in the data set's order, called `logits`, `train` or
`logits_train`; if wanted for `validation` and `test` too, and the logit layer's `rows` (C, H). Of data from a file
that `data.table` reads, `logits` may be of all its rows, in its order. The teacher is composed under the name
"logits:DIGEST:PATH".
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kdstudy.core.caution import caution
from kdstudy.core.spec import Run, require
from kdstudy.data import readers
from kdstudy.data.custom import split_of
from kdstudy.data.dataset import Dataset
from kdstudy.engine.teachers import COMPOSED, Logits, compose, kind
from kdstudy.train import probe
from kdstudy.train.metrics import SPLITS, accuracy

START = "logits:"
CHANCE = 3.0  # standard errors above the commonest class's share within which an accuracy is one of chance
COMPOSED.found = lambda name: logits if str(name).startswith(START) else None


def named(path: str, data: Dataset) -> str:
    """What the teacher of a file is composed as. ValueError for logits that do not fit the data; warns of chance."""
    there = Path(path).expanduser().absolute()
    found, y = _read(there, data)["train"], data.train.y
    share = y.bincount().max().item() / len(y)
    right = accuracy(found, y).item()
    if right <= share + CHANCE * (share * (1 - share) / len(y)) ** 0.5:
        said = f"it chooses {right:.1%} of the training labels, the commonest class is {share:.1%} of them"
        caution(f"teacher {there.name}: {said}: no better than chance. Are its rows in the order of {data.name}?")
    return f"{START}{_digest(there)}:{there}"


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def _read(file: Path, data: Dataset) -> Logits:
    """Finite logits by split, and rows; ValueError for what does not fit the data."""
    what = f"teacher {file.name}"
    require(file.suffix == ".npz" and file.is_file(), what, str(file), "the path of an .npz file of logits")
    raw = {n.removeprefix("teacher_").removeprefix("logits_"): v for n, v in readers.raw(file).items()}
    known = {split_of(n) or ("train" if n in ("logits", "arr_0") else n): v for n, v in raw.items()}
    sizes, classes = {s: len(getattr(data, s).y) for s in SPLITS}, len(data.classes)
    rows = {s: data.extra.get(s, {}).get("row") for s in SPLITS}
    if rows["train"] is not None and len(known.get("train", ())) == sum(sizes.values()):
        known |= {s: known["train"][rows[s].numpy()] for s in SPLITS}
    require("train" in known, what, f"arrays {', '.join(raw)}", "logits (N, C) called logits, train or logits_train")
    for s in (s for s in SPLITS if s in known):
        z, shape = known[s], (sizes[s], classes)
        order = f"{shape}: a row for each {s} example of {data.name} in its order, a column for each class"
        require(z.shape == shape, f"{what}, {s}", z.shape, order)
        finite = z.dtype.kind in "fiu" and bool(np.isfinite(z).all())
        require(finite, f"{what}, {s}", "values that are no numbers", "finite ones")
    layer = known.get("rows")
    require(layer is None or (layer.ndim == 2 and len(layer) == classes), f"{what}, rows", layer, f"({classes}, H)")
    return {s: torch.from_numpy(known[s].astype(np.float32)) for s in (*SPLITS, "rows") if s in known}


@compose
def logits(run: Run, left: Mapping[str, Mapping[str, Tensor]], data: Dataset) -> Logits:
    """The logits of the file; where it has no rows, classes are as alike as their mean logits."""
    _, digest, path = kind(run).split(":", 2)
    found = _read(Path(path), data)
    require(_digest(Path(path)) == digest, f"teacher {path}", "another content", f"the content asked for, {digest}")
    return found if "rows" in found else found | {"rows": probe.mean_logits(found["train"], data.train.y)}
