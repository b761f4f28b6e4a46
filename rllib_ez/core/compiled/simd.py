"""Products and functions of f32 rows, written for the vector registers of this CPU.

Arrays are C-contiguous and addressed as if flat; a row is told by where it starts. Each result is
a function of its own row alone, to the bit, wherever the row stands in a batch.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rllib_ez.core.compiled.elementary import vector_exp, vector_sigmoid, vector_tanh
from rllib_ez.core.compiled.lanes import (
    LANES,
    counting,
    fma,
    highest,
    load_vector,
    store_vector,
    total,
    where_less,
)
from rllib_ez.core.compiled.tiles import PANEL, TILE_ROWS, tile_of
from rllib_ez.core.scalar_transform import EPSILON
from rllib_ez.core.search.lean import lean

__all__ = [
    "PANEL",
    "aligned_zeros",
    "exp",
    "expectation",
    "expectation_rows",
    "matmul",
    "pack",
    "sigmoid",
    "softmax",
    "softmax_rows",
    "tanh",
]

_tile1, _tile2, _tile3, _tile4, _tile5, _tile6 = (tile_of(n) for n in range(1, TILE_ROWS + 1))


def aligned_zeros(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Zeros that start at a cache line, so that no vector lies across two."""
    size, line = math.prod(shape), 64
    room = np.zeros(size * 4 + line, np.uint8)
    start = -room.ctypes.data % line
    return room[start : start + size * 4].view(np.float32).reshape(shape)


