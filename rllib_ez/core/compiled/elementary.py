"""exp, sigmoid and tanh of a vector, in f32 arithmetic that is the same in every lane."""

from __future__ import annotations

from rllib_ez.core.compiled.lanes import (
    Vector,
    fma,
    times_power_of_two,
    where_less,
    with_sign,
)
from rllib_ez.core.search.lean import lean

LOG2_E = 1.44269504088896341
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4  # their sum is ln 2; n * LN2_HIGH is exact
SHIFT = 1.5 * 2.0**23  # added to a small number it leaves the nearest integer in the low bits
LOWEST, HIGHEST = -87.3365, 89.0  # below e**x is subnormal, above infinite
SMALL = 0.625  # up to here tanh is a polynomial


@lean
def vector_exp(x: Vector) -> Vector:
    """e**x, within 2 ulp; 0 where that is subnormal, inf where it is too large.

        e**x = 2**n * e**r,  n = round(x / ln 2),  r = x - n ln 2

    Source: the polynomial of expf in the Cephes library.
    """
    bounded = where_less(x, LOWEST, LOWEST, where_less(HIGHEST, x, HIGHEST, x))
    shifted = fma(bounded, LOG2_E, SHIFT)
    n = shifted - SHIFT
    r = fma(n, -LN2_LOW, fma(n, -LN2_HIGH, bounded))
    series = fma(r, 1.9875691500e-4, 1.3981999507e-3)
    series = fma(series, r, 8.3334519073e-3)
    series = fma(series, r, 4.1665795894e-2)
    series = fma(series, r, 1.6666665459e-1)
    series = fma(series, r, 5.0000001201e-1)
    power = times_power_of_two(fma(series, r * r, r) + 1.0, shifted)
    return where_less(x, LOWEST, 0.0, power)


@lean
def vector_sigmoid(x: Vector) -> Vector:
    """1 / (1 + e**-x)."""
    return 1.0 / (vector_exp(0.0 - x) + 1.0)


@lean
def vector_tanh(x: Vector) -> Vector:
    """tanh(x): a polynomial up to 0.625, 1 - 2 / (e**(2 |x|) + 1) beyond.

    Source: the polynomial of tanhf in the Cephes library.
    """
    size = with_sign(x, 1.0)
    square = x * x
    series = fma(square, -5.70498872745e-3, 2.06390887954e-2)
    series = fma(series, square, -5.37397155531e-2)
    series = fma(series, square, 1.33314422036e-1)
    series = fma(series, square, -3.33332819422e-1)
    near = fma(series * square, x, x)
    far = with_sign(1.0 - 2.0 / (vector_exp(size + size) + 1.0), x)
    return where_less(size, SMALL, near, far)
