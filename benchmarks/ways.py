"""R convolutional networks trained side by side, by every way there is.

One step: forward, backward and SGD of R networks with weights and labels of their own on one batch of images, as the
conditions of one seed have it. All ways take the same step; a test compares their weights after it.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.stackable import ALONE, GROUPED, UNFOLDED, Ops, Weights, forward
from kdstudy.core.spec import Recipe
from kdstudy.train import networks, steppers

BATCH, CLASSES, SIDE = 64, 100, 32


@dataclass(frozen=True)
class Job:
    """R networks of one name, the batch they see, and how they compute."""

    net: str
    r: int
    device: str = "cpu"
    dtype: torch.dtype = torch.float32  # bfloat16: by autocast, weights in float32
    layout: torch.memory_format = torch.contiguous_format
    batch: int = BATCH
    side: int = SIDE

    @property
    def wide(self) -> torch.dtype:
        """The precision of weights and loss."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    @property
    def first(self) -> list[networks.Net]:
        """The networks as they are drawn."""
        return [networks.build(self.net, 3, CLASSES, seed).to(self.device, self.wide) for seed in range(self.r)]

    def weights(self, net: nn.Module) -> dict[str, Tensor]:
        """Weights by name, in the layout asked for, ready to be trained."""
        placed = {k: v.detach().clone() for k, v in net.named_parameters()}
        placed = {k: v.contiguous(memory_format=self.layout) if v.ndim == 4 else v for k, v in placed.items()}
        return {k: v.requires_grad_() for k, v in placed.items()}

    def examples(self) -> tuple[Tensor, Tensor]:
        """Images (B, 3, side, side), and labels (R, B)."""
        g = torch.Generator().manual_seed(0)
        x = torch.randn(self.batch, 3, self.side, self.side, generator=g)
        y = torch.randint(CLASSES, (self.r, self.batch), generator=g)
        return x.to(self.device, self.wide).contiguous(memory_format=self.layout), y.to(self.device)

    def cast(self) -> torch.autocast:
        """The context that a network is called in."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.dtype == torch.bfloat16)


Step = tuple[Callable[[], object], Callable[[], Weights]]  # one step; the weights (R, ...) by name


def sgd(weights: Weights) -> torch.optim.SGD:
    """The optimiser that all have."""
    return torch.optim.SGD(list(weights.values()), 0.05, 0.9, weight_decay=5e-4, nesterov=True)


def stacked(several: Sequence[Weights]) -> Weights:
    """The weights of R networks along a first axis."""
    return {k: torch.stack([w[k] for w in several]).detach() for k in several[0]}


def loop(job: Job, wrap: Callable = lambda fn: fn, streams: bool = False) -> Step:
    """One after another; `wrap` changes the function from weights to loss."""
    first, (x, y) = job.first, job.examples()
    weights = [job.weights(net) for net in first]
    optimisers = [sgd(w) for w in weights]
    queues = [torch.cuda.Stream() for _ in first] if streams else []

    @wrap
    def loss(p: Weights, x: Tensor, goal: Tensor) -> Tensor:
        with job.cast():
            logits = forward(first[0], p, x, ALONE)
        return F.cross_entropy(logits.to(job.wide), goal)

    def one(i: int) -> None:
        optimisers[i].zero_grad()
        loss(weights[i], x, y[i]).backward()
        optimisers[i].step()

    def step() -> None:
        for i in range(job.r):
            if queues:
                queues[i].wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(queues[i]) if queues else nullcontext():
                one(i)
        for queue in queues:
            torch.cuda.current_stream().wait_stream(queue)

    return step, lambda: stacked(weights)


def graph(job: Job) -> Step:
    """`loop` on R streams, recorded once and replayed."""
    step, weights = loop(job, streams=True)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        step()
    return recorded.replay, weights


def lane(job: Job, kind: type[steppers.OneByOne | steppers.Stacked]) -> Step:
    """As the study's engine advances networks."""
    several, (x, y) = job.first, job.examples()
    placed = [net.to(memory_format=job.layout) for net in several]
    name = str(job.dtype).removeprefix("torch.")
    recipe = Recipe((), 1, job.batch, lr=0.05, weight_decay=5e-4, dtype=name, net=job.net)
    here, labels = kind(placed, [recipe] * job.r, job.device), F.one_hot(y, CLASSES)

    def pull(logits: Tensor) -> Tensor:
        return (logits.softmax(-1) - labels) / job.batch

    seen = x.to(job.dtype)
    return lambda: here.step(seen, pull, 1.0), lambda: stacked(
        [dict(here.net(i).named_parameters()) for i in range(job.r)]
    )


def one_by_one(job: Job) -> Step:
    """The engine's networks one after another, batch norm and ReLU in one pass."""
    return lane(job, steppers.OneByOne)


def vmap(job: Job) -> Step:
    """The engine's networks as one, by torch.func.vmap."""
    return lane(job, steppers.Stacked)


def together(job: Job, ops: Ops) -> Step:
    """All at once, the weights of R networks stacked."""
    first, (x, y) = job.first, job.examples()
    weights = {k: v.requires_grad_() for k, v in stacked([job.weights(net) for net in first]).items()}
    optimiser = sgd(weights)

    def step() -> None:
        optimiser.zero_grad()
        with job.cast():
            logits = forward(first[0], weights, x, ops)
        (job.r * F.cross_entropy(logits.to(job.wide).flatten(0, 1), y.flatten())).backward()
        optimiser.step()

    return step, lambda: weights


def grouped(job: Job) -> Step:
    """One convolution in R groups."""
    return together(job, GROUPED)


def unfolded(job: Job) -> Step:
    """Patches times weights, as one batched product."""
    return together(job, UNFOLDED)


def compiled(job: Job) -> Step:
    """`loop`, forward and backward compiled once for all R."""
    return loop(job, wrap=torch.compile)


def streams(job: Job) -> Step:
    """`loop` on R CUDA streams."""
    return loop(job, streams=True)
