"""Gumbel search: sequential halving at the root, a deterministic rule below it."""

from __future__ import annotations

import math

import numpy as np

from rllib_ez.core.search.lean import lean
from rllib_ez.core.search.nodes import normalised, visits_of_edge
from rllib_ez.core.search.plan import TINY, Conclusion, Plan
from rllib_ez.core.search.tree import ROOT, UNEXPANDED, Rules, Tree


@lean
def score_by_gumbel(
    tree: Tree, rules: Rules, plan: Plan, row: int, node: int, simulation: int
) -> None:
    """Scores the actions of a node into `tree.scores`.

    At the root: noise + log P + sigma where the visits stand as the schedule says, else -inf.
    Below: improved policy(a) - N(a) / (1 + sum_b N(b)).

    Source: Gumbel MuZero, Danihelka et al. 2022, algorithm 2 and eq. 14.
    """
    total = _sigma(tree, rules, row, node)
    if node == ROOT:
        _keep_visited(tree, plan, row, plan.schedule[row, simulation])
        return
    norm = 1.0 / _improve(tree, row, node)
    share = 1.0 / (1 + total)
    for action in range(tree.child.shape[2]):
        visited = visits_of_edge(tree, row, node, action) * share
        tree.scores[row, action] = tree.scores[row, action] * norm - visited


@lean
def conclude_by_gumbel(tree: Tree, rules: Rules, plan: Plan, out: Conclusion, row: int) -> None:
    """Plays the best noise + log P + sigma among the most visited; teaches the improved policy.

    Source: Gumbel MuZero, Danihelka et al. 2022, algorithm 2 and eq. 11.
    """
    _sigma(tree, rules, row, ROOT)
    most = 0
    for action in range(tree.child.shape[2]):
        most = max(most, visits_of_edge(tree, row, ROOT, action))
    _keep_visited(tree, plan, row, most)
    best = -np.inf
    for action in range(tree.child.shape[2]):
        if tree.scores[row, action] > best:
            best = tree.scores[row, action]
            out.action[row] = action
    _sigma(tree, rules, row, ROOT)
    norm = 1.0 / _improve(tree, row, ROOT)
    for action in range(tree.child.shape[2]):
        out.policy[row, action] = tree.scores[row, action] * norm


@lean
def _keep_visited(tree: Tree, plan: Plan, row: int, wanted: int) -> None:
    """At the root: adds noise + log P where visits are as wanted; -inf elsewhere."""
    for action in range(tree.child.shape[2]):
        if plan.legal[row, action] and visits_of_edge(tree, row, ROOT, action) == wanted:
            tree.scores[row, action] += plan.gumbel[row, action]
        else:
            tree.scores[row, action] = -np.inf


@lean
def _sigma(tree: Tree, rules: Rules, row: int, node: int) -> int:
    """Writes sigma(completed Q(a)) into `tree.scores`; returns sum_b N(b).

        sigma(q)  = (c_visit + max_b N(b)) * c_scale * norm(q)
        completed = Q(a) if visited, else v_mix
        v_mix     = (v + sum_b N(b) * (sum_visited P Q / sum_visited P)) / (1 + sum_b N(b))

    where v is the network's value of the node.

    Source: Gumbel MuZero, Danihelka et al. 2022, eqs. 8, 10, 33; norm as in EfficientZero.
    """
    total, most, prior_sum, weighted_q = 0, 0, 0.0, 0.0
    for action in range(tree.child.shape[2]):
        child = tree.child[row, node, action]
        if child != UNEXPANDED:
            n = tree.visits[row, child]
            total += n
            most = max(most, n)
            weight = max(float(tree.prior[row, node, action]), TINY)
            prior_sum += weight
            weighted_q += weight * tree.q[row, child]
    mixed = tree.raw_value[row, node]
    if total > 0:
        mixed = (mixed + total * (weighted_q / prior_sum)) / (1 + total)
    factor = (rules.c_visit + most) * rules.c_scale
    untried = factor * normalised(tree, row, mixed)
    for action in range(tree.child.shape[2]):
        child = tree.child[row, node, action]
        tree.scores[row, action] = untried
        if child != UNEXPANDED:
            tree.scores[row, action] = factor * normalised(tree, row, tree.q[row, child])
    return total


@lean
def _improve(tree: Tree, row: int, node: int) -> float:
    """Turns sigma in `tree.scores` into P * exp(sigma - max sigma); returns their sum.

    Divided by it they are the improved policy, softmax(log P + sigma): written so, it takes no
    logarithm, and one exp for all unvisited actions, whose sigma is the same. At the root an
    illegal action has P = 0; elsewhere a network's 0 counts as tiny.
    """
    least = 0.0 if node == ROOT else TINY
    highest = -np.inf  # over what has a chance: else the sum could be 0
    for action in range(tree.child.shape[2]):
        if tree.prior[row, node, action] > 0.0 or least > 0.0:
            highest = max(highest, tree.scores[row, action])
    total, last, weight = 0.0, -np.inf, 0.0
    for action in range(tree.child.shape[2]):
        prior = max(float(tree.prior[row, node, action]), least)
        sigma = tree.scores[row, action]
        tree.scores[row, action] = 0.0
        if prior > 0.0:
            if sigma != last:
                last, weight = sigma, math.exp(sigma - highest)
            tree.scores[row, action] = prior * weight
            total += prior * weight
    return total
