"""How the book draws: the look of everything, lines, dots, heat maps, tables, and each chapter's figures in `chapters`.

What is drawn is computed in `stats`, `study` and `diagnosis`. Read `primitives` first.
"""

from kdstudy.figures.shared.comparisons import forest
from kdstudy.figures.shared.search import opening
from kdstudy.figures.style import use_style
from kdstudy.figures.tables import listing, shared_table

__all__ = ["forest", "listing", "opening", "shared_table", "use_style"]
