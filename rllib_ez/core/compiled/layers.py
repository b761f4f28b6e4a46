"""Linear layers and layer norms in compiled code, with the weights as it reads them.

Axes: K inputs, N outputs, P = ceil(N / PANEL) panels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from rllib_ez.core.compiled.lanes import (
    LANES,
    counting,
    fma,
    load_vector,
    store_vector,
    total,
    where_less,
)
from rllib_ez.core.compiled.simd import PANEL, aligned_zeros, matmul, pack
from rllib_ez.core.scalar_transform import Support
from rllib_ez.core.search.lean import lean

Array = NDArray[np.float32]


class Linear(NamedTuple):
    """x @ weight + bias."""

    weight: Array  # [P, K, PANEL] f32
    bias: Array  # [P * PANEL] f32


class Norm(NamedTuple):
    """Layer norm: (x - mean) / sqrt(variance + epsilon) * scale + shift."""

    scale: Array  # [N] f32
    shift: Array  # [N] f32
    epsilon: float


class Layer(NamedTuple):
    """Linear, layer norm, and what follows."""

    linear: Linear
    norm: Norm


class Bins(NamedTuple):
    """A support as compiled code reads it."""

    num_bins: int  # S
    size: float  # distance between two, on the scaled axis


def bins_of(support: Support) -> Bins:
    """The bins of a support."""
    return Bins(support.num_bins, support.limit / (support.num_bins // 2))


def numbers(tensor: Tensor | nn.Module) -> Array:
    """A tensor as f32 numbers of numpy."""
    assert isinstance(tensor, Tensor), tensor  # torch's types think a module may have become one
    return tensor.detach().float().cpu().numpy()


def pack_linear(weight: Array, bias: Array) -> Linear:
    """Weight [K, N] and bias [N]."""
    packed = pack(weight)
    padded = np.zeros(len(packed) * PANEL, np.float32)
    padded[: len(bias)] = bias
    return Linear(packed, padded)


def pack_module(module: nn.Module) -> Linear:
    """An `nn.Linear`."""
    assert isinstance(module, nn.Linear), module
    return pack_linear(numbers(module.weight).T, numbers(module.bias))


def pack_norm(module: nn.Module) -> Norm:
    """An `nn.LayerNorm`; its numbers are copied, so that training does not move them."""
    assert isinstance(module, nn.LayerNorm), module
    return Norm(numbers(module.weight).copy(), numbers(module.bias).copy(), float(module.eps))


def pack_layer(linear: nn.Module, norm: nn.Module) -> Layer:
    """An `nn.Linear` with the `nn.LayerNorm` behind it."""
    return Layer(pack_module(linear), pack_norm(norm))


def rows_for(count: int, width: int) -> Array:
    """Scratch for `count` rows of at least `width` numbers: [count, P * PANEL] f32."""
    return aligned_zeros((count, -(-width // PANEL) * PANEL))


@lean
def copy(source: Array, start: int, out: Array, out_start: int, count: int) -> None:
    """`count` numbers from one place to another, both told by their flat index."""
    for i in range(0, count, LANES):
        store_vector(out, out_start + i, count - i, load_vector(source, start + i, count - i, 0.0))


@lean
def linear_rows(linear: Linear, x: Array, out: Array, rows: int) -> None:
    """out[:rows] = x[:rows] @ weight + bias; x [B, >= K], out [B, >= P * PANEL]."""
    for row in range(rows):
        copy(linear.bias, 0, out, row * out.shape[1], len(linear.bias))
    matmul(x, 0, x.shape[1], linear.weight, out, 0, out.shape[1], rows)


@lean
def layer_rows(layer: Layer, x: Array, out: Array, rows: int) -> None:
    """out[:rows] = relu(norm(x[:rows] @ weight + bias))."""
    linear_rows(layer.linear, x, out, rows)
    for row in range(rows):
        start = row * out.shape[1]
        normalise(layer.norm, out, start, out, start, 0.0)


@lean
def normalise(norm: Norm, x: Array, start: int, out: Array, out_start: int, least: float) -> None:
    """out = max(norm(x), least) over one row: least 0 is a ReLU, -inf nothing."""
    size = len(norm.scale)
    sums = counting() * 0.0
    for i in range(0, size, LANES):
        sums = sums + load_vector(x, start + i, size - i, 0.0)
    mean = total(sums) / np.float32(size)
    squares = counting() * 0.0
    for i in range(0, size, LANES):
        off = load_vector(x, start + i, size - i, mean) - mean
        squares = fma(off, off, squares)
    factor = np.float32(1 / np.sqrt(float(total(squares)) / size + norm.epsilon))
    for i in range(0, size, LANES):
        off = load_vector(x, start + i, size - i, mean) - mean
        scale, shift = (
            load_vector(norm.scale, i, size - i, 0.0),
            load_vector(norm.shift, i, size - i, 0.0),
        )
        value = fma(off * factor, scale, shift)
        store_vector(out, out_start + i, size - i, where_less(value, least, least, value))
