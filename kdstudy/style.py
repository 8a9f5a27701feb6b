"""The former names of `kdstudy.figures.style`, for modules that have not moved yet."""

import matplotlib.pyplot as plt  # noqa: F401
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from kdstudy.figures import primitives
from kdstudy.figures.primitives import log_ticks  # noqa: F401
from kdstudy.figures.style import *  # noqa: F403
from kdstudy.figures.style import CONDITIONS, _students, look  # noqa: F401
from kdstudy.figures.tables import listing  # noqa: F401
from kdstudy.study.measures import MEASURES
from kdstudy.wording import PERCENT

AXES = {name: m.axis_label for name, m in MEASURES.items()}
NAMES = {c: how.name for c, how in CONDITIONS.items()}
STYLE = {c: (how.colour, how.marker) for c, how in CONDITIONS.items()}


def percent(ax: Axes, measure: str, which: str = "y") -> None:
    """Label an axis with its measure, fractions shown as percent."""
    getattr(ax, f"set_{which}label")(AXES.get(measure, measure))
    if measure in PERCENT:
        getattr(ax, f"{which}axis").set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g}"))


def curve(ax: Axes, rows, x: str, condition: str, label: str | None = None, dash: str = "-") -> None:
    """`primitives.line` of a condition."""
    how = look(condition)._replace(dash=dash)
    primitives.line(ax, rows, x, how._replace(name=label or how.name))


def band(ax: Axes, frame, condition: str, measure: str) -> None:
    """`primitives.band` of a condition."""
    primitives.band(ax, frame[measure], look(condition))


def legend(figure: Figure, ax: Axes) -> None:
    """`primitives.legend`."""
    primitives.legend(figure)
