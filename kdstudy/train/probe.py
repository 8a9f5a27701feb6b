"""What a run leaves besides its scores: its class geometry, and what happened to a fixed sample of examples."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdstudy.core.random import generator
from kdstudy.distill import levels

PROBE = 512  # training examples that are watched one by one
TIMES = 5  # epochs, evenly spread up to the last, after which they are looked at


def probe_examples(examples: int) -> Int[Tensor, " probe"]:
    """Indices of the watched training examples: the same for every run of a data set."""
    return torch.randperm(examples, generator=generator(0, "probe"))[:PROBE]


def checkpoints(epochs: int) -> list[int]:
    """The numbers of epochs after which the probe is looked at."""
    return sorted({round(e) for e in np.linspace(1, epochs, TIMES)}) if epochs else []


def as_float16(values: Tensor) -> np.ndarray:
    """As float16, clipped to its range."""
    return values.clamp(-6e4, 6e4).cpu().numpy().astype(np.float16)


def mean_logits(logits: Float[Tensor, "N C"], label: Int[Tensor, " N"]) -> Float[Tensor, "C C"]:
    """Mean logits of each class, every example's logits minus their mean; 0 for a class without examples."""
    classes, centred = logits.shape[-1], logits - logits.mean(-1, keepdim=True)
    sums = torch.zeros(classes, classes, dtype=logits.dtype, device=logits.device).index_add(0, label, centred)
    return sums / label.bincount(minlength=classes).clamp(min=1)[:, None]


def class_similarities(
    logits: Float[Tensor, "N C"], label: Int[Tensor, " N"], layer: Float[Tensor, "C H"]
) -> Float[np.ndarray, "2 pairs"]:
    """Class similarities above the diagonal: of the logit layer's rows, and of the class means of the logits."""
    above = torch.triu_indices(len(layer), len(layer), 1, device=layer.device)
    both = torch.stack([levels.class_similarity(m) for m in (layer, mean_logits(logits, label))])
    return as_float16(both[:, *above])


def correct_per_class(logits: Float[Tensor, "N C"], label: Int[Tensor, " N"]) -> Int[np.ndarray, "2 C"]:
    """For each class, examples classified rightly, and examples."""
    right = label[logits.argmax(-1) == label]
    return torch.stack([v.bincount(minlength=logits.shape[-1]) for v in (right, label)]).cpu().numpy().astype(np.int32)


def right(logits: Float[Tensor, "N C"], label: Int[Tensor, " N"]) -> np.ndarray:
    """Which examples are classified rightly, as bits, eight to a byte."""
    return np.packbits((logits.argmax(-1) == label).cpu().numpy())


def probe_arrays(
    logits: Mapping[str, Tensor], labels: Mapping[str, Tensor], layer: Tensor, mass: Tensor, tau: float
) -> dict[str, np.ndarray]:
    """ "similarity" (2, pairs), "per_class" (2, C) on test, "mass" (2, probe): 1 - rho_t as taught and 1 - q^tau_t
    as learnt, "miss" (N,): 1 - q_t on the validation split, and "right" (N / 8,): which test examples, as bits.
    """
    at = probe_examples(len(labels["train"]))
    learnt = levels.off_label_mass(logits["train"][at], labels["train"][at], tau)
    return {
        "similarity": class_similarities(logits["train"], labels["train"], layer),
        "per_class": correct_per_class(logits["test"], labels["test"]),
        "right": right(logits["test"], labels["test"]),
        "mass": as_float16(torch.stack([mass.to(learnt), learnt])),
        "miss": as_float16(levels.off_label_mass(logits["validation"], labels["validation"], 1.0)),
    }
