"""Pictures as features: digits and clothes."""

import gzip

import torch
from torch import Tensor

from kdstudy.core.random import generator
from kdstudy.core.spec import require
from kdstudy.data.dataset import DATASETS, Parts
from kdstudy.data.download import SOURCES, fetch
from kdstudy.data.pictures import scaled
from kdstudy.data.synthetic import whole

Pair = tuple[Tensor, Tensor]


def _standardised(train: Pair, validation: Pair, test: Pair) -> dict[str, Pair]:
    """The splits with x minus one mean and over one standard deviation, over all features of train."""
    std, mean = (v.item() for v in torch.std_mean(train[0].double(), correction=0))
    splits = {"train": train, "validation": validation, "test": test}
    return {split: ((x.float() - mean) / std, y) for split, (x, y) in splits.items()}


@DATASETS.register
def digits(*, seed: int = 0) -> Parts:
    """8x8 grey digits of `sklearn.datasets.load_digits`: 997 / 300 / 500, stratified by class.

    Alpaydin and Kaynak 1998, UCI repository, CC BY 4.0; the copy that scikit-learn ships.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    whole("seed", seed, 0)
    x, y = map(torch.from_numpy, load_digits(return_X_y=True))
    rest, test = train_test_split(torch.arange(len(y)), test_size=500, stratify=y, random_state=seed)
    train, validation = train_test_split(rest, test_size=300, stratify=y[rest], random_state=seed)
    return {"classes": tuple("0123456789"), **_standardised(*((x[i], y[i]) for i in (train, validation, test)))}


def _idx(file: str, header: int) -> Tensor:
    data = gzip.decompress(fetch("fashion_mnist", file).read_bytes())
    return torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=header)


def _fashion(train: int) -> tuple[dict[str, tuple[Tensor, Tensor, Tensor]], Parts]:
    """All pixels, the places and the labels of each split; and what else the data set is."""
    halves = ("train", "t10k")
    x, test_x = (_idx(f"{half}-images-idx3-ubyte.gz", 16).view(-1, 784) for half in halves)
    y, test_y = (_idx(f"{half}-labels-idx1-ubyte.gz", 8).long() for half in halves)
    most, order = len(y) * 5 // 6, torch.randperm(len(y), generator=generator(0, "fashion_mnist:split"))
    require(isinstance(train, int) and 0 < train <= most, "train", train, f"a whole number from 1 to {most}")
    clothes = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
    picks = {"train": (x, order[:train], y[order[:train]]), "validation": (x, order[most:], y[order[most:]])}
    rest = {"classes": tuple(clothes.split(",")), "source": (SOURCES["fashion_mnist"][-1], train)}
    return {**picks, "test": (test_x, torch.arange(len(test_y)), test_y)}, rest


@DATASETS.register
def fashion_mnist(*, train: int = 50_000) -> Parts:
    """`train` / 10 000 / 10 000 grey 28x28 images of clothes. Xiao et al. 2017, MIT.

    The published training set, permuted once and for all: its last sixth is the validation split, its
    first `train` images the training split, so that smaller training splits are nested in larger ones.
    """
    picks, rest = _fashion(train)
    return {**rest, **_standardised(**{split: (x[at], y) for split, (x, at, y) in picks.items()})}


@DATASETS.register
def fashion_images(*, train: int = 50_000) -> Parts:
    """`fashion_mnist` as images for convolutions: x of shape (N, 1, 28, 28), in float16."""
    picks, rest = _fashion(train)
    images = {split: (x.view(-1, 1, 28, 28), at, y) for split, (x, at, y) in picks.items()}
    return {**rest, "source": (*rest["source"], "images"), **scaled(**images)}
