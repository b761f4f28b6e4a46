from __future__ import annotations

import numpy as np
import pytest

from rllib_ez.core.compiled.layers import linear_rows, pack_linear, rows_for
from rllib_ez.core.compiled.sparse import rectified_rows


def layer_and_inputs(inputs: int, outputs: int, rows: int, *, kept: float):
    """A random layer, and rows of which a share of numbers is above 0."""
    rng = np.random.default_rng(inputs)
    weight = rng.standard_normal((inputs, outputs)).astype(np.float32)
    linear = pack_linear(weight, rng.standard_normal(outputs).astype(np.float32))
    x = rows_for(rows, inputs)
    drawn = rng.random((rows, inputs))
    x[:, :inputs] = np.where(drawn < kept, drawn + 1, 0)
    return linear, x, np.zeros(inputs, np.int64)


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 1.0])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (70, 33), (131, 200)])
def test_a_single_row_equals_the_full_product_to_the_bit(inputs: int, outputs: int, kept: float):
    linear, x, used = layer_and_inputs(inputs, outputs, 1, kept=kept)
    full, skipping = rows_for(1, outputs), rows_for(1, outputs)
    linear_rows(linear, x, full, 1)
    rectified_rows(linear, x, skipping, 1, used)
    assert (skipping == full).all()


def test_a_row_alone_equals_the_same_row_of_a_batch_to_the_bit():
    linear, x, used = layer_and_inputs(90, 70, 5, kept=0.5)
    together, alone = rows_for(5, 70), rows_for(1, 70)
    rectified_rows(linear, x, together, 5, used)
    rectified_rows(linear, x[3:4].copy(), alone, 1, used)
    assert (alone[0] == together[3]).all()


def test_weights_of_inputs_that_are_zero_are_not_read():
    linear, x, used = layer_and_inputs(40, 20, 1, kept=0.5)
    linear.weight[:, x[0, :40] == 0] = np.nan
    out = rows_for(1, 20)
    rectified_rows(linear, x, out, 1, used)
    assert np.isfinite(out).all()
