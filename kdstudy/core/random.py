"""Random streams, one for each seed and purpose: runs of one seed share first weights and order, and so are pairs."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def generator(seed: int, purpose: str) -> "torch.Generator":
    """An independent stream of random numbers for each (seed, purpose), the same on every machine.

    `generator(0, "order:3")` draws the order of training examples in epoch 3, for all runs of seed 0.
    """
    import torch  # where numbers are drawn: what only names a run needs none

    digest = hashlib.sha256(f"{purpose}:{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
