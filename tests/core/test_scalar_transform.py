from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_ez.core.scalar_transform import Support, scale, unscale

returns = st.floats(-1e5, 1e5, width=32)


@pytest.mark.parametrize(
    ("x", "scaled"),
    # sqrt(|x| + 1) - 1 with the sign of x, plus 0.001 x
    [(0, 0), (3, 1.003), (8, 2.008), (-3, -1.003), (-8, -2.008), (99, 9.099), (-99, -9.099)],
)
def test_scale_of_known_returns(x: float, scaled: float):
    assert scale(torch.tensor(x, dtype=torch.float64)).item() == pytest.approx(scaled, abs=1e-12)


@settings(derandomize=True, deadline=None)
@given(returns)
def test_scale_is_odd(x: float):
    number = torch.tensor(x)
    assert scale(-number) == -scale(number)


@settings(derandomize=True, deadline=None)
@given(returns)
def test_unscale_undoes_scale_for_either_sign(x: float):
    assert unscale(scale(torch.tensor(x))).item() == pytest.approx(x, rel=2e-5, abs=2e-6)


def test_scale_undoes_unscale_far_from_zero():
    scaled = torch.linspace(-300, 300, 601)
    torch.testing.assert_close(scale(unscale(scaled)), scaled, rtol=1e-5, atol=1e-5)


def test_scale_grows_strictly():
    assert (scale(torch.linspace(-50, 50, 2001)).diff() > 0).all()


def test_bins_are_symmetric_and_hold_zero():
    bins = Support(2.0, 9).bins(torch.zeros(1))
    assert bins.tolist() == [-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0]


def test_two_hot_splits_between_neighbours():
    """h(3) = 1.003: 0.3 % of the way from bin 1 to bin 2."""
    code = Support(10.0, 21).two_hot(torch.tensor([3.0], dtype=torch.float64))
    expected = np.zeros((1, 21))
    expected[0, 11], expected[0, 12] = 0.997, 0.003
    np.testing.assert_allclose(code, expected, atol=1e-12)


def test_two_hot_of_a_negative_splits_to_the_other_side():
    """h(-3) = -1.003 with bins 0.5 apart: bins -1.5 and -1, 0.6 % of the way down."""
    code = Support(2.0, 9).two_hot(torch.tensor([-3.0], dtype=torch.float64))
    expected = np.zeros((1, 9))
    expected[0, 1], expected[0, 2] = 0.006, 0.994
    np.testing.assert_allclose(code, expected, atol=1e-12)


def test_two_hot_of_a_bin_is_that_bin_alone():
    assert Support(2.0, 5).two_hot(torch.tensor([0.0])).tolist() == [[0, 0, 1, 0, 0]]


@pytest.mark.parametrize(("x", "place"), [(1e9, 4), (-1e9, 0)])
def test_two_hot_beyond_the_range_is_the_last_bin(x: float, place: int):
    assert Support(2.0, 5).two_hot(torch.tensor(x)).tolist() == np.eye(5)[place].tolist()


@settings(derandomize=True, deadline=None)
@given(returns)
def test_two_hot_sums_to_one_over_at_most_two_neighbours(x: float):
    code = Support(100.0, 201).two_hot(torch.tensor(x))
    places = code.nonzero().flatten()
    assert code.sum().item() == pytest.approx(1, abs=1e-6)
    assert (code >= 0).all()
    assert len(places) <= 2
    assert places[-1] - places[0] <= 1


@settings(derandomize=True, deadline=None)
@given(st.floats(-8500, 8500, width=32))  # h(8500) = 99.7
def test_expectation_undoes_two_hot(x: float):
    support = Support(100.0, 201)
    logits = support.two_hot(torch.tensor([x])).log()  # -inf where 0
    assert support.expectation(logits).item() == pytest.approx(x, rel=1e-3, abs=1e-3)


def test_expectation_of_equal_logits_is_zero():
    assert Support(10.0, 21).expectation(torch.zeros(3, 21)).abs().max() < 1e-5


def test_two_hot_keeps_leading_axes():
    assert Support(10.0, 21).two_hot(torch.zeros(2, 3)).shape == (2, 3, 21)
