"""The code of a node that both methods share: expand, back up, compare.

Every function touches the rows of one root only: nothing can leak from root to root.
Axes: B roots, N nodes, A actions.
"""

from __future__ import annotations

import numpy as np

from rllib_ez.core.random import mix
from rllib_ez.core.search.lean import lean
from rllib_ez.core.search.plan import Plan
from rllib_ez.core.search.tree import ROOT, UNEXPANDED, Answer, Edge, Rules, Tree


@lean
def expand_row(tree: Tree, rules: Rules, edge: Edge, answer: Answer, row: int, node: int) -> None:
    """Adds `node` to one tree under the selected edge and passes its value up to the root.

        reward(edge) = value_prefix(child) - value_prefix(parent)
        G <- reward(edge) + discount * G, from the leaf's value upwards

    where value_prefix(parent) counts as 0 if *the parent* stands at a multiple of
    `lstm_horizon`: there the sum, like the LSTM's memory, starts anew. Then the Q bounds are
    taken afresh over all edges, since values may have moved towards each other.
    """
    parent = edge.parent[row]
    tree.child[row, parent, edge.action[row]] = node
    tree.parent[row, node] = parent
    tree.depth[row, node] = tree.depth[row, parent] + 1
    before = 0.0 if edge.forget[row] else tree.value_prefix[row, parent]
    tree.value_prefix[row, node] = answer.value_prefix[row]
    tree.reward[row, node] = answer.value_prefix[row] - before
    for action in range(answer.prior.shape[1]):
        tree.prior[row, node, action] = answer.prior[row, action]
    tree.visits[row, node] = 1
    tree.raw_value[row, node] = answer.value[row]
    tree.value_sum[row, node] = answer.value[row]
    _backup(tree, rules, row, node)


@lean
def _backup(tree: Tree, rules: Rules, row: int, node: int) -> None:
    """Adds the leaf's return to every node above it and renews the Q of the edges on the way.

    The bounds of Q are those of all edges of the tree, as they are now: values move towards each
    other too. Only where an edge that was the lowest or the highest has moved must all be read.
    """
    leaf = node
    lowest, highest = tree.q_bounds[row, 0], tree.q_bounds[row, 1]
    if leaf == 1:
        lowest, highest = np.inf, -np.inf  # no edge before this one
    moved = False
    total = tree.value_sum[row, node]
    value_sum, visits = total, 1
    while node != ROOT:
        reward = tree.reward[row, node]
        q = reward + rules.discount * (value_sum / visits)
        before = tree.q[row, node]
        moved = moved or (node != leaf and (before == lowest or before == highest))
        lowest, highest = min(lowest, q), max(highest, q)
        tree.q[row, node] = q
        total = reward + rules.discount * total
        node = tree.parent[row, node]
        value_sum = tree.value_sum[row, node] + total
        visits = tree.visits[row, node] + 1
        tree.value_sum[row, node] = value_sum
        tree.visits[row, node] = visits
    if moved:
        lowest, highest = _q_range(tree, row, leaf)
    tree.q_bounds[row, 0] = lowest
    tree.q_bounds[row, 1] = highest
    tree.q_scale[row] = 1.0 / max(highest - lowest, rules.min_max_delta)


@lean
def _q_range(tree: Tree, row: int, last: int) -> tuple[float, float]:
    """The lowest and the highest Q of the edges to nodes 1 .. last."""
    lowest, highest = np.inf, -np.inf
    for node in range(1, last + 1):
        q = tree.q[row, node]
        lowest = q if q < lowest else lowest
        highest = q if q > highest else highest
    return lowest, highest


@lean
def normalised(tree: Tree, row: int, q: float) -> float:
    """norm(q) = clip((q - lowest) / max(highest - lowest, delta), 0, 1), bounds of the tree.

    0 while the tree has no edge: nothing to compare with yet.

    Source: EfficientZero, arXiv:2111.00210, eq. 10.
    """
    return min(max((q - tree.q_bounds[row, 0]) * tree.q_scale[row], 0.0), 1.0)  # type: ignore[no-any-return]


@lean
def visits_of_edge(tree: Tree, row: int, node: int, action: int) -> int:
    """How often an action was tried at a node."""
    child = tree.child[row, node, action]
    return 0 if child == UNEXPANDED else tree.visits[row, child]


@lean
def best_action(tree: Tree, plan: Plan, row: int, node: int, simulation: int) -> int:
    """The action with the best of `tree.scores`; -inf is never chosen.

    The k-th of equal scores, in the order of actions, takes the place of those before it if
    mix(mix(seed ^ simulation) ^ (node * A + action)) is divisible by k: by chance 1 / k.
    """
    actions = tree.child.shape[2]
    best, choice, ties = -np.inf, -1, 0
    for action in range(actions):
        score = tree.scores[row, action]
        if score > best:
            best, choice, ties = score, action, 1
        elif score == best and score != -np.inf:
            ties += 1
            draw = mix(plan.seed[row] ^ np.uint64(simulation))
            draw = mix(draw ^ np.uint64(node * actions + action))
            if draw % np.uint64(ties) == np.uint64(0):
                choice = action
    return choice
