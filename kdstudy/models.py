"""Students and teachers: multilayer perceptrons, R of them side by side."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from kdstudy.core.random import generator

Params = list[Tensor]  # weight (R, in, out), bias (R, 1, out), layer by layer
LANES = 4  # a BLAS may round differently where a run's slice starts at no multiple of 16 bytes


def init(seed: int, sizes: Sequence[int], dtype: torch.dtype = torch.float32) -> Params:
    """Weights and biases uniform in +-1/sqrt(fan in), as torch.nn.Linear draws them; R = 1."""
    g, params = generator(seed, "init"), []
    for fan_in, fan_out in zip(sizes, sizes[1:]):
        bound = fan_in**-0.5
        for rows in (fan_in, 1):
            draw = torch.rand(1, rows, fan_out, generator=g, dtype=torch.float64)
            params.append(((2 * draw - 1) * bound).to(dtype))
    return params


def stack(members: Sequence[Params]) -> Params:
    """R models as one, hidden layers widened to a multiple of `LANES` by units of weight 0, which stay 0."""
    layers = [torch.cat(layer) for layer in zip(*members)]
    last, out = len(layers) - 2, []
    for i in range(0, len(layers), 2):
        rows = -layers[i].shape[1] % LANES if i else 0
        cols = -layers[i].shape[2] % LANES if i < last else 0
        out += [pad(layers[i], (0, cols, 0, rows)), pad(layers[i + 1], (0, cols))]
    return out


def forward(params: Params, x: Float[Tensor, "R B D"]) -> Float[Tensor, "R B C"]:
    """Logits: linear layers with ReLU between them."""
    for i in range(0, len(params), 2):
        x = torch.baddbmm(params[i + 1], x, params[i])
        if i + 2 < len(params):
            x = x.relu()
    return x


def alone(params: Params, i: int, x: Float[Tensor, "N D"]) -> Float[Tensor, "N C"]:
    """Logits of run i."""
    return forward([p[i : i + 1] for p in params], x[None])[0]


def logit_rows(params: Params, i: int, hidden: Sequence[int]) -> Float[Tensor, "C H"]:
    """The logit layer's weight vector of each class in run i, without the units that `stack` added."""
    layer = params[-2][i]
    return layer[: hidden[-1] if hidden else len(layer)].T.contiguous()
