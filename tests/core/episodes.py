"""Episodes whose frames tell where they stand, and a reanalyser that reads the frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rllib_ez.core.config import ReplayConfig, SearchConfig
from rllib_ez.core.reanalyse import FreshTargets
from rllib_ez.core.replay import Replay
from rllib_ez.core.types import Segment

NUM_ACTIONS = 3


@dataclass(frozen=True)
class Episode:
    """An episode as a person would note it down; its frame t is the number 1000 * id + t."""

    id: int
    action: np.ndarray  # [T] i32
    reward: np.ndarray  # [T] f32
    policy: np.ndarray  # [T, A] f32
    root_value: np.ndarray  # [T] f32
    end: str  # "terminated", "truncated" or "": still running
    collected_at_update: int = 0

    def segments(self, borders: list[int]) -> list[Segment]:
        """The episode cut before the steps in `borders`."""
        edges = [0, *borders, len(self.action)]
        pairs = list(zip(edges[:-1], edges[1:], strict=True))
        return [self._segment(start, stop) for start, stop in pairs]

    def _segment(self, start: int, stop: int) -> Segment:
        last = stop == len(self.action)
        numbers = 1000 * self.id + np.arange(start, stop + (last and bool(self.end)))
        return Segment(
            episode_id=self.id,
            is_first=start == 0,
            frames=numbers[:, None].astype(np.float32),
            action=self.action[start:stop],
            reward=self.reward[start:stop],
            policy=self.policy[start:stop],
            root_value=self.root_value[start:stop],
            terminated=last and self.end == "terminated",
            truncated=last and self.end == "truncated",
            collected_at_update=self.collected_at_update,
        )


def random_episode(
    rng: np.random.Generator, id: int, *, steps: int, end: str, collected_at_update: int = 0
) -> Episode:
    return Episode(
        id,
        rng.integers(NUM_ACTIONS, size=steps).astype(np.int32),
        rng.standard_normal(steps).astype(np.float32),
        rng.dirichlet(np.ones(NUM_ACTIONS), steps).astype(np.float32),
        rng.standard_normal(steps).astype(np.float32),
        end,
        collected_at_update,
    )


def make_replay(*, capacity: int = 64, unroll_steps: int = 2, td_steps: int = 3) -> Replay:
    return Replay(
        ReplayConfig(replay_capacity=capacity),
        frame_shape=(1,),
        frame_dtype=np.float32,
        num_actions=NUM_ACTIONS,
        frame_stack=1,
        unroll_steps=unroll_steps,
        td_steps=td_steps,
    )


def fresh_policy(number: int) -> list[float]:
    """What `FrameReader` says of the frame with this number."""
    return np.eye(NUM_ACTIONS)[number % NUM_ACTIONS].tolist()


def fresh_value(number: int, bootstrap: str) -> float:
    """The same of its value: search and network differ in sign."""
    return (1 if bootstrap == "search" else -1) * (number % 1000 + 0.5)


class FrameReader:
    """Stands in for a `Reanalyser`: its targets follow from the frame and its version."""

    config = SearchConfig()

    def __init__(self, *, max_batch: int = 1000) -> None:
        self.version = 0
        self.max_batch = max_batch
        self.seen: list[np.ndarray] = []  # frames of each call
        self.positions: list[np.ndarray] = []

    def compute(self, observations: np.ndarray, positions: np.ndarray) -> FreshTargets:
        """Reads [M, 1, 1]."""
        numbers = observations[:, -1, 0].astype(int)
        self.seen.append(numbers)
        self.positions.append(positions)
        return FreshTargets(
            policy=np.array([fresh_policy(n) for n in numbers], np.float32),
            root_value=np.array([fresh_value(n, "search") for n in numbers], np.float32)
            + self.version,
            network_value=np.array([fresh_value(n, "network") for n in numbers], np.float32)
            + self.version,
        )
