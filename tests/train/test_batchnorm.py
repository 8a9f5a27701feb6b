"""Batch norm, residual and ReLU in one: what plain torch gives, no less exact, and torch itself where it must."""

import copy
import subprocess
import sys

import numba
import numpy as np
import pytest
import torch
from conftest import says
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import BatchNorm2d

from kdstudy.train import batchnorm
from kdstudy.train.batchnorm import norm_relu

LAYOUT = torch.channels_last
SHAPES = [(64, 16, 32, 32), (64, 32, 16, 16), (64, 64, 8, 8), (64, 128, 4, 4)]


def twin(x: Tensor, norm: BatchNorm2d, residual: Tensor | None = None, relu: bool = True) -> Tensor:
    """The slow way, an operation of torch at a time."""
    y = norm(x) if residual is None else norm(x) + residual
    return torch.relu(y) if relu else y


def exact(x: Tensor, norm: BatchNorm2d, residual: Tensor | None, relu: bool, kept: Tensor) -> Tensor:
    """In float64, where ReLU keeps what `kept` says: an output near 0 has either sign by rounding."""
    y = norm(x) if residual is None else norm(x) + residual
    return y * kept if relu else y


def drawn(shape: tuple[int, ...], seed: int = 0, mean: float = 0.0) -> Tensor:
    """Normal numbers in bfloat16, channels_last."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + mean
    return x.bfloat16().contiguous(memory_format=LAYOUT)


def weighted(channels: int, seed: int = 3, **options: object) -> BatchNorm2d:
    """A batch norm in training with weights and running statistics of its own."""
    norm, g = BatchNorm2d(channels, **options), torch.Generator().manual_seed(seed)
    for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        values.copy_(torch.rand(channels, generator=g) + 0.5)
    return norm


def outcome(way, x: Tensor, norm: BatchNorm2d, residual: Tensor | None, relu: bool, *more: Tensor) -> dict[str, Tensor]:
    """Output, gradients at a fixed random cotangent, and running statistics of a copy of `norm`."""
    norm, x = copy.deepcopy(norm).to(torch.float64 if x.dtype == torch.float64 else torch.float32), x.clone()
    leaves = {"x": x.requires_grad_(), "weight": norm.weight, "bias": norm.bias}
    if residual is not None:
        leaves["residual"] = residual = residual.clone().requires_grad_()
    y = way(x, norm, residual, relu, *more)
    y.backward(drawn(x.shape, 9).to(y))
    gradients = {name: leaf.grad for name, leaf in leaves.items()}
    return {"y": y.detach(), **gradients, "mean": norm.running_mean, "var": norm.running_var}


def distance(a: Tensor, b: Tensor) -> float:
    """|a - b| / |b|."""
    return float((a.double() - b).norm() / b.norm())


def compare(x: Tensor, norm: BatchNorm2d, residual: Tensor | None, relu: bool) -> None:
    """Rounded no worse than torch, each against float64 with the zeros that it has itself."""
    assert batchnorm.fits(x, norm) and batchnorm.loops()
    wide = x.double(), norm, None if residual is None else residual.double(), relu
    errors = []
    for way in (norm_relu, twin):
        got = outcome(way, x, norm, residual, relu)
        want = outcome(exact, *wide, (got["y"] != 0).double())
        assert got.keys() == want.keys()
        errors.append({name: distance(got[name], want[name]) for name in got})
    for name, error in errors[0].items():
        floor = 2.0**-8 if name in {"y", "x"} else 2.0**-20
        assert error <= max(floor, 1.5 * errors[1][name]), (name, error, errors[1][name])


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("added", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_as_exact_as_torch(shape, added, relu):
    compare(drawn(shape), weighted(shape[1]), drawn(shape, 1) if added else None, relu)


@pytest.mark.parametrize("mean", [-3.0, 30.0, 200.0])
def test_a_mean_far_from_zero_costs_no_digits(mean):
    compare(drawn((32, 16, 8, 8), mean=mean), weighted(16), None, True)


@settings(max_examples=60)
@given(
    st.tuples(st.integers(1, 6), st.integers(1, 70), st.integers(1, 9), st.integers(1, 9)), st.booleans(), st.booleans()
)
@example((3, 3, 32, 32), False, True)
@example((2, 1500, 2, 2), True, True)  # a row longer than a block
@example((64, 1, 40, 40), True, True)  # many blocks of one channel
def test_any_shape(shape, added, relu):
    x, norm, residual = drawn(shape), weighted(shape[1]), drawn(shape, 1) if added else None
    rows = x.numel() // shape[1]
    if rows > 8:  # gradients of x all but vanish where two rows are normalised to -1 and 1
        compare(x, norm, residual, relu)
    elif rows > 1:
        got, want = (outcome(way, x, norm, residual, relu)["y"].float() for way in (norm_relu, twin))
        torch.testing.assert_close(got, want, rtol=2**-6, atol=2**-6)


def test_the_same_bits_whatever_was_done_before():
    x, norm, residual = drawn((8, 16, 9, 9)), weighted(16), drawn((8, 16, 9, 9), 1)
    first = outcome(norm_relu, x, norm, residual, True)
    room = torch.empty(x.numel() + 1, dtype=torch.bfloat16)[1:]  # elsewhere in memory, aligned to nothing
    moved = room.view(8, 9, 9, 16).permute(0, 3, 1, 2).copy_(x)
    assert moved.data_ptr() % 4 and batchnorm.fits(moved, norm)
    torch.set_num_threads(2)
    again = [outcome(norm_relu, v, norm, residual, True) for v in (x, moved)]
    torch.set_num_threads(1)
    assert all(torch.equal(first[name], other[name]) for other in again for name in first)


@pytest.mark.parametrize("momentum", [0.1, 1.0, None])
def test_running_statistics_over_several_batches(momentum):
    norms = [weighted(16, momentum=momentum) for _ in range(2)]
    for seed in range(4):
        for way, norm in zip((norm_relu, twin), norms):
            way(drawn((4, 16, 3, 3), seed, mean=seed), norm)
    torch.testing.assert_close(norms[0].state_dict(), norms[1].state_dict(), rtol=1e-6, atol=1e-7)
    assert norms[0].num_batches_tracked == 4


def test_without_running_statistics():
    norm = BatchNorm2d(16, track_running_stats=False)
    x = drawn((4, 16, 3, 3))
    assert batchnorm.fits(x, norm)
    torch.testing.assert_close(norm_relu(x, norm), twin(x, norm), rtol=2**-7, atol=2**-7)


def test_a_gradient_that_lies_otherwise_in_memory():
    x, norm = drawn((4, 16, 3, 3)).requires_grad_(), weighted(16)
    found = []
    for way in (norm_relu, twin):
        means = way(x, norm).mean((2, 3))  # its gradient is one number for nine places
        found.append(torch.autograd.grad((means * drawn((4, 16, 1, 1)).flatten(1)).sum(), x)[0].float())
    torch.testing.assert_close(*found, rtol=2**-6, atol=2**-9)


def test_what_is_no_number_stays_so():
    x = drawn((4, 16, 3, 3))
    x[0, 2, 0, 0], x[1, 5, 1, 1] = float("nan"), float("inf")
    y = norm_relu(x, weighted(16))
    assert y.isnan().any((0, 2, 3)).nonzero().flatten().tolist() == [2, 5]
    assert torch.equal(y.isnan(), twin(x, weighted(16)).isnan())


def test_rounding_is_to_the_nearest_and_to_even():
    from kdstudy.train.batchnorm import kernels

    g = np.random.default_rng(0)
    values = g.integers(0, 2**32, 20_000, dtype=np.uint32).view(np.float32)
    ties = (g.integers(0, 2**16, 20_000, dtype=np.uint32) << 16 | 0x8000).view(np.float32)
    for many in (values, ties):
        got = torch.tensor([kernels.narrow(v) for v in many], dtype=torch.uint16).view(torch.bfloat16)
        torch.testing.assert_close(got, torch.from_numpy(many).bfloat16(), rtol=0, atol=0, equal_nan=True)


OTHERS = {
    "evaluation": lambda x, norm: (x, norm.eval()),
    "float32": lambda x, norm: (x.float(), norm),
    "layout": lambda x, norm: (x.contiguous(), norm),
    "no weights": lambda x, norm: (x, BatchNorm2d(16, affine=False)),
    "weights in bfloat16": lambda x, norm: (x, norm.bfloat16()),
}


@pytest.mark.parametrize("name", OTHERS)
def test_all_else_is_left_to_torch(name):
    x, norm = OTHERS[name](drawn((4, 16, 3, 3)), weighted(16))
    assert not batchnorm.fits(x, norm)
    other, residual = copy.deepcopy(norm), drawn((4, 16, 3, 3), 1)
    assert torch.equal(norm_relu(x, norm, residual), twin(x, other, residual))
    assert torch.equal(norm_relu(x, norm, relu=False), twin(x, other, relu=False))
    assert all(torch.equal(a, b) for a, b in zip(norm.buffers(), other.buffers()))


@pytest.mark.parametrize("change", [Tensor.float, Tensor.contiguous], ids=["float32", "layout"])
def test_a_residual_of_another_kind_is_left_to_torch(change):
    x, residual = drawn((4, 16, 3, 3)), change(drawn((4, 16, 3, 3), 1))
    assert batchnorm.fits(x, weighted(16)) and not batchnorm.alike(x, residual)
    assert torch.equal(norm_relu(x, weighted(16), residual), twin(x, weighted(16), residual))


@pytest.mark.parametrize("shape", [(1, 16, 1, 1), (0, 16, 3, 3), (4, 8, 3, 3)], ids=["one row", "none", "channels"])
def test_torch_raises_what_it_raises(shape):
    def told(way):
        try:
            return way(drawn(shape), weighted(16)).shape
        except (ValueError, RuntimeError) as error:
            return error

    got, want = told(norm_relu), told(twin)
    assert (type(got), str(got)) == (type(want), str(want))
    if shape[0] == 1:
        expected = "Expected more than 1 value per channel when training, got input size torch.Size([1, 16, 1, 1])"
        with pytest.raises(ValueError, match=says(expected)):
            norm_relu(drawn(shape), weighted(16))


def test_loops_compile_where_nothing_can_be_written(monkeypatch):
    from kdstudy.train.batchnorm import kernels

    def njit(cache: bool = False, **options: object):
        if cache:
            raise RuntimeError("cannot locate suitable cache folder")
        return numba.njit(**options)

    monkeypatch.setattr(kernels, "njit", njit)
    assert kernels.compiled(lambda x: x + 1)(1) == 2


WITHOUT = """
import sys
sys.modules["numba"] = None  # as if not installed
import torch
from kdstudy.train.batchnorm import fits, loops, norm_relu
x = torch.randn(4, 16, 3, 3).bfloat16().contiguous(memory_format=torch.channels_last)
norm, other = torch.nn.BatchNorm2d(16), torch.nn.BatchNorm2d(16)
same = torch.equal(norm_relu(x, norm, x), torch.relu(other(x) + x))
print(fits(x, norm), loops(), same, torch.equal(norm.running_var, other.running_var))
"""


def test_without_numba_torch_does_it():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True)
    assert (done.stdout.split(), done.returncode) == (["True", "None", "True", "True"], 0), done.stderr
