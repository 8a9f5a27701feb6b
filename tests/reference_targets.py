"""Slow, obvious twins of what conditions teach: loops over examples and classes, numbers of Python."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Rows = list[list[float]]


def softmax(scores: Sequence[float]) -> list[float]:
    powers = [math.exp(s - max(scores)) for s in scores]
    return [p / sum(powers) for p in powers]


def cooled(logits: Tensor, tau: float) -> Rows:
    """The distribution of each example at temperature tau."""
    return [softmax([v / tau for v in row]) for row in logits.tolist()]


def others(values: Sequence[float], t: int) -> list[float]:
    """The values at the classes other than t."""
    return [v for k, v in enumerate(values) if k != t]


def share(values: Sequence[float], t: int) -> list[float]:
    """The values divided by their sum over the classes other than t; 0 at t."""
    return [0.0 if k == t else v / sum(others(values, t)) for k, v in enumerate(values)]


# ---------------------------------------------------------------- masses and shapes


def instance_mass(teacher: Tensor, label: Tensor, tau: float) -> list[float]:
    return [sum(others(p, t)) for p, t in zip(cooled(teacher, tau), label.tolist())]


def constant_mass(teacher: Tensor, label: Tensor, tau: float) -> list[float]:
    each = instance_mass(teacher, label, tau)
    return [sum(each) / len(each)] * len(each)


def uniform_shape(teacher: Tensor, label: Tensor, tau: float) -> Rows:
    return [share([1.0] * len(row), t) for row, t in zip(teacher, label.tolist())]


def class_shape(teacher: Tensor, label: Tensor, tau: float) -> Rows:
    rows, labels = cooled(teacher, tau), label.tolist()
    out = []
    for t in labels:
        mine = [p for p, s in zip(rows, labels) if s == t]
        out.append(share([sum(p[k] for p in mine) / len(mine) for k in range(len(mine[0]))], t))
    return out


def instance_shape(teacher: Tensor, label: Tensor, tau: float) -> Rows:
    return [share(p, t) for p, t in zip(cooled(teacher, tau), label.tolist())]


def assembled(mass: Sequence[float], shape: Rows, label: Tensor) -> Tensor:
    """What is left of 1 at the label, the mass by the shape at the others."""
    rows = [[1 - m if k == t else m * s for k, s in enumerate(pi)] for m, pi, t in zip(mass, shape, label.tolist())]
    return torch.tensor(rows, dtype=torch.float64)


GRID = {
    "label_smoothing_matched": (constant_mass, uniform_shape),
    "class_matched": (constant_mass, class_shape),
    "instance_matched": (constant_mass, instance_shape),
    "kd_pt": (instance_mass, uniform_shape),
    "kd_pt_class": (instance_mass, class_shape),
    "kd": (instance_mass, instance_shape),
}


def cell(name: str, teacher: Tensor, label: Tensor, tau: float) -> Tensor:
    """The distribution in a cell of the grid."""
    mass, shape = GRID[name]
    return assembled(mass(teacher, label, tau), shape(teacher, label, tau), label)


# ---------------------------------------------------------------- other shapes


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    dot, aa, bb = (sum(x * y for x, y in zip(u, v)) for u, v in ((a, b), (a, a), (b, b)))
    return dot / math.sqrt(aa * bb)


def cosines(rows: Tensor) -> Rows:
    """Cosine similarities of the rows, each less the mean row."""
    table = rows.tolist()
    mean = [sum(column) / len(table) for column in zip(*table)]
    centred = [[x - m for x, m in zip(row, mean)] for row in table]
    return [[cosine(a, b) for b in centred] for a in centred]


def similar_shape(rows: Tensor, label: Tensor, power: float, heat: float) -> Rows:
    out = []
    for t in label.tolist():
        scores = [math.copysign(abs(s) ** power, s) / heat for s in cosines(rows)[t]]
        top = max(others(scores, t))
        out.append(share([math.exp(min(s - top, 0)) for s in scores], t))
    return out


def sibling_shape(teacher: Tensor, label: Tensor, tau: float, superclass: Tensor) -> Rows:
    """The teacher's mean mass on siblings, shared by them; on all other classes, shared by those."""
    near = far = 0.0
    group, labels, n = superclass.tolist(), label.tolist(), len(label)
    for p, t in zip(cooled(teacher, tau), labels):
        for k in range(len(p)):
            if k != t and group[k] == group[t]:
                near += p[k] / n
            elif k != t:
                far += p[k] / n
    out = []
    for t in labels:
        siblings = sum(g == group[t] for g in group) - 1
        strangers = len(group) - 1 - siblings
        out.append(share([near / max(siblings, 1) if g == group[t] else far / max(strangers, 1) for g in group], t))
    return out


# ---------------------------------------------------------------- decoupled KD


def target_part(v: Sequence[float], z: Sequence[float], t: int, tau: float) -> float:
    """H(b^p, b^q) of the two-way distributions: the label or any other class."""
    p, q = softmax([x / tau for x in v]), softmax([x / tau for x in z])
    return -p[t] * math.log(q[t]) - sum(others(p, t)) * math.log(sum(others(q, t)))


def nontarget_part(v: Sequence[float], z: Sequence[float], t: int, tau: float) -> float:
    """H(p^, q^) of the distributions over the classes other than the label."""
    p, q = (softmax([x / tau for x in others(w, t)]) for w in (v, z))
    return -sum(a * math.log(b) for a, b in zip(p, q))


# ---------------------------------------------------------------- the loss's gradient


def gradient_of_one(
    z: Sequence[float], hard: Sequence[float], soft: Sequence[float], rest: float, t: int, tau: float
) -> list[float]:
    """dL/dz_j of one example, term by term: d log q_k / dz_j = [j = k] - q_j, and so on."""
    q, cool = softmax(z), softmax([x / tau for x in z])
    pi = share(cool, t)
    out = []
    for j in range(len(z)):
        slope = 0.0
        for k in range(len(z)):
            slope -= hard[k] * ((j == k) - q[j]) + tau * soft[k] * ((j == k) - cool[j])
        out.append(slope - tau * rest * (pi[j] - cool[j]))
    return out
