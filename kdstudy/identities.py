"""The study's identities, each checked on random cases in float64.

An identity is a function of a seeded generator that returns the largest absolute difference of its
two sides; `check` runs it on many draws and compares the worst with its tolerance.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from kdstudy import objective, targets
from kdstudy.models import generator
from kdstudy.targets import Context, make, target

DRAWS, EXAMPLES, CLASSES = 50, 16, 7


@dataclass(frozen=True)
class Checked:
    """An identity's worst error over `n` draws, against its tolerance."""

    name: str
    statement: str
    error: float
    tolerance: float
    n: int

    @property
    def holds(self) -> bool:
        """Whether the error stays within the tolerance."""
        return self.error <= self.tolerance


@dataclass(frozen=True)
class Case:
    """Random student and teacher logits, labels, temperature and weight."""

    z: Float[Tensor, "N C"]
    v: Float[Tensor, "N C"]
    y: Int[Tensor, " N"]
    tau: float
    alpha: float


IDENTITIES: dict[str, tuple[Callable[[Case], Tensor], float]] = {}


def identity(tolerance: float) -> Callable:
    """Register an identity with the error it may show."""

    def register(fn: Callable[[Case], Tensor]) -> Callable[[Case], Tensor]:
        IDENTITIES[fn.__name__] = (fn, tolerance)
        return fn

    return register


def draw(seed: int) -> Case:
    """Case number `seed`."""
    g = generator(seed, "identity")
    z, v = 3 * torch.randn(2, EXAMPLES, CLASSES, generator=g, dtype=torch.float64)
    y = torch.randint(CLASSES, (EXAMPLES,), generator=g)
    tau, alpha = torch.rand(2, generator=g, dtype=torch.float64).tolist()
    return Case(z, v, y, 0.5 + 5 * tau, alpha)


def check(name: str) -> Checked:
    """The named identity on all draws; ValueError with the names there are if there is none."""
    if name not in IDENTITIES:
        raise ValueError(f"identity {name!r} is unknown; there are: {', '.join(IDENTITIES)}")
    fn, tolerance = IDENTITIES[name]
    worst = max(float(fn(draw(seed)).abs().max()) for seed in range(DRAWS))
    return Checked(name, inspect.getdoc(fn).splitlines()[0], worst, tolerance, DRAWS)


def table(*names: str) -> pd.DataFrame:
    """The named identities (all, if none is named) as a table."""
    found = [check(n) for n in names or IDENTITIES]
    return pd.DataFrame(
        [{"identity": c.statement, "largest error": c.error, "tolerance": c.tolerance, "cases": c.n,
          "holds": "yes" if c.holds else "NO"} for c in found]
    )  # fmt: skip


def _loss(name: str, case: Case, z: Tensor, v: Tensor | None = None, **params: float) -> Tensor:
    """The one loss of a condition on a case, as a scalar."""
    spec = make(name, **params)
    goal = target(spec, case.v if v is None else v, case.y, Context(CLASSES, torch.float64))
    return targets.loss(z, goal, case.y, torch.tensor(spec.tau, dtype=torch.float64))


def _gradient(fn: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    z = z.clone().requires_grad_()
    return torch.autograd.grad(fn(z), z)[0]


@identity(1e-12)
def kd_without_teacher(case: Case) -> Tensor:
    """KD with α = 0 is cross-entropy."""
    return _loss("kd", case, case.z, tau=case.tau, alpha=0.0) - cross_entropy(case.z, case.y)


@identity(1e-12)
def uniform_teacher(case: Case) -> Tensor:
    """KD with a uniform teacher and τ = 1 is label smoothing with ε = α."""
    ours = _loss("kd", case, case.z, v=torch.zeros_like(case.v), tau=1.0, alpha=case.alpha)
    smoothed = _loss("label_smoothing", case, case.z, epsilon=case.alpha)
    theirs = cross_entropy(case.z, case.y, label_smoothing=case.alpha)
    return torch.stack([ours - theirs, smoothed - theirs])


@identity(1e-12)
def matched_smoothing(case: Case) -> Tensor:
    """Matched smoothing at τ = 1 is label smoothing with ε = α m C / (C − 1), m the mean of 1 − p_t."""
    m = 1 - case.v.softmax(-1).gather(-1, case.y[:, None]).mean()
    epsilon = case.alpha * m * CLASSES / (CLASSES - 1)
    ours = _loss("label_smoothing_matched", case, case.z, tau=1.0, alpha=case.alpha)
    smooth = -case.z.log_softmax(-1).mean()
    return ours - ((1 - epsilon) * cross_entropy(case.z, case.y) + epsilon * smooth)


@identity(1e-12)
def kd_gradient(case: Case) -> Tensor:
    """∂L/∂z = (1 − α)(q − e_t) + α τ (q^τ − p^τ)."""
    ours = EXAMPLES * _gradient(lambda z: _loss("kd", case, z, tau=case.tau, alpha=case.alpha), case.z)
    q, q_tau, p_tau = case.z.softmax(-1), (case.z / case.tau).softmax(-1), (case.v / case.tau).softmax(-1)
    e = one_hot(case.y, CLASSES)
    return ours - ((1 - case.alpha) * (q - e) + case.alpha * case.tau * (q_tau - p_tau))


@identity(1e-12)
def kl_divergence(case: Case) -> Tensor:
    """With α = 1 the loss is τ² KL(p^τ ‖ q^τ) plus τ² times the teacher's entropy."""
    p, log_q = (case.v / case.tau).softmax(-1), (case.z / case.tau).log_softmax(-1)
    divergence = (p * (p.log() - log_q)).sum(-1).mean()
    own = -(p * p.log()).sum(-1).mean()
    return _loss("kd", case, case.z, tau=case.tau, alpha=1.0) - case.tau**2 * (divergence + own)


@identity(1e-3)
def hot_limit(case: Case) -> Tensor:
    """As τ → ∞ the gradient of the soft term becomes (z̃ − ṽ)/C, logits less their mean (here τ = 10 000)."""
    ours = EXAMPLES * _gradient(lambda z: _loss("kd", case, z, tau=1e4, alpha=1.0), case.z)
    centred = (case.z - case.z.mean(-1, keepdim=True)) - (case.v - case.v.mean(-1, keepdim=True))
    return ours - centred / CLASSES


@identity(1e-12)
def stationary_point(case: Case) -> Tensor:
    """One logit vector for all examples, α = τ = 1: the gradient vanishes at q = ρ̄, the mean target."""
    shared = case.v.softmax(-1).mean(0).log()
    return _gradient(lambda z: _loss("kd", case, z.expand_as(case.v), tau=1.0, alpha=1.0), shared)


@identity(1e-10)
def rescaling(case: Case) -> Tensor:
    """At τ = 1, ∂L/∂z_t over its value for cross-entropy is w = (1 − α) + α (p_t − q_t)/(1 − q_t)."""
    at = case.y[:, None]
    ours = _gradient(lambda z: _loss("kd", case, z, tau=1.0, alpha=case.alpha), case.z).gather(-1, at)
    plain = _gradient(lambda z: cross_entropy(z, case.y), case.z).gather(-1, at)
    p, q = case.v.softmax(-1).gather(-1, at), case.z.softmax(-1).gather(-1, at)
    rest = objective.log_rest(case.z, case.y).exp()[:, None]
    return ours / plain - ((1 - case.alpha) + case.alpha * (p - q) / rest)
