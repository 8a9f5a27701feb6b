"""A reproducible study of why knowledge distillation works and when it fails.

from kdstudy import ask, students, settings, Data
"""

from kdstudy import faults, plans_failures  # noqa: F401  they enter conditions and plans
from kdstudy.claims import verdict
from kdstudy.datasets import load
from kdstudy.diagnosis import diagnose
from kdstudy.losscheck import check_loss
from kdstudy.runs import arrays, ask
from kdstudy.spec import Condition, Data, Recipe, Run
from kdstudy.stats import difference, interval
from kdstudy.targets import Target, condition, loss

__all__ = [
    "Condition",
    "Data",
    "Recipe",
    "Run",
    "Target",
    "arrays",
    "ask",
    "check_loss",
    "condition",
    "diagnose",
    "difference",
    "interval",
    "load",
    "loss",
    "verdict",
]
