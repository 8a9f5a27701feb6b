"""Figures of the universe chapter: how often students are right, against how sure they are."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdstudy.figures.primitives import lines, reference
from kdstudy.figures.style import as_percent


def pooled(bins: Mapping[str, np.ndarray], keys: Iterable[str]) -> pd.DataFrame:
    """Reliability bins (count, confidence, correctness) added over runs; bins under 0.5 % left out."""
    count, sure, right = sum(bins[k] for k in keys)
    kept = count > 0.005 * count.sum()
    return pd.DataFrame({"confidence": sure[kept] / count[kept], "mean": right[kept] / count[kept]})


def reliability(frame: pd.DataFrame, bins: Mapping[str, np.ndarray]) -> Figure:
    """Reliability diagrams: accuracy against confidence in 15 bins, examples of all seeds pooled."""
    groups = frame.groupby(["dataset", "condition"], sort=False)["key"]
    rows = pd.concat(pooled(bins, keys).assign(dataset=d, condition=c) for (d, c), keys in groups)

    def axes(ax: Axes, dataset: str) -> None:
        reference(ax, [0, 1], [0, 1], "perfect calibration", "0.6")
        ax.xaxis.set_major_formatter(as_percent)
        ax.yaxis.set_major_formatter(as_percent)
        ax.set(xlabel="confidence (%)", ylabel="accuracy (%)")

    note = "15 equal bins, those under 0.5 % of examples left out · each condition at its setting best on validation"
    return lines(rows, frame, "confidence", dodge=False, decorate=axes, note=note, height=2.9)
