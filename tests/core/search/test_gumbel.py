"""Gumbel search: its schedule from the literature, its noise, and a slow twin of the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_ez.core.config import SearchConfig
from rllib_ez.core.random import Stream, search_seeds
from rllib_ez.core.search.plan import gumbel_noise, halving_schedule
from tests.core.search.twin import GumbelTwin, visits_of
from tests.core.search.worlds import World, random_world, searched


@pytest.mark.parametrize(
    ("budget", "actions", "phases"),
    # phases of (actions still considered, extra visits each), computed from DeepMind's mctx
    [
        (16, 4, [(4, 2), (2, 4)]),
        (16, 8, [(8, 1), (4, 1), (2, 2)]),
        (16, 16, [(16, 1)]),
        (32, 16, [(16, 1), (8, 1), (4, 2)]),
        (50, 16, [(16, 1), (8, 1), (4, 3), (2, 6), (2, 1)]),
        (50, 4, [(4, 6), (2, 12), (2, 1)]),
        (4, 2, [(2, 2)]),
        (3, 1, [(1, 3)]),
    ],
)
def test_the_schedule_halves_the_actions(budget: int, actions: int, phases: list):
    expected, visits = [], 0
    for considered, extra in phases:
        for _ in range(extra):
            expected += [visits] * considered
            visits += 1
    assert halving_schedule(budget, actions).tolist() == expected[:budget]


def test_noise_has_the_moments_of_gumbels_distribution():
    """Mean 0.5772 (Euler's), variance pi**2 / 6."""
    noise = gumbel_noise(search_seeds(0, Stream.ACT, np.arange(50_000)), 3)
    np.testing.assert_allclose(noise.mean(axis=0), 0.5772, atol=0.02)
    np.testing.assert_allclose(noise.var(axis=0), np.pi**2 / 6, rtol=0.04)
    assert abs(np.corrcoef(noise.T)[0, 1]) < 0.02


def test_root_actions_are_tried_as_the_schedule_says():
    """16 simulations, 4 actions: two visits each, then four more for the better two."""
    world = random_world(np.random.default_rng(0), num_states=6, num_actions=4, num_levels=None)
    result = searched(world, [0, 1], num_simulations=16, search_method="gumbel")
    assert [sorted(row) for row in result.visit_counts.tolist()] == [[2, 2, 6, 6]] * 2


def test_only_so_many_actions_are_considered():
    world = random_world(np.random.default_rng(0), num_states=6, num_actions=6, num_levels=None)
    settings = {"search_method": "gumbel", "max_considered_actions": 2}
    result = searched(world, [0], num_simulations=10, **settings)
    assert sorted(result.visit_counts[0].tolist()) == [0, 0, 0, 0, 5, 5]


def test_the_taught_policy_is_better_than_the_prior():
    """One step: action 2 pays 1, the others nothing; the prior is uniform."""
    world = World.of([[1] * 3] * 2, [[0, 0, 1], [0, 0, 0]], [[1 / 3] * 3] * 2, [0, 0])
    result = searched(world, [0], num_simulations=6, search_method="gumbel", gumbel_c_scale=0.1)
    assert result.policy[0].argmax() == 2
    assert result.policy[0, 2] > 0.9  # softmax of 0, 0, (50 + 2) * 0.1


def test_an_illegal_action_cannot_outweigh_the_legal_ones():
    """Sigma grows with c_scale: exp of its distance to the illegal action's would be 0 for all."""
    world = World.of([[1, 1]] * 2, [[-1, 0], [0, 0]], [[0.5, 0.5]] * 2, [5, 0])
    result = searched(
        world,
        [0],
        legal=np.array([[True, False]]),
        num_simulations=3,
        search_method="gumbel",
        gumbel_c_scale=50.0,
    )
    assert result.policy.tolist() == [[1.0, 0.0]]


@settings(max_examples=100, derandomize=True, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    num_actions=st.integers(1, 6),
    num_levels=st.sampled_from([None, 1, 3]),
    noise=st.booleans(),
    settings_of_search=st.fixed_dictionaries(
        {
            "num_simulations": st.integers(1, 40),
            "lstm_horizon": st.integers(1, 6),
            "discount": st.sampled_from([1.0, 0.997, 0.5]),
            "max_considered_actions": st.integers(1, 8),
            "gumbel_c_scale": st.sampled_from([0.1, 1.0]),
        }
    ),
)
def test_gumbel_search_agrees_with_its_slow_twin(
    seed, num_actions, num_levels, noise, settings_of_search
):
    rng = np.random.default_rng(seed)
    world = random_world(rng, num_states=6, num_actions=num_actions, num_levels=num_levels)
    states, seeds = rng.integers(6, size=3), rng.integers(2**64, size=3, dtype=np.uint64)
    legal = rng.random((3, num_actions)) < 0.7
    legal[np.arange(3), rng.integers(num_actions, size=3)] = True
    settings = {**settings_of_search, "search_method": "gumbel"}
    budget = rng.integers(1, settings["num_simulations"] + 1, size=3)
    result = searched(
        world, states, seeds=seeds, legal=legal, budget=budget, root_noise=noise, **settings
    )
    drawn = gumbel_noise(seeds, num_actions) if noise else np.zeros(legal.shape)
    for b in range(3):
        twin = GumbelTwin(
            world,
            SearchConfig(**{**settings, "num_simulations": int(budget[b])}),
            int(seeds[b]),
            legal[b].tolist(),
            gumbel=drawn[b].tolist(),
        )
        root = twin.search(int(states[b]))
        action, policy = twin.conclusion()
        counts = [visits_of(root, a) for a in range(num_actions)]
        assert result.visit_counts[b].tolist() == counts
        assert result.root_value[b] == np.float32(root.value_sum / root.visits)
        assert result.action[b] == action
        np.testing.assert_allclose(result.policy[b], policy, rtol=1e-5, atol=1e-7)
