"""What can be done to any data set: each transform is a function (data set, value) -> data set.

They are done in the order in which they stand here. What they do to tensors is said by the functions above them.
Those that `restricts` come last: a student's data may be restricted where its teacher's are not.
"""

from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from kdstudy.core.random import generator
from kdstudy.core.spec import require
from kdstudy.data.dataset import SPLITS, TRANSFORMS, Dataset, digest_of, split_from

FOLDS = 5


def noisy_labels(label: Int[Tensor, " N"], classes: int, fraction: float) -> Int[Tensor, " N"]:
    """Each label replaced, with probability `fraction`, by one drawn uniformly from all C classes.

    So P'(c | x) = (1 - fraction) P(c | x) + fraction / C. The draws are the same every time, and the examples
    whose label is drawn anew are nested in those of a larger fraction.
    """
    require(0 <= fraction <= 1, "noise", fraction, "0 <= noise <= 1")
    g = generator(0, "noise")
    drawn = torch.rand(len(label), generator=g) < fraction
    return torch.where(drawn, torch.randint(classes, (len(label),), generator=g), label)


def imbalanced(label: Int[Tensor, " N"], classes: int, ratio: float) -> Int[Tensor, " kept"]:
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


def merged_classes(classes: int, left: int, superclass: Int[Tensor, " C"] | None) -> Int[Tensor, " C"]:
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


def superclass_of_merged(group: Int[Tensor, " C"], superclass: Int[Tensor, " C"] | None) -> Int[Tensor, " left"] | None:
    """The super-class of each new class; None if one of them mixes several, or if each has but one class."""
    if superclass is None:
        return None
    held = [superclass[group == g].unique() for g in range(int(group.max()) + 1)]
    if any(len(h) > 1 for h in held) or len(held) == len(superclass.unique()):
        return None
    return torch.cat(held)


def merged_name(names: list[str]) -> str:
    """A name for classes that were merged."""
    return names[0] if len(names) == 1 else f"{names[0]} + {len(names) - 1}"


def fold_of(examples: int) -> Int[Tensor, " N"]:
    """The fold of each training example, at random once and for all, all folds equally large to one."""
    place = torch.randperm(examples, generator=generator(0, "fold"))
    return place % FOLDS


def _subset(data: Dataset, at: Tensor) -> Dataset:
    """The data set with these training examples alone."""
    inside = {k: v[at] for k, v in data.extra.get("train", {}).items()}
    extra = {**data.extra, **({"train": inside} if inside else {})}
    return replace(data, train=split_from(data.train.x[at], data.train.y[at]), extra=extra)


def drawn(label: Int[Tensor, " N"], each: int, draw: int) -> Int[Tensor, " kept"]:
    """`each` examples of every class, or all it has, in order: drawn at random, otherwise by another `draw`."""
    order = torch.randperm(len(label), generator=generator(draw, "labels"))
    kept = [order[label[order] == c][:each] for c in label.unique()]
    return torch.cat(kept).sort().values


def few_labels(what: str, value: object) -> tuple[int, int]:
    """The pair (examples of each class, draw)."""
    pair = tuple(value) if isinstance(value, tuple | list) else (value, 0)
    whole = len(pair) == 2 and all(isinstance(v, int) and v >= low for v, low in zip(pair, (1, 0)))
    require(whole, what, value, "labels of each class, a whole number of at least 1, and a draw of at least 0")
    return pair


@TRANSFORMS.register
def merge(data: Dataset, classes: int) -> Dataset:
    """Neighbouring classes merged until `classes` are left (`merged_classes`); extras of the old ones go."""
    group = merged_classes(len(data.classes), classes, data.superclass)
    splits = {s: replace(getattr(data, s), y=group[getattr(data, s).y]) for s in SPLITS}
    names = tuple(merged_name([data.classes[i] for i in (group == g).nonzero()]) for g in range(classes))
    parents = superclass_of_merged(group, data.superclass)
    rest = {"classes": names, "superclass": parents, "extra": {}, "digest": digest_of(data.digest, "merge", classes)}
    return replace(data, **splits, **rest, superclasses=data.superclasses if parents is not None else ())


