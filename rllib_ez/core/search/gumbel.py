"""Gumbel search: sequential halving at the root, a deterministic rule below it.

Every loop handles one root at a time and touches that root's rows only.
Axes: B roots, N nodes, A actions.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from rllib_ez.core.random import mix, uniform

UNEXPANDED = -1


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
def score_actions(
    child: np.ndarray,
    prior: np.ndarray,
    visits: np.ndarray,
    value_sum: np.ndarray,
    reward: np.ndarray,
    raw_value: np.ndarray,
    q_bounds: np.ndarray,
    discount: float,
    min_max_delta: float,
    c_visit: float,
    c_scale: float,
    row: int,
    node: int,
    scores: np.ndarray,
    counts: np.ndarray,
) -> int:
    """Writes log P(a) + sigma(completed Q(a)) into `scores` [A], visits into `counts` [A].

        sigma(q)  = (c_visit + max_b N(b)) * c_scale * norm(q)
        norm(q)   = clip((q - lowest) / max(highest - lowest, delta), 0, 1), bounds of the tree
        completed = Q(a) if visited, else v_mix
        v_mix     = (v + sum_b N(b) * (sum_visited P Q / sum_visited P)) / (1 + sum_b N(b))

    where v is the network's value of the node. Returns sum_b N(b).

    Source: Gumbel MuZero, Danihelka et al. 2022, eqs. 8, 10, 33; norm as in EfficientZero.
    """
    actions = prior.shape[2]
    total = 0
    most = 0
    prior_sum = 0.0
    weighted_q = 0.0
    for action in range(actions):
        c = child[row, node, action]
        counts[action] = 0
        if c != UNEXPANDED:
            n = visits[row, c]
            q = reward[row, c] + discount * (value_sum[row, c] / n)
            counts[action] = n
            scores[action] = q
            total += n
            most = max(most, n)
            weight = max(float(prior[row, node, action]), 1e-30)
            prior_sum += weight
            weighted_q += weight * q
    mixed = raw_value[row, node]
    if total > 0:
        mixed = (mixed + total * (weighted_q / prior_sum)) / (1 + total)
    lowest = q_bounds[row, 0]
    spread = max(q_bounds[row, 1] - lowest, min_max_delta)
    factor = (c_visit + most) * c_scale
    for action in range(actions):
        q = scores[action] if counts[action] > 0 else mixed
        norm = 0.0
        if lowest != np.inf:
            norm = min(max((q - lowest) / spread, 0.0), 1.0)
        scores[action] = math.log(max(float(prior[row, node, action]), 1e-30)) + factor * norm
    return total


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def select(
    child: np.ndarray,
    prior: np.ndarray,
    visits: np.ndarray,
    value_sum: np.ndarray,
    reward: np.ndarray,
    raw_value: np.ndarray,
    q_bounds: np.ndarray,
    legal: np.ndarray,
    seed: np.ndarray,
    noise: np.ndarray,
    schedule: np.ndarray,
    num_considered: np.ndarray,
    discount: float,
    min_max_delta: float,
    c_visit: float,
    c_scale: float,
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
    actions = prior.shape[2]
    scores = np.empty(actions)
    counts = np.empty(actions, np.int32)
    everything = np.ones(actions, np.bool_)
    for row in range(prior.shape[0]):
        node = 0
        while True:
            total = score_actions(
                child, prior, visits, value_sum, reward, raw_value, q_bounds, discount,
                min_max_delta, c_visit, c_scale, row, node, scores, counts,
            )  # fmt: skip
            if node == 0:
                wanted = schedule[num_considered[row], simulation]
                for action in range(actions):
                    if legal[row, action] and counts[action] == wanted:
                        scores[action] += noise[row, action]
                    else:
                        scores[action] = -np.inf
            else:
                softmax_in_place(scores, everything)
                for action in range(actions):
                    scores[action] -= counts[action] / (1 + total)
            best = -np.inf
            choice = -1
            ties = 0
            for action in range(actions):
                if scores[action] > best:
                    best = scores[action]
                    choice = action
                    ties = 1
                elif scores[action] == best and best != -np.inf:
                    ties += 1
                    place = np.uint64(node * actions + action)
                    draw = mix(mix(seed[row] ^ np.uint64(simulation)) ^ place)
                    if draw % np.uint64(ties) == np.uint64(0):
                        choice = action
            c = child[row, node, choice]
            if c == UNEXPANDED:
                leaf_parent[row] = node
                leaf_action[row] = choice
                break
            node = c


@njit(cache=True, nogil=True)
def conclude(
    child: np.ndarray,
    prior: np.ndarray,
    visits: np.ndarray,
    value_sum: np.ndarray,
    reward: np.ndarray,
    raw_value: np.ndarray,
    q_bounds: np.ndarray,
    legal: np.ndarray,
    noise: np.ndarray,
    discount: float,
    min_max_delta: float,
    c_visit: float,
    c_scale: float,
    action_taken: np.ndarray,
    improved: np.ndarray,
) -> None:
    """The action and the improved policy of each root.

    Writes:
        action_taken: [B] i64, the best noise + score among the most visited.
        improved: [B, A] f32, softmax(score) over legal actions: the policy target.

    Source: Gumbel MuZero, Danihelka et al. 2022, algorithm 2 and eq. 11.
    """
    actions = prior.shape[2]
    scores = np.empty(actions)
    counts = np.empty(actions, np.int32)
    for row in range(prior.shape[0]):
        score_actions(
            child, prior, visits, value_sum, reward, raw_value, q_bounds, discount,
            min_max_delta, c_visit, c_scale, row, 0, scores, counts,
        )  # fmt: skip
        most = counts.max()
        best = -np.inf
        for action in range(actions):
            if legal[row, action] and counts[action] == most:
                score = scores[action] + noise[row, action]
                if score > best:
                    best = score
                    action_taken[row] = action
        softmax_in_place(scores, legal[row])
        for action in range(actions):
            improved[row, action] = scores[action]
