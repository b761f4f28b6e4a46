"""The arrays that compiled search and a compiled network share.

Axes: B roots, N nodes, D numbers of a latent, M lstm_size.
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
