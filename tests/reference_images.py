"""Slow, obvious twins of what convolutional students see and how they are trained."""

from collections.abc import Mapping

import torch
from reference import context, descend
from torch import Tensor, nn

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
    """One run in float64; what its condition asks follows the views of each epoch where images are augmented."""
    channels, classes, x = data.train.x.shape[1], len(data.classes), data.train.x
    left = teachers[run.teacher.key] if run.teacher else {}
    ctx = context(run, data, left, torch.float64)

    def asked(epoch: int) -> conditions.Target:
        logits = left.get("train")
        if left and run.recipe.augment:
            teacher = networks.build(run.teacher.recipe.net, channels, classes, run.teacher.seed)
            logits = teacher_says(networks.with_weights(teacher, left["weights"]).double(), data, run.seed, epoch)
        return conditions.target(run.condition, logits, data.train.y, ctx)

    def shown(epoch: int, index: Tensor) -> Tensor:
        view = augment.draw_views(run.seed, epoch, len(x)).tolist()
        return torch.stack([seen(x[k], *view[k]) if run.recipe.augment else x[k] for k in index.tolist()]).double()

    net = networks.build(run.recipe.net, channels, classes, run.seed).double()
    return descend(net, run, data.train.y, asked, shown).eval()
