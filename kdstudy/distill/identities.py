"""The study's identities, each checked on random cases in float64.

An identity is a function of a seeded generator that returns the largest absolute difference of its
two sides; `check` runs it on many draws and compares the worst with its tolerance.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from kdstudy.core.random import generator
from kdstudy.core.registry import Registry
from kdstudy.distill import conditions, levels, loss
from kdstudy.distill.conditions import Context, make, target
from kdstudy.distill.loss import LossGradient, Target

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
    """Random student and teacher logits, labels, temperature and weight; the teacher's rows, and super-classes."""

    z: Float[Tensor, "N C"]
    v: Float[Tensor, "N C"]
    y: Int[Tensor, " N"]
    tau: float
    alpha: float
    rows: Float[Tensor, "C H"]
    superclass: Int[Tensor, " C"]


IDENTITIES: Registry[tuple[Callable[[Case], Tensor], float]] = Registry("identity")


def identity(tolerance: float) -> Callable:
    """Register an identity with the error it may show."""

    def register(fn: Callable[[Case], Tensor]) -> Callable[[Case], Tensor]:
        IDENTITIES[fn.__name__] = (fn, tolerance)
        return fn

    return register


def random_case(seed: int) -> Case:
    """Case number `seed`."""
    g = generator(seed, "identity")
    z, v = 3 * torch.randn(2, EXAMPLES, CLASSES, generator=g, dtype=torch.float64)
    y = torch.randint(CLASSES, (EXAMPLES,), generator=g)
    tau, alpha = torch.rand(2, generator=g, dtype=torch.float64).tolist()
    rows = torch.randn(CLASSES, 5, generator=g, dtype=torch.float64)
    return Case(z, v, y, 0.5 + 5 * tau, alpha, rows, torch.randint(3, (CLASSES,), generator=g))


def check(name: str) -> Checked:
    """The named identity on all draws; ValueError with the names there are if there is none."""
    fn, tolerance = IDENTITIES[name]
    worst = max(float(fn(random_case(seed)).abs().max()) for seed in range(DRAWS))
    return Checked(name, inspect.getdoc(fn).splitlines()[0], worst, tolerance, DRAWS)


def checked(*names: str) -> pd.DataFrame:
    """The named identities (all, if none is named) as a table."""
    found = [check(n) for n in names or IDENTITIES]
    return pd.DataFrame([{"identity": c.statement, "largest error": c.error, "tolerance": c.tolerance, "cases": c.n,
                          "holds": "yes" if c.holds else "NO"} for c in found])  # fmt: skip


def _goal(name: str, case: Case, v: Tensor | None = None, **params: float) -> tuple[Target, Tensor]:
    """A condition's target on a case and its temperature; tau and alpha are the case's unless given."""
    own = {k: getattr(case, k) for k in ("tau", "alpha") if k in conditions.parameters(name)}
    spec, v = make(name, **own | params), case.v if v is None else v
    ctx = Context(v.shape[-1], torch.float64, case.superclass, case.rows, seed=0)
    return target(spec, v, case.y, ctx), torch.tensor(spec.tau, dtype=torch.float64)


def _loss(name: str, case: Case, z: Tensor, v: Tensor | None = None, **params: float) -> Tensor:
    """The one loss of a condition on a case, as a scalar."""
    goal, tau = _goal(name, case, v, **params)
    return conditions.loss(z, goal, case.y, tau)


def _losses(name: str, case: Case, **params: float) -> Float[Tensor, " N"]:
    """The one loss of each example of a case."""
    goal, tau = _goal(name, case, **params)
    return conditions.loss(case.z[:, None], goal.map(lambda t: t[:, None]), case.y[:, None], tau.expand(EXAMPLES))


def _hard_and_soft(name: str, case: Case, **params: float) -> Float[Tensor, "2 N C"]:
    """The hard and the soft part of a condition's target on a case."""
    goal, _ = _goal(name, case, **params)
    return torch.stack([goal.hard, goal.soft])


