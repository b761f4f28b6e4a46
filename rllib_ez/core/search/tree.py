"""The search trees of B roots as arrays. Axes: B roots, N nodes, A actions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

UNEXPANDED = -1
ROOT = 0


@dataclass(frozen=True, slots=True)
class Tree:
    """B trees of at most N nodes; node 0 is the root, node i + 1 is expanded by simulation i."""

    child: np.ndarray  # [B, N, A] i32, node index or UNEXPANDED
    prior: np.ndarray  # [B, N, A] f32, rows sum to 1; at the root 0 where illegal
    parent: np.ndarray  # [B, N] i32
    depth: np.ndarray  # [B, N] i32, 0 at the root
    visits: np.ndarray  # [B, N] i32, the expansion counts as the first
    value_sum: np.ndarray  # [B, N] f64, returns from here, `visits` of them
    raw_value: np.ndarray  # [B, N] f64, the network's value when expanded
    value_prefix: np.ndarray  # [B, N] f64, rewards since the last reset, up to here
    reward: np.ndarray  # [B, N] f64, of the edge that leads here
    q_bounds: np.ndarray  # [B, 2] f64, lowest and highest Q of the tree's edges
    legal: np.ndarray  # [B, A] bool, at the root; deeper every action is
    seed: np.ndarray  # [B] u64, breaks ties

    @classmethod
    def plant(
        cls, *, prior: np.ndarray, value: np.ndarray, legal: np.ndarray, seed: np.ndarray, nodes: int
    ) -> Tree:
        """Trees that hold their roots only.

        Args:
            prior: [B, A] f32, noise already mixed in.
            value: [B] f32, the network's value of each root.
            legal: [B, A] bool.
            seed: [B] u64.
            nodes: N, room for the root and every simulation.
        """
        batch, actions = prior.shape
        tree = cls(
            child=np.full((batch, nodes, actions), UNEXPANDED, np.int32),
            prior=np.zeros((batch, nodes, actions), np.float32),
            parent=np.full((batch, nodes), -1, np.int32),
            depth=np.zeros((batch, nodes), np.int32),
            visits=np.zeros((batch, nodes), np.int32),
            value_sum=np.zeros((batch, nodes)),
            raw_value=np.zeros((batch, nodes)),
            value_prefix=np.zeros((batch, nodes)),
            reward=np.zeros((batch, nodes)),
            q_bounds=np.tile(np.array([np.inf, -np.inf]), (batch, 1)),
            legal=np.ascontiguousarray(legal),
            seed=np.ascontiguousarray(seed),
        )
        tree.prior[:, ROOT] = prior
        tree.visits[:, ROOT] = 1
        tree.value_sum[:, ROOT] = value
        tree.raw_value[:, ROOT] = value
        return tree
