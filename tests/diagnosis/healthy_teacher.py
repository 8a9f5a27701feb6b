"""Logits of a teacher without a fault."""

import numpy as np

GROUP = np.repeat(np.arange(4), 3)  # super-classes of the 12 classes


def healthy(examples: int = 1200, seed: int = 0, scale: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a sure teacher: examples of a class differ in difficulty, classes of a super-class are alike."""
    rng = np.random.default_rng(seed)
    y = rng.integers(12, size=examples)
    near = (y[:, None] == np.arange(12)) * 1.5 + (GROUP[y][:, None] == GROUP) * 0.8
    ease = rng.uniform(0.5, 1.5, (examples, 1))
    return (scale * (near * ease + 0.3 * rng.standard_normal((examples, 12)))).astype(np.float32), y


V, Y = healthy()
