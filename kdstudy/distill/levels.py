"""A target is a mass and a shape: how much probability leaves the label, and where it goes.

`mass` m_n = 1 - rho_t is one number for each example, `shape` pi_n a distribution over the classes
other than the label; rho = (1 - m) e_t + m pi. What a teacher knows splits into the same parts.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from kdstudy.core.random import generator
from kdstudy.distill.loss import Target


def off_label_mass(teacher: Float[Tensor, "N C"], label: Int[Tensor, " N"], tau: float) -> Float[Tensor, " N"]:
    """Mass that leaves the label, 1 - p^tau_t, as the sum over the other classes (no cancellation)."""
    return without_label((teacher / tau).softmax(-1), label).sum(-1)


def without_label(rho: Float[Tensor, "N C"], label: Int[Tensor, " N"]) -> Float[Tensor, "N C"]:
    """rho with 0 at the label."""
    return rho.scatter(-1, label[:, None], 0.0)


def mean_mass(mass: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """The same mass for every example: its mean over the training set."""
    return mass.mean().expand(len(mass))


def assemble(mass: Float[Tensor, " N"], shape: Float[Tensor, "N C"], label: Int[Tensor, " N"]) -> Float[Tensor, "N C"]:
    """rho = (1 - m) e_t + m pi."""
    return (mass[:, None] * shape).scatter(-1, label[:, None], (1 - mass)[:, None])


def uniform_shape(label: Int[Tensor, " N"], classes: int, dtype: torch.dtype) -> Float[Tensor, "N C"]:
    """pi_k = 1 / (C - 1): no class is closer than another."""
    return without_label(torch.full((len(label), classes), 1 / (classes - 1), dtype=dtype), label)


def per_example_shape(teacher: Float[Tensor, "N C"], label: Int[Tensor, " N"], tau: float) -> Float[Tensor, "N C"]:
    """pi_k = p^tau_k / (1 - p^tau_t): each example its own, as a softmax over the other classes."""
    return (teacher / tau).scatter(-1, label[:, None], -torch.inf).softmax(-1)


def class_means(rho: Float[Tensor, "N C"], label: Int[Tensor, " N"]) -> Float[Tensor, "N C"]:
    """E[rho | t] for each example's class, summed in double precision."""
    classes = rho.shape[-1]
    sums = torch.zeros(classes, classes, dtype=torch.float64, device=rho.device).index_add(0, label, rho.double())
    return (sums / label.bincount(minlength=classes).clamp(min=1)[:, None])[label].to(rho)


def class_shape(teacher: Float[Tensor, "N C"], label: Int[Tensor, " N"], tau: float) -> Float[Tensor, "N C"]:
    """pi = E[p^tau | t] over the other classes, normalised; uniform where the teacher leaves them nothing."""
    mean = without_label(class_means((teacher.double() / tau).softmax(-1), label), label)
    total = mean.sum(-1, keepdim=True)
    return torch.where(total > 0, mean / total, uniform_shape(label, mean.shape[-1], mean.dtype)).to(teacher)


def class_similarity(rows: Float[Tensor, "C H"]) -> Float[Tensor, "C C"]:
    """Cosine similarity of rows less their mean.

    softmax(Wh) does not change when one vector is added to all rows of W, so that vector is taken out.
    """
    unit = normalize(rows - rows.mean(0), dim=-1, eps=1e-12)
    return (unit @ unit.T).clamp(-1, 1)


def similarity_shape(
    cosine: Float[Tensor, "C C"], label: Int[Tensor, " N"], power: float, heat: float
) -> Float[Tensor, "N C"]:
    """pi_k proportional to exp(sign(s) |s|^power / heat), s the cosine similarity of class k to the label's."""
    score = cosine.sign() * cosine.abs() ** power / heat
    return score.fill_diagonal_(-torch.inf).softmax(-1)[label]


def superclass_shape(
    teacher: Float[Tensor, "N C"], label: Int[Tensor, " N"], tau: float, superclass: Int[Tensor, " C"]
) -> Float[Tensor, "N C"]:
    """One weight for the classes of the label's super-class, another for the rest, in the teacher's mean ratio."""
    p = without_label((teacher / tau).softmax(-1), label)
    same = without_label((superclass[label][:, None] == superclass).to(p), label)
    rest = without_label(1 - same, label)
    near, far = (same * p).sum(-1).mean(), (rest * p).sum(-1).mean()
    pi = near * same / same.sum(-1, keepdim=True).clamp(min=1) + far * rest / rest.sum(-1, keepdim=True).clamp(min=1)
    total = pi.sum(-1, keepdim=True)
    return torch.where(total > 0, pi / total, uniform_shape(label, len(superclass), p.dtype))


def permute_others(
    rho: Float[Tensor, "N C"], label: Int[Tensor, " N"], order: Int[Tensor, "N others"]
) -> Float[Tensor, "N C"]:
    """rho with the classes other than the label put in each row's `order` of the C - 1 others."""
    others = torch.arange(rho.shape[-1] - 1) + (torch.arange(rho.shape[-1] - 1) >= label[:, None])
    return rho.scatter(-1, others, rho.gather(-1, others.gather(-1, order)))


def random_orders(rows: int, classes: int, seed: int, purpose: str) -> Int[Tensor, "rows others"]:
    """A random order of C - 1 things for each row."""
    return torch.rand(rows, classes - 1, generator=generator(seed, purpose)).argsort(-1)


def level_split(rho: Float[Tensor, "N C"], label: Int[Tensor, " N"]) -> dict[str, float]:
    """How far rho is from the label, split by level: E|rho - e_t|^2 = universe + domain + instance.

    universe = |s - e_t|^2 with s_t = 1 - m, the rest uniform, m the mean mass (matched smoothing);
    domain = E|E[rho | t] - s|^2; instance = E|rho - E[rho | t]|^2. By the law of total variance the
    three add up; each divided by their sum is a level's share of what the targets say.
    """
    rho = rho.double()
    mean, off_label = class_means(rho, label), without_label(rho, label).sum(-1)
    smooth = assemble(mean_mass(off_label), uniform_shape(label, rho.shape[-1], rho.dtype), label)
    plain = one_hot(label, rho.shape[-1]).double()
    pieces = {"universe": smooth - plain, "domain": mean - smooth, "instance": rho - mean}
    return {level: float((d**2).sum(-1).mean()) for level, d in pieces.items()}


def taught_distribution(target: Target) -> Float[Tensor, "N C"]:
    """The distribution a condition teaches: its soft part where it has one, else its hard part."""
    part = target.soft if target.soft.any() else target.hard
    return part / part.sum(-1, keepdim=True).clamp(min=torch.finfo(part.dtype).tiny)


def target_summary(target: Target, label: Int[Tensor, " N"]) -> dict[str, float]:
    """What is taught on the training set: mean mass off the label, mean entropy (nats), and its `level_split`."""
    rho = taught_distribution(target)
    values = {"mass": without_label(rho, label).sum(-1).mean(), "entropy": torch.special.entr(rho).sum(-1).mean()}
    return {f"target_{k}": float(v) for k, v in (values | level_split(rho, label)).items()}


def student_summary(logits: Float[Tensor, "N C"], label: Int[Tensor, " N"], tau: float) -> dict[str, float]:
    """The same of a student's own q^tau: mean mass off the label, and its `level_split`."""
    q = (logits / tau).softmax(-1)
    values = {"mass": float(without_label(q, label).sum(-1).mean())} | level_split(q, label)
    return {f"student_{k}": v for k, v in values.items()}
