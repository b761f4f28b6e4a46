"""The search trees of B roots as arrays. Axes: B roots, N nodes, A actions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rllib_ez.core.config import SearchConfig

UNEXPANDED = -1
ROOT = 0


class Tree(NamedTuple):
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
        cls,
        prior: np.ndarray,
        value: np.ndarray,
        *,
        legal: np.ndarray,
        seed: np.ndarray,
        nodes: int,
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


class Rules(NamedTuple):
    """What `SearchConfig` says, as compiled code takes it."""

    exploration: np.ndarray  # [N + 1] f64, PUCT's factor of the prior at a node with n visits
    discount: float
    min_max_delta: float
    lstm_horizon: int
    c_visit: float
    c_scale: float

    @classmethod
    def of(cls, config: SearchConfig) -> Rules:
        """The rules of a search.

        exploration[n] = sqrt(n) * (pb_c_init + log((n + pb_c_base + 1) / pb_c_base)), n = 0 .. N
        """
        n = np.arange(config.num_simulations + 2, dtype=np.float64)
        weight = config.pb_c_init + np.log((n + config.pb_c_base + 1) / config.pb_c_base)
        return cls(
            exploration=np.sqrt(n) * weight,
            discount=float(config.discount),
            min_max_delta=float(config.min_max_delta),
            lstm_horizon=config.lstm_horizon,
            c_visit=float(config.gumbel_c_visit),
            c_scale=float(config.gumbel_c_scale),
        )
