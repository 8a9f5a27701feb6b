"""Teachers that are no single network: put together from others, or known exactly.

Such a teacher is a `Run` whose data set has the option `composed`, the name of a function (run, what its members
left, data) -> logits by split, perhaps logit-layer "rows" and "weights". It is never trained; students listen to it as
to any other. It is composed on the unrestricted data, and answers for the examples that its students see.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import log

import torch
from torch import Tensor

from kdstudy.core.registry import Registry
from kdstudy.core.spec import Data, Run, pairs
from kdstudy.data import registry, transforms
from kdstudy.data.dataset import TRANSFORMS, Dataset
from kdstudy.engine import stacks
from kdstudy.store.working import Record, Store
from kdstudy.train import metrics, mlp, probe

Logits = dict[str, Tensor]
Compose = Callable[[Run, Mapping[str, Mapping[str, Tensor]], Dataset], Logits]
COMPOSED: Registry[Compose] = Registry("composed teacher", in_workers=False)
SMALLEST = 1e-12  # a probability of 0 has no logit
ENSEMBLE, APART = 4, 10_000  # networks of an ensemble, and how far apart their seeds are
POOL = 2  # teachers that serve students of all seeds, where a teacher costs much
compose = COMPOSED.register  # members=...: of a run, the networks that must be trained before; tuned_on=...: of data


def of(teacher: Run, name: str) -> Run:
    """The composed teacher of that name, of the recipe, condition and seed of `teacher`."""
    COMPOSED[name]  # or the error that says which there are
    return replace(teacher, data=Data(teacher.data.name, (*teacher.data.options, ("composed", name))))


def kind(run: Run) -> str:
    """The function that composes a run; empty for a network that is trained."""
    return str(dict(run.data.options).get("composed", ""))


def plain(run: Run) -> Data:
    """The run's data set itself."""
    return Data(run.data.name, pairs({k: v for k, v in run.data.options if k != "composed"}))


def unmerged(data: Data) -> Data:
    """The data set with all its classes."""
    return Data(data.name, pairs({k: v for k, v in data.options if k != "merge"}))


def members(run: Run) -> list[Run]:
    """The networks that must be trained before; none unless the run is composed of some."""
    found = getattr(COMPOSED.get(kind(run)), "members", None)
    return found(replace(run, data=unrestricted(plain(run)))) if found else []


def unrestricted(data: Data) -> Data:
    """The data set before anything that restricts it: all its labels, all its features."""
    free = {k: v for k, v in data.options if not getattr(TRANSFORMS.get(k), "restricts", False)}
    return Data(data.name, pairs(free))


def restricted(known: Logits, run: Run) -> Logits:
    """Logits on the unrestricted data, of the training examples that the data of the run keep."""
    few = dict(run.data.options).get("labels")
    if few is None:
        return known
    every = registry.load(unrestricted(plain(run))).train.y
    return {**known, "train": known["train"][transforms.drawn(every, *transforms.few_labels("labels", few))]}


def _folds(run: Run) -> list[Run]:
    """One network for each fold."""
    parts = [Data(run.data.name, (*run.data.options, ("crossfit", k))) for k in range(transforms.FOLDS)]
    return [replace(run, data=part) for part in parts]


def _whole(run: Run) -> list[Run]:
    """The network of all classes."""
    return [replace(run, data=unmerged(run.data))]


def _seeds(run: Run) -> list[Run]:
    """Networks that differ in their seed, the first of them the teacher itself."""
    return [replace(run, seed=run.seed + k * APART) for k in range(ENSEMBLE)]


def _one_of_few(run: Run) -> list[Run]:
    """The network of one of `POOL` seeds."""
    return [replace(run, seed=APART + run.seed % POOL)]


def _itself(run: Run) -> list[Run]:
    return [run]


@compose(members=_itself)
def informed(run: Run, left: Mapping[str, Mapping[str, Tensor]], data: Dataset) -> Logits:
    """The network that saw more than its student does."""
    return dict(left[members(run)[0].key])


