"""Distillation as its common repositories write it (RepDistiller, mdistiller): one student, one loop.

A DataLoader of two processes over 8-bit images with random crops and flips, batches of 64, float32 in contiguous
order, the teacher called at each step, cross-entropy and kl_div, torch.optim.SGD, meters of loss and accuracy at each
step, a test after each epoch. Networks, learning rate, momentum, weight decay and augmentation are those of the
engine's run; crops are filled with black, the engine's with the mean colour.
"""

import warnings
from collections.abc import Mapping

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from kdstudy.core.spec import Run
from kdstudy.data.dataset import Dataset as Known
from kdstudy.data.dataset import Split
from kdstudy.train import networks

LOADERS = 2


class Images(Dataset):
    """Images as 8-bit files have them, each transformed when it is asked for."""

    def __init__(self, split: Split, low: Tensor, high: Tensor, train: bool) -> None:
        x = (split.x.float() - low) / (high - low)
        self.x, self.y = (255 * x).round().byte().permute(0, 2, 3, 1).numpy(), split.y.tolist()
        scale = transforms.Normalize((-low / (high - low)).flatten(), (1 / (high - low)).flatten())
        random = [transforms.RandomCrop(x.shape[-1], padding=4), transforms.RandomHorizontalFlip()] if train else []
        self.transform = transforms.Compose([*random, transforms.ToTensor(), scale])

    def __len__(self) -> int:
        """How many."""
        return len(self.y)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        """One image as the network sees it, and its label."""
        return self.transform(Image.fromarray(self.x[i])), self.y[i]


def loaders(data: Known, batch: int) -> tuple[DataLoader, DataLoader]:
    """Batches of the training split, shuffled, and of the test split."""
    x = data.train.x.float().transpose(0, 1).flatten(1)
    low, high = x.amin(1)[:, None, None], x.amax(1)[:, None, None]
    train, test = Images(data.train, low, high, True), Images(data.test, low, high, False)
    more = {"batch_size": batch, "num_workers": LOADERS}
    return DataLoader(train, shuffle=True, drop_last=True, **more), DataLoader(test, **more)


class Meter:
    """A running mean."""

    def __init__(self) -> None:
        self.sum, self.n = 0.0, 0

    def update(self, value: float, n: int) -> None:
        """n more numbers of this mean."""
        self.sum, self.n = self.sum + value * n, self.n + n


def network(name: str, data: Known, seed: int, device: str) -> nn.Module:
    """A network in contiguous order, with the first weights of a seed."""
    net = networks.build(name, data.train.x.shape[1], len(data.classes), seed)
    return net.to(device=device, memory_format=torch.contiguous_format)


def correct(logits: Tensor, y: Tensor) -> float:
    """Accuracy of a batch."""
    return (logits.argmax(-1) == y).float().mean().item()


def test(net: nn.Module, batches: DataLoader, device: str) -> float:
    """Accuracy on the test split."""
    net.eval()
    meter = Meter()
    with torch.no_grad():
        for x, y in batches:
            meter.update(correct(net(x.to(device)), y.to(device)), len(y))
    return meter.sum / meter.n


def student(run: Run, data: Known, weights: Mapping[str, Tensor], device: str) -> float:
    """Test accuracy of one student; `weights` maps a teacher's key to its weights (`nets.flat`)."""
    warnings.filterwarnings("ignore", ".*pin_memory|.*worker processes in total", UserWarning)
    torch.manual_seed(run.seed)
    recipe, options = run.recipe, dict(run.condition.params)
    teacher = networks.with_weights(network(run.teacher.recipe.net, data, 0, device), weights[run.teacher.key]).eval()
    net = network(recipe.net, data, run.seed, device)
    train, held = loaders(data, recipe.batch)
    sgd = torch.optim.SGD(net.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=True)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, recipe.epochs * len(train))
    for _ in range(recipe.epochs):
        epoch(net, teacher, train, sgd, cosine, options["tau"], options["alpha"], device)
        accuracy = test(net, held, device)
    return accuracy


def epoch(net: nn.Module, teacher: nn.Module, batches: DataLoader, sgd: torch.optim.SGD,
          cosine: torch.optim.lr_scheduler.LRScheduler, tau: float, alpha: float, device: str) -> None:  # fmt: skip
    """One pass over the training split."""
    net.train()
    losses, hits = Meter(), Meter()
    for x, y in batches:
        x, y = x.to(device), y.to(device)
        logits = net(x)
        with torch.no_grad():
            taught = teacher(x)
        soft = F.kl_div(F.log_softmax(logits / tau, 1), F.softmax(taught / tau, 1), reduction="batchmean") * tau**2
        loss = (1 - alpha) * F.cross_entropy(logits, y) + alpha * soft
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        cosine.step()
        losses.update(loss.item(), len(y))
        hits.update(correct(logits, y), len(y))
