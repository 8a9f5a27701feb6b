"""Slow, obvious twins of the fast paths, written from their definitions."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from kdstudy.core.random import generator
from kdstudy.core.spec import Run
from kdstudy.data.dataset import Dataset
from kdstudy.distill import conditions
from kdstudy.train import mlp


def loss_of_one(z: Tensor, hard: Tensor, soft: Tensor, rest: Tensor, label: int, tau: float) -> Tensor:
    """The one loss of one example, from its formula, by loops over classes."""
    q, cool = torch.softmax(z, 0), torch.softmax(z / tau, 0)
    total = z.new_zeros(())
    for k in range(len(z)):
        total = total - hard[k] * torch.log(q[k]) - tau**2 * soft[k] * torch.log(cool[k])
    others = sum(cool[k] for k in range(len(z)) if k != label)
    return total - tau**2 * rest * torch.log(others)


def network(run: Run, inputs: int, classes: int) -> nn.Sequential:
    """The run's network with its first weights, as torch.nn modules."""
    sizes, dtype = (inputs, *run.recipe.hidden, classes), getattr(torch, run.recipe.dtype)
    first, layers = mlp.init(run.seed, sizes, dtype), []
    for i, (a, b) in enumerate(zip(sizes, sizes[1:])):
        linear = nn.Linear(a, b, dtype=dtype)
        linear.weight.data, linear.bias.data = first[2 * i][0].T.clone(), first[2 * i + 1][0, 0].clone()
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def descend(net: nn.Module, run: Run, y: Tensor, asked: Callable, shown: Callable) -> nn.Module:
    """A run in a plain loop with autograd and torch.optim.SGD.

    `asked(epoch)` is the target of all examples, `shown(epoch, index)` what the network sees of some.
    """
    r, n = run.recipe, len(y)
    batch = min(r.batch, n)
    sgd = torch.optim.SGD(net.parameters(), r.lr, r.momentum, weight_decay=r.weight_decay, nesterov=r.momentum > 0)
    steps = r.epochs * (n // batch)
    cosine = torch.optim.lr_scheduler.LambdaLR(sgd, lambda s: 0.5 * (1 + math.cos(math.pi * s / steps)))
    for epoch in range(r.epochs):
        goal, order = asked(epoch), torch.randperm(n, generator=generator(run.seed, f"order:{epoch}"))
        for i in range(n // batch):
            at = order[i * batch : (i + 1) * batch]
            each = zip(net(shown(epoch, at)), goal.hard[at], goal.soft[at], goal.rest[at], y[at].tolist())
            value = sum(loss_of_one(*one, run.condition.tau) for one in each)
            sgd.zero_grad()
            (value / batch).backward()
            sgd.step()
            cosine.step()
    return net


def context(run: Run, data: Dataset, left: Mapping[str, Tensor], dtype: torch.dtype) -> conditions.Context:
    """What the run's condition may know."""
    seed = run.teacher.seed if run.teacher else 0
    return conditions.Context(len(data.classes), dtype, data.superclass, left.get("rows"), seed)


def train_one(run: Run, data: Dataset, teachers: Mapping[str, Mapping[str, Tensor]]) -> nn.Module:
    """One run of a perceptron; `teachers` maps keys to what they left."""
    dtype, left = getattr(torch, run.recipe.dtype), teachers[run.teacher.key] if run.teacher else {}
    x, y = data.train.x.to(dtype), data.train.y
    if (known := data.extra.get("train", {}).get("labelled")) is not None:
        choice = left["train"].argmax(-1)
        y = torch.tensor([int(y[i]) if known[i] else int(choice[i]) for i in range(len(y))])
    goal = conditions.target(run.condition, left.get("train"), y, context(run, data, left, dtype))
    net = network(run, x.shape[1], len(data.classes))
    return descend(net, run, y, lambda epoch: goal, lambda epoch, at: x[at])


def expected_calibration_error(probabilities: Tensor, label: Tensor, bins: int = 15) -> float:
    """ECE by loops over bins (lower, upper]."""
    total = 0.0
    top, guess = probabilities.max(-1)
    for b in range(bins):
        inside = (top > b / bins) & (top <= (b + 1) / bins)
        if inside.any():
            gap = (guess[inside] == label[inside]).double().mean() - top[inside].double().mean()
            total += float(inside.double().mean() * gap.abs())
    return total
