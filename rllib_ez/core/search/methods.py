"""The two ways to search: what they keep per batch, and the kernels they call.

Axes: B roots, N nodes, A actions.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from rllib_ez.core.config import SearchConfig
from rllib_ez.core.search import gumbel, kernels
from rllib_ez.core.search.tree import Rules, Tree


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

    def __init__(self, tree: Tree, rules: Rules) -> None:
        self.tree, self.rules = tree, rules

    def select(self, simulation: int, leaf_parent: np.ndarray, leaf_action: np.ndarray) -> None:
        """By PUCT score."""
        kernels.select(self.tree, self.rules, simulation, leaf_parent, leaf_action)

    def conclude(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The lowest index among the most visited, and visits / total."""
        policy = counts / counts.sum(axis=1, keepdims=True)
        return counts.argmax(axis=1), policy.astype(np.float32)


class Gumbel:
    """Sequential halving: the improved policy is taught, the last survivor is played."""

    def __init__(self, tree: Tree, rules: Rules, *, config: SearchConfig, noise: bool) -> None:
        self.tree, self.rules = tree, rules
        actions, simulations = tree.legal.shape[1], config.num_simulations
        most = min(config.max_considered_actions, actions, simulations)
        self.plan = gumbel.Plan(
            noise=gumbel.gumbel_noise(tree.seed, actions) if noise else np.zeros(tree.legal.shape),
            schedule=gumbel.considered_visits(simulations, most),
            num_considered=np.minimum(tree.legal.sum(axis=1), most),
        )

    def select(self, simulation: int, leaf_parent: np.ndarray, leaf_action: np.ndarray) -> None:
        """At the root by the schedule, below it deterministically."""
        gumbel.select(self.tree, self.rules, self.plan, simulation, leaf_parent, leaf_action)

    def conclude(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The best of the most visited, and the improved policy."""
        action = np.zeros(len(counts), np.int64)
        policy = np.zeros(counts.shape, np.float32)
        gumbel.conclude(self.tree, self.rules, self.plan, action, policy)
        return action, policy
