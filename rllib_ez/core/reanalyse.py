"""Fresh search results for old positions, computed once per target-network version.

A reanalysed target is a function of (position, target-network version, seed): so it is computed
when first asked for, in large batches, and remembered until the version moves on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from rllib_ez.core.config import ModelConfig, SearchConfig
from rllib_ez.core.engines import blank_engine
from rllib_ez.core.random import Stream, search_seeds
from rllib_ez.core.search import search


@dataclass(frozen=True, slots=True)
class FreshTargets:
    """What the target network's search says of M positions."""

    policy: np.ndarray  # [M, A] f32, see SearchResult.policy
    root_value: np.ndarray  # [M] f32, mean of the search's returns
    network_value: np.ndarray  # [M] f32, the value head alone


class Reanalyser:
    """The target network and a search with it. Holds no replay: it may live elsewhere."""

    def __init__(
        self,
        model: ModelConfig,
        config: SearchConfig,
        *,
        seed: int,
        max_batch: int,
        root_noise: bool,
        device: str | torch.device = "cpu",
        engine: str = "auto",
    ) -> None:
        self.config = config
        self.seed = seed
        self.max_batch = max_batch
        self.root_noise = root_noise
        self.model = blank_engine(model, device=device, engine=engine)
        self.version = -1  # no weights yet
        self.num_roots_searched = 0

    def set_weights(self, weights: dict[str, torch.Tensor], *, version: int) -> None:
        """Installs a new target network; `version` must differ from every earlier one."""
        self.model.load(weights)
        self.version = version

    def compute(self, observations: np.ndarray, positions: np.ndarray) -> FreshTargets:
        """Searches M positions with the target network.

        Args:
            observations: [M, L, *frame].
            positions: [M] i64, a number that no other position of the run has.
        """
        if self.version < 0:
            raise RuntimeError("set_weights must be called before compute: no target network yet")
        columns = np.stack((positions, np.full_like(positions, self.version)), axis=1)
        seeds = search_seeds(self.seed, Stream.REANALYSE, columns)
        self.num_roots_searched += len(positions)
        root = self.model.root(observations)
        result = search(
            self.model, root, config=self.config, seeds=seeds, root_noise=self.root_noise
        )
        return FreshTargets(result.policy, result.root_value, result.network_value)


class Positions(Protocol):
    """What the cache asks of a replay."""

    capacity: int
    generation: np.ndarray  # [capacity] i64

    def stacks(self, slots: np.ndarray) -> np.ndarray:
        """Observations [M, L, *frame] at slots [M] i64."""
        ...


class TargetCache:
    """The reanalysed targets of every slot of a replay, with the version they are from."""

    def __init__(self, replay: Positions, reanalyser: Reanalyser, *, num_actions: int) -> None:
        self.replay = replay
        self.reanalyser = reanalyser
        self.policy = np.zeros((replay.capacity, num_actions), np.float32)
        self.root_value = np.zeros(replay.capacity, np.float32)
        self.network_value = np.zeros(replay.capacity, np.float32)
        self._version = np.full(replay.capacity, -1, np.int64)
        self._generation = np.zeros(replay.capacity, np.int64)
        self.num_asked = 0
        self.num_computed = 0

    @staticmethod
    def bytes_per_position(num_actions: int) -> int:
        """What one slot costs here, for the memory budget."""
        return 4 * num_actions + 4 + 4 + 8 + 8

    def value(self, bootstrap: str) -> np.ndarray:
        """[capacity] f32: values to bootstrap from, by "search" or by "network"."""
        return self.root_value if bootstrap == "search" else self.network_value

    def refresh(self, slots: np.ndarray) -> None:
        """Makes sure that these slots [M] i64 (repeats allowed) hold targets of this version."""
        slots = np.unique(slots)
        self.num_asked += len(slots)
        generation = self.replay.generation[slots]
        fresh = self._version[slots] == self.reanalyser.version
        missing = slots[~(fresh & (self._generation[slots] == generation))]
        self.num_computed += len(missing)
        for start in range(0, len(missing), self.reanalyser.max_batch):
            self._compute(missing[start : start + self.reanalyser.max_batch])

    def _compute(self, slots: np.ndarray) -> None:
        generation = self.replay.generation[slots]
        position = generation * self.replay.capacity + slots
        targets = self.reanalyser.compute(self.replay.stacks(slots), position)
        self.policy[slots] = targets.policy
        self.root_value[slots] = targets.root_value
        self.network_value[slots] = targets.network_value
        self._version[slots] = self.reanalyser.version
        self._generation[slots] = generation

    def get_state(self) -> dict[str, np.ndarray]:
        """All that is remembered: computed anew in other batches, a last bit could differ."""
        known = np.flatnonzero(self._version >= 0)
        return {
            "slots": known,
            "policy": self.policy[known],
            "root_value": self.root_value[known],
            "network_value": self.network_value[known],
            "version": self._version[known],
            "generation": self._generation[known],
            "counters": np.array([self.num_asked, self.num_computed]),
        }

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restores what `get_state` gave."""
        for array in (self.policy, self.root_value, self.network_value, self._generation):
            array[:] = 0
        self._version[:] = -1
        known = state["slots"]
        self.policy[known] = state["policy"]
        self.root_value[known] = state["root_value"]
        self.network_value[known] = state["network_value"]
        self._version[known] = state["version"]
        self._generation[known] = state["generation"]
        self.num_asked, self.num_computed = (int(n) for n in state["counters"])
