"""The compiled loops of search: select a leaf, then expand it and back its value up.

Every loop handles one root at a time and touches that root's rows only.
Axes: B roots, N nodes, A actions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

from rllib_ez.core.random import mix
from rllib_ez.core.search.tree import ROOT, UNEXPANDED, Rules, Tree

Function = TypeVar("Function", bound=Callable[..., Any])


def lean(function: Function) -> Function:
    """Compiles what allocates nothing: without reference counts a tree of arrays costs half."""
    options: dict[str, Any] = {"cache": True, "nogil": True, "_nrt": False}
    return cast(Function, njit(**options)(function))


@lean
def select(
    tree: Tree, rules: Rules, simulation: int, leaf_parent: np.ndarray, leaf_action: np.ndarray
) -> None:
    """Walks each tree down to an edge not expanded yet, by PUCT.

        score(a) = norm(Q(a)) + P(a) * exploration[N] / (1 + N(a))
        norm(q)  = clip((q - lowest) / max(highest - lowest, delta), 0, 1)

    with N the node's visits (its expansion included, so that the prior counts from the first
    visit on) and exploration[N] = sqrt(N) * (c1 + log((N + c2 + 1) / c2)). While the tree has
    no edge, norm is 0. An unvisited edge has the mean-Q estimate of its node: the mean over
    visited edges, into which below the root the parent's own estimate enters as one term more;
    0 at a root without visited edges. Equal scores are drawn among, seeded: see `_choose`.

    Writes:
        leaf_parent: [B] i32, leaf_action: [B] i64, the edge to expand.

    Source: MuZero, arXiv:1911.08265, appendix B; EfficientZero, arXiv:2111.00210, eqs. 8-10.
    """
    for row in range(leaf_parent.shape[0]):
        node = ROOT
        estimate = 0.0  # of each root anew: it must not leak from the row before
        while True:
            estimate = _mean_q(tree, rules, row, node, estimate)
            action = _choose(tree, rules, row, node, estimate, simulation)
            child = tree.child[row, node, action]
            if child == UNEXPANDED:
                leaf_parent[row] = node
                leaf_action[row] = action
                break
            node = child


@lean
def expand_and_backup(
    tree: Tree,
    rules: Rules,
    node: int,
    edge: tuple[np.ndarray, np.ndarray],
    estimate: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """Adds `node` to each tree under the selected edge and passes its value up to the root.

        reward(edge) = value_prefix(child) - value_prefix(parent)
        G <- reward(edge) + discount * G, from the leaf's value upwards

    where value_prefix(parent) counts as 0 if *the parent* stands at a multiple of
    `lstm_horizon`: there the sum, like the LSTM's memory, starts anew. Then the Q bounds are
    taken afresh over all edges, since values may have moved towards each other.

    Args:
        tree: is written to.
        rules: of the search.
        node: index of the new nodes.
        edge: leaf_parent [B] i32 and leaf_action [B] i64, from `select`.
        estimate: prior [B, A] f32, value_prefix [B] f32, value [B] f32 of the new nodes.
    """
    leaf_parent, leaf_action = edge
    for row in range(leaf_parent.shape[0]):
        tree.child[row, leaf_parent[row], leaf_action[row]] = node
        tree.parent[row, node] = leaf_parent[row]
        _expand(tree, rules, row, node, estimate)
        _backup(tree, rules, row, node)
        _bound(tree, rules, row, node)


@njit(cache=True, nogil=True)
def root_visit_counts(child: np.ndarray, visits: np.ndarray) -> np.ndarray:
    """[B, A] i32: how often each root action was tried."""
    counts = np.zeros((child.shape[0], child.shape[2]), np.int32)
    for row in range(child.shape[0]):
        for action in range(child.shape[2]):
            c = child[row, ROOT, action]
            if c != UNEXPANDED:
                counts[row, action] = visits[row, c]
    return counts


@lean
def q_of_edge(tree: Tree, rules: Rules, row: int, child: int) -> float:
    """Q of the edge that leads to `child`: reward(edge) + discount * mean value(child)."""
    mean = tree.value_sum[row, child] / tree.visits[row, child]
    return float(tree.reward[row, child] + rules.discount * mean)


@lean
def _mean_q(tree: Tree, rules: Rules, row: int, node: int, parent_estimate: float) -> float:
    """What an unvisited edge of `node` is thought to be worth."""
    q_sum = 0.0
    expanded = 0
    for action in range(tree.child.shape[2]):
        child = tree.child[row, node, action]
        if child != UNEXPANDED:
            q_sum += q_of_edge(tree, rules, row, child)
            expanded += 1
    if node != ROOT:
        return (parent_estimate + q_sum) / (1 + expanded)
    return q_sum / expanded if expanded > 0 else 0.0


@lean
def _choose(tree: Tree, rules: Rules, row: int, node: int, estimate: float, simulation: int) -> int:
    """The action with the best score.

    The k-th of equal scores, in the order of actions, takes the place of those before it if
    mix(mix(seed ^ simulation) ^ (node * A + action)) is divisible by k: by chance 1 / k.
    """
    actions = tree.child.shape[2]
    lowest = tree.q_bounds[row, 0]
    spread = max(tree.q_bounds[row, 1] - lowest, rules.min_max_delta)
    weight = rules.exploration[tree.visits[row, node]]
    best, choice, ties = -np.inf, -1, 0
    for action in range(actions):
        if node == ROOT and not tree.legal[row, action]:
            continue
        child = tree.child[row, node, action]
        q, n = estimate, 0
        if child != UNEXPANDED:
            q, n = q_of_edge(tree, rules, row, child), tree.visits[row, child]
        norm = 0.0  # no edge in the tree yet: nothing to compare with
        if lowest != np.inf:
            norm = min(max((q - lowest) / spread, 0.0), 1.0)
        score = norm + tree.prior[row, node, action] * weight / (1 + n)
        if score > best:
            best, choice, ties = score, action, 1
        elif score == best:
            ties += 1
            place = np.uint64(node * actions + action)
            draw = mix(mix(tree.seed[row] ^ np.uint64(simulation)) ^ place)
            if draw % np.uint64(ties) == np.uint64(0):
                choice = action
    return choice


@lean
def _expand(
    tree: Tree,
    rules: Rules,
    row: int,
    node: int,
    estimate: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    prior, value_prefix, value = estimate
    parent = tree.parent[row, node]
    before = 0.0
    if tree.depth[row, parent] % rules.lstm_horizon != 0:
        before = tree.value_prefix[row, parent]
    for action in range(prior.shape[1]):
        tree.prior[row, node, action] = prior[row, action]
    tree.depth[row, node] = tree.depth[row, parent] + 1
    tree.value_prefix[row, node] = value_prefix[row]
    tree.reward[row, node] = value_prefix[row] - before
    tree.visits[row, node] = 1
    tree.raw_value[row, node] = value[row]
    tree.value_sum[row, node] = value[row]


@lean
def _backup(tree: Tree, rules: Rules, row: int, node: int) -> None:
    total = tree.value_sum[row, node]
    while node != ROOT:
        total = tree.reward[row, node] + rules.discount * total
        node = tree.parent[row, node]
        tree.value_sum[row, node] += total
        tree.visits[row, node] += 1


@lean
def _bound(tree: Tree, rules: Rules, row: int, last: int) -> None:
    lowest, highest = np.inf, -np.inf
    for node in range(1, last + 1):
        q = q_of_edge(tree, rules, row, node)
        lowest = min(lowest, q)
        highest = max(highest, q)
    tree.q_bounds[row, 0] = lowest
    tree.q_bounds[row, 1] = highest
