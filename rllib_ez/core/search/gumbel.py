"""Gumbel search: sequential halving at the root, a deterministic rule below it."""

from __future__ import annotations

import math

import numpy as np

from rllib_ez.core.search.lean import lean
from rllib_ez.core.search.nodes import normalised, visits_of_edge
from rllib_ez.core.search.plan import Conclusion, Plan
from rllib_ez.core.search.tree import ROOT, UNEXPANDED, Rules, Tree


@lean
def score_by_gumbel(
    tree: Tree, rules: Rules, plan: Plan, row: int, node: int, simulation: int
) -> None:
    """Scores the actions of a node into `tree.scores`.

    At the root: noise + score where the visits stand as the schedule says, else -inf.
    Below: softmax(score)(a) - N(a) / (1 + sum_b N(b)).

    Source: Gumbel MuZero, Danihelka et al. 2022, algorithm 2 and eq. 14.
    """
    total = completed_scores(tree, rules, row, node)
    actions = tree.child.shape[2]
    if node == ROOT:
        wanted = plan.schedule[row, simulation]
        for action in range(actions):
            if plan.legal[row, action] and visits_of_edge(tree, row, node, action) == wanted:
                tree.scores[row, action] += plan.noise[row, action]
            else:
                tree.scores[row, action] = -np.inf
        return
    _softmax(tree, row)
    for action in range(actions):
        tree.scores[row, action] -= visits_of_edge(tree, row, node, action) / (1 + total)


@lean
def conclude_by_gumbel(tree: Tree, rules: Rules, plan: Plan, out: Conclusion, row: int) -> None:
    """Plays the best noise + score among the most visited; teaches the improved policy.

    The improved policy is softmax(score) over legal actions.

    Source: Gumbel MuZero, Danihelka et al. 2022, algorithm 2 and eq. 11.
    """
    completed_scores(tree, rules, row, ROOT)
    actions = tree.child.shape[2]
    most = 0
    for action in range(actions):
        most = max(most, visits_of_edge(tree, row, ROOT, action))
    best = -np.inf
    for action in range(actions):
        if not plan.legal[row, action]:
            tree.scores[row, action] = -np.inf
        elif visits_of_edge(tree, row, ROOT, action) == most:
            score = tree.scores[row, action] + plan.noise[row, action]
            if score > best:
                best = score
                out.action[row] = action
    _softmax(tree, row)
    for action in range(actions):
        out.policy[row, action] = tree.scores[row, action]


@lean
def completed_scores(tree: Tree, rules: Rules, row: int, node: int) -> int:
    """Writes log P(a) + sigma(completed Q(a)) into `tree.scores`; returns sum_b N(b).

        sigma(q)  = (c_visit + max_b N(b)) * c_scale * norm(q)
        completed = Q(a) if visited, else v_mix

    Source: Gumbel MuZero, Danihelka et al. 2022, eqs. 8, 10; norm as in EfficientZero.
    """
    total, most = 0, 0
    for action in range(tree.child.shape[2]):
        n = visits_of_edge(tree, row, node, action)
        total += n
        most = max(most, n)
    mixed = normalised(tree, rules, row, _mixed_value(tree, row, node, total))
    factor = (rules.c_visit + most) * rules.c_scale
    for action in range(tree.child.shape[2]):
        child = tree.child[row, node, action]
        norm = mixed if child == UNEXPANDED else normalised(tree, rules, row, tree.q[row, child])
        tree.scores[row, action] = math.log(_prior(tree, row, node, action)) + factor * norm
    return total


@lean
def _prior(tree: Tree, row: int, node: int, action: int) -> float:
    return max(float(tree.prior[row, node, action]), 1e-30)


@lean
def _mixed_value(tree: Tree, row: int, node: int, total: int) -> float:
    """What an unvisited action is thought to be worth.

        v_mix = (v + sum_b N(b) * (sum_visited P Q / sum_visited P)) / (1 + sum_b N(b))

    where v is the network's value of the node.

    Source: Gumbel MuZero, Danihelka et al. 2022, eq. 33.
    """
    prior_sum = 0.0
    weighted_q = 0.0
    for action in range(tree.child.shape[2]):
        child = tree.child[row, node, action]
        if child != UNEXPANDED:
            weight = _prior(tree, row, node, action)
            prior_sum += weight
            weighted_q += weight * tree.q[row, child]
    value = float(tree.raw_value[row, node])
    return (value + total * (weighted_q / prior_sum)) / (1 + total) if total > 0 else value


@lean
def _softmax(tree: Tree, row: int) -> None:
    """Turns `tree.scores` into probabilities; 0 where -inf."""
    highest, total = -np.inf, 0.0
    for action in range(tree.scores.shape[1]):
        highest = max(highest, tree.scores[row, action])
    for action in range(tree.scores.shape[1]):
        tree.scores[row, action] = math.exp(tree.scores[row, action] - highest)
        total += tree.scores[row, action]
    for action in range(tree.scores.shape[1]):
        tree.scores[row, action] /= total
