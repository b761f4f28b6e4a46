"""What every search keeps to, and the mistakes that other implementations made."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_ez.core.config import SearchConfig
from rllib_ez.core.random import Stream, dirichlet, search_seeds
from rllib_ez.core.search import search
from rllib_ez.core.search.plan import root_prior
from rllib_ez.core.search.tree import UNEXPANDED, Tree
from tests.core.search.worlds import TableModel, World, grown, random_world, searched

CHAIN = World.of(  # one action, rewards 1, 10, 100, 1000, 10000
    next_state=[[1], [2], [3], [4], [5], [5]],
    reward=[[1], [10], [100], [1000], [10000], [0]],
    prior=[[1]] * 6,
    value=[0] * 6,
)


def test_prefix_difference_uses_the_parents_reset_flag():
    """Resets at depths 0, 2, 4: the edge out of depth 2 counts from 0, the one into it does not."""
    tree = grown(CHAIN, 0, num_simulations=5, lstm_horizon=2, discount=1.0)
    assert tree.depth[0].tolist() == [0, 1, 2, 3, 4, 5]
    assert tree.value_prefix[0].tolist() == [0, 1, 11, 100, 1100, 10000]
    assert tree.reward[0].tolist() == [0, 1, 10, 100, 1000, 10000]


def test_the_lstm_forgets_where_the_prefix_starts_anew():
    model = TableModel(CHAIN)
    grown(CHAIN, 0, model, num_simulations=5, lstm_horizon=2)
    assert [float(memory[0]) for _, memory, _ in model.asked] == [0, 1, 0, 100, 0]


def test_a_horizon_of_one_makes_the_prefix_the_plain_reward():
    tree = grown(CHAIN, 0, num_simulations=5, lstm_horizon=1)
    assert tree.value_prefix[0].tolist() == tree.reward[0].tolist() == [0, 1, 10, 100, 1000, 10000]


def grown_at_random(seed: int) -> tuple[Tree, SearchConfig]:
    world = random_world(np.random.default_rng(seed), num_states=9, num_actions=3, num_levels=None)
    settings = {"num_simulations": 40, "lstm_horizon": 2, "discount": 0.9}
    return grown(world, 0, **settings), SearchConfig(**settings)


@pytest.mark.parametrize("seed", range(5))
def test_min_max_bounds_are_those_of_every_edge_with_its_true_parent(seed: int):
    tree, config = grown_at_random(seed)
    q = []
    for node in range(1, 41):
        parent = tree.parent[0, node]
        before = tree.value_prefix[0, parent] if tree.depth[0, parent] % 2 else 0.0
        mean = tree.value_sum[0, node] / tree.visits[0, node]
        q.append(tree.value_prefix[0, node] - before + config.discount * mean)
    np.testing.assert_allclose(tree.q_bounds[0], [min(q), max(q)], rtol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_every_visit_and_every_return_is_accounted_for(seed: int):
    """visits = 1 + those of the children; sum = own value + what came through each child."""
    tree, config = grown_at_random(seed)
    for node in range(41):
        children = [c for c in tree.child[0, node] if c != UNEXPANDED]
        through = sum(
            tree.visits[0, c] * tree.reward[0, c] + config.discount * tree.value_sum[0, c]
            for c in children
        )
        assert tree.visits[0, node] == 1 + sum(tree.visits[0, c] for c in children)
        assert tree.value_sum[0, node] == pytest.approx(tree.raw_value[0, node] + through)


@pytest.mark.parametrize("method", ["puct", "gumbel"])
@pytest.mark.parametrize("rows", [[3], [0, 2], [5, 4, 3, 2, 1, 0], [1, 1]])
def test_rows_of_a_batch_know_nothing_of_each_other(rows: list[int], method: str):
    """Statistics of a parent must not leak from one root to the next."""
    world = random_world(np.random.default_rng(3), num_states=12, num_actions=4, num_levels=3)
    settings = {"num_simulations": 30, "root_noise": True, "search_method": method}
    states, seeds = np.array([0, 5, 7, 7, 2, 9]), np.arange(6, dtype=np.uint64) + 40
    legal = np.random.default_rng(0).random((6, 4)) < 0.8
    whole = searched(world, states, seeds=seeds, legal=legal, **settings)
    part = searched(world, states[rows], seeds=seeds[rows], legal=legal[rows], **settings)
    for name in ("action", "policy", "visit_counts", "visit_probs", "root_value", "network_value"):
        assert getattr(part, name).tobytes() == getattr(whole, name)[rows].tobytes(), name


FLAT = World.of([[0] * 4], [[0.0] * 4], [[0.25] * 4], [0.0])


@pytest.mark.parametrize("method", ["puct", "gumbel"])
def test_ties_are_broken_by_the_seed_and_by_nothing_else(method: str):
    """Others seed them from the clock: their searches cannot be repeated."""
    settings = {"num_simulations": 9, "search_method": method}
    seeds = search_seeds(0, Stream.ACT, np.arange(500))
    first = searched(FLAT, [0] * 500, seeds=seeds, **settings)
    again = searched(FLAT, [0] * 500, seeds=seeds, **settings)
    np.testing.assert_array_equal(first.visit_counts, again.visit_counts)
    assert len(np.unique(first.visit_counts, axis=0)) > 1


def test_ties_favour_no_action():
    seeds = search_seeds(0, Stream.ACT, np.arange(4000))
    counts = searched(FLAT, [0] * 4000, seeds=seeds, num_simulations=1).visit_counts
    np.testing.assert_allclose(counts.mean(axis=0), 0.25, atol=0.025)


def test_ties_below_the_root_favour_no_action():
    """Four simulations that may only start with action 0: then 0 -> a is drawn among four."""
    world = World.of(
        [[1] * 4, [2, 3, 4, 5], *[[6] * 4] * 5], [[0.0] * 4] * 7, [[0.25] * 4] * 7, [0] * 7
    )
    model, count = TableModel(world), 2000
    search(
        model,
        world.root([0] * count),
        config=SearchConfig(num_simulations=2),
        seeds=search_seeds(0, Stream.ACT, np.arange(count)),
        legal=np.tile([True, False, False, False], (count, 1)),
        root_noise=False,
    )
    state, _, action = model.asked[1]
    assert (state == 1).all()
    np.testing.assert_allclose(np.bincount(action) / count, 0.25, atol=0.04)


def test_of_equally_visited_actions_puct_plays_the_first():
    result = searched(FLAT, [0] * 20, num_simulations=4)
    assert result.visit_counts.tolist() == [[1] * 4] * 20
    assert result.action.tolist() == [0] * 20


@pytest.mark.parametrize("method", ["puct", "gumbel"])
@pytest.mark.parametrize("num_simulations", [1, 2, 7, 50])
def test_visits_sum_to_the_budget(num_simulations: int, method: str):
    world = random_world(np.random.default_rng(0), num_states=5, num_actions=3, num_levels=None)
    result = searched(
        world, [0, 1, 2], num_simulations=num_simulations, search_method=method, root_noise=True
    )
    assert result.visit_counts.sum(axis=1).tolist() == [num_simulations] * 3
    np.testing.assert_allclose(result.visit_probs.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(result.policy.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("method", ["puct", "gumbel"])
def test_illegal_actions_are_never_visited(method: str):
    world = random_world(np.random.default_rng(0), num_states=9, num_actions=5, num_levels=None)
    legal = np.array([[True, False, True, False, False], [False, False, False, True, False]])
    result = searched(
        world, [0, 1], legal=legal, num_simulations=60, search_method=method, root_noise=True
    )
    assert (result.visit_counts[~legal] == 0).all()
    assert (result.policy[~legal] == 0).all()
    assert result.visit_counts[1, 3] == 60
    assert legal[[0, 1], result.action].all()


def test_illegal_at_the_root_is_legal_below():
    world = World.of([[1, 1], [1, 1]], [[0, 0], [0, 5]], [[1, 0], [0, 1]], [0, 0])
    legal = np.array([[True, False]])
    result = searched(world, [0], legal=legal, num_simulations=3, discount=1.0)
    assert result.root_value[0] == np.float32((0 + 0 + 5 + 10) / 4)


def test_a_root_without_a_legal_action_is_refused_by_its_row():
    with pytest.raises(ValueError, match="at least one action per root, got none in row 1"):
        searched(FLAT, [0, 0], legal=np.array([[True] * 4, [False] * 4]))


@pytest.mark.parametrize("shape", [(4,), (1, 4), (2, 3), (2, 4, 1)])
def test_legal_actions_of_another_shape_are_refused(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"legal must have the shape \[B, A\] = \(2, 4\), got"):
        searched(FLAT, [0, 0], legal=np.ones(shape, bool))


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1)])
def test_budgets_of_another_shape_are_refused(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"must hold one number per root, \[2\], got"):
        searched(FLAT, [0, 0], budget=np.ones(shape, int))


@pytest.mark.parametrize("budget", [0, -7])
def test_a_budget_below_one_is_refused_by_its_row(budget: int):
    with pytest.raises(ValueError, match=f"num_simulations must be >= 1, got {budget} in row 1"):
        searched(FLAT, [0, 0, 0], budget=np.array([5, budget, 5]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_root_value_that_is_not_finite_is_refused_by_its_row(bad: float):
    values = World.of([[0]] * 4, [[0]] * 4, [[1]] * 4, [1, 2, 3, bad])
    with pytest.raises(ValueError, match=f"value must be finite, got {bad} in row 3: the network"):
        searched(values, [0, 1, 2, 3])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_root_prior_that_is_not_finite_is_refused_by_its_row(bad: float):
    priors = World.of([[0, 0]] * 3, [[0, 0]] * 3, [[1, 0], [0, bad], [bad, 1]], [0, 0, 0])
    with pytest.raises(ValueError, match=f"prior must be finite, got {bad} in row 1: the network"):
        searched(priors, [0, 1, 2])


def test_a_prior_that_forbids_all_legal_actions_counts_as_none():
    prior = np.array([[1.0, 0.0, 0.0]], np.float32)
    legal = np.array([[False, True, True]])
    given = root_prior(
        prior, legal, config=SearchConfig(), seeds=np.zeros(1, np.uint64), noise=False
    )
    assert given.tolist() == [[0.0, 0.5, 0.5]]


def test_noise_is_mixed_into_the_roots_prior_by_its_share():
    prior, legal = np.array([[0.5, 0.3, 0.2]], np.float32), np.array([[True, True, False]])
    seeds = np.array([8], np.uint64)
    mixed = root_prior(
        prior, legal, config=SearchConfig(root_noise_fraction=0.25), seeds=seeds, noise=True
    )
    expected = 0.75 * np.array([[0.625, 0.375, 0]]) + 0.25 * dirichlet(seeds, legal, 0.3)
    np.testing.assert_allclose(mixed, expected, rtol=1e-6)


@pytest.mark.parametrize("method", ["puct", "gumbel"])
def test_noise_comes_only_when_asked_for(method: str):
    """Without ties the seed then decides nothing."""
    world = random_world(np.random.default_rng(5), num_states=9, num_actions=4, num_levels=None)
    settings = {"num_simulations": 20, "search_method": method}
    quiet = searched(world, [0] * 50, **settings)
    noisy = searched(world, [0] * 50, root_noise=True, **settings)
    assert len(np.unique(quiet.visit_counts, axis=0)) == 1
    assert len(np.unique(noisy.visit_counts, axis=0)) > 1


def test_a_budget_that_is_no_whole_number_is_refused():
    with pytest.raises(ValueError, match="num_simulations must be integers, got dtype float64"):
        searched(FLAT, [0, 0], budget=np.array([2.0, 3.0]))


def test_a_seed_too_few_is_refused():
    with pytest.raises(ValueError, match="seeds must hold one per root, .2,., got .1,."):
        searched(FLAT, [0, 0], seeds=np.zeros(1, np.uint64))
