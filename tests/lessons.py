"""Examples of what a condition is taught from: teacher logits and labels, drawn and fixed."""

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor
from torch.testing import assert_close

from kdstudy.distill import conditions
from kdstudy.distill.conditions import Context, Target, make, target

F64 = torch.float64
TEACHER = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.25, 0.25]], dtype=F64).log()
LABEL = torch.tensor([0, 1])
ALL = list(conditions.CONDITIONS)
LISTENING = [n for n in ALL if conditions.listens(n)]
SOFT = [
    n for n in ALL if {"tau", "alpha"} <= conditions.parameters(n).keys()
]  # those that mix with the labels by alpha
DECOUPLED = ["dkd", "tckd", "nckd"]  # a sum of two divergences, which is no cross-entropy with one distribution
WEIGHTED = ["cwtm"]  # the labels, by weights that average one
FAINT = ["fault_class_mean", "fault_no_tau2", "fault_detached"]  # a soft part of less weight than alpha
DISTRIBUTIONS = [n for n in ALL if n not in DECOUPLED + WEIGHTED + FAINT]
TAUGHT = [n for n in SOFT if n not in WEIGHTED + FAINT]  # at alpha 1, the soft part is a distribution
ORDERED = ["example_permuted", "shuffled_teacher"]  # what is drawn for an example depends on its place

Lesson = tuple[Tensor, Tensor, Context, dict[str, float]]


def context(dtype: torch.dtype = F64, seed: int = 0) -> Context:
    """Three classes, two of them siblings, with a teacher's rows."""
    rows = torch.tensor([[1.0, 0.0], [0.5, 1.0], [-1.0, 0.5]])
    return Context(3, dtype, torch.tensor([0, 0, 1]), rows, seed)


def floats(draw: st.DrawFn, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    return torch.from_numpy(draw(arrays(np.float64, shape, elements=st.floats(low, high))))


def whole(draw: st.DrawFn, shape: tuple[int, ...], below: int) -> Tensor:
    return torch.from_numpy(draw(arrays(np.int64, shape, elements=st.integers(0, below - 1))))


@st.composite
def lessons(draw: st.DrawFn, fewest: int = 2) -> Lesson:
    """Teacher logits, labels, their context of `fewest` classes or more, and a value for every parameter there is."""
    n, c = draw(st.integers(1, 6)), draw(st.integers(fewest, 6))
    values = {
        "tau": draw(st.floats(0.5, 8)), "alpha": draw(st.floats(0, 1)), "epsilon": draw(st.floats(0, 1)),
        "target": draw(st.floats(0, 4)), "nontarget": draw(st.floats(0, 4)), "k": float(draw(st.integers(1, 7))),
        "dose": draw(st.floats(0, 1)), "power": draw(st.floats(0.1, 2)), "sharpness": draw(st.floats(0.1, 2)),
    }  # fmt: skip
    ctx = Context(c, F64, whole(draw, (c,), 3), floats(draw, (c, 4), -2, 2), draw(st.integers(0, 9)))
    return floats(draw, (n, c), -8, 8), whole(draw, (n,), c), ctx, values


def many(examples: int, classes: int, seed: int = 0) -> Lesson:
    """A lesson of many examples, every class among the labels; its teacher is right more often than not."""
    g = torch.Generator().manual_seed(seed)
    label = torch.arange(examples) % classes
    teacher = torch.randn(examples, classes, generator=g, dtype=F64)
    teacher += torch.randn(classes, classes, generator=g, dtype=F64)[label]  # classes the teacher finds alike
    teacher[torch.arange(examples), label] += 3
    rows = torch.randn(classes, 5, generator=g, dtype=F64)
    values = dict.fromkeys(conditions.ALLOWED, 1.0) | {"tau": 2.0, "k": 2.0}
    return teacher, label, Context(classes, F64, torch.arange(classes) // 2, rows, seed), values


def taught(name: str, lesson: Lesson, **fixed: float) -> Target:
    """The target of a condition, its parameters those of the lesson unless fixed."""
    teacher, label, ctx, values = lesson
    known = conditions.parameters(name)
    spec = make(name, **{k: v for k, v in (values | fixed).items() if k in known})
    return target(spec, teacher, label, ctx)


def rho(name: str, lesson: Lesson, **fixed: float) -> Tensor:
    """The distribution that a condition of `TAUGHT` teaches."""
    return taught(name, lesson, **fixed, alpha=1.0).soft


def close(a: Target, b: Target, atol: float) -> None:
    for part in ("hard", "soft", "rest"):
        assert_close(getattr(a, part), getattr(b, part), rtol=0, atol=atol)
