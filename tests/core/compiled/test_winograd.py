from __future__ import annotations

import numpy as np
import pytest

from rllib_ez.core.compiled.lanes import LANES
from rllib_ez.core.compiled.winograd import (
    Lines,
    filter_transform,
    inputs3,
    inputs4,
    outputs3,
    outputs4,
)

SIZES = [(3, inputs3, outputs3), (4, inputs4, outputs4)]


def vectors(numbers: list[float]) -> np.ndarray:
    """Each number in every lane, one vector after the other."""
    return np.repeat(np.array(numbers, np.float32), LANES)


def filtered(size: int, inputs, outputs, seen: list[float], taps: list[float]) -> np.ndarray:
    """The outputs by way of the points, one number of each vector."""
    lines = Lines(vectors(seen), np.arange(size + 2) * LANES)
    inputs(lines, 0, lines, 0, 0, 1)
    lines.x[:] *= vectors(list(filter_transform(size) @ taps))
    outputs(lines, 0, 0, 1)
    return lines.x.reshape(-1, LANES)[:size, 0]


@pytest.mark.parametrize(("size", "inputs", "outputs"), SIZES)
def test_a_filter_of_a_single_one_shifts(size: int, inputs, outputs):
    seen = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0][: size + 2]
    for shift in range(3):
        taps = [float(tap == shift) for tap in range(3)]
        out = filtered(size, inputs, outputs, seen, taps)
        np.testing.assert_allclose(out, seen[shift : shift + size], rtol=1e-5)


def test_four_outputs_are_the_hand_computed_ones():
    """1*1 + 0*2 + 2*(-1) = -1, and so on."""
    out = filtered(4, inputs4, outputs4, [1, 0, 2, 5, 3, 1], [1.0, 2.0, -1.0])
    np.testing.assert_allclose(out, [-1.0, -1.0, 9.0, 10.0], rtol=1e-5)


def test_three_outputs_are_the_hand_computed_ones():
    out = filtered(3, inputs3, outputs3, [1, 0, 2, 5, 3], [1.0, 2.0, -1.0])
    np.testing.assert_allclose(out, [-1.0, -1.0, 9.0], rtol=1e-5)


@pytest.mark.parametrize(("size", "inputs", "outputs"), SIZES)
def test_lines_are_read_and_written_where_their_places_say(size: int, inputs, outputs):
    count = 2 * size + 4
    numbers = np.random.default_rng(0).standard_normal(count * LANES).astype(np.float32)
    backwards = Lines(numbers, np.arange(count)[::-1].copy() * LANES)
    out = Lines(np.zeros_like(numbers), np.arange(count) * LANES)
    inputs(backwards, 0, out, 0, 1, 2)
    ordered = numbers.reshape(-1, LANES)[::-1][1::2].ravel().copy()
    plain = Lines(ordered, np.arange(size + 2) * LANES)
    inputs(plain, 0, plain, 0, 0, 1)
    written = out.x.reshape(-1, LANES)
    assert (written[1::2].ravel() == plain.x).all()
    assert (written[0::2] == 0).all()
