"""CLINC150: 150 intents in 10 domains; sentences become features by latent semantic analysis."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Float

from kdstudy.core.paths import cache_folder
from kdstudy.core.spec import require
from kdstudy.data.dataset import DATASETS, Parts
from kdstudy.data.download import SOURCES, fetch

VERSION = 1  # part of the data set's digest: raise it when `features` changes
SPLITS = {"train": "train", "validation": "val", "test": "test"}  # the file's own names; out of scope: oos_*

Arrays = dict[str, Float[np.ndarray, "N D"]]


@DATASETS.register(grouped=True)
def clinc150(*, variant: str = "full", features: int = 256) -> Parts:
    """15 000 (`variant` "small": 7 500, "imbalanced": 10 525) / 3 000 / 4 500 sentences of 150 intents.

    Their 10 domains are the super-classes; out-of-scope sentences are left out. x has `features`
    columns, fitted on the training split alone. Larson et al. 2019, CC BY 3.0.
    """
    return parts(partial(fetch, "clinc150"), cache_folder() / "clinc150", variant, features)


def parts(fetch: Callable[[str], Path], cache: Path, variant: str, size: int) -> Parts:
    """The data set's fields; `fetch` finds a file, features are kept in the folder `cache`."""
    variants = [f.removeprefix("data_").removesuffix(".json") for f in SOURCES["clinc150"][2] if f.startswith("data_")]
    require(variant in variants, "variant", variant, ", ".join(map(repr, variants)))
    require(isinstance(size, int) and size > 0, "features", size, "a whole number of at least 1")
    texts, groups = (fetch(f).read_bytes() for f in (f"data_{variant}.json", "domains.json"))
    rows, domain = json.loads(texts), {i: d for d, intents in json.loads(groups).items() for i in intents}
    classes, domains = sorted(domain), sorted(set(domain.values()))
    source = [hashlib.sha256(texts).hexdigest(), hashlib.sha256(groups).hexdigest(), size, VERSION]
    x = cached(
        cache / f"features-{source[0][:16]}-{size}-v{VERSION}.npz",
        lambda: features({s: [text for text, _ in rows[key]] for s, key in SPLITS.items()}, size),
    )
    label = {intent: c for c, intent in enumerate(classes)}
    y = {s: torch.tensor([label[intent] for _, intent in rows[key]]) for s, key in SPLITS.items()}
    return {
        **{s: (torch.from_numpy(x[s]), y[s]) for s in SPLITS},
        "classes": tuple(classes),
        "superclass": torch.tensor([domains.index(domain[intent]) for intent in classes]),
        "superclasses": tuple(domains),
        "source": source,
    }


def features(texts: Mapping[str, Sequence[str]], size: int) -> Arrays:
    """TF-IDF, truncated SVD to `size` components, rows scaled to norm sqrt(size).

    TF-IDF counts character 2- to 4-grams within words as 1 + log(count), those in fewer than two
    training sentences dropped. Vocabulary, document frequencies and components come from
    texts["train"] alone. A row's mean square is 1 whatever the sentence's length; a sentence without
    any known n-gram is a row of zeros.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    count = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, min_df=2)
    reduce = make_pipeline(count, TruncatedSVD(size, random_state=0), Normalizer())
    reduce.fit(texts["train"])
    return {s: (reduce.transform(t) * size**0.5).astype(np.float32) for s, t in texts.items()}


def cached(path: Path, make: Callable[[], Arrays]) -> Arrays:
    """The arrays of the .npz file `path`; if it is absent or broken they are made and written, whole or not at all."""
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, BadZipFile):
        arrays = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        np.savez(Path(folder) / path.name, **arrays)
        os.replace(Path(folder) / path.name, path)
    return arrays
