"""Fresh search results for old positions.

A reanalysed target is a function of (position, target-network version, seed): so it is computed
when first asked for, in large batches, and remembered until the version moves on
(`target_cache.py`).
"""

from __future__ import annotations

import numpy as np
import torch

from rllib_ez.core.config import ModelConfig, SearchConfig
from rllib_ez.core.engines import blank_engine
from rllib_ez.core.random import Stream, search_seeds
from rllib_ez.core.search import search
from rllib_ez.core.types import FreshTargets, PositionBatch


class Reanalyser:
    """The target network and a search with it. Holds no replay: it may live elsewhere."""

    def __init__(
        self,
        model: ModelConfig,
        config: SearchConfig,
        *,
        seed: int,
        root_noise: bool,
        device: str | torch.device = "cpu",
        engine: str = "auto",
    ) -> None:
        self.config = config
        self.seed = seed
        self.root_noise = root_noise
        self.model = blank_engine(model, device=device, engine=engine)
        self.version = -1  # no weights yet

    def set_weights(self, weights: dict[str, torch.Tensor], *, version: int) -> None:
        """Installs the target network of this version, >= 0."""
        self.model.load(weights)
        self.version = version

    def compute(self, batch: PositionBatch) -> FreshTargets:
        """Searches M positions with the target network.

        Raises:
            RuntimeError: no weights were set yet.
        """
        if self.version < 0:
            raise RuntimeError("set_weights must be called before compute: no target network yet")
        columns = np.stack((batch.position, np.full_like(batch.position, self.version)), axis=1)
        seeds = search_seeds(self.seed, Stream.REANALYSE, columns)
        root = self.model.root(batch.observations())
        result = search(
            self.model, root, config=self.config, seeds=seeds, root_noise=self.root_noise
        )
        return FreshTargets(result.policy, result.root_value, result.network_value)
