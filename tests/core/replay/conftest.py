"""Small replays and segments whose every number tells where it stands."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rllib_ez.core.config import ReplayConfig
from rllib_ez.core.replay.buffer import Replay
from rllib_ez.core.types import Segment

NUM_ACTIONS = 3


@pytest.fixture
def make_replay() -> Callable[..., Replay]:
    """Makes a replay of 1-number frames; keywords as those of `Replay` and `ReplayConfig`."""

    def make(capacity: int = 32, **settings: object) -> Replay:
        fields = ReplayConfig.__dataclass_fields__
        given = {name: settings.pop(name) for name in list(settings) if name in fields}
        defaults = {
            "frame_shape": (1,),
            "frame_dtype": np.float32,
            "num_actions": NUM_ACTIONS,
            "frame_stack": 1,
            "unroll_steps": 2,
            "td_steps": 1,
        }
        config = ReplayConfig(**{"replay_capacity": capacity, **given})
        return Replay(config, **{**defaults, **settings})

    return make


@pytest.fixture
def make_segment() -> Callable[..., Segment]:
    """Makes steps start..stop of an episode; the frame of step t is 100 * episode + t."""

    def make(episode: int, start: int, stop: int, *, end: str = "", **changes: object) -> Segment:
        t = np.arange(start, stop)
        frames = 100 * episode + np.arange(start, stop + bool(end))
        fields = {
            "episode_id": episode,
            "is_first": start == 0,
            "frames": frames[:, None].astype(np.float32),
            "action": (t % NUM_ACTIONS).astype(np.int32),
            "reward": (episode + t / 10).astype(np.float32),
            "policy": np.eye(NUM_ACTIONS, dtype=np.float32)[(t + 1) % NUM_ACTIONS],
            "root_value": (-t).astype(np.float32),
            "terminated": end == "terminated",
            "truncated": end == "truncated",
            "collected_at_update": 7,
        }
        return Segment(**{**fields, **changes})

    return make
