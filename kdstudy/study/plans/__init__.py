"""Plans: a chapter's parameters to its designs. `PLANS` names them all; `study` performs a chapter's.

Not here: beds (`study.beds`), the stages of an experiment (`study.experiment`). Read `levels` first.
"""

from kdstudy.study.plans import other_data, other_teachers  # noqa: F401  they register their plans
from kdstudy.study.plans.levels import PLANS, asked, every, known, plan, planned, protocol, several, shown, study

__all__ = ["PLANS", "asked", "every", "known", "plan", "planned", "protocol", "several", "shown", "study"]
