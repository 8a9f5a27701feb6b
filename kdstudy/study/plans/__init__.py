"""Plans: a chapter's parameters to its runs, by part. `PLANS` names them all; `every` asks all runs of a chapter.

Not here: what is trained on each data set (`recipes`). Read `levels` first, then `failures`.
"""

from kdstudy.study.plans.failures import under
from kdstudy.study.plans.levels import (
    ALIKE,
    ALPHAS,
    DATASETS,
    DECOMPOSITION,
    DOMAIN,
    DOSES,
    GRID,
    INSTANCE,
    PLANS,
    SIMILARITIES,
    TAUS,
    UNIVERSE,
    WEIGHT_DECAYS,
    WEIGHTS,
    Parts,
    alike,
    decomposition,
    domain,
    doses,
    every,
    folds,
    instance,
    plan,
    study,
    universe,
)  # fmt: skip
from kdstudy.study.recipes import several, students, teacher_of, teachers

__all__ = [
    "ALIKE", "ALPHAS", "DATASETS", "DECOMPOSITION", "DOMAIN", "DOSES", "GRID", "INSTANCE", "PLANS", "SIMILARITIES",
    "TAUS", "UNIVERSE", "WEIGHTS", "WEIGHT_DECAYS", "Parts", "alike", "decomposition", "domain", "doses", "every",
    "folds", "instance", "plan", "several", "students", "study", "teacher_of", "teachers", "under", "universe",
]  # fmt: skip
