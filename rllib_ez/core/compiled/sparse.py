"""A linear layer whose inputs went through a ReLU: a single row skips those that are 0.

With one row the time goes into reading weights, and half of them would be multiplied by 0. To add
such a product changes no bit, so that one row alone gives what it gives in a batch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rllib_ez.core.compiled.lanes import LANES, fma, load_vector, store_vector
from rllib_ez.core.compiled.layers import Array, Linear, linear_rows
from rllib_ez.core.compiled.simd import PANEL
from rllib_ez.core.search.lean import lean

REST = PANEL - 2 * LANES  # columns in a panel's third and fourth vector


@lean
def rectified_rows(
    linear: Linear, x: Array, out: Array, rows: int, used: NDArray[np.int64]
) -> None:
    """out[:rows] = x[:rows] @ weight + bias, where x >= 0 is often 0; arrays as `linear_rows`.

    Args:
        used: [>= K] i64, scratch.
    """
    if rows != 1:
        linear_rows(linear, x, out, rows)
        return
    inputs, count = linear.weight.shape[1], 0
    for k in range(inputs):
        used[count] = k
        count += x[0, k] != 0.0
    for panel in range(linear.weight.shape[0]):
        _panel(linear, panel, x, used, count, out)


@lean
def _panel(
    linear: Linear, panel: int, x: Array, used: NDArray[np.int64], count: int, out: Array
) -> None:
    """One panel's columns of the first row: fma by fma, k ascending, as `matmul` does."""
    weight, start = linear.weight, panel * linear.weight.shape[1]
    a = load_vector(linear.bias, panel * PANEL, LANES, 0.0)
    b = load_vector(linear.bias, panel * PANEL + LANES, LANES, 0.0)
    c = load_vector(linear.bias, panel * PANEL + 2 * LANES, REST, 0.0)
    d = load_vector(linear.bias, panel * PANEL + 3 * LANES, REST, 0.0)
    for i in range(count):
        k = used[i]
        row = (start + k) * PANEL
        a = fma(x[0, k], load_vector(weight, row, LANES, 0.0), a)
        b = fma(x[0, k], load_vector(weight, row + LANES, LANES, 0.0), b)
        c = fma(x[0, k], load_vector(weight, row + 2 * LANES, REST, 0.0), c)
        d = fma(x[0, k], load_vector(weight, row + 3 * LANES, REST, 0.0), d)
    store_vector(out, panel * PANEL, LANES, a)
    store_vector(out, panel * PANEL + LANES, LANES, b)
    store_vector(out, panel * PANEL + 2 * LANES, REST, c)
    store_vector(out, panel * PANEL + 3 * LANES, REST, d)
