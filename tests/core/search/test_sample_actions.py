"""Drawing actions by visits."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_ez.core.search import sample_actions

COUNTS = np.tile(np.array([[1, 0, 3]], np.int32), (20_000, 1))


@pytest.mark.parametrize(
    ("temperature", "probabilities"),
    [(1.0, [0.25, 0, 0.75]), (0.5, [0.1, 0, 0.9]), (0.25, [1 / 82, 0, 81 / 82])],
)
def test_actions_are_drawn_by_visits_to_the_inverse_temperature(temperature, probabilities):
    rng = np.random.default_rng(0)
    drawn = sample_actions(COUNTS, temperature=temperature, rng=rng)
    shares = np.bincount(drawn, minlength=3) / len(drawn)
    assert shares[1] == 0
    np.testing.assert_allclose(shares, probabilities, atol=0.01)


def test_a_temperature_near_zero_draws_the_most_visited():
    rng = np.random.default_rng(0)
    assert (sample_actions(COUNTS, temperature=1e-3, rng=rng) == 2).all()


def test_drawing_moves_the_generator_by_one_number_per_root():
    rng, other = np.random.default_rng(7), np.random.default_rng(7)
    sample_actions(COUNTS[:5], temperature=1.0, rng=rng)
    other.random(5)
    assert rng.random() == other.random()
