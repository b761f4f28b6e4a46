"""A world written down as tables, as a network of compiled search: nothing to round, no cost.

The tree's own speed is measured with it, and its exactness tested.
Axes: S states, A actions, B roots.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rllib_ez.core.compiled.store import Store
from rllib_ez.core.search.lean import lean
from rllib_ez.core.search.tree import Answer, Edge


class TableNet(NamedTuple):
    """A latent is the number of a state; the memory sums rewards until it is forgotten."""

    next_state: NDArray[np.int64]  # [S, A] i64
    reward: NDArray[np.float32]  # [S, A] f32
    prior: NDArray[np.float32]  # [S, A] f32
    value: NDArray[np.float32]  # [S] f32


class TableWork(NamedTuple):
    """No scratch is needed."""

    batch: int


@lean
def step(
    net: TableNet, work: TableWork, nodes: Store, node: int, count: int, edge: Edge, answer: Answer
) -> None:
    """Looks up one step in each of the first `count` trees."""
    for row in range(count):
        parent, action = edge.parent[row], edge.action[row]
        state = np.int64(nodes.latent[row, parent, 0])
        before = np.float32(0.0) if edge.forget[row] else nodes.memory[row, parent, 0]
        after = net.next_state[state, action]
        prefix = before + net.reward[state, action]
        nodes.latent[row, node, 0] = after
        nodes.memory[row, node, 0] = prefix
        nodes.memory[row, node, 1] = -prefix
        for a in range(net.prior.shape[1]):
            answer.prior[row, a] = net.prior[after, a]
        answer.value_prefix[row] = prefix
        answer.value[row] = net.value[after]
