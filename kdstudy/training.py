"""R runs trained side by side as one stacked model. Knows no condition by name.

Runs of one stack share data set, network shape, epochs and batch size; condition, temperature,
learning rate, weight decay, seed and teacher differ freely. Runs of equal seed see the same
initial weights and the same batches, which is what makes their differences paired.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdstudy import measures, models, objective, observe, shapes, targets
from kdstudy.core.random import generator
from kdstudy.datasets import Dataset, Split
from kdstudy.spec import Condition, Run

Progress = Callable[[int], object]  # called with the number of run-steps just done


@dataclass(frozen=True)
class Result:
    """What one run left: scalar metrics by name, arrays by name."""

    run: Run
    metrics: dict[str, float]
    arrays: dict[str, np.ndarray]


def shape(run: Run) -> tuple[object, ...]:
    """What runs must have in common to be trained in one stack."""
    r = run.recipe
    return run.data, r.hidden, r.epochs, r.batch, r.momentum, r.dtype


def steps(run: Run, examples: int) -> int:
    """Optimiser steps of a run: whole batches only, reshuffled each epoch."""
    return run.recipe.epochs * (examples // min(run.recipe.batch, examples))


def learning_rate(lr: Tensor, step: int, total: int) -> Tensor:
    """Half cosine from `lr` at step 0 towards 0 at `total`."""
    return lr * (0.5 * (1 + math.cos(math.pi * step / total)))


@dataclass
class Stack:
    """The tensors that R runs are trained from; `pick` and `seat` point each run to its rows."""

    params: models.Params
    goals: objective.Pull  # (K, N, C), one for each distinct (condition, teacher)
    taught: list[dict[str, float]]  # K summaries of what is taught
    mass: list[Float[Tensor, " probe"]]  # K masses taught to the probe examples
    pick: Int[Tensor, " R"]
    tau: Float[Tensor, " R"]
    lr: Float[Tensor, "R 1 1"]
    weight_decay: Float[Tensor, "R 1 1"]
    seeds: list[int]
    seat: Int[Tensor, " R"]

    @staticmethod
    def of(runs: Sequence[Run], data: Dataset, teachers: Mapping[str, Mapping[str, Tensor]], device: str) -> "Stack":
        """The stack of `runs`; `teachers` maps a teacher's key to what it left."""
        dtype = getattr(torch, runs[0].recipe.dtype)
        sizes = (data.train.x.shape[1], *runs[0].recipe.hidden, len(data.classes))
        kinds = list(dict.fromkeys((r.condition, r.teacher) for r in runs))
        goals, taught, mass = zip(*(lesson(c, t, data, teachers, dtype) for c, t in kinds))
        seeds = list(dict.fromkeys(r.seed for r in runs))

        def column(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device)[:, None, None]

        return Stack(
            params=[p.to(device) for p in models.stack([models.init(r.seed, sizes, dtype) for r in runs])],
            goals=objective.stack(goals).map(lambda t: t.to(device)),
            taught=list(taught),
            mass=list(mass),
            pick=torch.tensor([kinds.index((r.condition, r.teacher)) for r in runs], device=device),
            tau=torch.tensor([r.condition.tau for r in runs], dtype=dtype, device=device),
            lr=column([r.recipe.lr for r in runs]),
            weight_decay=column([r.recipe.weight_decay for r in runs]),
            seeds=seeds,
            seat=torch.tensor([seeds.index(r.seed) for r in runs], device=device),
        )


def lesson(
    condition: Condition, teacher: Run | None, data: Dataset, teachers: Mapping, dtype: torch.dtype
) -> tuple[objective.Pull, dict[str, float], Tensor]:
    """What a condition asks of the whole training set, ready for training; its summary; the probe's masses."""
    left = teachers[teacher.key] if teacher else {"train": None}
    ctx = targets.Context(
        len(data.classes), dtype, data.superclass, left.get("rows"), seed=teacher.seed if teacher else 0
    )
    goal = targets.target(condition, left["train"], data.train.y, ctx)
    mass = shapes.off(shapes.taught(goal), data.train.y).sum(-1)[observe.probe(len(data.train.y))]
    return objective.Pull.of(goal, condition.tau), shapes.summary(goal, data.train.y), mass


def orders(seeds: Sequence[int], epoch: int, examples: int) -> Int[Tensor, "S N"]:
    """One permutation of the training set for each seed and epoch."""
    return torch.stack([torch.randperm(examples, generator=generator(s, f"order:{epoch}")) for s in seeds])


def rows(table: Float[Tensor, "N *D"], at: Int[Tensor, "R B"]) -> Float[Tensor, "R B *D"]:
    """table[at]; `index_select` copies whole rows, which is several times faster."""
    return table.index_select(0, at.flatten()).view(*at.shape, *table.shape[1:])


def inputs(x: Float[Tensor, "N D"], index: Int[Tensor, "S B"], seat: Int[Tensor, " R"]) -> Float[Tensor, "R B D"]:
    """Each run's batch; runs of a single seed read one copy of it."""
    if len(index) == 1:
        return x[index[0]].expand(len(seat), -1, -1)
    return rows(x, index[seat])


