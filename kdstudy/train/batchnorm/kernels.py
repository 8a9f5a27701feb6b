"""The loops of this batch normalisation, compiled by numba: bfloat16 as its 16 bits, flat arrays of rows of channels.

A block of whole rows is read at a time, and each place in it, a lane, has sums of its own. So lanes need no other
lane, a compiler may work on sixteen at once, and the order of additions, and with it every bit, is fixed.
"""

import inspect
from collections.abc import Callable

import numpy as np
from numba import njit

BLOCK = 1024  # numbers in a block, about; what is kept for each lane then stays in the fastest cache
FLUSH = 64  # blocks that a lane adds up in float32 before float64 takes over


def compiled(function: Callable) -> Callable:
    """The function as machine code, kept on disk if numba finds a folder for it."""
    plain, options = inspect.unwrap(function), {"nogil": True, "error_model": "numpy"}  # a type checker may wrap it
    try:
        return njit(cache=True, **options)(plain)
    except RuntimeError:  # numba found no folder that can be written to
        return njit(**options)(plain)


@compiled
def wide(bits):
    """bfloat16 -> float32, exactly."""
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)


@compiled
def narrow(value):
    """float32 -> bfloat16, to the nearest, ties to even; NaN stays NaN."""
    bits = np.float32(value).view(np.uint32)
    even = (bits >> np.uint32(16)) & np.uint32(1)
    rounded = np.uint16((bits + np.uint32(0x7FFF) + even) >> np.uint32(16))
    return rounded if value == value else np.uint16(0x7FC0)


@compiled
def lanes(values):
    """Values of the channels, as often as whole rows fit a block."""
    out = np.empty(len(values) * max(1, BLOCK // len(values)), np.float32)
    for j in range(len(out)):
        out[j] = values[j % len(values)]
    return out


@compiled
def flush(part, total):
    """Add the float32 sums to the float64 ones, and start anew."""
    for j in range(len(part)):
        total[j] += part[j]
        part[j] = np.float32(0)


@compiled
def mean_of(total, channels, n):
    """Sums of lanes -> means of channels over n rows."""
    out = np.zeros(channels)
    for j in range(len(total)):
        out[j % channels] += total[j]
    return out / n


@compiled
def moments(x, channels):
    """Mean and biased variance of each channel, from sums of (x - first row) and of its square."""
    first = np.empty(channels, np.float32)
    for c in range(channels):
        first[c] = wide(x[c])
    pivot = lanes(first)
    width = len(pivot)
    s, q = np.zeros(width, np.float32), np.zeros(width, np.float32)
    total, square = np.zeros(width), np.zeros(width)
    for i in range((len(x) + width - 1) // width):
        block = x[i * width : (i + 1) * width]
        for j in range(len(block)):
            v = wide(block[j]) - pivot[j]
            s[j] += v
            q[j] += v * v
        if i % FLUSH == FLUSH - 1:
            flush(s, total)
            flush(q, square)
    flush(s, total)
    flush(q, square)
    n = len(x) // channels
    shift = mean_of(total, channels, n)
    return first + shift, np.maximum(mean_of(square, channels, n) - shift * shift, 0.0)


@compiled
def forward(x, residual, weight, bias, mean, var, eps, relu, y):
    """y = weight (x - mean) / sqrt(var + eps) + bias + residual, negative values as 0 if `relu`."""
    scale = weight / np.sqrt(var + eps)
    a, b = lanes(scale), lanes(bias - mean * scale)
    width, zero = len(a), np.float32(0)
    for i in range((len(x) + width - 1) // width):
        block, out = x[i * width : (i + 1) * width], y[i * width : (i + 1) * width]
        if residual is None:
            for j in range(len(block)):
                v = wide(block[j]) * a[j] + b[j]
                out[j] = narrow(zero if relu and v <= zero else v)
        else:
            more = residual[i * width : (i + 1) * width]
            for j in range(len(block)):
                v = wide(block[j]) * a[j] + b[j] + wide(more[j])
                out[j] = narrow(zero if relu and v <= zero else v)


@compiled
def passed(g, x, y, mean, relu, h):
    """h = g where y is not 0 or there is no `relu`, and each channel's mean of h and of h (x - mean)."""
    pivot = lanes(mean)
    width, none = len(pivot), np.uint16(0)
    s, q = np.zeros(width, np.float32), np.zeros(width, np.float32)
    total, product = np.zeros(width), np.zeros(width)
    for i in range((len(x) + width - 1) // width):
        block, out = x[i * width : (i + 1) * width], y[i * width : (i + 1) * width]
        gradient, kept = g[i * width : (i + 1) * width], h[i * width : (i + 1) * width]
        for j in range(len(block)):
            bits = gradient[j] if out[j] != none or not relu else none
            kept[j] = bits
            v = wide(bits)
            s[j] += v
            q[j] += v * (wide(block[j]) - pivot[j])
        if i % FLUSH == FLUSH - 1:
            flush(s, total)
            flush(q, product)
    flush(s, total)
    flush(q, product)
    n = len(x) // len(mean)
    return mean_of(total, len(mean), n), mean_of(product, len(mean), n)


@compiled
def backward(h, x, weight, mean, var, eps, mean_h, mean_product, dx):
    """dx = weight / sqrt(var + eps) (h - mean_h - (x - mean) mean_product / (var + eps))."""
    scale = weight / np.sqrt(var + eps)
    slope = -scale * mean_product / (var + eps)
    a, b, c, pivot = lanes(scale), lanes(slope), lanes(-scale * mean_h), lanes(mean)
    width = len(a)
    for i in range((len(x) + width - 1) // width):
        block, gradient = x[i * width : (i + 1) * width], h[i * width : (i + 1) * width]
        out = dx[i * width : (i + 1) * width]
        for j in range(len(block)):
            out[j] = narrow(wide(gradient[j]) * a[j] + ((wide(block[j]) - pivot[j]) * b[j] + c[j]))
