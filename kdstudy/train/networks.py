"""Students and teachers for images: a small convolutional network, and the residual networks of the literature.

    cnnW              three 3x3 convolutions of stride 2 with W, 2W and 4W channels, each with batch norm and ReLU
    resnetD           D = 6n + 2, three stages of 16, 32, 64 channels. He et al. 2016, section 4.2
    wrn-D-K           D = 6n + 4, pre-activation, K times as wide. Zagoruyko and Komodakis 2016
    torchvision:NAME  a classifier of `torchvision.models`, for RGB images of 64 pixels and up

Shortcuts that change the shape are 1x1 convolutions, as in the distillation literature (Tian et al. 2020).
"""

import re
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kdstudy.core.random import generator
from kdstudy.core.registry import Registry
from kdstudy.core.spec import require
from kdstudy.train.batchnorm import norm_relu

NETWORKS: Registry[Callable[..., nn.Module]] = Registry("network")  # (numbers in its name, channels, classes) -> it


def conv(inputs: int, out: int, size: int = 3, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the picture's size at stride 1."""
    return nn.Conv2d(inputs, out, size, stride, size // 2, bias=False)


class Norm(nn.BatchNorm2d):
    """ReLU(batch norm(x) + residual) in one pass over memory where that is at hand (`kdstudy.train.batchnorm`).

    `plain` does without, in float32: vmap can do no other.
    """

    plain = False

    def forward(self, x: Tensor, residual: Tensor | None = None, relu: bool = True) -> Tensor:
        """The normalised picture, with what is added to it."""
        if not self.plain:
            return norm_relu(x, self, residual, relu)
        out = super().forward(x.to(self.running_mean)).to(x)
        out = out if residual is None else out + residual
        return out.relu() if relu else out


class Residual(nn.Module):
    """Two convolutions beside a shortcut, ReLU after the sum. He et al. 2016."""

    def __init__(self, inputs: int, out: int, stride: int) -> None:
        super().__init__()
        self.first, self.norm1 = conv(inputs, out, stride=stride), Norm(out)
        self.second, self.norm2 = conv(out, out), Norm(out)
        same = stride == 1 and inputs == out
        self.shortcut, self.norm3 = (None, None) if same else (conv(inputs, out, 1, stride), Norm(out))

    def forward(self, x: Tensor) -> Tensor:
        """The block's picture."""
        shortcut = x if self.shortcut is None else self.norm3(self.shortcut(x), relu=False)
        return self.norm2(self.second(self.norm1(self.first(x))), shortcut)


class PreActivation(nn.Module):
    """Batch norm and ReLU before each of two convolutions; a shortcut that changes shape starts behind the first."""

    def __init__(self, inputs: int, out: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.first = Norm(inputs), conv(inputs, out, stride=stride)
        self.norm2, self.second = Norm(out), conv(out, out)
        self.shortcut = None if inputs == out else conv(inputs, out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """The block's picture."""
        normalised = self.norm1(x)
        shortcut = x if self.shortcut is None else self.shortcut(normalised)
        return shortcut + self.second(self.norm2(self.first(normalised)))


class Net(nn.Module):
    """A picture through `features`, averaged over its pixels, through a linear layer: logits, never in bfloat16."""

    def __init__(self, features: nn.Sequential, width: int, classes: int) -> None:
        super().__init__()
        self.features, self.classifier = features, nn.Linear(width, classes)
        for layer in features.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Float[Tensor, "B ch h w"]) -> Float[Tensor, "B C"]:
        """Logits."""
        features = self.features(x)
        with torch.autocast(x.device.type, enabled=False):
            return self.classifier(features.mean((2, 3), dtype=self.classifier.weight.dtype))


@NETWORKS.register(form="cnn{}")
def cnn(width: int, channels: int, classes: int) -> Net:
    """Three convolutions of stride 2."""
    require(width > 0, "net", f"cnn{width}", "'cnn32', with at least one channel")
    sizes = (channels, width, 2 * width, 4 * width)
    layers = [layer for a, b in zip(sizes, sizes[1:]) for layer in (conv(a, b, stride=2), Norm(b))]
    return Net(nn.Sequential(*layers), sizes[-1], classes)


def stages(block: Callable[[int, int, int], nn.Module], blocks: int, inputs: int, widths: tuple[int, ...]) -> list:
    """Three stages of blocks; the second and third halve the picture."""
    layers = []
    for stage, width in enumerate(widths):
        for i in range(blocks):
            layers.append(block(inputs, width, 2 if stage and i == 0 else 1))
            inputs = width
    return layers


@NETWORKS.register(form="resnet{}")
def resnet(depth: int, channels: int, classes: int) -> Net:
    """The residual network for small images."""
    require(depth >= 8 and depth % 6 == 2, "net", f"resnet{depth}", "'resnet20', of depth 6n + 2")
    layers = stages(Residual, (depth - 2) // 6, 16, (16, 32, 64))
    return Net(nn.Sequential(conv(channels, 16), Norm(16), *layers), 64, classes)


@NETWORKS.register(form="wrn-{}-{}")
def wrn(depth: int, times: int, channels: int, classes: int) -> Net:
    """The wide residual network for small images."""
    known = depth >= 10 and depth % 6 == 4 and times > 0
    require(known, "net", f"wrn-{depth}-{times}", "'wrn-16-2', of depth 6n + 4 and its width")
    layers = stages(PreActivation, (depth - 4) // 6, 16, (16 * times, 32 * times, 64 * times))
    return Net(nn.Sequential(conv(channels, 16), *layers, Norm(64 * times)), 64 * times, classes)


@NETWORKS.register(form="torchvision:{}")
def torchvision(name: str, channels: int, classes: int) -> nn.Module:
    """A classifier of torchvision, untrained."""
    from torchvision import models

    require(name in models.list_models(models), "torchvision model", name, "a name of torchvision.models.list_models")
    require(channels == 3, f"channels for torchvision:{name}", channels, "3")
    return models.get_model(name, weights=None, num_classes=classes)


def maker(name: str) -> Callable[[int, int], nn.Module]:
    """The function (channels, classes) -> network of that name; ValueError with the names there are."""
    family = re.match(r"[A-Za-z_]*", name)[0]
    values = [name.partition(":")[2]] if ":" in name else [int(n) for n in re.findall(r"\d+", name)]
    make = NETWORKS.get(family)
    form = getattr(make, "form", family)
    known = make is not None and form.count("{}") == len(values) and form.format(*values) == name
    require(known, "net", name, ", ".join(map(repr, (getattr(fn, "form", n) for n, fn in NETWORKS.items()))))
    return lambda channels, classes: make(*values, channels, classes)


def build(name: str, channels: int, classes: int, seed: int) -> nn.Module:
    """The network with the first weights of `seed`; torch's own random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(seed, "init").initial_seed())
        return maker(name)(channels, classes).to(memory_format=torch.channels_last)


def logit_rows(net: nn.Module) -> Float[Tensor, "C H"]:
    """The last linear layer's weight vector of each class; ValueError if the logits come from no such layer."""
    linear = [m for m in net.modules() if isinstance(m, nn.Linear)]
    if not linear:
        raise ValueError(f"{type(net).__name__} has no linear layer, whose rows are what it knows of classes")
    return linear[-1].weight.detach()


def weight_vector(net: nn.Module) -> Float[Tensor, " P"]:
    """Weights and running statistics as one vector, in the order of `state_dict`."""
    return torch.cat([v.detach().float().flatten() for v in net.state_dict().values()])


def with_weights(net: nn.Module, values: Float[Tensor, " P"]) -> nn.Module:
    """The network with the weights of `weight_vector`."""
    state = net.state_dict()
    pieces = values.split([v.numel() for v in state.values()])
    net.load_state_dict({k: p.view(v.shape).to(v.dtype) for (k, v), p in zip(state.items(), pieces)})
    return net
