"""How much work one training image is, from the shapes of a network's layers."""

from functools import cache

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from kdstudy.train import networks

CLASSES = 100


def shown(name: str, side: int) -> tuple[networks.Net, torch.Tensor]:
    """A network and one image of 3 x side x side."""
    return networks.build(name, 3, CLASSES, 0), torch.zeros(1, 3, side, side)


@cache
def forward_flops(name: str, side: int) -> int:
    """Operations of one image forward: two for each multiplication and sum of a convolution or linear layer."""
    net, x = shown(name, side)
    with FlopCounterMode(display=False) as counted:
        net(x)
    return counted.get_total_flops()


@cache
def flops(name: str, side: int) -> int:
    """Operations of one training image: forward, gradients by weights, gradients by all inputs but the image."""
    net, x = shown(name, side)
    with FlopCounterMode(display=False) as counted:
        net(x).sum().backward()
    return counted.get_total_flops()


@cache
def moved(name: str, side: int, itemsize: int) -> int:
    """Bytes that batch norms, sums and ReLUs of one training image must move if nothing stays in the processor's cache.

    Each norm with what follows it reads its input and what is added, writes its output; backward it reads the
    gradient and its input, writes the gradient of its input and of what was added. Statistics read the input once
    more in each direction, and backward the gradient.
    """
    net, x = shown(name, side)
    sizes, added = [], set()
    for block in (m for m in net.modules() if isinstance(m, networks.Residual)):
        added.add(block.norm2)
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        passes = 8 + 2 * (norm in added)
        norm.register_forward_hook(lambda m, given, out, passes=passes: sizes.append(passes * out.numel()))
    with torch.no_grad():
        net(x)
    return itemsize * sum(sizes)
