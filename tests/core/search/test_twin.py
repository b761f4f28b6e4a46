"""The compiled search beside a slow twin: the same visits and the same values, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rllib_ez.core.config import SearchConfig
from rllib_ez.core.random import dirichlet
from rllib_ez.core.search import search
from tests.core.search.twin import Node, Twin
from tests.core.search.worlds import TableModel, World, random_world


def twin_roots(world: World, states, *, config, seeds, legal, noise: bool, budget) -> list[Node]:
    drawn = dirichlet(seeds, legal, config.root_dirichlet_alpha)
    roots = []
    for b, state in enumerate(states.tolist()):
        own = replace(config, num_simulations=int(budget[b]))
        its_noise = drawn[b].tolist() if noise else None
        roots.append(Twin(world, own, int(seeds[b]), legal[b].tolist(), its_noise).search(state))
    return roots


def assert_agrees(world: World, states, *, config, seeds, legal, noise: bool, budget=None) -> None:
    if budget is None:
        budget = np.full(len(states), config.num_simulations)
    result = search(
        TableModel(world),
        world.root(states),
        config=config,
        seeds=seeds,
        legal=legal,
        num_simulations=budget,
        root_noise=noise,
    )
    roots = twin_roots(
        world, states, config=config, seeds=seeds, legal=legal, noise=noise, budget=budget
    )
    actions = range(legal.shape[1])
    counts = [[r.children[a].visits if a in r.children else 0 for a in actions] for r in roots]
    values = np.array([r.value_sum / r.visits for r in roots], np.float32)
    np.testing.assert_array_equal(result.visit_counts, counts)
    assert result.root_value.tobytes() == values.tobytes()


@settings(max_examples=150, derandomize=True, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    num_actions=st.integers(1, 6),
    batch=st.integers(1, 4),
    num_states=st.integers(1, 8),
    num_levels=st.sampled_from([None, 1, 2, 4]),
    noise=st.booleans(),
    settings_of_search=st.fixed_dictionaries(
        {
            "num_simulations": st.integers(1, 40),
            "lstm_horizon": st.integers(1, 6),
            "discount": st.sampled_from([1.0, 0.997, 0.5]),
            "pb_c_init": st.sampled_from([0.0, 1.25, 10.0]),
            "pb_c_base": st.sampled_from([10.0, 19652.0]),
            "min_max_delta": st.sampled_from([0.01, 3.0]),
        }
    ),
)
def test_search_agrees_with_the_slow_twin(
    seed, num_actions, batch, num_states, num_levels, noise, settings_of_search
):
    rng = np.random.default_rng(seed)
    world = random_world(rng, num_states=num_states, num_actions=num_actions, num_levels=num_levels)
    legal = rng.random((batch, num_actions)) < 0.7
    legal[np.arange(batch), rng.integers(num_actions, size=batch)] = True
    assert_agrees(
        world,
        rng.integers(num_states, size=batch),
        config=SearchConfig(**settings_of_search),
        seeds=rng.integers(2**64, size=batch, dtype=np.uint64),
        legal=legal,
        noise=noise,
        budget=rng.integers(1, settings_of_search["num_simulations"] + 1, size=batch),
    )


@pytest.mark.parametrize("lstm_horizon", [1, 2, 5])
def test_a_long_chain_agrees_past_many_resets(lstm_horizon: int):
    """One action: simulation i stands at depth i + 1."""
    world = random_world(np.random.default_rng(0), num_states=7, num_actions=1, num_levels=None)
    assert_agrees(
        world,
        np.array([0, 3]),
        config=SearchConfig(num_simulations=30, lstm_horizon=lstm_horizon),
        seeds=np.array([1, 2], np.uint64),
        legal=np.ones((2, 1), bool),
        noise=False,
    )


def test_a_world_of_zeros_agrees():
    zeros = World.of([[0] * 4], [[0.0] * 4], [[0.0] * 4], [0.0])
    assert_agrees(
        zeros,
        np.zeros(3, np.int64),
        config=SearchConfig(num_simulations=50),
        seeds=np.array([0, 1, 2**64 - 1], np.uint64),
        legal=np.ones((3, 4), bool),
        noise=False,
    )
