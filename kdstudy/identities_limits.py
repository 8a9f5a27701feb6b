"""Identities of what conditions become at the ends of what they vary."""

from dataclasses import replace

from torch import Tensor

from kdstudy.identities import CLASSES, Case, both, identity


@identity(1e-12)
def no_dose(case: Case) -> Tensor:
    """KD-pt with dose 0 is matched smoothing."""
    return both("kd_pt", case, dose=0.0) - both("label_smoothing_matched", case)


@identity(1e-12)
def all_classes(case: Case) -> Tensor:
    """Top-k with k = C is KD."""
    return both("topk", case, k=CLASSES) - both("kd", case)


@identity(1e-12)
def two_classes(case: Case) -> Tensor:
    """With C = 2 the class shape is the uniform one: one other class takes all that leaves the label."""
    two = {"z": case.z[:, :2], "v": case.v[:, :2], "y": case.y % 2, "rows": case.rows[:2]}
    few = replace(case, **two, superclass=case.superclass[:2])
    return both("class_matched", few) - both("label_smoothing_matched", few)
