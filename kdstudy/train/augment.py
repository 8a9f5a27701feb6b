"""Augmented views of images, and a teacher's logits for exactly the views that its students see.

A view shifts an image by up to `PAD` pixels either way, zeros coming in, and mirrors it or not: 81 crops x 2
flips. Which view an example shows is drawn for each (seed, epoch), so all conditions of a seed see the same ones, and
a teacher's logits for them can be kept and used by all its students: the same numbers as calling it at each step.
"""

import hashlib
import os

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad

from kdstudy.core.paths import cache_folder
from kdstudy.core.random import generator

PAD = 4
AT_ONCE = 500  # images shown to a network that is only asked

Images = Float[Tensor, "B ch h w"]


def draw_views(seed: int, epoch: int, examples: int) -> Int[Tensor, "N 3"]:
    """For each example how far its crop starts down and right, 0 to 2 PAD, and whether it is mirrored."""
    g = generator(seed, f"views:{epoch}")
    shift = torch.randint(2 * PAD + 1, (examples, 2), generator=g)
    return torch.cat([shift, torch.randint(2, (examples, 1), generator=g)], 1)


def crop(x: Images, view: Int[Tensor, "B 3"]) -> Images:
    """Each image at its own view, in channels_last order."""
    height, width = x.shape[2:]
    padded = pad(x.permute(0, 2, 3, 1), (0, 0, PAD, PAD, PAD, PAD))
    down, right, mirrored = view[:, :, None].unbind(1)
    across = torch.arange(width, device=x.device).expand(len(x), -1)
    rows = down + torch.arange(height, device=x.device)
    columns = right + torch.where(mirrored.bool(), width - 1 - across, across)
    picked = padded[torch.arange(len(x), device=x.device)[:, None, None], rows[:, :, None], columns[:, None]]
    return picked.permute(0, 3, 1, 2)


def shown(
    x: Float[Tensor, "N ch h w"], index: Int[Tensor, " B"], view: Int[Tensor, "N 3"] | None, dtype: torch.dtype
) -> Images:
    """These examples as they are shown; without views as they are."""
    images = x[index] if view is None else crop(x[index], view[index])
    return images.to(dtype, memory_format=torch.channels_last)


@torch.no_grad()
def predict(
    net: nn.Module, x: Float[Tensor, "N ch h w"], view: Int[Tensor, "N 3"] | None = None
) -> Float[Tensor, "N C"]:
    """Logits of a network that is not being trained, in its own precision, a few hundred images at a time."""
    dtype, before = next(net.parameters()).dtype, net.training
    net.eval()
    logits = [net(shown(x, i, view, dtype)) for i in torch.arange(len(x), device=x.device).split(AT_ONCE)]
    net.train(before)
    return torch.cat(logits)


def cached_logits(net: nn.Module, x: Images, seed: int, epoch: int) -> Float[np.ndarray, "N C"]:
    """A teacher's logits for the views that `seed` draws in `epoch`, float16, mapped from a file of the cache.

    The file is named after the teacher's weights and the images, written once and used by every student of the seed.
    """
    path = cache_folder() / "views" / _name(net, x) / f"{seed}-{epoch}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            part, view = path.with_suffix(".part"), draw_views(seed, epoch, len(x)).to(x.device)
            with part.open("wb") as stream:
                np.save(stream, predict(net, x, view).clamp(-6e4, 6e4).cpu().numpy().astype(np.float16))
            os.replace(part, path)
    return np.load(path, mmap_mode="r")


def _name(net: nn.Module, x: Images) -> str:
    """20 hex digits of a network's weights and of what it is shown."""
    sha = hashlib.sha256(f"{type(net).__name__} {tuple(x.shape)}".encode())
    for value in (*net.state_dict().values(), x[:: max(1, len(x) // 100)]):
        sha.update(value.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()[:20]
