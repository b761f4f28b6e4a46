"""Small trees, each step worked out on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rllib_ez.core.config import SearchConfig
from rllib_ez.core.search.kernels import select
from rllib_ez.core.search.plan import Plan
from rllib_ez.core.search.tree import UNEXPANDED, Edge, Rules, Tree
from tests.core.search.worlds import World, grown, searched

FAR = 1e15  # pb_c_base so large that its logarithm adds nothing

# From state 0: action 0 earns 1 and leads to 1, action 1 earns 0 and leads to 2. From 1: to 3 and
# 4, earning 0 and 2. From 4: to 5 and 6, earning -1 and 0. The others are never left in the tests.
BY_HAND = World.of(
    next_state=[[1, 2], [3, 4], [2, 2], [3, 3], [5, 6], [5, 5], [6, 6]],
    reward=[[1, 0], [0, 2], [0, 0], [0, 0], [-1, 0], [0, 0], [0, 0]],
    prior=[[0.7, 0.3], [0.25, 0.75], [0.5, 0.5], [0.5, 0.5], [0.9, 0.1], [0.5, 0.5], [0.5, 0.5]],
    value=[2, 4, 2, 8, 0, 6, 0],
)


def by_hand(num_simulations: int) -> Tree:
    return grown(
        BY_HAND, 0, num_simulations=num_simulations, discount=0.5, pb_c_init=1.0, pb_c_base=FAR
    )


def test_first_simulation_follows_the_prior():
    """No Q yet, N = 1: 0.7 against 0.3. G = 1 + 0.5 * 4 = 3, so the root sums 2 + 3."""
    tree = by_hand(1)
    assert tree.child[0, 0].tolist() == [1, UNEXPANDED]
    assert tree.visits[0].tolist() == [2, 1]
    assert tree.value_sum[0].tolist() == [5.0, 4.0]
    assert tree.q_bounds[0].tolist() == [3.0, 3.0]


def test_second_simulation_goes_down_where_the_prior_still_leads():
    """Root, N = 2: 0.7 * 1.414 / 2 = 0.495 against 0.3 * 1.414 = 0.424, both Q are 3 (norm 0).

    At node 1, N = 1: 0.25 against 0.75. Edge 2 earns 2: G = 2 + 0.5 * 0 = 2, above 1 + 0.5 * 2 = 2.
    """
    tree = by_hand(2)
    assert tree.child[0, 1].tolist() == [UNEXPANDED, 2]
    assert tree.visits[0].tolist() == [3, 2, 1]
    assert tree.value_sum[0].tolist() == [7.0, 6.0, 0.0]
    assert tree.value_prefix[0].tolist() == [0.0, 1.0, 3.0]
    assert tree.q_bounds[0].tolist() == [2.0, 2.5]  # 2 + 0.5 * 0 and 1 + 0.5 * 6 / 2


def test_third_simulation_tries_the_other_action():
    """Root, N = 3: Q = 2.5 for both (one is the mean of the other), norm 1.

    1 + 0.7 * 1.732 / 3 = 1.404 against 1 + 0.3 * 1.732 = 1.520. G = 0 + 0.5 * 2 = 1.
    """
    tree = by_hand(3)
    assert tree.child[0, 0].tolist() == [1, 3]
    assert tree.value_sum[0].tolist() == [8.0, 6.0, 0.0, 2.0]
    assert tree.q_bounds[0].tolist() == [1.0, 2.5]


def test_fourth_simulation_backs_up_through_three_edges():
    """Root, N = 4: 1 + 0.7 * 2 / 3 = 1.467 against 0 + 0.3 * 2 / 2 = 0.3.

    Node 1, N = 2: unvisited Q = (1.75 + 2) / 2 = 1.875, 0.583 + 0.25 * 1.414 = 0.937; visited
    Q = 2, 0.667 + 0.75 * 1.414 / 2 = 1.197. Node 2: prior 0.9. Upwards from value 6:
    -1 + 0.5 * 6 = 2, 2 + 0.5 * 2 = 3, 1 + 0.5 * 3 = 2.5.
    """
    tree = by_hand(4)
    assert tree.child[0, 2].tolist() == [4, UNEXPANDED]
    assert tree.visits[0].tolist() == [5, 3, 2, 1, 1]
    assert tree.value_sum[0].tolist() == [10.5, 9.0, 2.0, 2.0, 6.0]
    assert tree.q_bounds[0].tolist() == [1.0, 2.5]


def test_result_of_the_tree_by_hand():
    result = searched(BY_HAND, [0], num_simulations=4, discount=0.5, pb_c_init=1.0, pb_c_base=FAR)
    assert result.visit_counts.tolist() == [[3, 1]]
    assert result.visit_probs.tolist() == [[0.75, 0.25]]
    assert result.policy.tolist() == [[0.75, 0.25]]
    assert result.action.tolist() == [0]
    assert result.root_value[0] == np.float32(10.5 / 5)
    assert result.network_value.tolist() == [2.0]


def planted(
    prior: list[list[float]], nodes: dict[int, tuple[int, int, int, float]], delta: float = 0.01
) -> Tree:
    """A tree by its nodes: index to (parent, action, visits, mean value); rewards are 0."""
    size = len(nodes) + 2
    tree = Tree.plant(
        np.array(prior[:1], np.float32),
        np.zeros(1, np.float32),
        nodes=size,
    )
    for node, (parent, action, visits, mean) in nodes.items():
        tree.child[0, parent, action], tree.parent[0, node] = node, parent
        tree.visits[0, node], tree.value_sum[0, node] = visits, visits * mean
        tree.q[0, node] = mean
        tree.prior[0, node] = prior[node]
    tree.visits[0, 0] = 1 + sum(visits for parent, _, visits, _ in nodes.values() if parent == 0)
    means = [mean for *_, mean in nodes.values()]
    tree.q_bounds[0] = min(means), max(means)
    tree.q_scale[0] = 1 / max(max(means) - min(means), delta)
    return tree


def chosen_edge(tree: Tree, legal: tuple[bool, ...] | None = None, **settings) -> tuple[int, int]:
    config = SearchConfig(
        **{"discount": 1.0, "pb_c_init": 1.0, "pb_c_base": FAR, "num_simulations": 30, **settings}
    )
    allowed = np.array([legal or (True,) * tree.child.shape[2]])
    budget, seed = np.array([30], np.int32), np.zeros(1, np.uint64)
    plan = Plan.of(config, tree.prior[:, 0], budget=budget, legal=allowed, seed=seed, noise=False)
    edge = Edge.blank(1)
    select(tree, Rules.of(config, num_simulations=30), plan, edge, 0, 1)
    return int(edge.parent[0]), int(edge.action[0])


def test_unvisited_root_action_has_the_mean_of_the_visited_ones():
    """N = 3. Action 1: 1 + 0.05 * 1.732 / 2 = 1.043. Action 2: 0.5 + 0.4 * 1.732 = 1.193."""
    prior = [[0.55, 0.05, 0.4], [0.9, 0.1, 0.0], [1.0, 0.0, 0.0]]
    tree = planted(prior, {1: (0, 0, 1, 0.0), 2: (0, 1, 1, 4.0)})
    assert chosen_edge(tree) == (0, 2)


def test_each_visited_action_counts_once_in_the_mean():
    """Mean of 0 (9 visits) and 4 (1 visit) is 2, norm 0.5, N = 11.

    Action 1: 1 + 0.1 * 3.317 / 2 = 1.166. Action 2: 0.5 + 0.21 * 3.317 = 1.197, while a mean by
    visits would give 0.1 + 0.697 = 0.797.
    """
    prior = [[0.69, 0.1, 0.21], [0.9, 0.1, 0.0], [1.0, 0.0, 0.0]]
    tree = planted(prior, {1: (0, 0, 9, 0.0), 2: (0, 1, 1, 4.0)})
    assert chosen_edge(tree) == (0, 2)


def test_below_the_root_the_parents_estimate_is_one_term_more():
    """Root's mean 4, so node 1 has (4 + 1) / 2 = 2.5, norm 0.5; bounds are 1 and 4.

    N = 2. Action 0: 0 + 0.8 * 1.414 / 2 = 0.566. Action 1: 0.5 + 0.2 * 1.414 = 0.783.
    """
    prior = [[1.0, 0.0], [0.8, 0.2], [0.5, 0.5]]
    tree = planted(prior, {1: (0, 0, 2, 4.0), 2: (1, 0, 1, 1.0)})
    assert chosen_edge(tree) == (1, 1)


def test_small_differences_are_not_blown_up():
    """Q differ by 0.001 with delta 0.01: norm is 0.1, not 1, and the prior decides.

    N = 3. Action 0: 0 + 0.6 * 1.732 / 2 = 0.520. Action 1: 0.1 + 0.4 * 1.732 / 2 = 0.446.
    """
    prior = [[0.6, 0.4], [1.0, 0.0], [1.0, 0.0]]
    nodes = {1: (0, 0, 1, 0.0), 2: (0, 1, 1, 0.001)}
    assert chosen_edge(planted(prior, nodes, delta=0.01))[0] == 1
    assert chosen_edge(planted(prior, nodes, delta=0.0001))[0] == 2


def test_visits_wear_the_prior_off():
    """N = 9, Q alike. Action 0: 0.9 * 3 / 8 = 0.3375. Action 1: 0.1 * 3 / 2 = 0.15 ... then 0.3."""
    prior = [[0.9, 0.1], [1.0, 0.0], [1.0, 0.0]]
    assert chosen_edge(planted(prior, {1: (0, 0, 7, 0.0), 2: (0, 1, 1, 0.0)}))[0] == 1
    assert chosen_edge(planted(prior, {1: (0, 0, 19, 0.0), 2: (0, 1, 1, 0.0)}))[0] == 2


def test_an_illegal_root_action_is_not_chosen_whatever_its_prior():
    tree = planted([[0.9, 0.1], [1.0, 0.0]], {1: (0, 1, 1, 0.0)})
    assert chosen_edge(tree, legal=(False, True))[0] == 1


def test_weight_of_the_prior_grows_with_the_base():
    """exploration[3] = 1.732 * (1 + log((3 + 1 + 1) / 1)) with pb_c_base 1."""
    rules = Rules.of(SearchConfig(pb_c_init=1.0, pb_c_base=1.0), num_simulations=3)
    assert rules.exploration[3] == pytest.approx(math.sqrt(3) * (1 + math.log(5)))
