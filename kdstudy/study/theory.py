"""What can be said without training: the exact fit of smoothed labels, labels that noise leaves alone."""

import numpy as np
from jaxtyping import Float


def exact_fit_mass(
    epsilon: Float[np.ndarray, " E"] | float, classes: int, tau: float
) -> Float[np.ndarray, " E"] | float:
    """Mass off the label at a temperature of a teacher that fits its smoothed labels exactly.

    Its probabilities are 1 - epsilon + epsilon / C for the label, epsilon / C for any other class; so
    m = (C - 1) r^(1/tau) / (1 + (C - 1) r^(1/tau)), r the ratio of the two. The rest of the target is uniform.
    """
    others = (classes - 1) * (epsilon / classes / (1 - epsilon + epsilon / classes)) ** (1 / tau)
    return others / (1 + others)


def unchanged_share(noise: float | np.ndarray, classes: int) -> float | np.ndarray:
    """The expected share of training labels that noise leaves as they were: 1 - noise (1 - 1 / C)."""
    return 1 - noise * (1 - 1 / classes)
