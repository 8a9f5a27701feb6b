"""Runs of convolutional networks trained side by side. Knows no condition by name.

Runs of one stack share data set, network, seed, epochs and batch size: the same first weights, the same order, the
same views of the images, of which one copy serves all. Condition, temperature, learning rate, weight decay and teacher
differ freely. Where images are augmented, what a condition asks is computed anew each epoch from the teacher's logits
for exactly the views the students will see (`kdstudy.views`).
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kdstudy import lanes, measures, nets, objective, observe, shapes, targets, views
from kdstudy.datasets import Dataset, Split
from kdstudy.spec import Condition, Recipe, Run
from kdstudy.training import Progress, Result, orders

Teachers = Mapping[str, Mapping[str, Tensor]]


def shape(run: Run) -> tuple[object, ...]:
    """What runs must have in common to be trained in one stack."""
    r = run.recipe
    return run.data, r.net, r.augment, r.epochs, r.batch, r.momentum, r.dtype, run.seed


def precise(recipe: Recipe) -> torch.dtype:
    """The precision of weights, targets and scores: float32 where only the arithmetic of training is bfloat16."""
    return torch.float64 if recipe.dtype == "float64" else torch.float32


def network(run: Run, data: Dataset) -> nn.Module:
    """The network of a run with its first weights."""
    return nets.build(run.recipe.net, data.train.x.shape[1], len(data.classes), run.seed).to(precise(run.recipe))


@dataclass
class Study:
    """A stack on its way: what its runs share, and the distinct (condition, teacher) they are taught by."""

    runs: Sequence[Run]
    data: Dataset
    teachers: Teachers
    splits: dict[str, Split]
    kinds: list[tuple[Condition, Run | None]]
    pick: Int[Tensor, " R"]
    tau: Float[Tensor, " R"]

    @staticmethod
    def of(runs: Sequence[Run], data: Dataset, teachers: Teachers, device: str) -> "Study":
        """The study of `runs` on a device, its images in the float16 they are kept in."""
        kinds = list(dict.fromkeys((r.condition, r.teacher) for r in runs))
        splits = {s: getattr(data, s) for s in measures.SPLITS}
        return Study(
            runs=runs,
            data=data,
            teachers=teachers,
            splits={s: Split(v.x.to(device), v.y.to(device)) for s, v in splits.items()},
            kinds=kinds,
            pick=torch.tensor([kinds.index((r.condition, r.teacher)) for r in runs], device=device),
            tau=torch.tensor([r.condition.tau for r in runs], dtype=precise(runs[0].recipe), device=device),
        )

    def goal(self, kind: int, logits: Tensor | None) -> objective.Target:
        """What a condition asks of the whole training set, given its teacher's logits for it."""
        condition, teacher = self.kinds[kind]
        left = self.teachers[teacher.key] if teacher else {}
        seed = teacher.seed if teacher else 0
        classes, dtype = len(self.data.classes), precise(self.runs[0].recipe)
        ctx = targets.Context(classes, dtype, self.data.superclass, left.get("rows"), seed=seed)
        return targets.target(condition, logits, self.data.train.y, ctx)

    def still(self, kind: int) -> objective.Target:
        """The goal for the images as they are."""
        teacher = self.kinds[kind][1]
        return self.goal(kind, self.teachers[teacher.key]["train"] if teacher else None)

    def pulls(self, epoch: int) -> objective.Pull:
        """The goals of an epoch's views, ready for training, (K, N, C)."""
        heard = {t: self.viewed(t, epoch) for t in {t for _, t in self.kinds} if t}
        goals = [self.goal(i, heard.get(t)) for i, (_, t) in enumerate(self.kinds)]
        pulls = [objective.Pull.of(g, c.tau) for g, (c, _) in zip(goals, self.kinds)]
        return objective.stack(pulls).map(lambda t: t.to(self.tau.device))

    def viewed(self, teacher: Run, epoch: int) -> Float[Tensor, "N C"]:
        """A teacher's logits for the views of an epoch."""
        left, first = self.teachers[teacher.key], self.runs[0]
        if not first.recipe.augment:
            return left["train"]
        if "weights" not in left:
            raise ValueError(
                f"teacher {teacher.key} of net {teacher.recipe.net!r}: found no weights, which logits for augmented "
                "images need; allowed: a teacher whose net is one of kdstudy.nets, or a student without `augment`"
            )
        net = nets.filled(network(teacher, self.data), left["weights"]).to(self.tau.device)
        table = views.listened(net, self.splits["train"].x, first.seed, epoch)
        return torch.from_numpy(np.array(table)).to(precise(first.recipe))


