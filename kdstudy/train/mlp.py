"""Multilayer perceptrons, R of them side by side as one stacked model."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from kdstudy.core.random import generator
from kdstudy.core.spec import Run
from kdstudy.data.dataset import Dataset, Split
from kdstudy.train import trainer
from kdstudy.train.trainer import Progress, Result, Teachers

Params = list[Tensor]  # weight (R, in, out), bias (R, 1, out), layer by layer
MULTIPLE = 4  # a BLAS may round differently where a run's slice starts at no multiple of 16 bytes


def init(seed: int, sizes: Sequence[int], dtype: torch.dtype = torch.float32) -> Params:
    """Weights and biases uniform in +-1/sqrt(fan in), as torch.nn.Linear draws them; R = 1."""
    g, params = generator(seed, "init"), []
    for fan_in, fan_out in zip(sizes, sizes[1:]):
        bound = fan_in**-0.5
        for height in (fan_in, 1):
            uniform = torch.rand(1, height, fan_out, generator=g, dtype=torch.float64)
            params.append(((2 * uniform - 1) * bound).to(dtype))
    return params


def stack(members: Sequence[Params]) -> Params:
    """R models as one, hidden layers widened to a multiple of `MULTIPLE` by units of weight 0, which stay 0."""
    layers = [torch.cat(layer) for layer in zip(*members)]
    last, out = len(layers) - 2, []
    for i in range(0, len(layers), 2):
        height = -layers[i].shape[1] % MULTIPLE if i else 0
        width = -layers[i].shape[2] % MULTIPLE if i < last else 0
        out += [pad(layers[i], (0, width, 0, height)), pad(layers[i + 1], (0, width))]
    return out


def forward(params: Params, x: Float[Tensor, "R B D"]) -> Float[Tensor, "R B C"]:
    """Logits: linear layers with ReLU between them."""
    for i in range(0, len(params), 2):
        x = torch.baddbmm(params[i + 1], x, params[i])
        if i + 2 < len(params):
            x = x.relu()
    return x


class Perceptrons(trainer.Trainer):
    """R perceptrons of one shape as one model, of any number of seeds."""

    examples, shared = ("features", 2), "network shape"

    def __init__(self, runs: Sequence[Run], data: Dataset, teachers: Teachers, device: str = "cpu") -> None:
        super().__init__(runs, data, teachers, device)
        sizes = (data.train.x.shape[1], *self.recipe.hidden, len(data.classes))
        self.params = [p.to(device) for p in stack([init(r.seed, sizes, self.dtype) for r in runs])]
        self.momenta = [torch.zeros_like(p) for p in self.params]
        self.lr, self.weight_decay = (
            torch.tensor([getattr(r.recipe, name) for r in runs], dtype=self.dtype, device=device)[:, None, None]
            for name in ("lr", "weight_decay")
        )

    @staticmethod
    def shape(run: Run) -> tuple[object, ...]:
        """What runs must have in common to be trained in one stack."""
        r = run.recipe
        return run.data, r.hidden, r.epochs, r.batch, r.momentum, r.dtype

    def on_device(self, split: Split, device: str) -> Split:
        """A split in the precision of the weights."""
        return replace(split, x=split.x.to(device, self.dtype), y=split.y.to(device))

    def batch(self, index: Int[Tensor, "S B"]) -> Float[Tensor, "R B D"]:
        """Each run's batch; runs of a single seed read one copy of it."""
        x = self.splits["train"].x
        if len(index) == 1:
            return x[index[0]].expand(len(self.runs), -1, -1)
        return trainer.take_rows(x, index[self.seat])

    def step(self, index: Int[Tensor, "S B"], factor: float) -> None:
        """One SGD step of every run on its batch, by the loss's gradient in closed form."""
        params = [p.requires_grad_() for p in self.params]
        logits = forward(params, self.batch(index))
        with torch.no_grad():
            gradient = self.gradient(logits, index)
        grads, lr = torch.autograd.grad(logits, params, gradient), self.lr * factor
        with torch.no_grad():
            for p, m, g in zip(params, self.momenta, grads):
                g = g.addcmul(self.weight_decay, p)
                m.mul_(self.recipe.momentum).add_(g)
                p.sub_(lr * g.add(m, alpha=self.recipe.momentum))

    def logits(self, i: int, x: Float[Tensor, "N D"]) -> Float[Tensor, "N C"]:
        """Logits of run i."""
        return forward([p[i : i + 1] for p in self.params], x[None])[0]

    def logit_rows(self, i: int) -> Float[Tensor, "C H"]:
        """The logit layer's weight vector of each class in run i, without the units that `stack` added."""
        layer, hidden = self.params[-2][i], self.recipe.hidden
        return layer[: hidden[-1] if hidden else len(layer)].T.contiguous()


shape = Perceptrons.shape


def train(
    runs: Sequence[Run],
    data: Dataset,
    teachers: Teachers,
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
    return trainer.train(Perceptrons(runs, data, teachers, device), progress, keep_logits)
