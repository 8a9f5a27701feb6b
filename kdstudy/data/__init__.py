"""Data sets as tensors: made or read, checked by digest, split the same way every time, transformed.

What is taught about them is in `distill`. Read first: `dataset`, then `registry`.
"""

from typing import TYPE_CHECKING

from kdstudy.core.spec import Data, require

if TYPE_CHECKING:
    from kdstudy.data.dataset import Dataset


def load(data: str | Data) -> "Dataset":
    """A data set as tensors: by name, by the path of one's own, or with options (`registry.load`).

        load("digits").train.x.shape

    ValueError for a name, an option or a value that is unknown; DataError for files that are absent or altered.
    """
    from kdstudy.data import registry

    require(isinstance(data, str | Data), "data set", data, "a name, a path, or Data(name, options)")
    return registry.load(registry.named(data))
