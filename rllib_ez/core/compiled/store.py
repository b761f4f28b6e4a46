"""The arrays that compiled search and a compiled network share.

Axes: B roots, N nodes, D numbers of a latent, M lstm_size, A actions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Store(NamedTuple):
    """What the network said of each node and will be asked to go on from. C-contiguous."""

    latent: NDArray[np.float32]  # [B, N, D] f32
    memory: NDArray[np.float32]  # [B, N, 2 * M] f32, the LSTM's h, then its c

    @classmethod
    def make(cls, batch: int, nodes: int, *, latent: int, memory: int) -> Store:
        """Room for `nodes` latents of D = `latent` numbers and LSTMs of M = `memory` units."""
        return cls(
            np.zeros((batch, nodes, latent), np.float32),
            np.zeros((batch, nodes, 2 * memory), np.float32),
        )


class Edge(NamedTuple):
    """The step that is to be imagined in each tree."""

    parent: NDArray[np.int32]  # [B] i32, node to start from
    action: NDArray[np.int64]  # [B] i64, below A
    forget: NDArray[np.bool_]  # [B] bool, the memory counts as 0: the value prefix starts anew

    @classmethod
    def make(cls, batch: int) -> Edge:
        """Zeros."""
        return cls(np.zeros(batch, np.int32), np.zeros(batch, np.int64), np.zeros(batch, np.bool_))


class Answer(NamedTuple):
    """What the network says of the new node of each tree. C-contiguous."""

    prior: NDArray[np.float32]  # [B, A] f32, rows sum to 1
    value_prefix: NDArray[np.float32]  # [B] f32, reward units
    value: NDArray[np.float32]  # [B] f32, reward units

    @classmethod
    def make(cls, batch: int, num_actions: int) -> Answer:
        """Zeros."""
        return cls(
            np.zeros((batch, num_actions), np.float32),
            np.zeros(batch, np.float32),
            np.zeros(batch, np.float32),
        )
