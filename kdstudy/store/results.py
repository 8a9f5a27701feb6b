"""All results there are behind one interface: the working store comes before what is published."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from kdstudy.store.published import Published
from kdstudy.store.working import Store

Row = dict[str, object]
COLUMNS = ("key", "dataset", "options", "condition", "seed", "code", "source")  # of a table without rows


class Results:
    """The working store and the published results as one; each is the default one if it is not given."""

    def __init__(self, store: Store | None = None, published: Published | None = None) -> None:
        self.store, self.published = store or Store(), published or Published()

    def rows(self, keys: Iterable[str] | None = None) -> dict[str, Row]:
        """Rows by key: of the keys given, or all."""
        keys = None if keys is None else list(keys)
        return self.published.rows(keys) | self.store.rows(keys)

    def arrays(self, keys: Iterable[str], names: Sequence[str]) -> dict[str, dict[str, np.ndarray]]:
        """Arrays by key and name, where there are any: of a run those of one place."""
        keys = list(keys)
        return self.published.arrays(keys, names) | self.store.arrays(keys, names)

    def sources(self, keys: Iterable[str]) -> dict[str, str]:
        """Where each row comes from, by key: "store" or "published"."""
        keys = list(keys)
        stored = self.store.rows(keys)
        return {key: "store" if key in stored else "published" for key in keys}

    def frame(self) -> pd.DataFrame:
        """Every row as one table, with its `source`; NaN where a field does not apply."""
        stored = pd.DataFrame([*self.store.rows().values()])
        tables = {"published": self.published.frame(), "store": stored}
        held = [table.assign(source=source) for source, table in tables.items() if len(table)]
        return pd.concat(held or [pd.DataFrame(columns=COLUMNS)], ignore_index=True).drop_duplicates("key", keep="last")