@compose(members=_one_of_few)
def shared(run: Run, left: Mapping[str, Mapping[str, Tensor]], data: Dataset) -> Logits:
    """As `informed`, of few networks: differences between students of one network say nothing of others."""
    return dict(left[members(run)[0].key])


@compose(members=_seeds)
def ensemble(run: Run, left: Mapping[str, Mapping[str, Tensor]], data: Dataset) -> Logits:
    """The mean probability of networks that differ in their seed. Hinton et al. 2015, section 3."""
    each = [left[m.key] for m in members(run)]
    return {s: torch.stack([m[s].log_softmax(-1) for m in each]).logsumexp(0) - log(len(each)) for s in metrics.SPLITS}


@compose(members=_folds)
def crossfitted(run: Run, left: Mapping[str, Mapping[str, Tensor]], data: Dataset) -> Logits:
    """Each training example from the one network that never saw it, other splits from the mean of all.

    Members validate on the fold left out, then on the data set's own validation split.
    """
    fold, mine = transforms.fold_of(len(data.train.y)), [left[m.key] for m in members(run)]
    train = torch.empty(len(fold), len(data.classes), dtype=mine[0]["test"].dtype)
    for k, member in enumerate(mine):
        train[fold == k] = member["validation"][: int((fold == k).sum())]
    others = [m["validation"][-len(data.validation.y) :] for m in mine]
    return {
        "train": train,
        "validation": torch.stack(others).mean(0),
        "test": torch.stack([m["test"] for m in mine]).mean(0),
    }


@compose(members=_whole, tuned_on=unmerged)
def finer(run: Run, left: Mapping[str, Mapping[str, Tensor]], data: Dataset) -> Logits:
    """A teacher of all classes, its probabilities added within each merged one: z_g = log sum_{c in g} exp z_c."""
    (member,) = members(run)
    whole = registry.load(member.data)
    group = transforms.merged_classes(len(whole.classes), len(data.classes), whole.superclass)
    within = group == torch.arange(len(data.classes))[:, None]
    return {s: torch.stack([left[member.key][s][:, g].logsumexp(-1) for g in within], -1) for s in metrics.SPLITS}


@compose
def exact(run: Run, left: Mapping[str, Mapping[str, Tensor]], data: Dataset) -> Logits:
    """log P(y | x), for a data set that knows its law (probabilities below 1e-12 are drawn up to it)."""
    if "posterior" not in data.extra.get("train", {}):
        raise ValueError(
            f"an exact teacher of {data.name!r}: found no posterior, allowed: a data set that knows P(y | x)"
        )
    return {s: data.extra[s]["posterior"].clamp(min=SMALLEST).log().float() for s in metrics.SPLITS}


def record(run: Run, store: Store) -> Record:
    """A composed teacher's logits and their measures; its members are in the store."""
    data, held = registry.load(plain(run)), store.arrays([m.key for m in members(run)], stacks.TAUGHT)
    left = {key: stacks.tensors(arrays) for key, arrays in held.items()}
    known = restricted(COMPOSED[kind(run)](run, left, registry.load(unrestricted(plain(run)))), run)
    labels, rows = {s: getattr(data, s).y for s in metrics.SPLITS}, known.get("rows", torch.zeros(0, 0))
    logits = stacks.whole(known, data)
    scores, arrays = metrics.evaluate(logits, labels, None)
    if rows.numel():
        arrays["similarity"] = probe.class_similarities(logits["train"], labels["train"], rows)
    arrays |= {"right": probe.right(logits["test"], labels["test"]), "rows": rows.numpy()}
    arrays |= {"per_class": probe.correct_per_class(logits["test"], labels["test"])}
    arrays |= {f"logits_{s}": logits[s].numpy() for s in known if s in labels}
    if "test" not in known:
        arrays = {name: a for name, a in arrays.items() if name not in ("right", "per_class", "reliability")}
    scores = {name: value for name, value in scores.items() if name.partition("_")[0] in known}
    arrays |= {"weights": known["weights"].numpy()} if "weights" in known else {}
    return stacks.record(mlp.Result(run, scores, arrays), data.digest, 0.0)
