"""From observations to actions: stack frames, search, choose.

Axes: B environments, A actions, L frame_stack.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rllib_ez.core.config import SearchConfig
from rllib_ez.core.engines import SearchEngine, StepEngine
from rllib_ez.core.random import Stream, search_seeds
from rllib_ez.core.search import sample_actions, search
from rllib_ez.core.types import SearchResult


class FrameStacks:
    """The last L frames of each environment; an episode's first frame fills its stack."""

    def __init__(
        self, num_envs: int, frame_stack: int, frame_shape: tuple[int, ...], dtype: np.dtype
    ) -> None:
        self.stacks = np.zeros((num_envs, frame_stack, *frame_shape), dtype)  # [B, L, *frame]

    def start(self, indices: np.ndarray, frames: np.ndarray) -> None:
        """Begins episodes in environments `indices` [M] with frames [M, *frame]."""
        self.stacks[indices] = frames[:, None]

    def push(self, frames: np.ndarray) -> None:
        """Takes in the next frame of every environment, [B, *frame]."""
        self.stacks[:, :-1] = self.stacks[:, 1:]
        self.stacks[:, -1] = frames


def temperature_at(update: int, *, temperature_updates: int) -> float:
    """How greedily to act: 1, then 0.5 from half of `temperature_updates` on, 0.25 from 3/4 on.

    Source: EfficientZero, arXiv:2111.00210, appendix A.3.
    """
    if update < temperature_updates // 2:
        return 1.0
    return 0.5 if update < temperature_updates * 3 // 4 else 0.25


@dataclass(slots=True)
class Actor:
    """A network and how to search with it."""

    model: StepEngine | SearchEngine
    config: SearchConfig

    def explore(
        self, stacks: np.ndarray, *, seeds: np.ndarray, temperature: float, rng: np.random.Generator
    ) -> tuple[np.ndarray, SearchResult]:
        """Searches with root noise; draws actions [B] i64 from the visits (Gumbel: no draw)."""
        result = search(
            self.model, self.model.root(stacks), config=self.config, seeds=seeds, root_noise=True
        )
        if self.config.search_method == "gumbel":
            return result.action, result
        return sample_actions(result.visit_counts, temperature=temperature, rng=rng), result

    def exploit(
        self,
        stacks: np.ndarray,
        *,
        seeds: np.ndarray,
        legal: np.ndarray | None = None,
        num_simulations: np.ndarray | None = None,
        trace: bool = False,
    ) -> SearchResult:
        """Searches without noise; `result.action` is the one to play."""
        return search(
            self.model,
            self.model.root(stacks),
            config=self.config,
            seeds=seeds,
            legal=legal,
            num_simulations=num_simulations,
            root_noise=False,
            trace=trace,
        )

    def play(
        self, stacks: np.ndarray, episodes: np.ndarray, steps: np.ndarray, *, seed: int
    ) -> np.ndarray:
        """Evaluation's actions [B]: they depend on the run's seed, the episode's and the step.

        Args:
            stacks: [B, L, *frame].
            episodes: [B] i64, the seeds of the episodes.
            steps: [B] i64, steps since each began.
            seed: of the run.
        """
        roots = search_seeds(seed, Stream.EVALUATE, np.stack((episodes, steps), axis=1))
        return self.exploit(stacks, seeds=roots).action
