"""The two ways to search: what they keep per batch, and the kernels they call.

Axes: B roots, N nodes, A actions.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from rllib_ez.core.config import SearchConfig
from rllib_ez.core.search import gumbel, kernels
from rllib_ez.core.search.tree import Tree


class Method(Protocol):
    """Chooses edges to expand, and in the end an action."""

    def select(self, simulation: int, leaf_parent: np.ndarray, leaf_action: np.ndarray) -> None:
        """Writes the edge to expand of each tree: leaf_parent [B] i32, leaf_action [B] i64."""
        ...

    def conclude(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Action [B] i64 and policy target [B, A] f32, given root visits [B, A] i32."""
        ...


class Puct:
    """The paper's: visits are the policy, the most visited action is played."""

    def __init__(self, tree: Tree, config: SearchConfig) -> None:
        self.tree, self.config = tree, config
        self.exploration = exploration_weights(config)

    def select(self, simulation: int, leaf_parent: np.ndarray, leaf_action: np.ndarray) -> None:
        """By PUCT score."""
        tree, config = self.tree, self.config
        kernels.select(
            tree.child, tree.prior, tree.visits, tree.value_sum, tree.reward, tree.q_bounds,
            tree.legal, tree.seed, self.exploration, config.discount, config.min_max_delta,
            simulation, leaf_parent, leaf_action,
        )  # fmt: skip

    def conclude(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The lowest index among the most visited, and visits / total."""
        policy = counts / counts.sum(axis=1, keepdims=True)
        return counts.argmax(axis=1), policy.astype(np.float32)


def exploration_weights(config: SearchConfig) -> np.ndarray:
    """[N + 1] f64: the factor of the prior at a node with n visits, n = 0 .. N.

    sqrt(n) * (pb_c_init + log((n + pb_c_base + 1) / pb_c_base))
    """
    n = np.arange(config.num_simulations + 2, dtype=np.float64)
    weight = config.pb_c_init + np.log((n + config.pb_c_base + 1) / config.pb_c_base)
    return np.asarray(np.sqrt(n) * weight)


class Gumbel:
    """Sequential halving: the improved policy is taught, the last survivor is played."""

    def __init__(self, tree: Tree, config: SearchConfig, *, noise: bool) -> None:
        self.tree, self.config = tree, config
        actions = tree.legal.shape[1]
        self.noise = np.zeros(tree.legal.shape)
        if noise:
            self.noise = gumbel.gumbel_noise(tree.seed, actions)
        most = min(config.max_considered_actions, actions, config.num_simulations)
        self.schedule = gumbel.considered_visits(config.num_simulations, most)
        self.num_considered = np.minimum(tree.legal.sum(axis=1), most)

    def select(self, simulation: int, leaf_parent: np.ndarray, leaf_action: np.ndarray) -> None:
        """At the root by the schedule, below it deterministically."""
        tree, config = self.tree, self.config
        gumbel.select(
            tree.child, tree.prior, tree.visits, tree.value_sum, tree.reward, tree.raw_value,
            tree.q_bounds, tree.legal, tree.seed, self.noise, self.schedule, self.num_considered,
            config.discount, config.min_max_delta, config.gumbel_c_visit, config.gumbel_c_scale,
            simulation, leaf_parent, leaf_action,
        )  # fmt: skip

    def conclude(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The best of the most visited, and the improved policy."""
        tree, config = self.tree, self.config
        action = np.zeros(len(counts), np.int64)
        policy = np.zeros(counts.shape, np.float32)
        gumbel.conclude(
            tree.child, tree.prior, tree.visits, tree.value_sum, tree.reward, tree.raw_value,
            tree.q_bounds, tree.legal, self.noise, config.discount, config.min_max_delta,
            config.gumbel_c_visit, config.gumbel_c_scale, action, policy,
        )  # fmt: skip
        return action, policy
