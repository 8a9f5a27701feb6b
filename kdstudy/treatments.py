"""What can be done to the classes and labels of any data set, as functions of its tensors."""

import torch
from jaxtyping import Int
from torch import Tensor

from kdstudy.core.random import generator
from kdstudy.spec import require


def noisy(label: Int[Tensor, " N"], classes: int, fraction: float) -> Int[Tensor, " N"]:
    """Each label replaced, with probability `fraction`, by one drawn uniformly from all C classes.

    So P'(c | x) = (1 - fraction) P(c | x) + fraction / C. The draws are the same every time, and the examples
    whose label is drawn anew are nested in those of a larger fraction.
    """
    require(0 <= fraction <= 1, "noise", fraction, "0 <= noise <= 1")
    g = generator(0, "noise")
    drawn = torch.rand(len(label), generator=g) < fraction
    return torch.where(drawn, torch.randint(classes, (len(label),), generator=g), label)


def thinned(label: Int[Tensor, " N"], classes: int, ratio: float) -> Int[Tensor, " kept"]:
    """The examples that are left, in order, when class c keeps the fraction ratio^(-r_c / (C - 1)), at least one.

    r_c is the class's place in an order drawn once: the first keeps all, the last 1 / ratio. Cui et al. 2019.
    """
    require(1 <= ratio < torch.inf, "imbalance", ratio, "a finite number of at least 1")
    g = generator(0, "imbalance")
    place = torch.randperm(classes, generator=g)
    count = label.bincount(minlength=classes)
    most = (count * ratio ** (-place / max(classes - 1, 1))).round().clamp(min=1)
    order = torch.randperm(len(label), generator=g)
    kept = [order[label[order] == c][: int(most[c])] for c in range(classes)]
    return torch.cat(kept).sort().values


def groups(classes: int, left: int, superclass: Int[Tensor, " C"] | None) -> Int[Tensor, " C"]:
    """The new class of each class when `left` are left: runs of neighbours, of sizes equal to one.

    Neighbours are in the order of their super-classes where there are any, so that merging C classes of G equal
    super-classes to G leaves the super-classes.
    """
    whole = isinstance(left, int) and 2 <= left <= classes
    require(whole, "merge", left, f"a whole number from 2 to {classes}, the number of classes")
    order = torch.arange(classes) if superclass is None else superclass.argsort(stable=True)
    new = torch.empty(classes, dtype=torch.long)
    new[order] = torch.arange(classes) * left // classes
    return new


def above(group: Int[Tensor, " C"], superclass: Int[Tensor, " C"] | None) -> Int[Tensor, " left"] | None:
    """The super-class of each new class; None if one of them mixes several, or if each has but one class."""
    if superclass is None:
        return None
    held = [superclass[group == g].unique() for g in range(int(group.max()) + 1)]
    if any(len(h) > 1 for h in held) or len(held) == len(superclass.unique()):
        return None
    return torch.cat(held)


def called(names: list[str]) -> str:
    """A name for classes that were merged."""
    return names[0] if len(names) == 1 else f"{names[0]} + {len(names) - 1}"
