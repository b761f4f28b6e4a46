"""The compiled loops of search: select a leaf, then expand it and back its value up.

Every loop handles one root at a time and touches that root's rows only.
Axes: B roots, N nodes, A actions.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from rllib_ez.core.random import mix

UNEXPANDED = -1


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def select(
    child: np.ndarray,
    prior: np.ndarray,
    visits: np.ndarray,
    value_sum: np.ndarray,
    reward: np.ndarray,
    q_bounds: np.ndarray,
    legal: np.ndarray,
    seed: np.ndarray,
    exploration: np.ndarray,
    discount: float,
    min_max_delta: float,
    simulation: int,
    leaf_parent: np.ndarray,
    leaf_action: np.ndarray,
) -> None:
    """Walks each tree down to an edge not expanded yet, by PUCT.

        score(a) = norm(Q(a)) + P(a) * exploration[N] / (1 + N(a))
        norm(q)  = clip((q - lowest) / max(highest - lowest, delta), 0, 1)

    with N the node's visits (its expansion included, so that the prior counts from the first
    visit on) and exploration[N] = sqrt(N) * (c1 + log((N + c2 + 1) / c2)). An unvisited edge
    has the mean-Q estimate of its node: the mean over visited edges, into which below the root
    the parent's own estimate enters as one term more. Equal scores are drawn among, seeded.

    Writes:
        leaf_parent: [B] i32, leaf_action: [B] i64, the edge to expand.

    Source: MuZero, arXiv:1911.08265, appendix B; EfficientZero, arXiv:2111.00210, eqs. 8-10.
    """
    actions = prior.shape[2]
    for row in range(prior.shape[0]):
        lowest = q_bounds[row, 0]
        spread = max(q_bounds[row, 1] - lowest, min_max_delta)
        node = 0
        estimate = 0.0
        while True:
            q_sum = 0.0
            expanded = 0
            for action in range(actions):
                c = child[row, node, action]
                if c != UNEXPANDED:
                    q_sum += reward[row, c] + discount * (value_sum[row, c] / visits[row, c])
                    expanded += 1
            if node != 0:
                estimate = (estimate + q_sum) / (1 + expanded)
            elif expanded > 0:
                estimate = q_sum / expanded
            weight = exploration[visits[row, node]]
            best = -np.inf
            choice = -1
            ties = 0
            for action in range(actions):
                if node == 0 and not legal[row, action]:
                    continue
                c = child[row, node, action]
                q = estimate
                n = 0
                if c != UNEXPANDED:
                    n = visits[row, c]
                    q = reward[row, c] + discount * (value_sum[row, c] / n)
                norm = 0.0  # no edge in the tree yet: nothing to compare with
                if lowest != np.inf:
                    norm = min(max((q - lowest) / spread, 0.0), 1.0)
                score = norm + prior[row, node, action] * weight / (1 + n)
                if score > best:
                    best = score
                    choice = action
                    ties = 1
                elif score == best:
                    ties += 1
                    draw = mix(mix(seed[row] ^ np.uint64(simulation)) ^ np.uint64(node * actions + action))
                    if draw % np.uint64(ties) == np.uint64(0):
                        choice = action
            c = child[row, node, choice]
            if c == UNEXPANDED:
                leaf_parent[row] = node
                leaf_action[row] = choice
                break
            node = c


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def expand_and_backup(
    child: np.ndarray,
    prior: np.ndarray,
    parent: np.ndarray,
    depth: np.ndarray,
    visits: np.ndarray,
    value_sum: np.ndarray,
    value_prefix: np.ndarray,
    reward: np.ndarray,
    q_bounds: np.ndarray,
    discount: float,
    lstm_horizon: int,
    node: int,
    leaf_parent: np.ndarray,
    leaf_action: np.ndarray,
    leaf_prior: np.ndarray,
    leaf_value_prefix: np.ndarray,
    leaf_value: np.ndarray,
) -> None:
    """Adds `node` to each tree under the selected edge and passes its value up to the root.

        reward(edge) = value_prefix(child) - value_prefix(parent)
        G <- reward(edge) + discount * G, from the leaf's value upwards

    where value_prefix(parent) counts as 0 if *the parent* stands at a multiple of
    `lstm_horizon`: there the sum, like the LSTM's memory, starts anew. Then the Q bounds are
    taken afresh over all edges, since values may have moved towards each other.
    """
    for row in range(child.shape[0]):
        p = leaf_parent[row]
        child[row, p, leaf_action[row]] = node
        parent[row, node] = p
        depth[row, node] = depth[row, p] + 1
        for action in range(prior.shape[2]):
            prior[row, node, action] = leaf_prior[row, action]
        before = 0.0
        if depth[row, p] % lstm_horizon != 0:
            before = value_prefix[row, p]
        value_prefix[row, node] = leaf_value_prefix[row]
        reward[row, node] = leaf_value_prefix[row] - before
        visits[row, node] = 1
        value_sum[row, node] = leaf_value[row]
        total = float(leaf_value[row])
        n = node
        while n != 0:
            total = reward[row, n] + discount * total
            n = parent[row, n]
            value_sum[row, n] += total
            visits[row, n] += 1
        lowest = np.inf
        highest = -np.inf
        for n in range(1, node + 1):
            q = reward[row, n] + discount * (value_sum[row, n] / visits[row, n])
            lowest = min(lowest, q)
            highest = max(highest, q)
        q_bounds[row, 0] = lowest
        q_bounds[row, 1] = highest


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def root_visit_counts(child: np.ndarray, visits: np.ndarray) -> np.ndarray:
    """[B, A] i32: how often each root action was tried."""
    counts = np.zeros((child.shape[0], child.shape[2]), np.int32)
    for row in range(child.shape[0]):
        for action in range(child.shape[2]):
            c = child[row, 0, action]
            if c != UNEXPANDED:
                counts[row, action] = visits[row, c]
    return counts
