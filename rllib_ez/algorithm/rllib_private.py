"""RLlib's private names, and what must be set there for all this to work: in this file only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.tune.registry import ENV_CREATOR, _global_registry


def prepare_rllib(config: AlgorithmConfig) -> None:
    """Sets what RLlib needs to leave weights, states and timing to us."""
    config._dont_auto_sync_env_runner_states = True
    config.merge_env_runner_states = False
    config.broadcast_env_runner_states = True
    config.max_requests_in_flight_per_learner = 1000
    config.env_runner_health_probe_timeout_s = 1.0
    config.delay_between_env_runner_restarts_s = 1.0
    config.min_time_s_per_iteration = 0
    config.log_gradients = False


def registered_creator(name: str) -> Callable[..., Any] | None:
    """What `ray.tune.register_env` was given under this name, if anything."""
    if not _global_registry.contains(ENV_CREATOR, name):
        return None
    creator: Callable[..., Any] = _global_registry.get(ENV_CREATOR, name)
    return creator


def keep_torch_fast() -> None:
    """Undoes what RLlib does to torch for a seed: our randomness does not come from torch."""
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False
    torch.backends.cudnn.benchmark = True


def env_runner_actors(group: EnvRunnerGroup) -> dict[int, Any]:
    """The handles of the remote env runners by their index, 1 and up."""
    actors: dict[int, Any] = group._worker_manager.actors()
    return actors


def learners_of(group: LearnerGroup) -> list[Any]:
    """The learner actors' handles, or the one learner that lives in this process."""
    return [group._learner] if group.is_local else list(group._workers)
