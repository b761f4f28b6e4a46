"""What an env runner needs of many environments stepped together.

Every episode is started with a seed of its own, so that it is a pure function of that seed and
the actions taken since: this is how a stopped run finds its environments again (reset with the
seed, play the actions) without any environment having to support saving.
Axes: E environments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import gymnasium
import numpy as np


@dataclass(frozen=True, slots=True)
class VectorStep:
    """What E environments answered to one action each."""

    frames: np.ndarray  # [E, *frame], the final frame where an episode ended
    reward: np.ndarray  # [E] f32, what training sees (sign-clipped on Atari)
    score: np.ndarray  # [E] f64, the unclipped reward
    terminated: np.ndarray  # [E] bool, an episode of training ended (on Atari: also a lost life)
    truncated: np.ndarray  # [E] bool, cut off by a time limit
    needs_reset: np.ndarray  # [E] bool, reset before the next step; a lost life plays on without


class VectorEnv(Protocol):
    """E environments with Discrete actions and Box frames (one frame, not a stack)."""

    num_envs: int
    frame_space: gymnasium.spaces.Box  # one frame: [H, W, C] uint8 or [D] f32
    action_space: gymnasium.spaces.Discrete  # start 0

    def reset(self, indices: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """Starts a new episode in the named environments and returns their frames [M, *frame]."""
        ...

    def step(self, actions: np.ndarray) -> VectorStep:
        """Takes one action [E] i64 in every environment."""
        ...

    def render(self, index: int) -> np.ndarray:
        """Draws one environment as [H, W, 3] uint8."""
        ...

    def close(self) -> None:
        """Lets go of everything."""
        ...