@TRANSFORMS.register
def imbalance(data: Dataset, ratio: float) -> Dataset:
    """Training examples of class c thinned to a fraction between 1 and 1 / ratio (`imbalanced`)."""
    kept = imbalanced(data.train.y, len(data.classes), ratio)
    return replace(_subset(data, kept), digest=digest_of(data.digest, "imbalance", ratio))


@TRANSFORMS.register
def noise(data: Dataset, fraction: float) -> Dataset:
    """Each training label replaced, with probability `fraction`, by one drawn from all classes."""
    y = noisy_labels(data.train.y, len(data.classes), fraction)
    return replace(data, train=replace(data.train, y=y), digest=digest_of(data.digest, "noise", fraction))


@TRANSFORMS.register
def noisy_validation(data: Dataset, fraction: float) -> Dataset:
    """The same done to validation labels: settings are then chosen on labels as noisy as those trained on."""
    y = noisy_labels(data.validation.y, len(data.classes), fraction)
    digest = digest_of(data.digest, "noisy_validation", fraction)
    return replace(data, validation=replace(data.validation, y=y), digest=digest)


@TRANSFORMS.register
def fold(data: Dataset, out: int) -> Dataset:
    """Training on all folds but one, validated on that one."""
    require(isinstance(out, int) and 0 <= out < FOLDS, "fold", out, f"a whole number from 0 to {FOLDS - 1}")
    held_out = fold_of(len(data.train.y)) == out
    left, rest = _subset(data, held_out), _subset(data, ~held_out)
    extra = {**data.extra, "train": rest.extra.get("train", {}), "validation": left.extra.get("train", {})}
    digest = digest_of(data.digest, out)
    return replace(data, train=rest.train, validation=left.train, digest=digest, extra=extra)


@TRANSFORMS.register
def crossfit(data: Dataset, out: int) -> Dataset:
    """`fold`, the data set's own validation split kept behind the fold: what a teacher of that fold must see."""
    part = fold(data, out)
    both = zip((part.validation.x, part.validation.y), (data.validation.x, data.validation.y))
    validation = split_from(*map(torch.cat, both))
    extra = {k: v for k, v in part.extra.items() if k != "validation"}
    return replace(part, validation=validation, digest=digest_of(part.digest, "crossfit"), extra=extra)


@TRANSFORMS.register(restricts=True)
def columns(data: Dataset, first: int) -> Dataset:
    """The `first` features alone: what a student sees of what its teacher saw in full (Vapnik and Vashist 2009)."""
    have = data.train.x.shape[1]
    fits = data.train.x.dim() == 2 and isinstance(first, int) and 1 <= first <= have
    require(fits, "columns", first, f"a whole number from 1 to {have}, of features")
    splits = {s: replace(getattr(data, s), x=getattr(data, s).x[:, :first].contiguous()) for s in SPLITS}
    return replace(data, **splits, digest=digest_of(data.digest, "columns", first))


@TRANSFORMS.register(restricts=True)
def labels(data: Dataset, few: int | tuple[int, int]) -> Dataset:
    """`few` = (n, draw), or n of draw 0: n training examples of each class and no others (`drawn`)."""
    each, draw = few_labels("labels", few)
    return replace(_subset(data, drawn(data.train.y, each, draw)), digest=digest_of(data.digest, "labels", each, draw))


@TRANSFORMS.register(restricts=True)
def transfer(data: Dataset, few: int | tuple[int, int]) -> Dataset:
    """`few` = (n, draw): labels of n training examples of each class, those `labels` keeps; the others are unlabelled.

    extra["train"]["labelled"] (N,) says which: a student is taught the teacher's choice as the label of the others.
    """
    each, draw = few_labels("transfer", few)
    known = torch.zeros(len(data.train.y), dtype=torch.bool)
    known[drawn(data.train.y, each, draw)] = True
    extra = {**data.extra, "train": {**data.extra.get("train", {}), "labelled": known}}
    return replace(data, extra=extra, digest=digest_of(data.digest, "transfer", each, draw))
