"""What goes to env runners and comes back, besides weights and segments."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRequest:
    """What an env runner is asked to do."""

    update: int  # gradient updates that the weights have seen
    random_actions: bool  # without a search
    birth: int | None = None  # of the runner that this is for; None: whoever answers
    life: int = 0  # how often this runner was lost: its games get numbers and seeds of their own
    num_parts: int = 1  # replay shards; an episode goes to shard episode_id % num_parts


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerReport:
    """What an env runner says of the steps it took."""

    birth: int  # another number in every process
    is_meant: bool  # False: the request was for a former process, nothing was done
    num_env_steps: int = 0
    lost_episodes: tuple[int, ...] = ()  # whose rest will never come: their environment raised
    metrics: dict[str, Any] = field(default_factory=dict)  # RLlib's
    seconds: dict[str, float] = field(default_factory=dict)  # by stage
    busy_seconds: float = 0.0  # from the request to the answer
    notes: tuple[str, ...] = ()  # what a person should know