def step(stack: Stack, momenta: models.Params, train: Split, index: Int[Tensor, "S B"], lr: Tensor, mu: float) -> None:
    """One SGD step of every run on its batch, by the loss's gradient in closed form."""
    at = index[stack.seat]
    place = stack.pick[:, None] * len(train.y) + at
    goal = stack.goals.map(lambda t: rows(t.flatten(0, 1), place))
    params = [p.requires_grad_() for p in stack.params]
    logits = models.forward(params, inputs(train.x, index, stack.seat))
    with torch.no_grad():
        pull = objective.gradient(logits, goal, train.y[at], stack.tau).div_(at.shape[1])
    grads = torch.autograd.grad(logits, params, pull)
    with torch.no_grad():
        for p, m, g in zip(params, momenta, grads):
            g = g.addcmul(stack.weight_decay, p)
            m.mul_(mu).add_(g)
            p.sub_(lr * g.add(m, alpha=mu))


def epochs(stack: Stack, train: Split, run: Run, progress: Progress) -> Iterator[int]:
    """Train epoch by epoch, yielding the number of epochs done after each."""
    n, r = len(train.y), run.recipe
    batch, total, done = min(r.batch, n), steps(run, n), 0
    momenta = [torch.zeros_like(p) for p in stack.params]
    for epoch in range(r.epochs):
        order = orders(stack.seeds, epoch, n).to(train.y.device)
        for start in range(0, n - batch + 1, batch):
            lr = learning_rate(stack.lr, done, total)
            step(stack, momenta, train, order[:, start : start + batch], lr, r.momentum)
            done += 1
            progress(len(stack.pick))
        yield epoch + 1


def on(split: Split, device: str, dtype: torch.dtype) -> Split:
    """A split moved to a device and precision."""
    return Split(split.x.to(device, dtype), split.y.to(device))


def train(
    runs: Sequence[Run],
    data: Dataset,
    teachers: Mapping[str, Mapping[str, Tensor]],
    device: str = "cpu",
    progress: Progress = lambda n: None,
    keep_logits: bool = False,
) -> list[Result]:
    """Train `runs` as one stack and measure each at its last epoch.

    `teachers` maps a teacher's key to its logits on "train", "validation" and "test", indexed by
    example, never by position in a batch, and its logit-layer "rows". `keep_logits` adds the arrays
    "logits_train", ..., and "rows", that make a run fit to teach. Raises ValueError if the runs do not
    fit one stack.
    """
    if len({shape(r) for r in runs}) != 1:
        raise ValueError("a stack needs runs of one data set, network shape, epochs and batch size")
    if data.train.x.dim() != 2:
        raise ValueError(
            f"net 'mlp' on {data.name!r}: found examples of shape {tuple(data.train.x.shape[1:])}, allowed: features"
        )
    dtype = getattr(torch, runs[0].recipe.dtype)
    splits = {s: on(getattr(data, s), device, dtype) for s in measures.SPLITS}
    stack = Stack.of(runs, data, teachers, device)
    watched, weights, curves = observe.checkpoints(runs[0].recipe.epochs), [], []
    for done in epochs(stack, splits["train"], runs[0], progress):
        with torch.no_grad():
            curves.append(validation(stack, splits["validation"]))
            if done in watched:
                weights.append(rescaled(stack, splits["train"]))
    with torch.no_grad():
        results = [finish(i, run, stack, splits, teachers, keep_logits) for i, run in enumerate(runs)]
    for i, result in enumerate(results):
        result.arrays["curves"] = np.array([[float(v[i]) for v in row] for row in curves]).reshape(-1, 2)
        result.arrays["w"] = np.stack([w[i] for w in weights]) if weights else np.zeros((0, 0), np.float16)
    return results


def rescaled(stack: Stack, train: Split) -> np.ndarray:
    """w of every run on the probe examples, (R, probe), clipped to the range of float16."""
    at = observe.probe(len(train.y))
    x, y, rows = train.x[at], train.y[at], []
    for i, kind in enumerate(stack.pick):
        pull = stack.goals.map(lambda t, kind=kind: t[kind, at])
        rows.append(objective.rescaling(models.alone(stack.params, i, x), pull, y, stack.tau[i]))
    return observe.small(torch.stack(rows))


def validation(stack: Stack, split: Split) -> tuple[Tensor, Tensor]:
    """Accuracy and NLL of every run on the validation split."""
    rows = [models.alone(stack.params, i, split.x) for i in range(len(stack.pick))]
    return tuple(torch.stack([fn(z, split.y) for z in rows]) for fn in (measures.accuracy, measures.nll))


def finish(i: int, run: Run, stack: Stack, splits: Mapping[str, Split], teachers: Mapping, keep_logits: bool) -> Result:
    """Metrics and arrays of run i at its last epoch."""
    logits = {s: models.alone(stack.params, i, split.x) for s, split in splits.items()}
    labels = {s: split.y for s, split in splits.items()}
    listened = teachers[run.teacher.key] if run.teacher else None
    metrics, arrays = measures.evaluate(logits, labels, listened)
    layer = models.logit_rows(stack.params, i, run.recipe.hidden)
    metrics |= stack.taught[stack.pick[i]]
    metrics |= shapes.made(logits["train"], labels["train"], run.condition.tau)
    arrays |= observe.arrays(logits, labels, layer, stack.mass[stack.pick[i]], run.condition.tau)
    if keep_logits:
        arrays |= {f"logits_{s}": z.cpu().numpy() for s, z in logits.items()} | {"rows": layer.cpu().numpy()}
    return Result(run, metrics, arrays)
