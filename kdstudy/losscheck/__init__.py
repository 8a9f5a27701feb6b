"""A distillation loss, tested without training: run on crafted batches, its gradient explained by known faults.

A teacher's logits are looked at by `kdstudy.diagnosis`; the conditions that plant these faults are elsewhere.
Read first: `variants` (what a loss can be), then `check`.
"""

from kdstudy.losscheck.check import check_loss
from kdstudy.losscheck.report import LossReport

__all__ = ["LossReport", "check_loss"]
