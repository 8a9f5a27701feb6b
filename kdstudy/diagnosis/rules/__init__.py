"""Rules that make findings of a teacher's statistics: one function each, under `@finding`.

Not here: comparisons with limits that were fitted (`predicates`), and the fit itself (study.calibration).
Read first: `registry`, then `teacher`. Rules are asked in the order in which the modules below enter them.
"""

from kdstudy.diagnosis.rules import values, teacher, temperature  # noqa: F401, I001
from kdstudy.diagnosis.rules.registry import RULES, Limits, finding, findings, limits

__all__ = ["RULES", "Limits", "finding", "findings", "limits"]