def _gradient(fn: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    z = z.clone().requires_grad_()
    return torch.autograd.grad(fn(z), z)[0]


@identity(1e-12)
def kd_without_teacher(case: Case) -> Tensor:
    """KD with α = 0 is cross-entropy."""
    return _loss("kd", case, case.z, alpha=0.0) - cross_entropy(case.z, case.y)


@identity(1e-12)
def uniform_teacher(case: Case) -> Tensor:
    """KD with a uniform teacher and τ = 1 is label smoothing with ε = α."""
    ours = _loss("kd", case, case.z, v=torch.zeros_like(case.v), tau=1.0)
    smoothed = _loss("label_smoothing", case, case.z, epsilon=case.alpha)
    theirs = cross_entropy(case.z, case.y, label_smoothing=case.alpha)
    return torch.stack([ours - theirs, smoothed - theirs])


@identity(1e-12)
def matched_smoothing(case: Case) -> Tensor:
    """Matched smoothing at τ = 1 is label smoothing with ε = α m C / (C − 1), m the mean of 1 − p_t."""
    m = 1 - case.v.softmax(-1).gather(-1, case.y[:, None]).mean()
    epsilon = case.alpha * m * CLASSES / (CLASSES - 1)
    ours = _loss("label_smoothing_matched", case, case.z, tau=1.0)
    return ours - ((1 - epsilon) * cross_entropy(case.z, case.y) - epsilon * case.z.log_softmax(-1).mean())


@identity(1e-12)
def kd_gradient(case: Case) -> Tensor:
    """∂L/∂z = (1 − α)(q − e_t) + α τ (q^τ − p^τ)."""
    ours = EXAMPLES * _gradient(lambda z: _loss("kd", case, z), case.z)
    q, q_tau, p_tau = case.z.softmax(-1), (case.z / case.tau).softmax(-1), (case.v / case.tau).softmax(-1)
    return ours - ((1 - case.alpha) * (q - one_hot(case.y, CLASSES)) + case.alpha * case.tau * (q_tau - p_tau))


@identity(1e-12)
def kl_divergence(case: Case) -> Tensor:
    """With α = 1 the loss is τ² KL(p^τ ‖ q^τ) plus τ² times the teacher's entropy."""
    p, log_q = (case.v / case.tau).softmax(-1), (case.z / case.tau).log_softmax(-1)
    divergence, entropy = (p * (p.log() - log_q)).sum(-1).mean(), -(p * p.log()).sum(-1).mean()
    return _loss("kd", case, case.z, alpha=1.0) - case.tau**2 * (divergence + entropy)


@identity(1e-3)
def hot_limit(case: Case) -> Tensor:
    """As τ → ∞ the gradient of the soft term becomes (z̃ − ṽ)/C, logits less their mean (here τ = 10 000)."""
    ours = EXAMPLES * _gradient(lambda z: _loss("kd", case, z, tau=1e4, alpha=1.0), case.z)
    return ours - ((case.z - case.v) - (case.z - case.v).mean(-1, keepdim=True)) / CLASSES


@identity(1e-12)
def stationary_point(case: Case) -> Tensor:
    """One logit vector for all examples, α = τ = 1: the gradient vanishes at q = ρ̄, the mean target."""
    shared = case.v.softmax(-1).mean(0).log()
    return _gradient(lambda z: _loss("kd", case, z.expand_as(case.v), tau=1.0, alpha=1.0), shared)


@identity(1e-10)
def rescaling(case: Case) -> Tensor:
    """∂L/∂z_t over its value for cross-entropy is w = (1 − α) + α τ (p^τ_t − q^τ_t)/(1 − q_t)."""
    at = case.y[:, None]
    goal, tau = _goal("kd", case)
    ours = _gradient(lambda z: conditions.loss(z, goal, case.y, tau), case.z).gather(-1, at)
    plain = _gradient(lambda z: cross_entropy(z, case.y), case.z).gather(-1, at)
    p, q = ((logits / tau).softmax(-1).gather(-1, at) for logits in (case.v, case.z))
    w = (1 - case.alpha) + case.alpha * tau * (p - q) / loss.log_off_label(case.z, case.y).exp()[:, None]
    kept = loss.rescaling(case.z, LossGradient.of(goal, case.tau), case.y, tau)[:, None]  # what runs keep of it
    return torch.stack([ours / plain - w, kept - w])


@identity(1e-12)
def closed_form(case: Case) -> Tensor:
    """The gradient in closed form, by which students are trained, is autograd's for every condition."""
    goals, taus = zip(*(_goal(name, case) for name in conditions.CONDITIONS))
    goal, tau = Target(*(torch.stack(part) for part in zip(*(vars(g).values() for g in goals)))), torch.stack(taus)
    z, y = case.z.expand(len(tau), -1, -1), case.y.expand(len(tau), -1)
    theirs = EXAMPLES * _gradient(lambda z: conditions.loss(z, goal, y, tau).sum(), z)
    weights = loss.stack([LossGradient.of(g, float(t)) for g, t in zip(goals, tau)])
    return loss.gradient(z, weights, y, tau) - theirs


@identity(1e-12)
def mass_and_shape(case: Case) -> Tensor:
    """KD is its mass and its shape: p^τ = (1 − m) e_t + m π, m = 1 − p^τ_t, π the softmax over the other classes."""
    mass, shape = (part(case.v, case.y, case.tau) for part in (levels.off_label_mass, levels.per_example_shape))
    return levels.assemble(mass, shape, case.y) - _hard_and_soft("kd", case, alpha=1.0)[1]


@identity(1e-12)
def unpermuted(case: Case) -> Tensor:
    """DKPP with the identity permutation is KD, and so it is with its own permutation undone."""
    (_, kd), (_, moved) = (_hard_and_soft(n, case, alpha=1.0) for n in ("kd", "example_permuted"))
    drawn = levels.random_orders(EXAMPLES, CLASSES, 0, "example_permuted")
    found = [(kd, torch.arange(CLASSES - 1).expand_as(drawn)), (moved, drawn.argsort(-1))]
    return torch.stack([levels.permute_others(rho, case.y, order) - kd for rho, order in found])


@identity(1e-12)
def mean_weight(case: Case) -> Tensor:
    """The weights of CWTM average one."""
    return _hard_and_soft("cwtm", case)[0].sum(-1).mean() - 1


@identity(1e-10)
def decoupled(case: Case) -> Tensor:
    """KD's soft term is DKD's target part, τ² H(b^p, b^q), plus 1 − p^τ_t times its other part, τ² H(p̂, q̂)."""
    p, q = (levels.off_label_mass(logits, case.y, case.tau) for logits in (case.v, case.z))
    p_hat, q_hat = (levels.per_example_shape(logits, case.y, case.tau) for logits in (case.v, case.z))
    target_part = -(case.tau**2) * ((1 - p) * (1 - q).log() + p * q.log())
    other_part = -(case.tau**2) * torch.special.xlogy(p_hat, q_hat).sum(-1)
    tckd, nckd = (_losses(name, case) - _losses("hard", case) for name in ("tckd", "nckd"))
    both = _losses("kd", case, alpha=1.0) - (target_part + p * other_part)
    return torch.stack([tckd - target_part, nckd - other_part, both])


@identity(1e-12)
def total_variance(case: Case) -> Tensor:
    """E|ρ − e_t|² is universe + domain + instance, by the law of total variance (here ρ = p^τ)."""
    rho = _hard_and_soft("kd", case, alpha=1.0)[1]
    return ((rho - one_hot(case.y, CLASSES)) ** 2).sum(-1).mean() - sum(levels.level_split(rho, case.y).values())


# ---------------------------------------------------------------- at the ends of what conditions vary


@identity(1e-12)
def no_dose(case: Case) -> Tensor:
    """KD-pt with dose 0 is matched smoothing."""
    return _hard_and_soft("kd_pt", case, dose=0.0) - _hard_and_soft("label_smoothing_matched", case)


@identity(1e-12)
def all_classes(case: Case) -> Tensor:
    """Top-k with k = C is KD."""
    return _hard_and_soft("topk", case, k=CLASSES) - _hard_and_soft("kd", case)


@identity(1e-12)
def two_classes(case: Case) -> Tensor:
    """With C = 2 the class shape is the uniform one: one other class takes all that leaves the label."""
    two = {"z": case.z[:, :2], "v": case.v[:, :2], "y": case.y % 2, "rows": case.rows[:2]}
    few = replace(case, **two, superclass=case.superclass[:2])
    return _hard_and_soft("class_matched", few) - _hard_and_soft("label_smoothing_matched", few)
