"""The search in one piece of compiled code does what the search step by step does, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.search.worlds import CompiledTable, random_world, searched

FIELDS = ("action", "policy", "visit_counts", "visit_probs", "root_value", "network_value")


@settings(max_examples=100, derandomize=True, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    num_actions=st.integers(1, 6),
    batch=st.integers(1, 6),
    num_levels=st.sampled_from([None, 1, 3]),
    settings_of_search=st.fixed_dictionaries(
        {
            "num_simulations": st.integers(1, 40),
            "lstm_horizon": st.integers(1, 6),
            "search_method": st.sampled_from(["puct", "gumbel"]),
            "root_noise": st.booleans(),
        }
    ),
)
def test_one_compiled_loop_agrees_with_a_call_per_step(
    seed, num_actions, batch, num_levels, settings_of_search
):
    rng = np.random.default_rng(seed)
    world = random_world(rng, num_states=7, num_actions=num_actions, num_levels=num_levels)
    legal = rng.random((batch, num_actions)) < 0.7
    legal[np.arange(batch), rng.integers(num_actions, size=batch)] = True
    arguments = {
        "seeds": rng.integers(2**64, size=batch, dtype=np.uint64),
        "legal": legal,
        "budget": rng.integers(1, 41, size=batch),
        **settings_of_search,
    }
    states = rng.integers(7, size=batch)
    whole = searched(world, states, model=CompiledTable(world), **arguments)
    stepwise = searched(world, states, **arguments)
    for name in FIELDS:
        assert getattr(whole, name).tobytes() == getattr(stepwise, name).tobytes(), name


@pytest.mark.parametrize("method", ["puct", "gumbel"])
def test_a_batch_of_mixed_budgets_gives_each_root_what_it_gets_alone(method: str):
    world = random_world(np.random.default_rng(1), num_states=9, num_actions=4, num_levels=3)
    budget, seeds = np.array([3, 40, 1, 17, 40]), np.arange(5, dtype=np.uint64)
    settings = {"search_method": method, "root_noise": True}
    model = CompiledTable(world)
    mixed = searched(world, range(5), model=model, budget=budget, seeds=seeds, **settings)
    for row in range(5):
        alone = searched(
            world, [row], seeds=seeds[row : row + 1], num_simulations=int(budget[row]), **settings
        )
        for name in FIELDS:
            assert getattr(mixed, name)[row].tobytes() == getattr(alone, name)[0].tobytes(), name
