"""PUCT with EfficientZero's mean-Q estimate: visits are the policy."""

from __future__ import annotations

import numpy as np

from rllib_ez.core.search.lean import lean
from rllib_ez.core.search.nodes import normalised, visits_of_edge
from rllib_ez.core.search.plan import Conclusion, Plan
from rllib_ez.core.search.tree import ROOT, UNEXPANDED, Rules, Tree


@lean
def mean_q(tree: Tree, row: int, node: int, parent_estimate: float) -> float:
    """What an unvisited edge of `node` is thought to be worth.

    The mean over visited edges, into which below the root the parent's own estimate enters as
    one term more; 0 at a root without visited edges.

    Source: EfficientZero, arXiv:2111.00210, eq. 8.
    """
    q_sum = 0.0
    expanded = 0
    for action in range(tree.child.shape[2]):
        child = tree.child[row, node, action]
        if child != UNEXPANDED:
            q_sum += tree.q[row, child]
            expanded += 1
    if node != ROOT:
        return (parent_estimate + q_sum) / (1 + expanded)
    return q_sum / expanded if expanded > 0 else 0.0


@lean
def score_by_puct(
    tree: Tree, rules: Rules, plan: Plan, row: int, node: int, estimate: float
) -> None:
    """Scores the actions of a node into `tree.scores`; -inf where illegal at the root.

        score(a) = norm(Q(a)) + P(a) * exploration[N] / (1 + N(a))

    with N the node's visits (its expansion included, so that the prior counts from the first
    visit on) and exploration[N] = sqrt(N) * (c1 + log((N + c2 + 1) / c2)). An unvisited edge has
    the node's `mean_q` as Q.

    Source: MuZero, arXiv:1911.08265, appendix B; EfficientZero, arXiv:2111.00210, eqs. 8-10.
    """
    weight = rules.exploration[tree.visits[row, node]]
    untried = normalised(tree, row, estimate)
    for action in range(tree.child.shape[2]):
        child = tree.child[row, node, action]
        bonus = tree.prior[row, node, action] * weight
        if node == ROOT and not plan.legal[row, action]:
            tree.scores[row, action] = -np.inf
        elif child == UNEXPANDED:
            tree.scores[row, action] = untried + bonus
        else:
            norm = normalised(tree, row, tree.q[row, child])
            tree.scores[row, action] = norm + bonus / (1 + tree.visits[row, child])


@lean
def conclude_by_visits(tree: Tree, out: Conclusion, row: int) -> None:
    """Plays the most visited action, lowest index first; teaches visits / total."""
    total, most = 0, -1
    for action in range(tree.child.shape[2]):
        n = visits_of_edge(tree, row, ROOT, action)
        total += n
        if n > most:
            most = n
            out.action[row] = action
    for action in range(tree.child.shape[2]):
        out.policy[row, action] = visits_of_edge(tree, row, ROOT, action) / total
