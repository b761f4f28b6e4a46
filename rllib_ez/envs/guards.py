"""What both kinds of vector environment refuse."""

from __future__ import annotations

import numpy as np

from rllib_ez.errors import EnvironmentSpecError


def check_num_envs(num_envs: int) -> None:
    """Refuses a vector of no environments."""
    if num_envs < 1:
        raise EnvironmentSpecError(f"num_envs must be >= 1, got {num_envs}")


def check_playable(needs_reset: np.ndarray) -> None:
    """Refuses to step environments whose episode is over or was never begun."""
    if needs_reset.any():
        raise RuntimeError(
            f"environments {np.flatnonzero(needs_reset).tolist()} must be reset before the next "
            f"step: their episode ended, or none was started"
        )


def checked_actions(actions: np.ndarray, num_envs: int, num_actions: int) -> list[int]:
    """The actions [E] as ints; a wrong one would hang ALE's threads or index from the back."""
    listed: list[int] = np.asarray(actions).tolist()
    if len(listed) != num_envs:
        raise ValueError(f"actions must hold one per environment ({num_envs}), got {len(listed)}")
    if min(listed) < 0 or max(listed) >= num_actions:
        raise ValueError(f"actions must be in 0..{num_actions - 1}, got {listed}")
    return listed


def check_reset(indices: np.ndarray, seeds: np.ndarray, num_envs: int) -> None:
    """Refuses unknown or doubled environments, and seeds that do not match them."""
    named: list[int] = np.asarray(indices).tolist()
    if len(named) != len(seeds):
        raise ValueError(f"seeds must hold one per index ({len(named)}), got {len(seeds)}")
    if len(set(named)) != len(named) or any(not 0 <= index < num_envs for index in named):
        raise ValueError(f"indices must be distinct and in 0..{num_envs - 1}, got {named}")
    if any(seed < 0 for seed in np.asarray(seeds).tolist()):
        raise ValueError(f"seeds must be >= 0, got {np.asarray(seeds).tolist()}")
