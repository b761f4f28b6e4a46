"""The formulas of the targets by hand and beside plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_ez.core.targets import (
    bootstrap_offsets,
    dynamic_horizon,
    n_step_value_targets,
    value_prefix_targets,
)


@pytest.mark.parametrize(
    ("age", "horizon"),
    # the published table: k 5, tau * T_total 30,000
    [
        *((0, 5), (29_999, 5), (30_000, 4), (59_999, 4), (60_000, 3), (89_999, 3)),
        *((90_000, 2), (119_999, 2), (120_000, 1), (1_000_000, 1)),
    ],
)
def test_dynamic_horizon_is_the_papers_table(age: int, horizon: int):
    got = dynamic_horizon(np.array([age]), td_steps=5, horizon_decay_updates=30_000)
    assert got.tolist() == [horizon]


def test_a_sample_newer_than_the_learner_keeps_the_full_horizon():
    """An actor that is ahead of a restored learner."""
    got = dynamic_horizon(np.array([-70_000]), td_steps=5, horizon_decay_updates=30_000)
    assert got.tolist() == [5]


def test_bootstrap_offsets_stop_at_the_end():
    """Horizon 3, four steps left: 3, 3, 2, 1, then nothing at and past the end."""
    got = bootstrap_offsets(np.array([3]), np.array([4]), unroll_steps=5)
    assert got.tolist() == [[3, 3, 2, 1, 0, 0]]


def test_bootstrap_offsets_of_samples_are_their_own():
    got = bootstrap_offsets(np.array([1, 5]), np.array([9, 2]), unroll_steps=2)
    assert got.tolist() == [[1, 1, 1], [2, 1, 0]]


def test_n_step_target_sums_rewards_and_bootstraps():
    """1 + 2/2 + 4 * 0.25 = 3;  2 + 3/2 + 8/4 = 5.5."""
    got = n_step_value_targets(
        np.array([[1.0, 2.0, 3.0]]), np.array([[4.0, 8.0]]), np.array([[2, 2]]), discount=0.5
    )
    assert got.tolist() == [[3.0, 5.5]]


def test_n_step_target_of_no_steps_is_the_bootstrap():
    got = n_step_value_targets(np.ones((1, 3)), np.array([[7.0]]), np.array([[0]]), discount=0.5)
    assert got.tolist() == [[7.0]]


def test_n_step_target_without_bootstrap_is_the_rewards_alone():
    got = n_step_value_targets(
        np.ones((1, 3)), np.zeros((1, 3)), np.array([[3, 2, 1]]), discount=1.0
    )
    assert got.tolist() == [[3.0, 2.0, 1.0]]


def test_too_few_rewards_for_the_horizon_are_refused():
    with pytest.raises(ValueError, match="reward must hold 4 steps per row"):
        n_step_value_targets(np.ones((1, 3)), np.ones((1, 2)), np.array([[1, 3]]), discount=1.0)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    unroll_steps=st.integers(1, 6),
    td_steps=st.integers(1, 6),
    discount=st.sampled_from([1.0, 0.997, 0.3]),
)
def test_n_step_targets_agree_with_plain_loops(seed, unroll_steps, td_steps, discount):
    rng = np.random.default_rng(seed)
    reward = rng.standard_normal((4, unroll_steps + td_steps))
    bootstrap = rng.standard_normal((4, unroll_steps + 1))
    num_steps = rng.integers(td_steps + 1, size=(4, unroll_steps + 1))
    expected = np.zeros(bootstrap.shape)
    for b, k in np.ndindex(*bootstrap.shape):
        n = num_steps[b, k]
        rewards = [discount**i * reward[b, k + i] for i in range(n)]
        expected[b, k] = sum(rewards) + discount**n * bootstrap[b, k]
    got = n_step_value_targets(reward, bootstrap, num_steps, discount=discount)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("lstm_horizon", "prefix"),
    [
        (5, [1, 3, 6, 10]),
        (4, [1, 3, 6, 10]),
        (3, [1, 3, 6, 4]),  # starts anew at step 3
        (2, [1, 3, 3, 7]),
        (1, [1, 2, 3, 4]),  # the plain reward
    ],
)
def test_value_prefix_starts_anew_every_horizon(lstm_horizon: int, prefix: list[float]):
    got = value_prefix_targets(np.array([[1.0, 2.0, 3.0, 4.0]]), lstm_horizon=lstm_horizon)
    assert got.tolist() == [prefix]


def test_value_prefix_is_not_discounted_and_keeps_signs():
    got = value_prefix_targets(np.array([[-1.0, -1.0, 2.0]]), lstm_horizon=3)
    assert got.tolist() == [[-1.0, -2.0, 0.0]]


@settings(derandomize=True, deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), unroll_steps=st.integers(1, 8), lstm_horizon=st.integers(1, 9))
def test_value_prefix_agrees_with_plain_loops(seed, unroll_steps, lstm_horizon):
    reward = np.random.default_rng(seed).standard_normal((3, unroll_steps))
    expected = np.zeros(reward.shape)
    for b, k in np.ndindex(*reward.shape):
        since = k - k % lstm_horizon
        expected[b, k] = sum(reward[b, since : k + 1])
    got = value_prefix_targets(reward, lstm_horizon=lstm_horizon)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
