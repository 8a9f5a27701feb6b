"""What all trainers share: what a stack of runs is taught, the order it reads examples in, and what each run leaves.

A stack is trained together and knows no condition by name: condition, temperature, learning rate, weight decay and
teacher differ freely. Runs of equal seed see the same initial weights and the same batches, which is what makes their
differences paired.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdstudy.core.random import generator
from kdstudy.core.spec import Condition, Run
from kdstudy.data.dataset import Dataset, Split
from kdstudy.distill import conditions, levels, loss
from kdstudy.train import probe
from kdstudy.train.metrics import SPLITS, accuracy, evaluate, nll

Progress = Callable[[int], object]  # called with the number of run-steps just done
Teachers = Mapping[str, Mapping[str, Tensor]]  # by key: logits by split, logit-layer "rows", perhaps "weights"


@dataclass(frozen=True)
class Result:
    """What one run left: scalar metrics by name, arrays by name."""

    run: Run
    metrics: dict[str, float]
    arrays: dict[str, np.ndarray]


def steps(run: Run, examples: int) -> int:
    """Optimiser steps of a run: whole batches only, reshuffled each epoch."""
    return run.recipe.epochs * (examples // min(run.recipe.batch, examples))


def half_cosine(step: int, total: int) -> float:
    """The learning rate's factor: 1 at step 0, towards 0 at `total`."""
    return 0.5 * (1 + math.cos(math.pi * step / total))


def orders(seeds: Sequence[int], epoch: int, examples: int) -> Int[Tensor, "S N"]:
    """One permutation of the training set for each seed and epoch."""
    return torch.stack([torch.randperm(examples, generator=generator(s, f"order:{epoch}")) for s in seeds])


def take_rows(table: Float[Tensor, "N *D"], index: Int[Tensor, "R B"]) -> Float[Tensor, "R B *D"]:
    """table[index]; `index_select` copies whole rows, which is several times faster."""
    return table.index_select(0, index.flatten()).view(*index.shape, *table.shape[1:])


