"""Batch normalisation, a residual and ReLU in one: two passes forward, two backward, for bfloat16 on a CPU."""

import functools
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import BatchNorm2d

LAYOUT = torch.channels_last


def norm_relu(
    x: Float[Tensor, "N C H W"],
    norm: BatchNorm2d,
    residual: Float[Tensor, "N C H W"] | None = None,
    relu: bool = True,
) -> Float[Tensor, "N C H W"]:
    """relu(norm(x) + residual), differentiable in x, the residual and the weights of `norm`.

    Training in bfloat16 and channels_last on a CPU has loops of its own if numba is installed: numbers are added in
    float32 and float64 in an order that depends on the shape alone, and rounded to bfloat16 once, at the end. All
    else is left to torch, errors included. Running statistics move as in torch.nn.BatchNorm2d.
    """
    if not (fits(x, norm) and (residual is None or alike(x, residual)) and loops()):
        y = BatchNorm2d.forward(norm, x)  # a subclass may call this function in its own
        y = y if residual is None else y + residual
        return torch.relu(y) if relu else y
    mean, var = loops().moments(flat(x), x.shape[1])
    track(norm, torch.from_numpy(mean), torch.from_numpy(var), x.numel() // x.shape[1])
    return NormRelu.apply(x, norm.weight, norm.bias, residual, mean, var, norm.eps, relu)


@functools.cache
def loops() -> ModuleType | None:
    """The compiled loops, or None without numba; not imported before they are needed."""
    try:
        from kdstudy.train.batchnorm import kernels
    except ImportError:
        return None
    return kernels


def fits(x: Tensor, norm: BatchNorm2d) -> bool:
    """Whether the loops can do it: training, a CPU, bfloat16, channels_last, more than one number per channel."""
    return (
        norm.training
        and norm.affine
        and norm.weight.dtype == norm.bias.dtype == torch.float32
        and x.device.type == norm.weight.device.type == "cpu"
        and x.dtype == torch.bfloat16
        and x.dim() == 4
        and x.shape[1] == norm.num_features
        and x.numel() > x.shape[1]
        and x.is_contiguous(memory_format=LAYOUT)
    )


def alike(x: Tensor, other: Tensor) -> bool:
    """Whether both lie in memory alike."""
    same = (other.device, other.dtype, other.shape) == (x.device, x.dtype, x.shape)
    return same and other.is_contiguous(memory_format=LAYOUT)


def flat(x: Tensor) -> Any:
    """The bits of a bfloat16 channels_last tensor as a flat array on the same memory, channels innermost."""
    return x.detach().permute(0, 2, 3, 1).view(-1).view(torch.uint16).numpy()


@torch.no_grad()
def track(norm: BatchNorm2d, mean: Tensor, var: Tensor, n: int) -> None:
    """Move the running statistics towards those of a batch of n numbers per channel; variances become unbiased."""
    if not norm.track_running_stats:
        return
    norm.num_batches_tracked.add_(1)
    step = 1 / int(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.mul_(1 - step).add_(mean, alpha=step)
    norm.running_var.mul_(1 - step).add_(var, alpha=step * n / (n - 1))


class NormRelu(torch.autograd.Function):
    """y = relu(weight (x - mean) / sqrt(var + eps) + bias + residual), where mean and var are functions of x."""

    @staticmethod
    def forward(ctx, x, weight, bias, residual, mean, var, eps, relu):
        """The second pass over x; the first gave mean and var."""
        y = torch.empty_like(x, memory_format=LAYOUT)
        more = None if residual is None else flat(residual)
        numbers = weight.detach().numpy(), bias.detach().numpy(), mean, var, eps, relu
        loops().forward(flat(x), more, *numbers, flat(y))
        ctx.save_for_backward(x, weight, y)
        ctx.numbers = mean, var, eps, relu, residual is not None
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        """The gradients of all but the statistics, whose part is in that of x."""
        (x, weight, y), (mean, var, eps, relu, added) = ctx.saved_tensors, ctx.numbers
        h, dx = torch.empty_like(x, memory_format=LAYOUT), torch.empty_like(x, memory_format=LAYOUT)
        bits, n = flat(x), x.numel() // x.shape[1]
        g = flat(g.contiguous(memory_format=LAYOUT))
        means = mean_h, mean_product = loops().passed(g, bits, flat(y), mean, relu, flat(h))
        loops().backward(flat(h), bits, weight.detach().numpy(), mean, var, eps, *means, flat(dx))
        dweight, dbias = n * mean_product / (var + eps) ** 0.5, n * mean_h
        return dx, *(torch.from_numpy(d).float() for d in (dweight, dbias)), h if added else None, *[None] * 4