def epochs(study: Study, lane: lanes.OneByOne | lanes.Stacked, progress: Progress) -> Iterator[int]:
    """Train epoch by epoch, yielding the number of epochs done after each."""
    train, first = study.splits["train"], study.runs[0]
    n, recipe = len(train.y), first.recipe
    batch = min(recipe.batch, n)
    total, done = recipe.epochs * (n // batch), 0
    dtype = torch.bfloat16 if recipe.dtype == "bfloat16" else precise(recipe)
    for epoch in range(recipe.epochs):
        pulls, order = study.pulls(epoch), orders((first.seed,), epoch, n)[0].to(train.y.device)
        view = views.draw(first.seed, epoch, n).to(train.y.device) if recipe.augment else None
        for index in order[: n - n % batch].split(batch):
            factor = 0.5 * (1 + math.cos(math.pi * done / total))
            lane.step(views.seen(train.x, index, view, dtype), puller(study, pulls, index), factor)
            done += 1
            progress(len(study.runs))
        yield epoch + 1


def puller(study: Study, pulls: objective.Pull, index: Int[Tensor, " B"]) -> Callable[[Tensor], Tensor]:
    """The mean loss's gradient by the logits of a batch, for every run."""
    goal = pulls.map(lambda t: t[study.pick[:, None], index])
    label = study.splits["train"].y[index].expand(len(study.runs), -1)
    return lambda logits: objective.gradient(logits, goal, label, study.tau).div_(len(index))


def train(
    runs: Sequence[Run],
    data: Dataset,
    teachers: Teachers,
    device: str = "cpu",
    progress: Progress = lambda n: None,
    keep_logits: bool = False,
    lane: type | None = None,
) -> list[Result]:
    """Train `runs` as one stack and measure each at its last epoch, as `training.train` does for perceptrons.

    `teachers` maps a teacher's key to its logits by split, its logit-layer "rows" and, for students of augmented
    images, its "weights". `keep_logits` adds the arrays that make a run fit to teach. `lane` is how the networks are
    advanced, by default the fastest for the device. Raises ValueError if the runs do not fit one stack.
    """
    if len({shape(r) for r in runs}) != 1:
        raise ValueError("a stack needs runs of one data set, network, seed, epochs and batch size")
    if data.train.x.dim() != 4:
        found = tuple(data.train.x.shape[1:])
        raise ValueError(
            f"net {runs[0].recipe.net!r} on {data.name!r}: found examples of shape {found}, allowed: images"
        )
    study = Study.of(runs, data, teachers, device)
    made = [network(r, data).to(device) for r in runs]
    lane = (lane or lanes.fastest(device, made[0]))(made, [r.recipe for r in runs], device)
    still = [study.still(kind) for kind in range(len(study.kinds))]
    watched, weights, curves = observe.checkpoints(runs[0].recipe.epochs), [], []
    for done in epochs(study, lane, progress):
        alone = [lane.net(i) for i in range(len(runs))]
        curves.append([scores(net, study.splits["validation"]) for net in alone])
        if done in watched:
            weights.append(observe.small(torch.stack([rescaled(study, still, i, net) for i, net in enumerate(alone)])))
    results = []
    for i, run in enumerate(runs):
        metrics, arrays = finish(study, still[study.pick[i]], i, lane.net(i), keep_logits)
        arrays["curves"] = np.array([epoch[i] for epoch in curves]).reshape(-1, 2)
        arrays["w"] = np.stack([w[i] for w in weights]) if weights else np.zeros((0, 0), np.float16)
        results.append(Result(run, metrics, arrays))
    return results


def scores(net: nn.Module, split: Split) -> tuple[float, float]:
    """Accuracy and NLL."""
    logits = torch.cat([*views.asked(net, split.x)])
    return float(measures.accuracy(logits, split.y)), float(measures.nll(logits, split.y))


def rescaled(study: Study, still: Sequence[objective.Target], i: int, net: nn.Module) -> Float[Tensor, " probe"]:
    """w of run i on the probe examples, as they are."""
    train = study.splits["train"]
    at = observe.probe(len(train.y))
    logits = torch.cat([*views.asked(net, train.x[at])])
    goal = still[study.pick[i]].map(lambda t: t[at].to(logits.device))
    return objective.rescaling(logits, objective.Pull.of(goal, float(study.tau[i])), train.y[at], study.tau[i])


def finish(
    study: Study, goal: objective.Target, i: int, net: nn.Module, keep_logits: bool
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Metrics and arrays of run i at its last epoch."""
    run = study.runs[i]
    logits = {s: torch.cat([*views.asked(net, v.x)]) for s, v in study.splits.items()}
    labels = {s: v.y for s, v in study.splits.items()}
    metrics, arrays = measures.evaluate(logits, labels, study.teachers[run.teacher.key] if run.teacher else None)
    label = study.data.train.y
    mass = shapes.off(shapes.taught(goal), label).sum(-1)[observe.probe(len(label))]
    metrics |= shapes.summary(goal, label) | shapes.made(logits["train"], labels["train"], run.condition.tau)
    rows = nets.logit_rows(net)
    arrays |= observe.arrays(logits, labels, rows, mass, run.condition.tau)
    if keep_logits:
        arrays |= {f"logits_{s}": z.cpu().numpy() for s, z in logits.items()}
        arrays |= {"rows": rows.cpu().numpy(), "weights": nets.flat(net).cpu().numpy()}
    return metrics, arrays
