"""Networks as functions of their weights, with the operations that R of them run side by side by.

`forward` walks a network and leaves convolution, batch norm and logits to `Ops`; weights are a mapping by
parameter name, of one network or of R stacked along a first axis. Batch norm normalises by the batch and keeps no
running statistics, the same in all.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdstudy.train import networks

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Ops:
    """What differs between the ways: pictures enter, are convolved and normalised, and become logits."""

    enter: Callable[[Tensor, int], Tensor]  # x (B, ch, h, w), R
    conv: Callable[[Tensor, Tensor, int], Tensor]  # x, weight, stride
    norm: Callable[[Tensor, Tensor, Tensor], Tensor]  # x, weight, bias
    logits: Callable[[Tensor, Tensor, Tensor], Tensor]  # x, weight, bias


def forward(net: networks.Net, p: Weights, x: Tensor, ops: Ops) -> Tensor:
    """Logits (B, C), or (R, B, C) of R networks with the weights p."""
    x = ops.enter(x, len(p["classifier.bias"]))

    def norm(x: Tensor, at: str) -> Tensor:
        return ops.norm(x, p[f"{at}.weight"], p[f"{at}.bias"])

    def conv(x: Tensor, at: str, layer: nn.Conv2d) -> Tensor:
        return ops.conv(x, p[f"{at}.weight"], layer.stride[0])

    for name, layer in net.features.named_children():
        at = f"features.{name}"
        if isinstance(layer, nn.Conv2d):
            x = conv(x, at, layer)
        elif isinstance(layer, networks.Residual):
            inner = F.relu(norm(conv(x, f"{at}.first", layer.first), f"{at}.norm1"))
            beside = x if layer.shortcut is None else norm(conv(x, f"{at}.shortcut", layer.shortcut), f"{at}.norm3")
            x = F.relu(norm(conv(inner, f"{at}.second", layer.second), f"{at}.norm2") + beside)
        else:
            x = F.relu(norm(x, at))
    return ops.logits(x, p["classifier.weight"], p["classifier.bias"])


def batch_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Normalised by the batch."""
    return F.batch_norm(x, None, None, weight, bias, training=True)


ALONE = Ops(
    enter=lambda x, r: x,
    conv=lambda x, w, stride: F.conv2d(x, w, stride=stride, padding=w.shape[-1] // 2),
    norm=batch_norm,
    logits=lambda x, w, b: F.linear(x.mean((2, 3)), w, b),
)


def _stacked_logits(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(R, B, H) features to (R, B, C)."""
    return torch.baddbmm(bias[:, None].to(x.dtype), x, weight.transpose(1, 2).to(x.dtype))


GROUPED = Ops(  # x is (B, R * ch, h, w): one convolution in R groups
    enter=lambda x, r: x.repeat(1, r, 1, 1),
    conv=lambda x, w, stride: F.conv2d(x, w.flatten(0, 1), stride=stride, padding=w.shape[-1] // 2, groups=len(w)),
    norm=lambda x, w, b: batch_norm(x, w.flatten(), b.flatten()),
    logits=lambda x, w, b: _stacked_logits(x.mean((2, 3)).unflatten(1, (len(w), -1)).transpose(0, 1), w, b),
)


def _unfolded(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """A convolution as weights (R, 1, out, ch * k * k) times patches (R, B, ch * k * k, h * w)."""
    size, height = weight.shape[-1], x.shape[-1] // stride
    patches = F.unfold(x.flatten(0, 1), size, padding=size // 2, stride=stride).unflatten(0, x.shape[:2])
    return (weight.flatten(2)[:, None] @ patches).unflatten(-1, (-1, height))


def _by_run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Batch norm of x (R, B, ch, h, w)."""
    flat = x.transpose(0, 1).flatten(1, 2)
    return batch_norm(flat, weight.flatten(), bias.flatten()).unflatten(1, weight.shape).transpose(0, 1)


UNFOLDED = Ops(  # x is (R, B, ch, h, w)
    enter=lambda x, r: x.expand(r, *x.shape),
    conv=_unfolded,
    norm=_by_run,
    logits=lambda x, w, b: _stacked_logits(x.mean((3, 4)), w, b),
)
