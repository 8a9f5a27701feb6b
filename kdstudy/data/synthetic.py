"""A classification task of which everything is known: P(label | x), and how alike its classes are."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from kdstudy.core.random import generator
from kdstudy.core.spec import require
from kdstudy.data.dataset import DATASETS


def whole(name: str, value: object, low: int) -> None:
    """ValueError unless `value` is a whole number of at least `low`."""
    require(isinstance(value, int) and value >= low, name, value, f"a whole number of at least {low}")


@dataclass(frozen=True)
class Law:
    """The joint law of features and label.

    x ~ N(0, I_D), and with u_c = w_c . x for the C unit vectors of `vectors`,

        score_c = 2 u_c + sum_{m=1..sines} sin(m u_c + b_m) / sqrt(m),   b_m uniform on [0, 2 pi);

    P(c | x) = softmax(score / softness)_c, all of it on the largest score at softness 0. A training
    label is besides replaced, with probability `noise`, by one drawn uniformly from all C classes:
    P' = (1 - noise) P + noise / C.

    `sines` is the difficulty. Up to one, the score grows with u_c, so the largest u_c has the largest
    score; from two on it rises and falls. How often it does where labels are decided depends on the
    phases b_m, hence on `seed`. Sums of sines of linear maps with chosen cosine similarity follow the
    synthetic data of Ma et al. 2018 (multi-gate mixture-of-experts), as remembered.

    ValueError if D features have no room for the C + G orthonormal directions of C classes and G
    super-classes, or an argument is out of its range.
    """

    seed: int
    classes: int
    superclasses: int
    features: int
    similarity: float
    sines: int
    softness: float
    noise: float

    def __post_init__(self) -> None:
        for name, low in {"seed": 0, "classes": 2, "superclasses": 1, "features": 1, "sines": 0}.items():
            whole(name, getattr(self, name), low)
        c, g, d = self.classes, self.superclasses, self.features
        require(g <= c, "superclasses", g, f"at most {c}, the number of classes")
        need = f"at least {c + g}, an orthonormal direction for each of {c} classes and {g} super-classes"
        require(d >= c + g, "features", d, need)
        require(0 <= self.similarity < 1, "similarity", self.similarity, "0 <= similarity < 1")
        require(0 <= self.softness < torch.inf, "softness", self.softness, "a finite number of at least 0")
        require(0 <= self.noise <= 1, "noise", self.noise, "0 <= noise <= 1")

    @property
    def superclass(self) -> Int[Tensor, " C"]:
        """Super-class of each class: consecutive runs, equally long where G divides C."""
        return torch.arange(self.classes) * self.superclasses // self.classes

    @property
    def vectors(self) -> Float[Tensor, "C D"]:
        """w_c = sqrt(s) a_g(c) + sqrt(1 - s) e_c with all a and e orthonormal (float64).

        So the cosine similarity of two classes is exactly s = `similarity` within a super-class and
        0 across.
        """
        g = generator(self.seed, "synthetic:vectors")
        draw = torch.randn(self.features, self.superclasses + self.classes, generator=g, dtype=torch.float64)
        q, r = torch.linalg.qr(draw)
        q = (q * r.diagonal().sign()).T  # a positive diagonal makes the decomposition unique
        shared, own = q[: self.superclasses], q[self.superclasses :]
        return self.similarity**0.5 * shared[self.superclass] + (1 - self.similarity) ** 0.5 * own

    def score(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N C"]:
        """Clean scores, in float64."""
        u = x.double() @ self.vectors.T
        g = generator(self.seed, "synthetic:phases")
        phases = 2 * torch.pi * torch.rand(self.sines, generator=g, dtype=torch.float64)
        return 2 * u + sum(torch.sin(m * u + b) / m**0.5 for m, b in enumerate(phases, 1))

    def posterior(self, score: Float[Tensor, "N C"], noise: float) -> Float[Tensor, "N C"]:
        """P(label | x) from clean scores; rows sum to 1."""
        if self.softness:
            clean = (score / self.softness).softmax(-1)
        else:
            clean = one_hot(score.argmax(-1), self.classes).double()
        return (1 - noise) * clean + noise / self.classes

    def draw(self, split: str, examples: int) -> dict[str, Tensor]:
        """`examples` draws: x (float32), y, and exactly for that x `posterior` and `margin`.

        `posterior` is the law that y was drawn from, with noise in the split "train" only;
        `margin` is the largest clean score minus the second largest.
        """
        whole(split, examples, 1)

        def stream(what: str) -> torch.Generator:
            return generator(self.seed, f"synthetic:{what}:{split}")

        x = torch.randn(examples, self.features, generator=stream("x"), dtype=torch.float64).float()
        score = self.score(x)
        posterior = self.posterior(score, self.noise if split == "train" else 0.0)
        y = torch.multinomial(posterior, 1, generator=stream("y")).squeeze(-1)
        first, second = score.topk(2).values.unbind(-1)
        return {"x": x, "y": y, "posterior": posterior, "margin": first - second}


@DATASETS.register(grouped=True)
def synthetic(
    *,
    seed: int = 0,
    classes: int = 20,
    superclasses: int = 5,
    features: int = 32,
    similarity: float = 0.5,
    sines: int = 4,
    softness: float = 0.0,
    noise: float = 0.0,
    train: int = 4000,
    validation: int = 2000,
    test: int = 4000,
) -> dict[str, object]:
    """`train` / `validation` / `test` draws from a `Law`, `noise` in the training labels only.

    `extra` has `posterior` (N, C) and `margin` (N,) of each split, and `vectors` (C, D) of the "law".
    x is standard by law and not standardised again: the posterior is exact.
    """
    law = Law(seed, classes, superclasses, features, similarity, sines, softness, noise)
    draws = {s: law.draw(s, n) for s, n in {"train": train, "validation": validation, "test": test}.items()}
    xy = {split: (d.pop("x"), d.pop("y")) for split, d in draws.items()}
    return {
        **xy,
        "classes": tuple(f"c{c}" for c in range(classes)),
        "superclass": law.superclass,
        "superclasses": tuple(f"s{g}" for g in range(superclasses)),
        "extra": {**draws, "law": {"vectors": law.vectors}},
    }
