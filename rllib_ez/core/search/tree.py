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
    q: np.ndarray  # [B, N] f64, of the edge that leads here: reward + discount * mean value
    q_bounds: np.ndarray  # [B, 2] f64, lowest and highest Q of the tree's edges; (0, 0) without any
    q_scale: np.ndarray  # [B] f64, 1 / max(highest - lowest, min_max_delta); 0 without any edge
    scores: np.ndarray  # [B, A] f64, scratch: of the actions of the node looked at

    @classmethod
    def plant(cls, prior: np.ndarray, value: np.ndarray, *, nodes: int) -> Tree:
        """Trees that hold their roots only.

        Args:
            prior: [B, A] f32, noise already mixed in, 0 where illegal.
            value: [B] f32, the network's value of each root.
            nodes: N, room for the root and every simulation.
        """
        batch, actions = prior.shape
        tree = cls(
            child=np.full((batch, nodes, actions), UNEXPANDED, np.int32),
            prior=np.empty((batch, nodes, actions), np.float32),
            parent=np.full((batch, nodes), -1, np.int32),
            depth=np.zeros((batch, nodes), np.int32),
            visits=np.zeros((batch, nodes), np.int32),
            value_sum=np.zeros((batch, nodes)),
            raw_value=np.zeros((batch, nodes)),
            value_prefix=np.zeros((batch, nodes)),
            reward=np.zeros((batch, nodes)),
            q=np.zeros((batch, nodes)),
            q_bounds=np.zeros((batch, 2)),
            q_scale=np.zeros(batch),
            scores=np.zeros((batch, actions)),
        )
        tree.prior[:, ROOT] = prior
        tree.visits[:, ROOT] = 1
        tree.value_sum[:, ROOT] = value
        tree.raw_value[:, ROOT] = value
        return tree


class Edge(NamedTuple):
    """The edge that each root expands next."""

    parent: np.ndarray  # [B] i32, node
    action: np.ndarray  # [B] i64
    forget: np.ndarray  # [B] bool, the parent's LSTM memory counts as 0: its prefix starts anew

    @classmethod
    def blank(cls, batch: int) -> Edge:
        """Room for B edges."""
        return cls(np.zeros(batch, np.int32), np.zeros(batch, np.int64), np.zeros(batch, np.bool_))


class Answer(NamedTuple):
    """What the network says of the nodes just expanded."""

    prior: np.ndarray  # [B, A] f32, rows sum to 1
    value_prefix: np.ndarray  # [B] f32, reward units
    value: np.ndarray  # [B] f32, reward units

    @classmethod
    def blank(cls, batch: int, actions: int) -> Answer:
        """Room for B answers."""
        one = np.zeros(batch, np.float32)
        return cls(np.zeros((batch, actions), np.float32), one, one.copy())


class Rules(NamedTuple):
    """What `SearchConfig` says, as compiled code takes it."""

    gumbel: bool  # else PUCT
    exploration: np.ndarray  # [N + 1] f64, PUCT's factor of the prior at a node with n visits
    discount: float
    min_max_delta: float
    lstm_horizon: int
    c_visit: float
    c_scale: float

    @classmethod
    def of(cls, config: SearchConfig, *, num_simulations: int) -> Rules:
        """The rules of a search of at most `num_simulations`.

        exploration[n] = sqrt(n) * (pb_c_init + log((n + pb_c_base + 1) / pb_c_base)), n = 0 .. N
        """
        n = np.arange(num_simulations + 2, dtype=np.float64)
        weight = config.pb_c_init + np.log((n + config.pb_c_base + 1) / config.pb_c_base)
        return cls(
            gumbel=config.search_method == "gumbel",
            exploration=np.sqrt(n) * weight,
            discount=float(config.discount),
            min_max_delta=float(config.min_max_delta),
            lstm_horizon=config.lstm_horizon,
            c_visit=float(config.gumbel_c_visit),
            c_scale=float(config.gumbel_c_scale),
        )