class Trainer(ABC):
    """R runs on their way, side by side. A subclass has the networks: how they take a step, what they answer.

    `gradients` holds the loss's gradient coefficients (K, N, ...), one row for each distinct (condition, teacher), and
    `label` (K, N) the labels taught: the teacher's choice for examples that have none of their own. `kind` and `seat`
    (R,) point each run to its row and to its seed's place in `seeds`.
    """

    examples: tuple[str, int]  # what it trains on, and of how many dimensions that is
    shared: str  # what runs of one stack have in common besides data set, epochs and batch size

    def __init__(self, runs: Sequence[Run], data: Dataset, teachers: Teachers, device: str = "cpu") -> None:
        """The runs before their first step. ValueError if they do not fit one stack, or do not fit the data."""
        self._check(runs, data)
        self.runs, self.data, self.teachers, self.recipe = runs, data, teachers, runs[0].recipe
        self.dtype = torch.float64 if self.recipe.dtype == "float64" else torch.float32  # of weights, targets, scores
        self.splits = {s: self.on_device(getattr(data, s), device) for s in SPLITS}
        self.probe = probe.probe_examples(len(data.train.y))
        self.seeds = list(dict.fromkeys(r.seed for r in runs))
        self.kinds = list(dict.fromkeys((r.condition, r.teacher) for r in runs))
        self.seat = torch.tensor([self.seeds.index(r.seed) for r in runs], device=device)
        self.kind = torch.tensor([self.kinds.index((r.condition, r.teacher)) for r in runs], device=device)
        self.tau = torch.tensor([r.condition.tau for r in runs], dtype=self.dtype, device=device)
        self.label = torch.stack([self.labels(c, t) for c, t in self.kinds]).to(device)
        gradients, self.taught, self.mass = zip(*(self._lesson(condition, t) for condition, t in self.kinds))
        self.gradients = loss.stack(gradients).map(lambda t: t.to(device))
        self.probed = self.gradients.map(lambda t: t[:, self.probe])

    def _check(self, runs: Sequence[Run], data: Dataset) -> None:
        if len({self.shape(r) for r in runs}) != 1:
            raise ValueError(f"a stack needs runs of one data set, {self.shared}, epochs and batch size")
        (allowed, dimensions), found = self.examples, tuple(data.train.x.shape[1:])
        if data.train.x.dim() != dimensions:
            net = runs[0].recipe.net
            raise ValueError(f"net {net!r} on {data.name!r}: found examples of shape {found}, allowed: {allowed}")

    def labels(self, condition: Condition, teacher: Run | None) -> Int[Tensor, " N"]:
        """The labels that students are taught. ValueError if some examples have none and there is no teacher to ask."""
        y, known = self.data.train.y, self.data.extra.get("train", {}).get("labelled")
        if known is None:
            return y
        if teacher is None:
            raise ValueError(
                f"condition {condition.name!r} on {self.data.name!r}: found {int((~known).sum())} unlabelled examples "
                "and no teacher to label them, allowed: a condition that listens to one, or the option `labels`"
            )
        return torch.where(known, y, self.teachers[teacher.key]["train"].argmax(-1))

    def target(self, condition: Condition, teacher: Run | None, logits: Tensor | None) -> loss.Target:
        """What a condition asks of the whole training set, given its teacher's logits for it."""
        left = self.teachers[teacher.key] if teacher else {}
        seed = teacher.seed if teacher else 0
        ctx = conditions.Context(len(self.data.classes), self.dtype, self.data.superclass, left.get("rows"), seed=seed)
        return conditions.target(condition, logits, self.labels(condition, teacher), ctx)

    def _lesson(
        self, condition: Condition, teacher: Run | None
    ) -> tuple[loss.LossGradient, dict[str, float], Float[Tensor, " probe"]]:
        """What is asked of the examples as they are: ready for training, in summary, and the probe's masses."""
        label, logits = self.labels(condition, teacher), self.teachers[teacher.key]["train"] if teacher else None
        target = self.target(condition, teacher, logits)
        mass = levels.without_label(levels.taught_distribution(target), label).sum(-1)[self.probe]
        return loss.LossGradient.of(target, condition.tau), levels.target_summary(target, label), mass

    def epochs(self, progress: Progress) -> Iterator[int]:
        """Train epoch by epoch, yielding the number of epochs done after each."""
        n, done = len(self.data.train.y), 0
        batch, total = min(self.recipe.batch, n), steps(self.runs[0], n)
        for epoch in range(self.recipe.epochs):
            self.start(epoch)
            order = orders(self.seeds, epoch, n).to(self.tau.device)
            for start in range(0, n - batch + 1, batch):
                self.step(order[:, start : start + batch], half_cosine(done, total))
                done += 1
                progress(len(self.runs))
            yield epoch + 1

    def gradient(self, logits: Float[Tensor, "R B C"], index: Int[Tensor, "S B"]) -> Float[Tensor, "R B C"]:
        """The mean loss's gradient at the logits of a batch, `index` its examples for each seed."""
        at = index[self.seat]
        row = self.kind[:, None] * self.label.shape[1] + at
        coefficients = self.gradients.map(lambda t: take_rows(t.flatten(0, 1), row))
        return loss.gradient(logits, coefficients, self.label.flatten()[row], self.tau).div_(at.shape[1])

    @torch.no_grad()
    def validation(self, i: int) -> tuple[float, float]:
        """Accuracy and NLL of run i on the validation split."""
        split = self.splits["validation"]
        logits = self.logits(i, split.x)
        return float(accuracy(logits, split.y)), float(nll(logits, split.y))

    @torch.no_grad()
    def rescaling(self, i: int) -> Float[Tensor, " probe"]:
        """w of run i on the probe examples, as they are."""
        kind, train = self.kind[i], self.splits["train"]
        logits, coefficients = self.logits(i, train.x[self.probe]), self.probed.map(lambda t: t[kind])
        return loss.rescaling(logits, coefficients, self.label[kind, self.probe], self.tau[i])

    @torch.no_grad()
    def finish(self, i: int, keep_logits: bool) -> Result:
        """Metrics and arrays of run i at its last epoch."""
        run, kind, layer = self.runs[i], int(self.kind[i]), self.logit_rows(i)
        logits = {s: self.logits(i, split.x) for s, split in self.splits.items()}
        labels = {s: split.y for s, split in self.splits.items()}
        metrics, arrays = evaluate(logits, labels, self.teachers[run.teacher.key] if run.teacher else None)
        metrics |= self.taught[kind] | levels.student_summary(logits["train"], labels["train"], run.condition.tau)
        arrays |= probe.probe_arrays(logits, labels, layer, self.mass[kind], run.condition.tau)
        if keep_logits:
            left = {f"logits_{s}": z for s, z in logits.items()} | {"rows": layer} | self.weights(i)
            arrays |= {name: values.cpu().numpy() for name, values in left.items()}
        return Result(run, metrics, arrays)

    def on_device(self, split: Split, device: str) -> Split:
        """A split as it is kept during training."""
        return replace(split, x=split.x.to(device), y=split.y.to(device))

    def start(self, epoch: int) -> None:  # noqa: B027 -- most have nothing to prepare
        """Prepare an epoch."""

    def weights(self, i: int) -> dict[str, Tensor]:
        """What run i must leave besides logits to teach."""
        return {}

    @staticmethod
    @abstractmethod
    def shape(run: Run) -> tuple[object, ...]:
        """What runs must have in common to be trained in one stack."""

    @abstractmethod
    def step(self, index: Int[Tensor, "S B"], factor: float) -> None:
        """One SGD step of every run on its batch, its learning rate times `factor`."""

    @abstractmethod
    def logits(self, i: int, x: Float[Tensor, "N *D"]) -> Float[Tensor, "N C"]:
        """Logits of run i."""

    @abstractmethod
    def logit_rows(self, i: int) -> Float[Tensor, "C H"]:
        """The logit layer's weight vector of each class in run i."""


def train(trainer: Trainer, progress: Progress = lambda n: None, keep_logits: bool = False) -> list[Result]:
    """Train a stack and measure each run at its last epoch.

    `keep_logits` adds the arrays "logits_train", ..., "rows" and, of convolutional networks, "weights", that make a
    run fit to teach.
    """
    watched, rescaled, curves, each = probe.checkpoints(trainer.recipe.epochs), [], [], range(len(trainer.runs))
    for done in trainer.epochs(progress):
        if done in watched:
            curves.append([trainer.validation(i) for i in each])
            rescaled.append(probe.as_float16(torch.stack([trainer.rescaling(i) for i in each])))
    results = [trainer.finish(i, keep_logits) for i in each]
    for i, result in enumerate(results):
        result.arrays["curves"] = np.array([epoch[i] for epoch in curves]).reshape(-1, 2)
        result.arrays["w"] = np.stack([w[i] for w in rescaled]) if rescaled else np.zeros((0, 0), np.float16)
    return results