def pack(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cuts a matrix into the panels that `matmul` reads from front to back.

    Args:
        weight: [K, N] f32, K >= 1.

    Returns:
        [ceil(N / PANEL), K, PANEL] f32, columns past N are 0.
    """
    inputs, outputs = weight.shape
    if inputs < 1:
        raise ValueError(f"weight must have at least one row, got shape {weight.shape}")
    panels = -(-outputs // PANEL)
    packed = aligned_zeros((panels, inputs, PANEL))
    for panel in range(panels):
        columns = weight[:, panel * PANEL : (panel + 1) * PANEL]
        packed[panel, :, : columns.shape[1]] = columns
    return packed


@lean
def matmul(
    x: NDArray[np.float32],
    x_start: int,
    x_stride: int,
    weight: NDArray[np.float32],
    out: NDArray[np.float32],
    out_start: int,
    out_stride: int,
    rows: int,
) -> None:
    """out[r, :] += x[r, :] @ weight, row by row.

    Every element is one chain of fused multiply-adds, k ascending, from what `out` held: its bits
    depend on its own row only.

    Args:
        x: f32, as flat; row r is x[x_start + r * x_stride :][:K].
        x_start: where row 0 starts, in floats.
        x_stride: from row to row, in floats.
        weight: [P, K, PANEL] f32, from `pack`.
        out: f32, as flat, every row with room for P * PANEL columns; must not overlap x.
        out_start: as x_start.
        out_stride: as x_stride.
        rows: >= 0.
    """
    for panel in range(weight.shape[0]):
        column = out_start + panel * PANEL
        full = rows - rows % TILE_ROWS
        for row in range(0, full, TILE_ROWS):
            x_rows = (x, x_start + row * x_stride, x_stride)
            _tile6(x_rows, weight, panel, (out, column + row * out_stride, out_stride))
        left = rows - full
        x_rows = (x, x_start + full * x_stride, x_stride)
        out_rows = (out, column + full * out_stride, out_stride)
        if left == 1:
            _tile1(x_rows, weight, panel, out_rows)
        elif left == 2:
            _tile2(x_rows, weight, panel, out_rows)
        elif left == 3:
            _tile3(x_rows, weight, panel, out_rows)
        elif left == 4:
            _tile4(x_rows, weight, panel, out_rows)
        elif left == 5:
            _tile5(x_rows, weight, panel, out_rows)


@lean
def exp(x: NDArray[np.float32], start: int, count: int) -> None:
    """x <- e**x for x[start : start + count], in place; 2 ulp, 0 where e**x is subnormal."""
    for i in range(0, count, LANES):
        value = load_vector(x, start + i, count - i, 0.0)
        store_vector(x, start + i, count - i, vector_exp(value))


@lean
def sigmoid(x: NDArray[np.float32], start: int, count: int) -> None:
    """x <- 1 / (1 + e**-x) for x[start : start + count], in place."""
    for i in range(0, count, LANES):
        value = load_vector(x, start + i, count - i, 0.0)
        store_vector(x, start + i, count - i, vector_sigmoid(value))


@lean
def tanh(x: NDArray[np.float32], start: int, count: int) -> None:
    """x <- tanh(x) for x[start : start + count], in place."""
    for i in range(0, count, LANES):
        value = load_vector(x, start + i, count - i, 0.0)
        store_vector(x, start + i, count - i, vector_tanh(value))


@lean
def softmax(
    logits: NDArray[np.float32], start: int, count: int, out: NDArray[np.float32], out_start: int
) -> None:
    """out <- e**logits / sum(e**logits) over one row of `count` numbers; out may be logits."""
    top = _largest(logits, start, count)
    sums = counting() * 0.0
    for i in range(0, count, LANES):
        weight = vector_exp(load_vector(logits, start + i, count - i, -np.inf) - top)
        store_vector(out, out_start + i, count - i, weight)
        sums = sums + weight
    whole = total(sums)
    for i in range(0, count, LANES):
        weight = load_vector(out, out_start + i, count - i, 0.0)
        store_vector(out, out_start + i, count - i, weight / whole)


@lean
def softmax_rows(
    logits: NDArray[np.float32],
    start: int,
    stride: int,
    count: int,
    out: NDArray[np.float32],
    out_start: int,
    out_stride: int,
    rows: int,
) -> None:
    """`softmax` of rows of `count` numbers."""
    for row in range(rows):
        softmax(logits, start + row * stride, count, out, out_start + row * out_stride)


@lean
def expectation(logits: NDArray[np.float32], start: int, bins: int, bin_size: float) -> float:
    """What `Support.expectation` says of one row of logits.

        unscale(sum_i softmax(logits)_i * (i - bins // 2) * bin_size)

    Args:
        logits: f32, as flat.
        start: of the row, in floats.
        bins: S, odd.
        bin_size: distance of two bins on the scaled axis.

    Returns:
        f64, in reward units.
    """
    top = _largest(logits, start, bins)
    sums = counting() * 0.0
    moments = sums
    for i in range(0, bins, LANES):
        weight = vector_exp(load_vector(logits, start + i, bins - i, -np.inf) - top)
        sums = sums + weight
        moments = fma(weight, counting() + np.float32(i - bins // 2), moments)
    return _unscale(float(total(moments)) / float(total(sums)) * bin_size)


@lean
def expectation_rows(
    logits: NDArray[np.float32],
    start: int,
    stride: int,
    bins: int,
    bin_size: float,
    out: NDArray[np.float32],
    rows: int,
) -> None:
    """`expectation` of rows of `bins` logits, into out [rows]."""
    for row in range(rows):
        out[row] = expectation(logits, start + row * stride, bins, bin_size)


@lean
def _largest(x: NDArray[np.float32], start: int, count: int) -> float:
    top = counting() * 0.0 - np.inf
    for i in range(0, count, LANES):
        value = load_vector(x, start + i, count - i, -np.inf)
        top = where_less(top, value, value, top)
    return float(highest(top))


@lean
def _unscale(y: float) -> float:
    """As `scalar_transform.unscale`, of one number."""
    u = 4 * EPSILON * (abs(y) + 1 + EPSILON)
    root = u / (2 * EPSILON * (math.sqrt(1 + u) + 1))
    return math.copysign(root * root - 1, y)
