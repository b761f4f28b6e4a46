"""Gumbel search: sequential halving at the root, a deterministic rule below it.

Every loop handles one root at a time and touches that root's rows only.
Axes: B roots, N nodes, A actions.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from rllib_ez.core.random import mix, uniform
from rllib_ez.core.search.kernels import lean, q_of_edge
from rllib_ez.core.search.tree import ROOT, UNEXPANDED, Rules, Tree


class Plan(NamedTuple):
    """How the roots of a batch are to be tried."""

    noise: np.ndarray  # [B, A] f64
    schedule: np.ndarray  # [M + 1, num_simulations] i32, see `considered_visits`
    num_considered: np.ndarray  # [B] i64, row of the schedule


def considered_visits(num_simulations: int, max_actions: int) -> np.ndarray:
    """Which visit count the action tried at each simulation must have so far.

    Row m is the schedule of sequential halving over m actions: in each of ceil(log2 m) phases the
    c actions still considered get max(1, floor(n / (phases * c))) more visits each, then the
    better half stays, at least 2.

    Returns:
        [max_actions + 1, num_simulations] i32; row 0 is not used.

    Source: Gumbel MuZero, Danihelka et al. 2022, algorithm 2.
    """
    table = np.zeros((max_actions + 1, num_simulations), np.int32)
    for m in range(1, max_actions + 1):
        table[m] = _halving_schedule(num_simulations, m)
    return table


def _halving_schedule(num_simulations: int, num_actions: int) -> list[int]:
    if num_actions == 1:
        return list(range(num_simulations))
    phases = math.ceil(math.log2(num_actions))
    considered, visits = num_actions, 0
    schedule: list[int] = []
    while len(schedule) < num_simulations:
        extra = max(1, num_simulations // (phases * considered))
        for _ in range(extra):
            schedule += [visits] * considered
            visits += 1
        considered = max(2, considered // 2)
    return schedule[:num_simulations]


@njit(cache=True, nogil=True)
def gumbel_noise(seeds: np.ndarray, num_actions: int) -> np.ndarray:
    """[B, A] f64: -log(-log(u)), row b a function of seeds[b] alone."""
    noise = np.empty((len(seeds), num_actions))
    for row in range(len(seeds)):
        state = seeds[row]
        for action in range(num_actions):
            state = mix(state)
            noise[row, action] = -math.log(-math.log(uniform(state)))
    return noise


@njit(cache=True, nogil=True)
def select(
    tree: Tree,
    rules: Rules,
    plan: Plan,
    simulation: int,
    leaf_parent: np.ndarray,
    leaf_action: np.ndarray,
) -> None:
    """Walks each tree down to an edge not expanded yet.

    At the root: the best noise + score among actions whose visits stand where the schedule says.
    Below: argmax_a softmax(score)(a) - N(a) / (1 + sum_b N(b)). Ties are drawn among, seeded.

    Writes:
        leaf_parent: [B] i32, leaf_action: [B] i64, the edge to expand.

    Source: Gumbel MuZero, Danihelka et al. 2022, algorithm 2 and eq. 14.
    """
    actions = tree.child.shape[2]
    scores = np.empty(actions)
    counts = np.empty(actions, np.int32)
    for row in range(leaf_parent.shape[0]):
        node = ROOT
        while True:
            total = score_actions(tree, rules, row, node, scores, counts)
            if node == ROOT:
                _keep_scheduled(tree, plan, row, simulation, scores, counts)
            else:
                softmax_in_place(scores, np.ones(actions, np.bool_))
                for action in range(actions):
                    scores[action] -= counts[action] / (1 + total)
            action = _best(scores, mix(tree.seed[row] ^ np.uint64(simulation)), node * actions)
            child = tree.child[row, node, action]
            if child == UNEXPANDED:
                leaf_parent[row] = node
                leaf_action[row] = action
                break
            node = child


@njit(cache=True, nogil=True)
def conclude(
    tree: Tree, rules: Rules, plan: Plan, action_taken: np.ndarray, improved: np.ndarray
) -> None:
    """The action and the improved policy of each root.

    Writes:
        action_taken: [B] i64, the best noise + score among the most visited.
        improved: [B, A] f32, softmax(score) over legal actions: the policy target.

    Source: Gumbel MuZero, Danihelka et al. 2022, algorithm 2 and eq. 11.
    """
    actions = tree.child.shape[2]
    scores = np.empty(actions)
    counts = np.empty(actions, np.int32)
    for row in range(len(action_taken)):
        score_actions(tree, rules, row, ROOT, scores, counts)
        most = counts.max()
        best = -np.inf
        for action in range(actions):
            if tree.legal[row, action] and counts[action] == most:
                score = scores[action] + plan.noise[row, action]
                if score > best:
                    best = score
                    action_taken[row] = action
        softmax_in_place(scores, tree.legal[row])
        for action in range(actions):
            improved[row, action] = scores[action]


@lean
def score_actions(
    tree: Tree, rules: Rules, row: int, node: int, scores: np.ndarray, counts: np.ndarray
) -> int:
    """Writes log P(a) + sigma(completed Q(a)) into `scores` [A], visits into `counts` [A].

        sigma(q)  = (c_visit + max_b N(b)) * c_scale * norm(q)
        norm(q)   = clip((q - lowest) / max(highest - lowest, delta), 0, 1), bounds of the tree
        completed = Q(a) if visited, else v_mix

    Returns sum_b N(b).

    Source: Gumbel MuZero, Danihelka et al. 2022, eqs. 8, 10; norm as in EfficientZero.
    """
    total, most = 0, 0
    for action in range(len(scores)):
        child = tree.child[row, node, action]
        counts[action] = 0
        if child != UNEXPANDED:
            counts[action] = tree.visits[row, child]
            scores[action] = q_of_edge(tree, rules, row, child)
            total += counts[action]
            most = max(most, counts[action])
    mixed = _mixed_value(tree, row, node, scores, counts)
    lowest = tree.q_bounds[row, 0]
    spread = max(tree.q_bounds[row, 1] - lowest, rules.min_max_delta)
    factor = (rules.c_visit + most) * rules.c_scale
    for action in range(len(scores)):
        q = scores[action] if counts[action] > 0 else mixed
        norm = 0.0
        if lowest != np.inf:
            norm = min(max((q - lowest) / spread, 0.0), 1.0)
        scores[action] = math.log(_prior(tree, row, node, action)) + factor * norm
    return total


@lean
def _prior(tree: Tree, row: int, node: int, action: int) -> float:
    return max(float(tree.prior[row, node, action]), 1e-30)


@lean
def _mixed_value(tree: Tree, row: int, node: int, q: np.ndarray, counts: np.ndarray) -> float:
    """What an unvisited action is thought to be worth.

        v_mix = (v + sum_b N(b) * (sum_visited P Q / sum_visited P)) / (1 + sum_b N(b))

    where v is the network's value of the node.

    Source: Gumbel MuZero, Danihelka et al. 2022, eq. 33.
    """
    prior_sum = 0.0
    weighted_q = 0.0
    total = 0
    for action in range(len(q)):
        if counts[action] > 0:
            weight = _prior(tree, row, node, action)
            prior_sum += weight
            weighted_q += weight * q[action]
            total += counts[action]
    value = float(tree.raw_value[row, node])
    return (value + total * (weighted_q / prior_sum)) / (1 + total) if total > 0 else value


@lean
def softmax_in_place(scores: np.ndarray, allowed: np.ndarray) -> None:
    """Turns scores [A] into probabilities; 0 where not `allowed`."""
    highest = -np.inf
    for action in range(len(scores)):
        if allowed[action]:
            highest = max(highest, scores[action])
    total = 0.0
    for action in range(len(scores)):
        scores[action] = math.exp(scores[action] - highest) if allowed[action] else 0.0
        total += scores[action]
    for action in range(len(scores)):
        scores[action] /= total


@lean
def _keep_scheduled(
    tree: Tree, plan: Plan, row: int, simulation: int, scores: np.ndarray, counts: np.ndarray
) -> None:
    wanted = plan.schedule[plan.num_considered[row], simulation]
    for action in range(len(scores)):
        if tree.legal[row, action] and counts[action] == wanted:
            scores[action] += plan.noise[row, action]
        else:
            scores[action] = -np.inf


@lean
def _best(scores: np.ndarray, seed: int, place: int) -> int:
    """Drawn among equal scores as in `kernels`."""
    best, choice, ties = -np.inf, -1, 0
    for action in range(len(scores)):
        if scores[action] > best:
            best, choice, ties = scores[action], action, 1
        elif scores[action] == best and best != -np.inf:
            ties += 1
            if mix(seed ^ np.uint64(place + action)) % np.uint64(ties) == np.uint64(0):
                choice = action
    return choice
