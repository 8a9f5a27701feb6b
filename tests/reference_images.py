"""Slow, obvious twins of what convolutional students see and how they are trained."""

import math
from collections.abc import Mapping

import torch
from reference import loss_of_one
from torch import Tensor, nn

from kdstudy.core.random import generator
from kdstudy.core.spec import Run
from kdstudy.data.dataset import Dataset
from kdstudy.distill import conditions
from kdstudy.train import augment, networks


def seen(image: Tensor, down: int, right: int, mirrored: bool) -> Tensor:
    """An image (channels, height, width) cut out of a field of zeros that is 4 pixels wider on each side."""
    channels, height, width = image.shape
    field = torch.zeros(channels, height + 8, width + 8, dtype=image.dtype)
    field[:, 4 : 4 + height, 4 : 4 + width] = image
    cut = field[:, down : down + height, right : right + width]
    return cut.flip(-1) if mirrored else cut


def teacher_says(net: nn.Module, data: Dataset, seed: int, epoch: int) -> Tensor:
    """A teacher's logits for each training example as the students of a seed see it, asked one by one."""
    view = augment.draw_views(seed, epoch, len(data.train.y)).tolist()
    net.eval()
    with torch.no_grad():
        rows = [net(seen(x.double(), *v)[None])[0] for x, v in zip(data.train.x, view)]
    return torch.stack(rows).half().double()


def train_one(run: Run, data: Dataset, teachers: Mapping[str, Mapping[str, Tensor]]) -> nn.Module:
    """One run in float64 in a plain loop with autograd and torch.optim.SGD."""
    classes, n, r = len(data.classes), len(data.train.y), run.recipe
    left = teachers[run.teacher.key] if run.teacher else {}
    ctx = conditions.Context(classes, torch.float64, data.superclass, left.get("rows"), run.teacher.seed if left else 0)
    net = networks.build(r.net, data.train.x.shape[1], classes, run.seed).double()
    sgd = torch.optim.SGD(net.parameters(), r.lr, r.momentum, weight_decay=r.weight_decay, nesterov=r.momentum > 0)
    steps = r.epochs * (n // r.batch)
    cosine = torch.optim.lr_scheduler.LambdaLR(sgd, lambda s: 0.5 * (1 + math.cos(math.pi * s / steps)))
    for epoch in range(r.epochs):
        goal = asked(run, data, left, ctx, epoch)
        view = augment.draw_views(run.seed, epoch, n).tolist()
        order = torch.randperm(n, generator=generator(run.seed, f"order:{epoch}"))
        for i in range(n // r.batch):
            at = order[i * r.batch : (i + 1) * r.batch]
            shown = [seen(data.train.x[k], *view[k]) if r.augment else data.train.x[k] for k in at.tolist()]
            value = sum(
                loss_of_one(z, goal.hard[k], goal.soft[k], goal.rest[k], int(data.train.y[k]), run.condition.tau)
                for z, k in zip(net(torch.stack(shown).double()), at)
            )
            sgd.zero_grad()
            (value / r.batch).backward()
            sgd.step()
            cosine.step()
    return net.eval()


def asked(
    run: Run, data: Dataset, left: Mapping[str, Tensor], ctx: conditions.Context, epoch: int
) -> conditions.Target:
    """What the condition asks in an epoch."""
    logits = None
    if left and run.recipe.augment:
        teacher = networks.build(run.teacher.recipe.net, data.train.x.shape[1], len(data.classes), run.teacher.seed)
        logits = teacher_says(networks.filled(teacher, left["weights"]).double(), data, run.seed, epoch)
    elif left:
        logits = left["train"]
    return conditions.target(run.condition, logits, data.train.y, ctx)
