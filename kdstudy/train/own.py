"""A user's own networks, by import path: functions (inputs, classes) -> `nn.Module`, of features or of images.

`inputs` is the number of features, or of an image's channels. Runs of a stack share the seed: first weights, order of
batches and what dropout draws are the same for all conditions. Each network takes its steps alone: any module can.
In a recipe such a network is called "own:MODULE:FUNCTION@DIGEST": other code is another network.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kdstudy.core import plugins
from kdstudy.core.random import generator
from kdstudy.core.registry import Registry
from kdstudy.core.source import of_a_library
from kdstudy.core.spec import Run, require
from kdstudy.data.dataset import Dataset, Images, Split
from kdstudy.store.provenance import SOURCES
from kdstudy.train import cnn, steppers, trainer
from kdstudy.train.networks import NETWORKS, build, logit_rows
from kdstudy.train.trainer import Result, Teachers

OWN: Registry[Callable[[int, int], nn.Module]] = Registry("own network")  # by "MODULE:FUNCTION@DIGEST"
OWN.found = lambda name: _imported(name.partition("@")[0])
ALLOWED = "MODULE:FUNCTION or FILE.py:FUNCTION, a function (inputs, classes) -> torch.nn.Module"


@NETWORKS.register(form="own:{}")
def own(name: str, inputs: int, classes: int) -> nn.Module:
    """The network that a user's function makes."""
    return _Flat(OWN[name](inputs, classes))


def is_own(name: object) -> bool:
    """Whether a network is meant as one's own: a function, or its import path."""
    return callable(name) or (":" in str(name) and str(name).partition(":")[0] not in NETWORKS)


def named(network: str | Callable[[int, int], nn.Module], data: Dataset) -> str:
    """What recipes call a network of one's own, which is imported, built and shown two examples of the data.

    ValueError if it cannot be imported, or gives no logits by a last linear layer.
    """
    make = network if callable(network) else _imported(network)
    here = isinstance(network, str) and not of_a_library(make)
    path = network if here else f"{make.__module__}:{make.__qualname__}"
    inputs, classes = data.train.x.shape[1], len(data.classes)
    try:
        name = f"{Path(path).name}@{_digest(make)}"
        if not of_a_library(make):  # what is installed need not travel
            OWN[name] = make
        net = build(f"own:{name}", inputs, classes, 0).eval()
        x = data.train.x[:2].float()
        shape, rows = tuple(net(x if x.dim() == 4 else x[..., None, None]).shape), len(logit_rows(net))
    except Exception as error:
        found = f"{type(error).__name__} ({' '.join(str(error).split())[:200]})"
        raise ValueError(f"net {path!r} ({inputs}, {classes}): found {found}, allowed: {ALLOWED}") from error
    found = f"{shape} for two examples, {rows} outputs of the last nn.Linear"
    require((shape, rows) == ((2, classes), classes), f"net {path!r}", found, f"(2, {classes}), {classes}: logits")
    return f"own:{name}"


def _imported(path: str) -> Callable[[int, int], nn.Module]:
    """The function at an import path; modules are looked for in the current folder too."""
    module, _, name = path.rpartition(":")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        found = getattr(plugins.imported(str(Path(module).expanduser())), name)
        if not callable(found):
            raise TypeError(f"{name} is no function")
        return found
    except (Exception, SystemExit) as error:
        raise ValueError(f"net {path!r}: found {type(error).__name__} ({error}), allowed: {ALLOWED}") from error


def _digest(make: Callable[[int, int], nn.Module]) -> str:
    """The digest of a function's meaning; of an installed one the version of what was installed."""
    if not of_a_library(make):
        return SOURCES.digest(make)
    top = make.__module__.partition(".")[0]
    try:
        return version(packages_distributions().get(top, [top])[0])
    except PackageNotFoundError:
        return "unknown"


class _Flat(nn.Module):
    """A user's network, whose features come as images of one pixel."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Float[Tensor, "B ch h w"]) -> Float[Tensor, "B C"]:
        """Logits."""
        return self.net(x.flatten(1) if x.shape[2:] == (1, 1) else x)


class Own(cnn.Convolutional):
    """R networks of one make and seed, one after another."""

    def __init__(self, runs: Sequence[Run], data: Dataset, teachers: Teachers, device: str = "cpu") -> None:
        self.examples, self.taken = ("features or images", data.train.x.dim()), 0
        super().__init__(runs, data, teachers, device, steppers.OneByOne)
        for net in self.stepper.nets:
            net.register_forward_pre_hook(self._draw)

    def _draw(self, net: nn.Module, given: object) -> None:
        """What is random in a step, such as dropout, is drawn from its own stream: the same in every run of a seed."""
        if net.training:
            torch.manual_seed(generator(self.seeds[0], f"step:{self.taken}").initial_seed())

    def on_device(self, split: Split, device: str) -> Split:
        """A split, its features as images of one pixel."""
        x = split.x if split.x.dim() == 4 else split.x[..., None, None]
        return super().on_device(Images(x, split.y), device)

    def step(self, index: Int[Tensor, "1 B"], factor: float) -> None:
        """One SGD step of every run on its batch."""
        with torch.random.fork_rng(devices=[]):
            super().step(index, factor)
        self.taken += 1


def train(runs: Sequence[Run], data: Dataset, teachers: Teachers, device: str = "cpu", **how: object) -> list[Result]:
    """Train `runs` as one stack and measure each at its last epoch, as `mlp.train` does for perceptrons."""
    return trainer.train(Own(runs, data, teachers, device), **how)
