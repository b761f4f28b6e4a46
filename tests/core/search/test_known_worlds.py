"""Search in worlds whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from tests.core.search.worlds import World, searched


def layered_worlds(count: int, *, depth: int = 4, actions: int = 3) -> tuple[World, np.ndarray]:
    """`count` trees of that depth side by side, and Q* [count, A] of their roots (discount 0.9)."""
    rng = np.random.default_rng(0)
    size = sum(actions**d for d in range(depth + 1))
    inner = (size - 1) // actions
    end = count * size  # one absorbing state for all
    next_state = np.full((end + 1, actions), end)
    reward = np.zeros((end + 1, actions), np.float32)
    value = np.zeros(end + 1)
    for world in range(count):
        for node in reversed(range(inner)):
            state = world * size + node
            next_state[state] = world * size + node * actions + 1 + np.arange(actions)
            reward[state] = rng.integers(-4, 5, size=actions)
            value[state] = (reward[state] + 0.9 * value[next_state[state]]).max()
    roots = np.arange(count) * size
    uniform = np.full((end + 1, actions), 1 / actions, np.float32)
    blind = np.zeros(end + 1, np.float32)  # the model's values say nothing
    best = reward[roots] + 0.9 * value[next_state[roots]]
    return World(next_state, reward, uniform, blind), best


@pytest.fixture(scope="module")
def regrets() -> dict[tuple[str, int], np.ndarray]:
    """What 60 searches lose against the best action, by method and budget."""
    world, best = layered_worlds(60)
    roots = np.arange(60) * (len(world.value) - 1) // 60
    lost = {}
    for method in ("puct", "gumbel"):
        for budget in (3, 15, 60, 400):
            action = searched(
                world, roots, num_simulations=budget, discount=0.9, search_method=method
            ).action
            lost[method, budget] = best.max(axis=1) - best[np.arange(60), action]
    return lost


@pytest.mark.parametrize("method", ["puct", "gumbel"])
def test_enough_simulations_find_the_best_action(regrets, method: str):
    assert (regrets[method, 400] < 1e-6).mean() >= 0.95


@pytest.mark.parametrize("method", ["puct", "gumbel"])
def test_more_simulations_are_no_worse(regrets, method: str):
    means = [regrets[method, budget].mean() for budget in (3, 15, 60, 400)]
    assert all(more <= fewer + 0.02 for fewer, more in zip(means, means[1:], strict=False))
    assert means[-1] < 0.1 * means[0]


@pytest.mark.parametrize("method", ["puct", "gumbel"])
def test_true_values_are_left_as_they_are(method: str):
    """One action, V = 1 + 0.5 V' everywhere: each return is 2."""
    world = World.of([[0]], [[1.0]], [[1.0]], [2.0])
    result = searched(world, [0], num_simulations=12, discount=0.5, search_method=method)
    assert result.root_value[0] == 2.0


def test_a_delayed_reward_is_found_past_the_horizon_of_the_lstm():
    """Action 1 pays 1 at the fifth step if taken each time; action 0 ends it."""
    next_state = [[6, s + 1] for s in range(5)] + [[6, 6], [6, 6]]
    reward = [[0, 0]] * 4 + [[0, 1], [0, 0], [0, 0]]
    world = World.of(next_state, reward, [[0.5, 0.5]] * 7, [0] * 7)
    result = searched(world, [0], num_simulations=200, discount=1.0, lstm_horizon=2)
    assert result.action.tolist() == [1]
