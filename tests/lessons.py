"""Examples of what a condition is taught from: teacher logits and labels, drawn and fixed."""

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor
from torch.testing import assert_close

from kdstudy import targets
from kdstudy.targets import Context, Target

F64 = torch.float64
TEACHER = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.25, 0.25]], dtype=F64).log()
LABEL = torch.tensor([0, 1])
ALL = list(targets.CONDITIONS)
SOFT = [n for n in ALL if {"tau", "alpha"} <= targets.parameters(n).keys()]  # those that mix with the labels by alpha


def floats(draw: st.DrawFn, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    return torch.from_numpy(draw(arrays(np.float64, shape, elements=st.floats(low, high))))


def whole(draw: st.DrawFn, shape: tuple[int, ...], below: int) -> Tensor:
    return torch.from_numpy(draw(arrays(np.int64, shape, elements=st.integers(0, below - 1))))


@st.composite
def lessons(draw: st.DrawFn) -> tuple[Tensor, Tensor, Context, dict[str, float]]:
    """Teacher logits, labels, their context, and a value for every parameter there is."""
    n, c = draw(st.integers(1, 6)), draw(st.integers(2, 6))
    values = {
        "tau": draw(st.floats(0.5, 8)), "alpha": draw(st.floats(0, 1)), "epsilon": draw(st.floats(0, 1)),
        "target": draw(st.floats(0, 4)), "nontarget": draw(st.floats(0, 4)), "k": float(draw(st.integers(1, 7))),
        "dose": draw(st.floats(0, 1)), "power": draw(st.floats(0.1, 2)), "sharpness": draw(st.floats(0.1, 2)),
    }  # fmt: skip
    ctx = Context(c, F64, whole(draw, (c,), 3), floats(draw, (c, 4), -2, 2), draw(st.integers(0, 9)))
    return floats(draw, (n, c), -8, 8), whole(draw, (n,), c), ctx, values


def close(a: Target, b: Target, atol: float) -> None:
    for part in ("hard", "soft", "rest"):
        assert_close(getattr(a, part), getattr(b, part), rtol=0, atol=atol)
