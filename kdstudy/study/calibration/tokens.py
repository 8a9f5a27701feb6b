"""Token teachers: models that count what follows, of the characters and the words of the sentences that they count."""

import json
from collections import Counter
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int

from kdstudy.data.download import fetch

ROWS = 3000  # tokens in a row, of the text that was counted
MOST = 600  # words; rarer ones are one more
Ids = Int[np.ndarray, " _"]
ORDERS = {"characters": (1, 2, 3, 4), "words": (1, 2)}


def teachers() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """A name, logits (1, `ROWS`, V) and next tokens (1, `ROWS`) of each model; the text is CLINC150's, small."""
    sentences = [text for text, _ in json.loads(fetch("clinc150", "data_small.json").read_bytes())["train"]]
    order = np.random.default_rng(0).permutation(len(sentences))
    text = "\n".join(sentences[i] for i in order)
    for unit, orders in ORDERS.items():
        tokens = list(text) if unit == "characters" else text.replace("\n", " . ").split()
        number = {token: i for i, (token, _) in enumerate(Counter(tokens).most_common(MOST))}
        ids = np.array([number.get(token, MOST) for token in tokens])
        for k in orders:
            yield f"tokens {unit} order={k}", *model(ids, k, np.arange(k, k + ROWS))


def model(ids: Ids, order: int, at: Ids) -> tuple[np.ndarray, np.ndarray]:
    """Logits of the tokens at `at`, and these, by counts of what follows the `order` tokens before, smoothed by those
    of one token less: p_k = (count + p_{k - 1}) / (total + 1). A number is added to each row.
    """  # fmt: skip
    classes = int(ids.max()) + 1
    p = np.tile(np.bincount(ids, minlength=classes) / len(ids), (len(at), 1))
    context = np.zeros_like(ids)
    for k in range(1, order + 1):
        context = np.unique(context * classes + np.roll(ids, k), return_inverse=True)[1]
        seen, row = np.unique(context[at], return_inverse=True)
        there = np.isin(context, seen)
        counts = np.zeros((len(seen), classes))
        np.add.at(counts, (np.searchsorted(seen, context[there]), ids[there]), 1)
        p = (counts[row] + p) / (counts.sum(1)[row] + 1)[:, None]
    logits = np.log(p) + np.random.default_rng(order).standard_normal((len(at), 1))
    return logits[None].astype(np.float32), ids[None, at]
