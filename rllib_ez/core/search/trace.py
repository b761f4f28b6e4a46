"""What grown trees tell beyond their conclusion: Q at the root, and what is expected to follow.

Axes: B roots, N nodes, A actions.
"""

from __future__ import annotations

import numpy as np

from rllib_ez.core.search.lean import lean
from rllib_ez.core.search.nodes import visits_of_edge
from rllib_ez.core.search.tree import ROOT, UNEXPANDED, Tree
from rllib_ez.core.types import SearchTrace


def read_trace(tree: Tree, action: np.ndarray) -> SearchTrace:
    """What the trees say of each root and of the way on from it.

    Args:
        tree: grown; of it `child`, `visits` and `q` are read.
        action: [B] i64, chosen at the roots. One that was never tried is a variation by itself.
    """
    batch, nodes, actions = tree.child.shape
    q = np.full((batch, actions), np.nan, np.float32)
    variation = np.full((batch, nodes), -1, np.int32)  # no path has more than N - 1 edges
    longest = _follow(tree, action, q, variation)
    return SearchTrace(q=q, principal_variation=variation[:, :longest].copy())


@lean
def _follow(tree: Tree, action: np.ndarray, q: np.ndarray, variation: np.ndarray) -> int:
    """Fills q [B, A] and variation [B, N]; returns the length of the longest, at least 1."""
    longest = 1
    for row in range(len(action)):
        for tried in range(q.shape[1]):
            child = tree.child[row, ROOT, tried]
            if child != UNEXPANDED:
                q[row, tried] = tree.q[row, child]
        longest = max(longest, _follow_row(tree, variation, row, action[row]))
    return longest


@lean
def _follow_row(tree: Tree, variation: np.ndarray, row: int, action: int) -> int:
    """Writes what follows one root's action; returns how many actions it is."""
    node, length = ROOT, 0
    while action >= 0:
        variation[row, length] = action
        length += 1
        node = tree.child[row, node, action]
        action = -1 if node == UNEXPANDED else _most_visited(tree, row, node)
    return length


@lean
def _most_visited(tree: Tree, row: int, node: int) -> int:
    """The action tried most often at a node, lowest first; -1 where none was."""
    choice, most = -1, 0
    for action in range(tree.child.shape[2]):
        visits = visits_of_edge(tree, row, node, action)
        if visits > most:
            choice, most = action, visits
    return choice
