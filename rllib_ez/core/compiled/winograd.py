"""Winograd's minimal filtering along one line: 3 or 4 outputs of a filter of 3, from 5 or 6 inputs.

    out = outputs(filter_transform @ g * inputs(d))

Every polynomial is known by its values at some points and at infinity, and values are multiplied
one by one (Toom and Cook). Points come in pairs +-a, whose even and odd parts are shared.
Source: Winograd 1980; Lavin and Gray 2015, arXiv:1509.09308.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rllib_ez.core.compiled.lanes import LANES, fma, load_vector, store_vector
from rllib_ez.core.search.lean import lean

# The points beside infinity, by number of outputs. At the usual 0, +-1, +-2 errors would double.
C, P = 0.75, 2.0
A, B = 0.5**0.5, 2.0**0.5
POINTS = {3: (0.0, C, -C, P), 4: (0.0, A, -A, B, -B)}


class Lines(NamedTuple):
    """Lines of vectors in a flat array: entry i of a line is the vector at start + places[i]."""

    x: NDArray[np.float32]
    places: NDArray[np.int64]


def filter_transform(size: int) -> NDArray[np.float64]:
    """[size + 2, 3] f64: a filter's polynomial at each point, in the last row at infinity.

    Divided by the product of the distances to the other points (Lagrange's denominator).
    """
    points = np.array(POINTS[size])
    distances = points[:, None] - points + np.eye(len(points))
    rows = points[:, None] ** np.arange(3) / distances.prod(axis=1, keepdims=True)
    return np.vstack((rows, [0.0, 0.0, 1.0]))


@lean
def inputs3(lines: Lines, start: int, out: Lines, out_start: int, first: int, step: int) -> None:
    """Five inputs, entries first + k * step, to their values at the points; in place is fine."""
    x, at, n = lines.x, lines.places, LANES
    d0 = load_vector(x, start + at[first], n, 0.0)
    d1 = load_vector(x, start + at[first + step], n, 0.0)
    d2 = load_vector(x, start + at[first + 2 * step], n, 0.0)
    d3 = load_vector(x, start + at[first + 3 * step], n, 0.0)
    d4 = load_vector(x, start + at[first + 4 * step], n, 0.0)
    e1, e2, e3, e4 = fma(-P, d0, d1), fma(-P, d1, d2), fma(-P, d2, d3), fma(-P, d3, d4)
    y, to = out.x, out.places
    store_vector(y, out_start + to[first], n, fma(-C * C, e1, e3))
    store_vector(y, out_start + to[first + step], n, fma(C, e2, e3))
    store_vector(y, out_start + to[first + 2 * step], n, fma(-C, e2, e3))
    store_vector(y, out_start + to[first + 3 * step], n, fma(-C * C, d1, d3))
    store_vector(y, out_start + to[first + 4 * step], n, fma(-C * C, e2, e4))


@lean
def inputs4(lines: Lines, start: int, out: Lines, out_start: int, first: int, step: int) -> None:
    """Six inputs, entries first + k * step, to their values at the points; in place is fine."""
    x, at, n = lines.x, lines.places, LANES
    d0 = load_vector(x, start + at[first], n, 0.0)
    d1 = load_vector(x, start + at[first + step], n, 0.0)
    d2 = load_vector(x, start + at[first + 2 * step], n, 0.0)
    d3 = load_vector(x, start + at[first + 3 * step], n, 0.0)
    d4 = load_vector(x, start + at[first + 4 * step], n, 0.0)
    d5 = load_vector(x, start + at[first + 5 * step], n, 0.0)
    even_a, odd_a = fma(-B * B, d2, d4), fma(-B * B, d1, d3)
    even_b, odd_b = fma(-A * A, d2, d4), fma(-A * A, d1, d3)
    y, to = out.x, out.places
    store_vector(y, out_start + to[first], n, fma(-(A * A + B * B), d2, d0 + d4))
    store_vector(y, out_start + to[first + step], n, fma(A, odd_a, even_a))
    store_vector(y, out_start + to[first + 2 * step], n, fma(-A, odd_a, even_a))
    store_vector(y, out_start + to[first + 3 * step], n, fma(B, odd_b, even_b))
    store_vector(y, out_start + to[first + 4 * step], n, fma(-B, odd_b, even_b))
    store_vector(y, out_start + to[first + 5 * step], n, fma(-(A * A + B * B), d3, d1 + d5))


@lean
def outputs3(lines: Lines, start: int, first: int, step: int) -> None:
    """Five values at the points to three outputs, in place."""
    x, at, n = lines.x, lines.places, LANES
    at_c = load_vector(x, start + at[first + step], n, 0.0)
    at_minus_c = load_vector(x, start + at[first + 2 * step], n, 0.0)
    at_p = load_vector(x, start + at[first + 3 * step], n, 0.0)
    even, odd = at_c + at_minus_c, at_c - at_minus_c
    y0 = load_vector(x, start + at[first], n, 0.0) + (even + at_p)
    y1 = fma(C, odd, P * at_p)
    y2 = fma(C * C, even, fma(P * P, at_p, load_vector(x, start + at[first + 4 * step], n, 0.0)))
    store_vector(x, start + at[first], n, y0)
    store_vector(x, start + at[first + step], n, y1)
    store_vector(x, start + at[first + 2 * step], n, y2)


@lean
def outputs4(lines: Lines, start: int, first: int, step: int) -> None:
    """Six values at the points to four outputs, in place."""
    x, at, n = lines.x, lines.places, LANES
    at_a = load_vector(x, start + at[first + step], n, 0.0)
    at_minus_a = load_vector(x, start + at[first + 2 * step], n, 0.0)
    at_b = load_vector(x, start + at[first + 3 * step], n, 0.0)
    at_minus_b = load_vector(x, start + at[first + 4 * step], n, 0.0)
    even_a, odd_a = at_a + at_minus_a, at_a - at_minus_a
    even_b, odd_b = at_b + at_minus_b, at_b - at_minus_b
    y0 = load_vector(x, start + at[first], n, 0.0) + (even_a + even_b)
    y1 = fma(A, odd_a, B * odd_b)
    y2 = fma(A * A, even_a, B * B * even_b)
    last = load_vector(x, start + at[first + 5 * step], n, 0.0)
    y3 = fma(A * A * A, odd_a, fma(B * B * B, odd_b, last))
    store_vector(x, start + at[first], n, y0)
    store_vector(x, start + at[first + step], n, y1)
    store_vector(x, start + at[first + 2 * step], n, y2)
    store_vector(x, start + at[first + 3 * step], n, y3)
