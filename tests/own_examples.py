"""A user's own data of a few examples, written in a test."""

import csv
import io
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_files import SPLITS

from kdstudy.data.custom import fingerprint, parts
from kdstudy.data.dataset import Dataset, Split
from kdstudy.data.download import DataError

WORDS = "bill,card,eggs,gas,house,juice,loan,milk,pizza,quiz,rent,soup,tea,van,zoo"


def texts(n: int, *labels: str) -> list[tuple[str, str]]:
    """n different texts of each label, with n-grams in common, and the label."""
    pairs = list(combinations(WORDS.split(","), 2))[:n]
    return [(f"{label}: {a} and {b}", label) for a, b in pairs for label in labels]


def write(path: Path, *rows: tuple[str, ...], columns: str = "text,label") -> Path:
    """A CSV file with these rows."""
    out = io.StringIO()
    csv.writer(out).writerows([columns.split(","), *rows])
    path.write_text(out.getvalue(), "utf-8", newline="")
    return path


def picture(path: Path, pixels: object, **options: object) -> Path:
    """An image with these 8-bit pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path, **options)
    return path


def cats_and_dogs(root: Path) -> Path:
    """A folder of 8 + 8 images in train, 1 + 1 in test, 2 x 2 pixels, each of one grey of its own."""
    for i in range(9):
        split = "train" if i < 8 else "test"
        picture(root / f"own/{split}/cat/{i}.png", np.full((2, 2), 10 * i))
        picture(root / f"own/{split}/dog/{i}.png", np.full((2, 2), 10 * i + 100))
    return root / "own"


def made(path: Path, **options: object) -> Dataset:
    """The data set at a path, as `datasets.load` makes it from `parts`."""
    fields = parts(str(path), **options)
    fields.pop("source")
    splits = {s: Split(*fields.pop(s)) for s in SPLITS}
    return Dataset(str(path), **splits, digest=fingerprint(str(path)), **fields)


def refused(path: Path, found: str, kind: type[Exception] = DataError, at: Path | None = None, **options: str) -> None:
    """That `parts` raises an error which says where, what was found, what is allowed and what to do next."""
    said = rf"^{re.escape(f'{at or path}: found {found}, allowed: ')}.+\. [A-Z].+[^.]$"
    with pytest.raises(kind, match=said):
        parts(str(path), **{"size": 2, **options})
